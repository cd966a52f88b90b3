"""The engine computes what is missing, once, whatever hangs, crashes, is killed or holds the database."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import cv2
import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdo.descriptors import catalog
from gdo.descriptors.base import Column, Values
from gdo.descriptors.describe import DescribeReport, DescriptorReport, Progress, describe, probe_media_headers
from gdo.descriptors.engine import run, stored
from gdo.errors import GdoError, UsageError
from gdo.pool.frames import FrameBudget, Frames
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool

TIME_LIMIT = 6.0
"""Seconds for a medium: more than a busy machine takes for one that is well."""
SLOW = f"took longer than {TIME_LIMIT:g} s"
HANGS, CRASHES, RAISES = 10, 20, 30
"""Brightness of a first frame that the descriptor `Trouble` does not survive."""


class Brightness:
    """Mean brightness of the first frame."""

    name = "brightness"
    version = 1
    probe = "eye/2"
    subject: Literal["media"] = "media"
    columns: Mapping[str, Column] = {"light": Column("DOUBLE", "", "mean brightness, 0 to 255")}
    frames = FrameBudget(frames=2)
    needs_stills = True

    def compute(self, batch: Sequence[Frames]) -> Values:
        return {"light": [float(frames.images[0].mean()) for frames in batch]}


class Trouble(Brightness):
    """Hangs, crashes or raises on some media."""

    def compute(self, batch: Sequence[Frames]) -> Values:
        for frames in batch:
            level = int(frames.images[0].mean())
            if level == HANGS:
                time.sleep(600)
            elif level == CRASHES:
                os.kill(os.getpid(), signal.SIGKILL)
            elif level == RAISES:
                raise ValueError("too dark\nto see")
        return super().compute(batch)


class Fussy:
    """Length of the question; fails on a batch with a question that says `boom`."""

    name = "fussy"
    version = 1
    probe = ""
    subject: Literal["sample"] = "sample"
    columns: Mapping[str, Column] = {"length": Column("INTEGER", "characters", "length of the question")}
    inputs: Sequence[str] = ("question",)

    def compute(self, batch: pa.Table) -> Values:
        questions = batch["question"].to_pylist()
        if any("boom" in question for question in questions):
            raise RuntimeError("boom")
        return {"length": [len(question) for question in questions]}


@pytest.fixture(autouse=True)
def more_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.DESCRIPTORS, "brightness", Brightness())
    monkeypatch.setitem(catalog.DESCRIPTORS, "fussy", Fussy())


@pytest.fixture
def trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(catalog.DESCRIPTORS, "brightness", Trouble())


def make_pool(folder: Path, levels: Sequence[int], *, frames: int = 2, question: str = "What?") -> Path:
    """A pool of one flat picture (frames = 1) or frame list of each brightness, two samples on each."""
    rows = []
    for number, level in enumerate(levels):
        names = [f"{number:03d}-{frame}.png" for frame in range(frames)]
        for frame, name in enumerate(names):
            cv2.imwrite(str(folder / name), np.full((20 + frames, 30, 3), level + frame, np.uint8))
        turns = [
            {"role": role, "content": text}
            for text in (f"{question} {number}", "And then?")
            for role, text in (("user", text), ("assistant", "It."))
        ]
        row: dict[str, Any] = {"id": f"r{number}", "messages": turns, "images": names}
        rows.append(row | ({"video_id": f"v{number}"} if frames > 1 else {}))
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    ingest(folder / "pool.duckdb", [folder / "rows.jsonl"], workers=1)
    return folder / "pool.duckdb"


def query(pool: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(pool), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def light(pool: Path) -> list[tuple[Any, ...]]:
    """What `brightness` says of each medium, by its first path."""
    return query(
        pool,
        "SELECT paths[1], light, brightness.error, version, probe "
        "FROM media LEFT JOIN brightness USING (media_id) ORDER BY ALL",
    )


def only(report: DescribeReport) -> DescriptorReport:
    (one,) = report.descriptors
    return one


def part_files(pool: Path) -> list[Path]:
    return sorted(pool.with_name(pool.name + ".d").glob("describe/*/part-*.parquet"))


def test_values_stand_beside_the_samples(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100, 150])
    report = only(describe(pool, ["brightness"], workers=0))
    assert (report.computed, report.errors, report.already) == (2, 0, 0)
    assert light(pool) == [
        ("000-0.png", 100.0, None, 1, "eye/2"),
        ("001-0.png", 150.0, None, 1, "eye/2"),
    ]
    assert query(pool, "SELECT qa_uid, light FROM candidate ORDER BY ordinal") == [
        ("vv::r0::t0", 100.0),
        ("vv::r0::t1", 100.0),
        ("vv::r1::t0", 150.0),
        ("vv::r1::t1", 150.0),
    ]
    name, subject, version, probe, columns = query(pool, "FROM descriptor")[0]
    assert (name, subject, version, probe) == ("brightness", "media", 1, "eye/2")
    assert json.loads(columns)["light"]["type"] == "DOUBLE"


def test_describe_tells_the_pool_what_it_learned_of_the_files(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100])
    describe(pool, ["motion"], workers=0)
    size = sum((tmp_path / f"000-{frame}.png").stat().st_size for frame in range(2))
    assert query(pool, "SELECT bytes, width, height, frames, error FROM media") == [(size, 30, 22, 2, None)]


def test_a_second_run_has_nothing_to_do_and_changes_nothing(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100, 150])
    describe(pool, ["brightness", "temporal"], workers=0)
    before = query(pool, "FROM run")
    assert [row[1] for row in before] == ["ingest", "describe", "describe"]
    again = describe(pool, ["brightness", "temporal"], workers=0)
    assert [(report.already, report.computed) for report in again.descriptors] == [(2, 0), (4, 0)]
    assert query(pool, "FROM run") == before


def test_only_what_is_missing_is_computed(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, range(40, 50))
    first = only(describe(pool, ["brightness"], workers=0, limit=4))
    assert (first.computed, first.already) == (4, 0)
    second = only(describe(pool, ["brightness"], workers=0))
    assert (second.computed, second.already) == (6, 4)
    assert [row[1] for row in light(pool)] == [float(level) for level in range(40, 50)]


@pytest.mark.parametrize("workers", [1, 3])
def test_rows_do_not_depend_on_the_workers(tmp_path: Path, workers: int) -> None:
    pools = []
    for number in (0, workers):
        folder = tmp_path / str(number)
        folder.mkdir()
        pools.append(make_pool(folder, range(40, 47)))
        describe(pools[-1], ["brightness", "motion", "temporal"], workers=number)
    shown = "SELECT * FROM candidate ORDER BY qa_uid"
    assert query(pools[0], shown) == query(pools[1], shown)
    assert len(query(pools[0], shown)) == 14


def test_one_bad_medium_costs_only_itself(tmp_path: Path, trouble: None) -> None:
    pool = make_pool(tmp_path, [100, HANGS, 110, CRASHES, 120, RAISES, 130])
    (tmp_path / "006-1.png").unlink()
    report = only(describe(pool, ["brightness"], workers=2, time_limit=TIME_LIMIT))
    assert (report.computed, report.errors) == (3, 4)
    assert report.reasons == {
        SLOW: 1,
        "the reader crashed": 1,
        "ValueError": 1,
        "no such file": 1,
    }
    assert [row[1:3] for row in light(pool)] == [
        (100.0, None),
        (None, SLOW),
        (110.0, None),
        (None, "the reader crashed (SIGKILL)"),
        (120.0, None),
        (None, "ValueError (too dark)"),
        (None, "no such file (006-1.png)"),
    ]


def test_a_bad_image_costs_its_batch_nothing(tmp_path: Path, trouble: None) -> None:
    pool = make_pool(tmp_path, [CRASHES, *range(100, 120), HANGS], frames=1)
    report = only(describe(pool, ["brightness"], workers=1, time_limit=TIME_LIMIT))
    assert (report.computed, report.errors) == (20, 2)
    assert [row[1] for row in light(pool)] == [None, *map(float, range(100, 120)), None]


def test_media_that_lie_elsewhere_are_told_with_an_example(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100, 110, 120], frames=1)
    for name in ("000-0.png", "001-0.png", "002-0.png"):
        (tmp_path / name).rename(tmp_path / f"away-{name}")
    for report in (describe(pool, ["brightness"], workers=0, limit=2), probe_media_headers(pool, workers=0)):
        (hint,) = report.hints
        assert hint.startswith("The files of ")
        assert f"such as {tmp_path}/00" in hint
        assert f"`gdo ingest {pool} {tmp_path / 'rows.jsonl'} --media-root DIR --replace`" in hint
    for name in ("000-0.png", "001-0.png"):
        (tmp_path / f"away-{name}").rename(tmp_path / name)
    few = describe(pool, ["brightness"], workers=0, retry_errors=True)
    assert (only(few).errors, few.hints) == (1, [])


def test_errors_are_kept_until_a_retry_asks_for_them(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100, 150])
    (tmp_path / "000-0.png").rename(tmp_path / "away.png")
    assert only(describe(pool, ["brightness"], workers=0)).errors == 1
    assert only(describe(pool, ["brightness"], workers=0)).already == 2
    assert query(pool, "SELECT error FROM media ORDER BY paths")[0] == ("no such file (000-0.png)",)
    failed = only(describe(pool, ["brightness"], workers=0, retry_errors=True))
    assert (failed.already, failed.computed, failed.errors) == (1, 0, 1)
    (tmp_path / "away.png").rename(tmp_path / "000-0.png")
    assert only(describe(pool, ["brightness"], workers=0, retry_errors=True)).computed == 1
    assert [row[1:3] for row in light(pool)] == [(100.0, None), (150.0, None)]
    assert query(pool, "SELECT error FROM media") == [(None,), (None,)]


def test_a_broken_still_image_has_no_motion_but_a_reason(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100, 150, 160], frames=1)
    (tmp_path / "000-0.png").write_bytes(b"not a picture")
    (tmp_path / "001-0.png").unlink()
    describe(pool, ["motion"], workers=0)
    rows = query(
        pool,
        "SELECT amm, frame_diversity, m.error FROM motion AS m JOIN media USING (media_id) ORDER BY paths",
    )
    assert rows == [
        (None, None, "not a picture of a known format"),
        (None, None, "no such file"),
        (0.0, 0.0, None),
    ]


def test_a_sample_that_fails_costs_only_itself(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, range(40, 50))
    with Pool(pool).write() as connection:
        connection.execute("UPDATE sample SET question = 'boom' WHERE qa_uid = 'vv::r3::t0'")
    report = only(describe(pool, ["fussy"]))
    assert (report.computed, report.errors, report.reasons) == (19, 1, {"RuntimeError": 1})
    assert query(pool, "SELECT qa_uid, error FROM fussy WHERE length IS NULL") == [
        ("vv::r3::t0", "RuntimeError (boom)")
    ]


def test_a_new_version_is_computed_beside_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Newer(Brightness):
        version = 2
        columns: Mapping[str, Column] = {**Brightness.columns, "dark": Column("BOOLEAN", "", "below 128")}

        def compute(self, batch: Sequence[Frames]) -> Values:
            return {"light": [1.0 for _ in batch], "dark": [True for _ in batch]}

    pool = make_pool(tmp_path, [100])
    describe(pool, ["brightness"], workers=0)
    monkeypatch.setitem(catalog.DESCRIPTORS, "brightness", Newer())
    assert only(describe(pool, ["brightness"], workers=0)).computed == 1
    assert query(pool, "SELECT version, light, dark FROM brightness ORDER BY 1") == [
        (1, 100.0, None),
        (2, 1.0, True),
    ]
    assert query(pool, "SELECT light, dark FROM candidate") == [(1.0, True)] * 2
    monkeypatch.setitem(catalog.DESCRIPTORS, "brightness", Brightness())
    assert only(describe(pool, ["brightness"], workers=0)).already == 1
    assert query(pool, "SELECT light FROM candidate") == [(100.0,)] * 2


class Stop(Exception):
    pass


def stop_at(done: int) -> Callable[[Progress], None]:
    def progress(now: Progress) -> None:
        if now.done == done:
            raise Stop

    return progress


def test_an_interrupted_run_keeps_its_parts_and_the_next_goes_on(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, range(40, 50))
    with pytest.raises(Stop):
        describe(pool, ["brightness"], workers=1, progress=stop_at(3))
    assert len(part_files(pool)) == 3
    assert query(pool, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'brightness'") == [(0,)]
    report = only(describe(pool, ["brightness"], workers=0))
    assert (report.already, report.computed) == (3, 7)
    assert part_files(pool) == []
    assert [row[1] for row in light(pool)] == [float(level) for level in range(40, 50)]


def test_a_part_found_again_adds_nothing(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, range(40, 50))
    with pytest.raises(Stop):
        describe(pool, ["brightness"], workers=0, progress=stop_at(5))
    kept = {path: path.read_bytes() for path in part_files(pool)}
    describe(pool, ["brightness"], workers=0)
    before = light(pool)
    for path, content in kept.items():
        path.write_bytes(content)
    assert only(describe(pool, ["brightness"], workers=0)).already == 10
    assert light(pool) == before
    assert part_files(pool) == []


def hold(pool: Path) -> subprocess.Popen[str]:
    """Another process that reads the pool until it is ended."""
    code = f"import duckdb; c = duckdb.connect({str(pool)!r}, read_only=True); print('held'); input()"
    process = subprocess.Popen([sys.executable, "-u", "-c", code], stdin=-1, stdout=-1, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_reader_of_the_pool_does_not_stop_the_computing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, range(40, 50))
    monkeypatch.setattr(run, "COMMIT_EVERY", 0.0)
    waiting: list[int] = []
    with hold(pool) as reader:

        def progress(now: Progress) -> None:
            waiting.append(len(part_files(pool)))
            if now.done == now.total:
                reader.communicate("\n")

        assert only(describe(pool, ["brightness"], workers=0, progress=progress)).computed == 10
    assert waiting == list(range(1, 11))
    assert [row[1] for row in light(pool)] == [float(level) for level in range(40, 50)]


def test_a_retry_wins_over_an_error_that_still_waits_as_a_part(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100])
    (tmp_path / "000-0.png").rename(tmp_path / "away.png")
    with pytest.raises(Stop):
        describe(pool, ["brightness"], workers=0, progress=stop_at(1))
    (tmp_path / "away.png").rename(tmp_path / "000-0.png")
    with hold(pool) as reader:
        report = describe(
            pool, ["brightness"], workers=0, retry_errors=True, progress=lambda _: reader.communicate("\n")
        )
    assert only(report).computed == 1
    assert [row[1:3] for row in light(pool)] == [(100.0, None)]


def test_parts_are_committed_in_between_and_the_run_is_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, range(40, 45))
    monkeypatch.setattr(run, "COMMIT_EVERY", 0.0)
    waiting: list[int] = []
    describe(pool, ["brightness"], workers=0, progress=lambda _: waiting.append(len(part_files(pool))))
    assert waiting == [1] * 5
    assert query(pool, "SELECT command FROM run") == [("ingest",), ("describe",)]


def test_a_database_that_stays_held_is_told_and_nothing_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, [100, 150])
    monkeypatch.setattr("gdo.pool.store.LOCK_WAIT", 0.1)
    with hold(pool) as reader:
        with pytest.raises(GdoError, match=r"is held.*is kept in .*brightness-v1-eye%2F2"):
            describe(pool, ["brightness"], workers=0)
        reader.communicate("\n")
    assert only(describe(pool, ["brightness"], workers=0)).already == 2
    assert [row[1] for row in light(pool)] == [100.0, 150.0]


def test_two_runs_of_one_descriptor_do_not_mix(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100])
    with (
        stored.DescriptorParts(Pool(pool), Brightness()).locked(),
        pytest.raises(GdoError, match="another process computes brightness"),
    ):
        describe(pool, ["brightness"], workers=0)


def test_headers_are_probed_once(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100, 150, 160], frames=1)
    (tmp_path / "001-0.png").unlink()
    report = probe_media_headers(pool, workers=0)
    assert (report.already, report.computed, report.errors) == (0, 2, 1)
    assert query(pool, "SELECT width, height, frames, error FROM media ORDER BY paths") == [
        (30, 21, 1, None),
        (None, None, None, "no such file"),
        (30, 21, 1, None),
    ]
    assert probe_media_headers(pool, workers=0).already == 3
    assert query(pool, "SELECT command FROM run") == [("ingest",), ("probe media",)]


def test_progress_counts_up_to_the_total(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, range(40, 45))
    (tmp_path / "002-0.png").unlink()
    told: list[Progress] = []
    describe(pool, ["brightness"], workers=0, limit=5, progress=told.append)
    assert [(now.name, now.done, now.total) for now in told] == [
        ("brightness", done, 5) for done in range(1, 6)
    ]
    assert told[-1].errors == 1
    assert told[-1].seconds_left == 0
    assert told[0].rate > 0
    assert told[0].seconds_left == pytest.approx(4 / told[0].rate)


def test_wrong_use_is_told(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [100])
    with pytest.raises(
        UsageError,
        match="known are brightness, coverage, dependency, fingerprint, fussy, motion, stability, temporal",
    ):
        describe(pool, ["light"])
    with pytest.raises(UsageError, match="there is no pool at"):
        describe(tmp_path / "none.duckdb", ["motion"])
    for wrong in ({"workers": -1}, {"limit": 0}, {"time_limit": 0.0}):
        with pytest.raises(UsageError, match="must be"):
            describe(pool, ["motion"], **wrong)  # type: ignore[arg-type]


def test_a_pool_path_with_odd_letters_works(tmp_path: Path) -> None:
    folder = tmp_path / "it's [1]*"
    folder.mkdir()
    pool = make_pool(folder, [100])
    with pytest.raises(Stop):
        describe(pool, ["brightness"], workers=0, progress=stop_at(1))
    assert (
        only(
            describe(
                pool,
                [
                    "brightness",
                ],
                workers=0,
            )
        ).already
        == 1
    )
    assert [row[1] for row in light(pool)] == [100.0]


def test_the_work_list_takes_the_same_few_whatever_the_order_of_ingestion(tmp_path: Path) -> None:
    listed = []
    for name, levels in (("up", range(40, 60)), ("down", range(59, 39, -1))):
        (tmp_path / name).mkdir()
        pool = make_pool(tmp_path / name, levels)
        work = stored.DescriptorParts(Pool(pool), Fussy())
        with work.locked():
            plan = work.plan(7, retry_errors=False)
        assert (plan.already, plan.todo, pq.read_metadata(plan.path).num_rows) == (0, 7, 7)
        listed.append({uid for table in plan.batches(3) for uid in table["qa_uid"].to_pylist()})
    assert len(listed[0]) == 7
    assert listed[0] == listed[1]


REAL = """
import sys
from gdo.descriptors.describe import describe
from gdo.descriptors.engine import run
run.COMMIT_EVERY = 1.0
describe(sys.argv[1], ["motion", "temporal"], workers=2)
"""


def real_pool(folder: Path, shared: Path) -> Path:
    root = shared / "data/realpool"
    rows = [json.loads(line) for line in (root / "odd.jsonl").read_text().splitlines()]
    turns = [{"role": "user", "content": "<video>What then?"}, {"role": "assistant", "content": "That."}]
    odd = folder / "odd.jsonl"
    odd.write_text(
        "".join(
            json.dumps({"id": f"odd{number}", "videos": [row["video"]], "messages": turns}) + "\n"
            for number, row in enumerate(rows)
        )
    )
    folder.mkdir(exist_ok=True)
    pool = folder / "pool.duckdb"
    ingest(pool, [root / "pool_image.jsonl", root / "pool_video.jsonl", odd], media_root=root)
    return pool


@pytest.mark.slow
def test_killed_again_and_again_nothing_is_lost_or_doubled(tmp_path: Path, shared: Path) -> None:
    pools = []
    for name in ("killed", "unbroken"):
        (tmp_path / name).mkdir()
        pools.append(real_pool(tmp_path / name, shared))
    killed, unbroken = pools
    for parts_before in (1, 2, 3, 5, 8):
        process = subprocess.Popen([sys.executable, "-c", REAL, str(killed)])
        seen: set[Path] = set()
        while len(seen) < parts_before and process.poll() is None:
            seen.update(part_files(killed))
            time.sleep(0.01)
        process.kill()
        process.wait()
    subprocess.run([sys.executable, "-c", REAL, str(killed)], check=True)
    describe(unbroken, ["motion", "temporal"], workers=2)
    for shown in (
        "SELECT * FROM candidate ORDER BY qa_uid",
        "SELECT * FROM motion ORDER BY media_id",
        "SELECT * FROM temporal ORDER BY qa_uid",
        "SELECT * FROM media ORDER BY media_id",
    ):
        assert query(killed, shown) == query(unbroken, shown)
    assert query(killed, "SELECT count(*), count(DISTINCT media_id) FROM motion") == [(91, 91)]
    assert query(killed, "SELECT count(*), count(DISTINCT qa_uid) FROM candidate") == [(293, 293)]
    assert part_files(killed) == []


@pytest.mark.slow
def test_odd_files_give_values_or_reasons(tmp_path: Path, shared: Path) -> None:
    pool = real_pool(tmp_path, shared)
    describe(pool, ["motion"], workers=2)
    found = {
        path: (amm, error)
        for path, amm, error in query(
            pool, "SELECT paths[1], amm, motion.error FROM motion JOIN media USING (media_id)"
        )
    }
    for line in (shared / "data/realpool/odd.jsonl").read_text().splitlines():
        row = json.loads(line)
        amm, error = found[row["video"]]
        if row["expect"]["frames"]:
            assert error is None, row
            assert amm >= 0
        else:
            assert amm is None, row
            assert error
    assert found["videos/odd/wpt_white.webm"] == (0.0, None)
    assert found["videos/odd/wpt_four_colors_1frame.mp4"] == (0.0, None)
    amms = dict(
        query(pool, "SELECT paths[1], amm FROM motion JOIN media USING (media_id) WHERE kind = 'video'")
    )
    expected = json.loads((shared / "golden/motion/expected.json").read_text())
    for name, values in expected.items():
        assert amms[f"videos/{name}"] == pytest.approx(values["amm"], rel=0.02, abs=1e-3), name
    assert query(
        pool, "SELECT DISTINCT amm FROM motion JOIN media USING (media_id) WHERE kind = 'image'"
    ) == [(0.0,)]
