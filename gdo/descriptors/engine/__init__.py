"""How describing is done: work lists, workers, parts on disk, commits; what is described stands beside it."""
