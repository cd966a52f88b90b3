"""From cold files to exported subsets in one process: the Python calls behind the benchmark's cold figures.

python benchmarks/cold_path.py FOLDER IMAGES.jsonl VIDEOS.jsonl METRICS.jsonl PRESET...
"""

import sys
from pathlib import Path

from gdo.descriptors.importing import import_descriptors
from gdo.export.run import export
from gdo.pool.ingest import ingest
from gdo.selectors.select import select


def main() -> None:
    """Ingest, import, and for each preset select and export."""
    folder, images, videos, metrics, *presets = sys.argv[1:]
    pool = Path(folder) / "pool.duckdb"
    ingest(pool, [images, videos])
    import_descriptors(pool, metrics)
    for preset in presets:
        select(pool, preset)
        export(pool, preset, Path(folder) / f"{preset}.jsonl")


if __name__ == "__main__":
    main()
