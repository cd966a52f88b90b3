"""Asking held-out questions of a run's checkpoints."""
