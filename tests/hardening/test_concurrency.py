"""Many hands on one pool: readers while commands write, and two writers at once."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from nursery import HERE, Nursery
from starts import media_pool, selection_pool, write

from gdo.descriptors.describe import describe
from gdo.pool import store
from gdo.pool.store import Pool
from gdo.selectors.select import select

READERS = 8
PAUSE = 3
"""Seconds between two queries of a reader: the writer needs a moment in which none of them has the file."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kills")]


def read_on(pool: str, stop: str, told: str) -> None:
    """In a child: query until told to stop, saying how often; each answer must be of one whole state."""
    times = 0
    while not times or not Path(stop).exists():
        with Pool(pool).read() as connection:
            ((samples, members, subsets, half),) = connection.execute(
                "SELECT (SELECT count(*) FROM candidate), (SELECT count(*) FROM subset_sample), "
                "(SELECT count(*) FROM subset), (SELECT count(*) FROM subset AS s WHERE NOT EXISTS "
                "(FROM subset_sample AS m WHERE m.subset = s.subset))"
            ).fetchall()
        assert (samples, half) == (24, 0)
        assert bool(members) == bool(subsets)
        times += 1
        Path(told).write_text(str(times))
        time.sleep(PAUSE)


def queries(told: str | Path) -> int:
    """How many a reader has done by now."""
    return int(Path(told).read_text() or 0) if Path(told).exists() else 0


def describe_and_select(pool: str, *told: str) -> None:
    """In a child: with a commit after nearly every batch, and until every reader has queried twice."""
    from gdo.descriptors.engine import run

    run.COMMIT_EVERY = 0.0
    store.LOCK_WAIT = 600.0
    for number in range(3):
        select(pool, "temp", name=f"s{number}", settings=["count=8", "unreadable_media=keep"])
    describe(pool, ["motion", "temporal"], probe="text", device="cpu", workers=0)
    number = 0
    while number < 3 or (min(map(queries, told)) < 2 and number < 100):
        select(pool, "temp", name=f"s{number % 3}", settings=["count=9", "unreadable_media=keep"])
        number += 1


@pytest.fixture
def nurseries(tmp_path: Path) -> Iterator[list[Nursery]]:
    """One for the command, one each for its readers."""
    made = [Nursery(tmp_path / f"log{n}.txt", "duckdb", "gdo.pool.store") for n in range(READERS)]
    made.append(Nursery(tmp_path / "log.txt", "gdo.descriptors.describe", "gdo.selectors.select"))
    yield made
    for nursery in made:
        nursery.__exit__()


def test_eight_readers_query_while_describe_and_select_run(nurseries: list[Nursery], tmp_path: Path) -> None:
    media_pool(tmp_path)
    pool, stop = tmp_path / "pool.duckdb", tmp_path / "stop"
    *readers, writer = nurseries
    told = [tmp_path / f"told{number}" for number in range(READERS)]
    for reader, path in zip(readers, told, strict=True):
        reader.begin("test_concurrency:read_on", pool, stop, path)
    try:
        writer.did("test_concurrency:describe_and_select", pool, *told)
    finally:
        stop.touch()
    for reader in readers:
        code, _ = reader.end()
        assert code == 0, reader.log.read_text()[-3000:]
    assert min(map(queries, told)) >= 2
    with Pool(pool).read() as connection:
        counted = connection.execute("SELECT count(tnc), count(DISTINCT qa_uid) FROM candidate").fetchall()
        assert counted == [(24, 24)]
        assert connection.execute("SELECT count(*), count(DISTINCT media_id) FROM motion").fetchall() == [
            (12, 12)
        ]
        assert connection.execute("SELECT subset FROM subset ORDER BY 1").fetchall() == [
            ("s0",),
            ("s1",),
            ("s2",),
        ]


def start(*arguments: Any) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "gdo.cli.main", *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=HERE.parents[1]
    )


def test_two_writers_at_once_wait_for_each_other_or_are_told(tmp_path: Path) -> None:
    """Ingest, import, select and two describes of one descriptor: all at the same time."""
    selection_pool(tmp_path)
    pool, more = tmp_path / "pool.duckdb", tmp_path / "more.jsonl"
    turns = [{"role": "user", "content": "What is new?"}, {"role": "assistant", "content": "This."}]
    write(more, [{"id": "new", "images": ["new.jpg"], "messages": turns}])
    with Pool(pool).read() as connection:
        before = connection.execute("SELECT count(*) FROM sample").fetchall()[0][0]
    words = ["describe", pool, "temporal", "--probe", "words"]
    running = [
        start("ingest", pool, more),
        start("select", pool, "--preset", "temp", "--name", "one", "--count", "9"),
        start("select", pool, "--preset", "diverse", "--name", "two", "--count", "9"),
        start(*words),
        start(*words),
    ]
    said = [process.communicate()[1] for process in running]
    codes = [process.returncode for process in running]
    assert "Traceback" not in "".join(said)
    reasons = ("was changed while the subset was being chosen", "another process computes temporal")
    for code, text in zip(codes, said, strict=True):
        assert code == 0 or (code == 1 and any(reason in text for reason in reasons)), text
    assert codes[0] == 0
    assert 0 in codes[3:]
    with Pool(pool).read() as connection:
        told = connection.execute(
            "SELECT (SELECT count(*) FROM sample), (SELECT count(*) - count(DISTINCT qa_uid) FROM temporal), "
            "(SELECT count(*) FROM subset AS s WHERE NOT EXISTS "
            "(FROM subset_sample AS m WHERE m.subset = s.subset))"
        ).fetchall()
    assert told == [(before + 1, 0, 0)]
