"""Pools made by every released version open, are brought up to date, and keep what they hold."""

import gzip
import re
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pytest
from selection_pools import image_rows
from starts import write

from gdo.errors import UsageError
from gdo.export.run import export
from gdo.pool.ingest import ingest
from gdo.pool.query import run_sql
from gdo.pool.store import Pool, _migrations
from gdo.selectors.explain import explain
from gdo.selectors.select import select

FIXTURES = Path(__file__).parents[1] / "fixtures"
RELEASES = sorted(re.findall(r"pool-(.+)\.duckdb\.gz", " ".join(path.name for path in FIXTURES.iterdir())))
TABLES = ("sample", "media", "bad_row", "imported", "motion", "temporal", "subset_sample")


@pytest.fixture(params=RELEASES)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "pool.duckdb"
    with gzip.open(FIXTURES / f"pool-{request.param}.duckdb.gz") as packed, path.open("wb") as file:
        shutil.copyfileobj(packed, file)
    return path


def rows(pool: Path) -> dict[str, list[tuple[Any, ...]]]:
    with duckdb.connect(str(pool), read_only=True) as connection:
        return {
            table: connection.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in TABLES
        }


def test_there_is_a_pool_of_the_first_release() -> None:
    assert "0.1.0" in RELEASES


def test_it_keeps_its_rows_and_is_used_as_any_other(old: Path) -> None:
    before = rows(old)
    assert {table: len(found) for table, found in before.items()} == {
        "sample": 88, "media": 25, "bad_row": 1, "imported": 40, "motion": 25, "temporal": 88,
        "subset_sample": 60,
    }  # fmt: skip
    Pool(old).upgrade()
    assert rows(old) == before
    counted = run_sql(
        old, "SELECT count(*), count(amm), count(tnc), count(vds), count(ppl) FROM candidate"
    ).rows
    assert counted == [(88, 22, 88, 40, 0)]
    chosen = [row[2] for row in before["subset_sample"] if row[:2] == ("temp", "chosen")]
    assert explain(old, "temp", chosen[0])
    assert export(old, "temp", old.with_name("out")).samples == len(chosen)
    again = select(old, "temp", name="again", settings=["count=20", "max_qa_per_video=2"])
    assert again.report["selected_count"] == len(chosen) == 10
    with Pool(old).read() as connection:
        same = (
            "SELECT qa_uid, rank, score FROM subset_sample WHERE subset = ? AND role = 'chosen' ORDER BY rank"
        )
        assert connection.execute(same, ["again"]).fetchall() == connection.execute(same, ["temp"]).fetchall()
    (report,) = ingest(old, [write(old.with_name("more.jsonl"), image_rows(30)[20:])])
    assert report.samples == 20


def test_an_older_schema_is_told_until_a_command_writes(old: Path) -> None:
    with duckdb.connect(str(old), read_only=True) as connection:
        ((have,),) = connection.execute("SELECT max(number) FROM migration").fetchall()
    if have < _migrations()[-1][0]:
        with pytest.raises(UsageError, match=rf"has schema {have}, this gdo reads"), Pool(old).read():
            pass
