"""How long does `gdo report` take on a large pool, with how much memory, and how large is the page?

    python benchmarks/report.py [--pairs 1000000]... [--folder DIR] [--json FILE]

The pool's rows are those of benchmarks/selection.py with their imported values; beyond half a million pairs
the same rows come again under other names. Every sample has a vector of 32 numbers, a twentieth of the
samples and of the media are near-duplicates, every medium shows some of a hundred pictures, and two presets
have chosen subsets. The report is written by the command line: seconds, those of them that it computed on all
cores together, and the peak memory of its processes.
A pool of 5 million takes 3 GB of disk; one that stands in `--folder` is used again.
"""

import argparse
import json
import math
import resource
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from make_pool import make_pool
from measure import machine, run_measured, write_json
from PIL import Image
from rich.console import Console
from rich.table import Table

from gdo.descriptors.importing import import_descriptors
from gdo.pool.candidate import refresh_candidate
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.selectors.select import select

MADE = 500_000
"""Pairs that are made of files, at most."""
PICTURES = 100
_AGAIN = """
INSERT INTO imported SELECT i.* REPLACE (qa_uid || ' again ' || k AS qa_uid) FROM imported AS i, again;
INSERT INTO media SELECT m.* REPLACE (media_id + k AS media_id) FROM media AS m, again;
INSERT INTO sample SELECT s.* REPLACE (
        qa_uid || ' again ' || k AS qa_uid, id || ' again ' || k AS id,
        if(video_uid = '', '', video_uid || ' again ' || k) AS video_uid, ordinal + (k << 52) AS ordinal,
        list_transform(media_ids, lambda m: m + k::UBIGINT) AS media_ids, hash(uid_hash, k) AS uid_hash,
        hash(text_hash, k) AS text_hash, hash(question_hash, k) AS question_hash
    ) FROM sample AS s, again;
"""
_FILL = f"""
CREATE TABLE embedding AS
    SELECT qa_uid, 1 AS version, 'made' AS probe, NULL::VARCHAR AS error, list_transform(
        range(32), lambda n: sin(n * (uid_hash % 40)) + sin(1.7 * n + uid_hash % 1009)
    )::FLOAT[32] AS embedding
    FROM sample;
INSERT INTO descriptor VALUES ('embedding', 'sample', 1, 'made', '{{}}');
UPDATE media SET root = 'pictures', paths = list_transform(paths, lambda p: (hash(p) % {PICTURES}) || '.jpg');
INSERT INTO duplicate_search
    SELECT 0.95, 1, '{{}}', (SELECT count(*) FROM media), 0, count(*), now()::TIMESTAMP FROM sample;
INSERT INTO media_duplicate BY NAME
    SELECT media_id, media_id % 20011 AS duplicate_group, 0.95 AS similarity
    FROM media WHERE media_id % 20 = 0;
INSERT INTO sample_duplicate
    SELECT qa_uid, uid_hash % 20011, 0.95 FROM sample WHERE uid_hash % 20 = 0;
"""


def make(folder: Path, pairs: int) -> Path:
    """The pool; one that is there is used again."""
    pool = folder / "pool.duckdb"
    if (folder / "done").exists():
        return pool
    times = math.ceil(pairs / MADE)
    made = make_pool(folder / "files", math.ceil(pairs / times))
    ingest(pool, [made.images, made.videos])
    import_descriptors(pool, made.metrics)
    draw_pictures(folder / "pictures")
    with Pool(pool).write() as connection:
        connection.execute("CREATE TEMP TABLE again AS FROM range(1, ?) AS t(k)", [times]).fetchall()
        for statement in (_AGAIN + _FILL).strip().split(";")[:-1]:
            connection.execute(statement).fetchall()
        refresh_candidate(connection)
    for preset in ("temp", "diverse"):
        select(pool, preset)
    (folder / "done").touch()
    return pool


def draw_pictures(folder: Path) -> None:
    """Pictures that are about as hard to compress as photographs."""
    rng = np.random.default_rng(0)
    folder.mkdir(exist_ok=True)
    for number in range(PICTURES):
        coarse = [rng.integers(0, 256, (side, 4 * side // 3, 3), dtype=np.uint8) for side in (6, 60)]
        layers = [Image.fromarray(one).resize((640, 480), Image.Resampling.BICUBIC) for one in coarse]
        Image.blend(*layers, 0.4).save(folder / f"{number}.jpg")


def measure(folder: Path, pairs: int) -> dict[str, Any]:
    """The figures of one pool."""
    pool, page = make(folder, pairs), folder / "report.html"
    command = [sys.executable, "-m", "gdo.cli.main", "report", str(pool), "-o", str(page), "--json"]
    before = processor_seconds()
    done = run_measured(command)
    told = json.loads(done.output[done.output.index("{") :])
    return {
        "pairs": told["samples"],
        "pool_mb": pool.stat().st_size / 1e6,
        "seconds": done.seconds,
        "processor_s": processor_seconds() - before,
        "peak_mb": done.peak_mb,
        "html_mb": told["bytes"] / 1e6,
        "sampled": told["sampled"],
        "pictures": told["pictures"],
        "pictures_missing": told["pictures_missing"],
    }


def processor_seconds() -> float:
    """Of all processes that were started and have ended; other programs do not lengthen them."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pairs", type=int, action="append", help="a pool size; default a million")
    parser.add_argument("--folder", type=Path, help="keep the pools here; default a folder that is removed")
    parser.add_argument("--json", type=Path, help="write the figures here too")
    arguments = parser.parse_args()
    results = []
    for pairs in arguments.pairs or [1_000_000]:
        with tempfile.TemporaryDirectory() as aside:
            folder = (arguments.folder or Path(aside)) / str(pairs)
            folder.mkdir(parents=True, exist_ok=True)
            results.append(measure(folder, pairs))
    table = Table(*results[0])
    for row in results:
        table.add_row(
            *(f"{value:,.1f}" if isinstance(value, float) else f"{value:,}" for value in row.values())
        )
    Console(width=120).print(table)
    write_json(arguments.json, {"machine": machine(), "sizes": results})


if __name__ == "__main__":
    main()
