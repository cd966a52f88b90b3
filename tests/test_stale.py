"""What was known of an old text is not said of a new one; what an evaluation set holds stays out."""

import json
from pathlib import Path

import duckdb
import pytest

from gdo.descriptors.describe import describe, probe_media_headers
from gdo.descriptors.importing import import_descriptors
from gdo.errors import GdoError, UsageError
from gdo.export.run import export
from gdo.pool.ingest import ingest
from gdo.pool.query import run_sql
from gdo.selectors.select import select


def write(path: Path, questions: dict[str, str]) -> Path:
    rows = [
        {
            "id": name,
            "images": [f"{name}.jpg"],
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": "yes"}],
        }
        for name, question in questions.items()
    ]
    path.write_text("\n".join(map(json.dumps, rows)) + "\n")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return write(tmp_path / "rows.jsonl", {"a": "<image>\nWhat is this?", "b": "Is it red?", "c": "And now?"})


@pytest.fixture
def pool(file: Path, tmp_path: Path) -> Path:
    ingest(tmp_path / "pool.duckdb", [file])
    return tmp_path / "pool.duckdb"


def test_replacing_a_file_forgets_imported_values_of_changed_texts_alone(pool: Path, file: Path) -> None:
    metrics = file.with_name("metrics.jsonl")
    metrics.write_text("".join(f'{{"qa_uid": "ov::{name}::t0", "vds": 1.0}}\n' for name in "abc"))
    import_descriptors(pool, metrics)
    write(file, {"a": "What is this?", "b": "Is it blue?", "c": "And now?"})
    ingest(pool, [file], replace=True)
    with duckdb.connect(str(pool), read_only=True) as connection:
        kept = connection.execute("SELECT qa_uid FROM imported ORDER BY 1").fetchall()
    assert kept == [("ov::a::t0",), ("ov::c::t0",)]


def test_media_that_come_back_are_read_again(pool: Path, file: Path) -> None:
    header = "SELECT paths[1], bytes, error FROM media ORDER BY 1"
    file.with_name("c.jpg").write_bytes(b"no picture")
    describe(pool, ["fingerprint"], workers=0)
    before, rows = run_sql(pool, header).rows, file.read_text()
    write(file, {"a": "What is this?"})
    ingest(pool, [file], replace=True)
    file.write_text(rows)
    ingest(pool, [file], replace=True)
    assert run_sql(pool, header).rows != before
    (report,) = describe(pool, ["fingerprint"], workers=0).descriptors
    assert (report.already, report.computed + report.errors) == (1, 2)
    assert run_sql(pool, header).rows == before


def test_a_subset_of_replaced_rows_is_not_exported(pool: Path, file: Path, tmp_path: Path) -> None:
    select(pool, "temp", count=2)
    export(pool, "temp", tmp_path / "before")
    write(file, {"a": "Other?", "b": "Words?", "c": "Now?"})
    ingest(pool, [file], replace=True)
    with pytest.raises(GdoError, match="was replaced in the pool after temp was chosen"):
        export(pool, "temp", tmp_path / "after")
    assert not (tmp_path / "after").exists()


def test_a_guard_s_question_is_known_with_its_media_tag(pool: Path, tmp_path: Path) -> None:
    guard = tmp_path / "guard.jsonl"
    guard.write_text('{"question": "<image>\\nWhat  is this?"}\n')
    chosen = select(pool, "temp", count=3, guard=[guard, guard])
    assert chosen.report["excluded_by_guard"] == 1


def test_media_that_are_not_there_stay_out_once_that_is_known(pool: Path) -> None:
    assert select(pool, "temp", count=3).report["excluded_unreadable_media"] == 0
    probe_media_headers(pool, workers=0)
    with pytest.raises(UsageError, match="media of 3 could not be read"):
        select(pool, "temp", count=3)
    kept = select(pool, "temp", count=3, settings=["unreadable_media=keep"])
    assert kept.report["selected_count"] == 3


@pytest.mark.parametrize(
    "setting", ["tail_target=inf", "weights.video_vds=nan", "seed=10000000000000000000000"]
)
def test_numbers_that_are_none_are_refused_before_work_starts(pool: Path, setting: str) -> None:
    with pytest.raises(UsageError, match=setting.partition("=")[0]):
        select(pool, "temp", settings=[setting])


def test_workers_below_one_are_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="workers"):
        ingest(tmp_path / "other.duckdb", [file], workers=-1)
