"""Descriptors: what is computed per media or per sample, and the engine that computes it."""
