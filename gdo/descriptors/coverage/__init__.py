"""Coverage: what samples look like, as vectors, and the clusters that they fall into."""
