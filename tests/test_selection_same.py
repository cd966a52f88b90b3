"""The same subset everywhere: rows in another order, one thread or many."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pytest
from selection_pools import (
    POOLS,
    as_settings,
    image_row,
    make,
    members,
    plain_pairs,
    uids,
    video_row,
)

from gdo.pool.store import Pool
from gdo.selectors.cache import cache_folder
from gdo.selectors.preset import load_preset
from gdo.selectors.select import read_pool, select, work_out


def digest(pool: Path, connection: duckdb.DuckDBPyConnection, **changes: Any) -> str:
    """Everything a selection gives, to the last bit, by queries alone."""
    preset = load_preset("temp", settings=as_settings(changes))
    shutil.rmtree(cache_folder(Pool(pool)), ignore_errors=True)
    worked = work_out(read_pool(Pool(pool), connection, preset), preset, [], "both")
    parts = [worked.fingerprint, worked.filled.chosen, worked.filled.stages, worked.uniform.tolist()]
    parts += [worked.scores.rho.tolist(), worked.report]
    return hashlib.sha256(repr(parts).encode()).hexdigest()


REWRITTEN = """
CREATE OR REPLACE TABLE kept AS SELECT * FROM {table};
DELETE FROM {table};
INSERT INTO {table} SELECT * FROM kept ORDER BY md5(qa_uid);
DROP TABLE kept;
"""


@pytest.mark.parametrize("content", ["all described", "rows without a sample", "no descriptors"])
def test_the_same_after_the_database_was_rewritten_in_another_order(content: str, tmp_path: Path) -> None:
    made = make(tmp_path, *POOLS[content])
    with Pool(made.pool).read() as connection:
        before = digest(made.pool, connection, count=15)
    copy = tmp_path / "copy.duckdb"
    with duckdb.connect() as connection:
        connection.execute(f"ATTACH '{made.pool}' AS old (READ_ONLY)")
        connection.execute(f"ATTACH '{copy}' AS new")
        connection.execute("COPY FROM DATABASE old TO new")
    with duckdb.connect(copy) as connection:
        for table in ("sample", "imported"):
            connection.execute(REWRITTEN.format(table=table))
    with Pool(copy).read() as connection:
        assert digest(copy, connection, count=15) == before


def test_the_order_of_files_is_part_of_the_pool(tmp_path: Path) -> None:
    """Two strata share one place by the order in which they first appear."""
    rows = [image_row(n, (f"what is {n}", "yes"), source=f"s{n}") for n in range(2)]
    for name, order in (("forth", [0, 1]), ("back", [1, 0])):
        made = make(tmp_path / name, [rows[n] for n in order])
        select(made.pool, "temp", count=1)
        assert uids(made.pool, "temp") == [f"ov::i{order[0]}::t0"]


SCRIPT = """
import json, sys
from pathlib import Path
from gdo.pool.ingest import ingest
from gdo.selectors.select import select
if __name__ == "__main__":
    pool, files = Path(sys.argv[1]), [Path(name) for name in sys.argv[3:]]
    ingest(pool, files, workers=int(sys.argv[2]))
    print(select(pool, "temp", count=5000, name="first").fingerprint)
"""


@pytest.mark.slow
def test_the_same_with_one_thread_and_with_many(tmp_path: Path) -> None:
    """Enough samples for DuckDB's row groups and for the workers of ingest to be several."""
    rows = [image_row(n, *plain_pairs(n, 12), source=f"s{n % 40}(x)") for n in range(10_000)]
    clips = [video_row(n, *plain_pairs(n + 7, 12), frames=1 + n % 40) for n in range(2_000)]
    files = []
    for name, content in (("images", rows), ("videos", clips)):
        files.append(tmp_path / f"{name}.jsonl")
        files[-1].write_text("".join(json.dumps(row) + "\n" for row in content))
    assert files[0].stat().st_size > 16 << 20
    found = set()
    for threads in (1, 4):
        pool = tmp_path / f"{threads}.duckdb"
        command = [sys.executable, "-c", SCRIPT, str(pool), str(threads), *map(str, files)]
        environment = os.environ | {"POLARS_MAX_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        found.add((done.stdout, tuple(members(pool, "first")), tuple(uids(pool, "first", "uniform"))))
    assert len(found) == 1
    results = set()
    for threads in (1, 2, 5):
        with duckdb.connect(pool, read_only=True, config={"threads": threads}) as connection:
            results.add(digest(pool, connection, count=5000))
    assert len(results) == 1
