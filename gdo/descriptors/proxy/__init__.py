"""The self-proxy: a tiny probe, taught to see beforehand and trained on the pool that it is asked about."""
