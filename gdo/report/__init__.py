"""Reports: figures of pools and subsets as tables for people."""
