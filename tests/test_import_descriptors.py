"""Imported values are taken as they are meant, and everything odd about the file is told."""

import gzip
import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
import zstandard

from gdo.descriptors import number_tables
from gdo.descriptors.importing import TOLD, ImportReport, import_descriptors
from gdo.descriptors.number_tables import to_numbers
from gdo.errors import UsageError
from gdo.pool.candidate import VALUE_COLUMNS
from gdo.pool.ingest import ingest
from gdo.pool.readers import Lines
from gdo.pool.store import Pool


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool with the samples a, b and c."""
    path = tmp_path / "pool.duckdb"
    with Pool(path, create=True).write() as connection:
        connection.execute("INSERT INTO sample BY NAME SELECT unnest(['a', 'b', 'c']) AS qa_uid")
    return path


def write(path: Path, rows: Sequence[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def imported(pool: Path, *columns: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(pool), read_only=True) as connection:
        names = ", ".join(("qa_uid", *columns))
        return connection.execute(f"SELECT {names} FROM imported ORDER BY qa_uid").fetchall()


def test_values_come_under_their_names_here(pool: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "m.jsonl", [{"qa_uid": "a", "amm": 1.5, "tnc_score": 1.0, "cluster_id": 7}])
    report = import_descriptors(pool, file)
    assert report.columns == ["amm", "tnc", "cluster_id"]
    assert report.unknown_columns == []
    assert imported(pool, "amm", "tnc", "cluster_id", "vds") == [("a", 1.5, 1.0, 7, None)]
    with duckdb.connect(str(pool), read_only=True) as connection:
        rows = connection.execute("SELECT qa_uid, described, amm FROM candidate ORDER BY 1").fetchall()
        assert connection.execute("SELECT command FROM run").fetchall() == [("import-descriptors",)]
    assert rows == [("a", True, 1.5), ("b", False, None), ("c", False, None)]


@pytest.mark.parametrize(
    "value",
    [
        "null",
        "NaN",
        "Infinity",
        "-Infinity",
        '"nan"',
        '"inf"',
        '"high"',
        '""',
        "true",
        "[1]",
        '{"x": 1}',
        "1e999",
    ],
)
def test_what_is_not_a_finite_number_is_null(pool: Path, tmp_path: Path, value: str) -> None:
    file = write(tmp_path / "m.jsonl", ['{"qa_uid": "a", "amm": 1}', f'{{"qa_uid": "b", "amm": {value}}}'])
    report = import_descriptors(pool, file)
    shown = dict(imported(pool, "amm"))
    assert shown["a"] == 1.0
    if "b" in shown:
        assert shown["b"] is None
        assert report.missing["amm"] == 1
    else:
        assert report.broken == 1
        assert value in {"NaN", "Infinity", "-Infinity", "1e999"}


@pytest.mark.parametrize("value, number", [("2", 2.0), ("-0.25", -0.25), ('" 3.5 "', 3.5), ("1e-3", 0.001)])
def test_numbers_may_be_written_in_any_way(pool: Path, tmp_path: Path, value: str, number: float) -> None:
    import_descriptors(pool, write(tmp_path / "m.jsonl", [f'{{"qa_uid": "a", "vds": {value}}}']))
    assert imported(pool, "vds") == [("a", number)]


def test_numbers_of_python() -> None:
    given = [1, 2.5, None, True, "3", b"4", 10**400, [], math.inf]
    assert [None if math.isnan(number) else number for number in to_numbers(given)] == [
        1.0,
        2.5,
        None,
        None,
        3.0,
        None,
        None,
        None,
        None,
    ]


def test_a_second_import_replaces_only_its_own_columns(pool: Path, tmp_path: Path) -> None:
    first = [{"qa_uid": "a", "amm": 1, "vds": 10}, {"qa_uid": "b", "amm": 2, "vds": 20}]
    import_descriptors(pool, write(tmp_path / "1.jsonl", first))
    second = [{"qa_uid": "b", "vds": None}, {"qa_uid": "c", "vds": 31}]
    import_descriptors(pool, write(tmp_path / "2.jsonl", second))
    assert imported(pool, "amm", "vds") == [("a", 1.0, 10.0), ("b", 2.0, None), ("c", None, 31.0)]


def test_the_same_import_twice_is_the_same(pool: Path, tmp_path: Path) -> None:
    file = write(tmp_path / "m.jsonl", [{"qa_uid": uid, "amm": 1, "vds": 2} for uid in "abz"])
    import_descriptors(pool, file)
    before = imported(pool, *VALUE_COLUMNS)
    import_descriptors(pool, file)
    assert imported(pool, *VALUE_COLUMNS) == before


def test_the_last_of_equal_ids_holds(pool: Path, tmp_path: Path) -> None:
    rows = [{"qa_uid": "a", "amm": number} for number in range(5)] + [{"qa_uid": "b", "amm": 9}]
    report = import_descriptors(pool, write(tmp_path / "m.jsonl", rows))
    assert (report.rows, report.duplicates, report.matched) == (6, 4, 2)
    assert imported(pool, "amm") == [("a", 4.0), ("b", 9.0)]


def test_broken_lines_are_told_and_stop_nothing(pool: Path, tmp_path: Path) -> None:
    rows = [{"qa_uid": "a", "amm": 1}, "{broken", "", [1], {"amm": 2}, "5", {"qa_uid": "", "amm": 2}]
    rows += ['{"qa_uid": "tail']
    rows.insert(7, {"qa_uid": "b", "amm": 3})
    report = import_descriptors(pool, write(tmp_path / "m.jsonl", rows))
    assert (report.rows, report.broken) == (2, 6)
    assert len(report.broken_lines) == TOLD
    assert [line.partition(":")[0] for line in report.broken_lines] == [f"line {n}" for n in (2, 4, 5, 6, 7)]
    assert report.broken_lines[1:3] == ["line 4: not an object", "line 5: no qa_uid"]
    assert imported(pool, "amm") == [("a", 1.0), ("b", 3.0)]


def test_ids_and_samples_without_each_other_are_counted(pool: Path, tmp_path: Path) -> None:
    rows = [{"qa_uid": uid, "amm": 1} for uid in ("a", "x", "y", "b")]
    report = import_descriptors(pool, write(tmp_path / "m.jsonl", rows))
    assert (report.matched, report.unknown, report.samples_without_row) == (2, 2, 1)
    assert [row[0] for row in imported(pool)] == ["a", "b", "x", "y"]
    later = import_descriptors(pool, write(tmp_path / "n.jsonl", [{"qa_uid": "c", "amm": 1}]))
    assert later.samples_without_row == 0


def test_what_cannot_be_meant_so_is_told(pool: Path, tmp_path: Path) -> None:
    rows = [{"qa_uid": "a", "tnc": 1.9, "amm": -5, "cluster_id": 1.7}, {"qa_uid": "b", "cluster_id": 2.0}]
    report = import_descriptors(pool, write(tmp_path / "m.jsonl", rows))
    assert report.hints == [
        "1 values of amm are not 0 or more; taken as they are",
        "1 values of tnc are not 0 to 1; taken as they are",
    ]
    assert report.missing["cluster_id"] == 1
    assert imported(pool, "amm", "tnc", "cluster_id") == [("a", -5, 1.9, None), ("b", None, None, 2)]


def test_a_file_for_another_pool_is_told(pool: Path, tmp_path: Path) -> None:
    report = import_descriptors(pool, write(tmp_path / "m.jsonl", [{"qa_uid": "x", "amm": 1}]))
    assert report.hints == ["no id of the file is in the pool: the file has x, the pool a"]
    assert import_descriptors(pool, write(tmp_path / "n.jsonl", [{"qa_uid": "a", "amm": 1}])).hints == []


def test_unknown_columns_are_named(pool: Path, tmp_path: Path) -> None:
    rows = [{"qa_uid": "a", "amm": 1, "zeta": 1}, {"qa_uid": "b", "alpha": "x", "ppl": 2}]
    report = import_descriptors(pool, write(tmp_path / "m.jsonl", rows))
    assert report.unknown_columns == ["alpha", "zeta"]
    assert report.columns == ["amm", "ppl"]
    assert imported(pool, "amm", "ppl") == [("a", 1.0, None), ("b", None, 2.0)]


@pytest.mark.parametrize("kind", ["jsonl.gz", "jsonl.zst", "json", "parquet"])
def test_any_container_gives_the_same(pool: Path, tmp_path: Path, kind: str) -> None:
    rows = [{"qa_uid": uid, "amm": number / 3, "vds": None} for number, uid in enumerate("abx")]
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    file = tmp_path / f"metrics.{kind}"
    if kind == "parquet":
        pl.DataFrame(rows, schema={"qa_uid": pl.String, "amm": pl.Float64, "vds": pl.Float64}).write_parquet(
            file
        )
    elif kind == "json":
        file.write_text(json.dumps(rows))
    else:
        file.write_bytes(gzip.compress(text) if kind.endswith("gz") else zstandard.compress(text))
    report = import_descriptors(pool, file)
    assert (report.rows, report.matched, report.unknown, report.missing["vds"]) == (3, 2, 1, 3)
    assert imported(pool, "amm", "vds") == [("a", 0.0, None), ("b", 1 / 3, None), ("x", 2 / 3, None)]


def test_parquet_may_hold_whole_numbers_and_nan(pool: Path, tmp_path: Path) -> None:
    file = tmp_path / "m.parquet"
    pl.DataFrame({"qa_uid": ["a", "b"], "amm": [1, 2], "vds": [math.nan, 0.5]}).write_parquet(file)
    import_descriptors(pool, file)
    assert imported(pool, "amm", "vds") == [("a", 1.0, None), ("b", 2.0, 0.5)]


@pytest.mark.parametrize(
    "rows, message",
    [
        ([{"id": "a", "amm": 1}], "has no column qa_uid.*its columns are amm, id"),
        (["{broken"], "has no column qa_uid.*line 1.*not CSV"),
        ([{"qa_uid": "a", "loss": 1}], "has no column of values; known are amm, frame_diversity"),
    ],
)
def test_a_file_that_cannot_be_meant_is_refused(
    pool: Path, tmp_path: Path, rows: list[Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        import_descriptors(pool, write(tmp_path / "m.jsonl", rows))
    assert imported(pool) == []
    assert not list(tmp_path.glob("pool.duckdb.d/import-*"))


def test_a_missing_file_or_pool_is_told(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no file"):
        import_descriptors(pool, tmp_path / "none.jsonl")
    with pytest.raises(UsageError, match="there is no pool"):
        import_descriptors(tmp_path / "none.duckdb", write(tmp_path / "m.jsonl", []))


def test_the_metrics_of_the_golden_pool(tmp_path: Path, shared: Path) -> None:
    golden = shared / "golden/selection"
    pool = tmp_path / "pool.duckdb"
    with Pool(pool, create=True).write():
        pass
    report = import_descriptors(pool, golden / "metrics.jsonl.gz")
    assert (report.rows, report.broken, report.duplicates, report.unknown) == (37_456, 0, 0, 37_456)
    assert report.unknown_columns == ["video_uid"]
    assert "tnc" in report.columns
    rows = {}
    with gzip.open(golden / "metrics.jsonl.gz", "rt") as lines:
        for line in lines:
            row = json.loads(line)
            rows[row["qa_uid"]] = row
    names = ("amm", "frame_diversity", "loss_blind", "loss_video", "vds", "ppl", "tnc", "self_consistency")
    for uid, *values in imported(pool, *names):
        source = rows[uid] | {"tnc": rows[uid].get("tnc_score")}
        for name, value in zip(names, values, strict=True):
            number = source.get(name)
            meant = isinstance(number, int | float) and math.isfinite(number)
            assert value == (number if meant else None), (uid, name)


@pytest.mark.slow
def test_the_golden_pool_finds_its_metrics(tmp_path: Path, shared: Path) -> None:
    golden = shared / "golden/selection"
    pool = tmp_path / "pool.duckdb"
    ingest(pool, [golden / "llava_onevision.jsonl.gz", golden / "llava_video.jsonl.gz"])
    report = import_descriptors(pool, golden / "metrics.jsonl.gz")
    assert (report.matched, report.unknown, report.samples_without_row) == (37_370, 86, 1_621)
    with duckdb.connect(str(pool), read_only=True) as connection:
        counts = connection.execute("SELECT count(*), count(*) FILTER (described) FROM candidate").fetchall()
    assert counts == [(38_991, 37_370)]


def test_whole_blocks_give_what_rows_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(3)
    numbers = [0, -7, 2**53 + 1, 2**62 + 1, 0.1, 1e-300, -2.5e17, None, 123456789.123456789, 10**18]
    rows: list[Any] = []
    for number in range(500):
        row = {"qa_uid": f"ov::{number}::t0", "note": "x", "tags": [number]}
        for name in rng.sample(["amm", "vds", "tnc_score", "cluster_id", "ppl"], rng.randint(0, 5)):
            row[name] = rng.choice(numbers)
        rows.append(row)
    tables = []
    for whole in (True, False):
        if not whole:
            monkeypatch.setattr(number_tables, "read_objects", lambda *_: None)
        report, seen = ImportReport("m"), set[str]()
        file = write(tmp_path / "m.jsonl", rows)
        tables.append((list(number_tables.number_tables(file, seen, report)), seen, report))
        block = Lines(1, file.read_bytes())
        assert (number_tables._with_objects(block)[1] is not None) == whole
    assert tables[0] == tables[1]
