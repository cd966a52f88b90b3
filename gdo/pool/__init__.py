"""The pool: one DuckDB file with every sample, its media, and what went wrong on the way in."""
