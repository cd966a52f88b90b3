"""The example pool: real media files with known truth, made on the spot."""
