"""Training on a subset: the bundled trainer and the comparison of runs come here."""
