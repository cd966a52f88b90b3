"""The media guard keeps copies of an evaluation set's media out, by what they show and never by name."""

import json
import os
import shutil
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gdo.demo.make import ExamplePool, make_example_pool
from gdo.descriptors.engine import local
from gdo.errors import GdoError, UsageError
from gdo.pool.frames import FrameBudget
from gdo.pool.ingest import ingest
from gdo.pool.media import read_frames
from gdo.pool.query import run_sql
from gdo.selectors import guard_media
from gdo.selectors import select as selecting
from gdo.selectors.explain import explain
from gdo.selectors.select import select

TAKE = guard_media._take


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExamplePool:
    return make_example_pool(tmp_path_factory.mktemp("example"), samples=150, seed=3, workers=1)


@pytest.fixture(scope="module")
def pool(example: ExamplePool) -> Path:
    path = example.folder / "pool.duckdb"
    ingest(path, example.files)
    return path


def shown(pool: Path, kind: str) -> str:
    """The path of a medium of which the pool has no copy under another name."""
    query = (
        "SELECT paths[1] FROM media JOIN sample_media USING (media_id) JOIN sample USING (qa_uid) "
        f"WHERE kind = '{kind}' GROUP BY ALL ORDER BY count(*) DESC, 1"
    )
    return str(run_sql(pool, query).rows[0][0])


def samples_of(pool: Path, path: str) -> set[str]:
    query = f"SELECT qa_uid FROM sample_media JOIN media USING (media_id) WHERE paths[1] = '{path}'"
    return {uid for (uid,) in run_sql(pool, query).rows}


@pytest.fixture(scope="module")
def evaluation(example: ExamplePool, pool: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A smaller copy of a still, a copy of a clip, and something else by the name of one in the pool."""
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "deep").mkdir()
    still, clip = shown(pool, "image"), shown(pool, "video")
    with Image.open(example.media_root / still) as image:
        small = image.resize((image.width * 3 // 4, image.height * 3 // 4))
        small.save(folder / "deep" / "question_17.jpg", quality=60)
    shutil.copy(example.media_root / clip, folder / "0001.mp4")
    others = [path for path in sorted((example.media_root / "images").iterdir()) if path.name not in still]
    noise = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)
    Image.fromarray(noise).resize((320, 240)).save(folder / others[0].name)
    (folder / "broken.png").write_bytes(b"no picture")
    (folder / "questions.json").write_text("[]")
    return folder


def test_copies_are_kept_out_whatever_they_are_called(pool: Path, evaluation: Path) -> None:
    selection = select(pool, "diverse", count=40, name="guarded", guard_media=[evaluation])
    told = selection.report["guard_media"]
    assert (told["files"], told["unreadable"]) == (4, 1)
    kept_out = samples_of(pool, shown(pool, "image")) | samples_of(pool, shown(pool, "video"))
    assert told["samples_kept_out"] >= len(kept_out) > 1
    assert told["media_kept_out"] <= 4
    members = "SELECT qa_uid FROM subset_sample WHERE subset = 'guarded'"
    assert kept_out.isdisjoint(uid for (uid,) in run_sql(pool, members).rows)
    verdict = explain(pool, "guarded", min(kept_out)).verdict
    assert "copy of its media" in verdict
    named = next(path.name for path in evaluation.iterdir() if path.suffix == ".jpg")
    (uid, *_) = sorted(samples_of(pool, f"images/{named}"))
    assert "copy of its media" not in explain(pool, "guarded", uid).verdict


def test_a_second_time_no_file_is_decoded_but_what_failed(
    pool: Path, evaluation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = select(pool, "diverse", count=40, guard_media=[evaluation]).report

    run, tried = local.run_in_order, list[str]()

    def note(work: Any, tasks: Sequence[Any], *rest: Any, **options: Any) -> Any:
        tried.extend(task.files[0].name for task in tasks)
        return run(work, tasks, *rest, **options)

    monkeypatch.setattr(local, "run_in_order", note)
    assert select(pool, "diverse", count=40, guard_media=[evaluation]).report == first
    assert tried == ["broken.png"]


def take_or_crash(one: Any) -> None:
    if one.files[0].suffix == ".mp4":
        os.kill(os.getpid(), signal.SIGKILL)
    TAKE(one)


def test_a_file_that_crashes_its_reader_costs_itself_alone(
    pool: Path, evaluation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = select(pool, "diverse", count=40, guard_media=[evaluation]).report["guard_media"]
    for file in (pool.parent / "pool.duckdb.d" / "guard").iterdir():
        file.unlink()
    monkeypatch.setattr(guard_media, "_take", take_or_crash)
    crashed = select(pool, "diverse", count=40, guard_media=[evaluation]).report["guard_media"]
    assert crashed["unreadable"] == told["unreadable"] + 1
    assert 0 < crashed["media_kept_out"] < told["media_kept_out"]


def test_worker_processes_find_the_same(
    pool: Path, evaluation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = select(pool, "diverse", count=40, guard_media=[evaluation]).report
    for file in (pool.parent / "pool.duckdb.d" / "guard").iterdir():
        file.unlink()
    monkeypatch.setattr(guard_media, "FILES_PER_WORKER", 1)
    assert select(pool, "diverse", count=40, guard_media=[evaluation]).report == first


def test_media_ingested_meanwhile_are_not_let_by(
    pool: Path, evaluation: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    copied = Path(shutil.copy(pool, tmp_path / "pool.duckdb"))
    load = guard_media.load_media_guard

    def ingest_more(*told: Any) -> guard_media.MediaGuard:
        guard = load(*told)
        turns = [{"from": "human", "value": "<video>What?"}, {"from": "gpt", "value": "It."}]
        row = {"id": "new", "video": "0001.mp4", "conversations": turns}
        (evaluation / "rows.jsonl").write_text(json.dumps(row) + "\n")
        ingest(copied, [evaluation / "rows.jsonl"])
        return guard

    monkeypatch.setattr(selecting, "load_media_guard", ingest_more)
    with pytest.raises(GdoError, match="1 media were ingested while the guard compared the others"):
        select(copied, "diverse", count=40, guard_media=[evaluation])


def test_a_folder_of_frames_is_a_clip_and_pictures(pool: Path, example: ExamplePool, tmp_path: Path) -> None:
    clip = example.media_root / shown(pool, "video")
    frames = read_frames("video", [clip], FrameBudget(frames=12)).images
    for number, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"frame_{number}.png")
    told = select(pool, "diverse", count=40, guard_media=[tmp_path]).report["guard_media"]
    assert (told["files"], told["unreadable"]) == (12, 0)
    assert told["samples_kept_out"] >= len(samples_of(pool, shown(pool, "video"))) > 0
    (tmp_path / "frame_5.png").write_bytes(b"no picture")
    told = select(pool, "diverse", count=40, guard_media=[tmp_path]).report["guard_media"]
    assert told["unreadable"] == 1
    assert told["samples_kept_out"] >= len(samples_of(pool, shown(pool, "video")))
    (tmp_path / "frame_3.png").rename(tmp_path / "other.png")
    for number in (0, 1, 2, *range(4, 12)):
        (tmp_path / f"frame_{number}.png").rename(tmp_path / f"{number}{'abcdefghijkl'[number]}.png")
    told = select(pool, "diverse", count=40, guard_media=[tmp_path]).report["guard_media"]
    assert told["samples_kept_out"] == 0


def test_names_do_not_count_for_the_digest(pool: Path, evaluation: Path, tmp_path: Path) -> None:
    def digest(folder: Path) -> str:
        select(pool, "diverse", count=40, name="one", guard_media=[folder])
        query = "SELECT parameters->>'guard_media_digest' FROM subset WHERE subset = 'one'"
        return str(run_sql(pool, query).rows[0][0])

    before = digest(evaluation)
    for number, file in enumerate(sorted(evaluation.rglob("*.*"), reverse=True)):
        shutil.copy(file, tmp_path / f"renamed{number}{file.suffix}")
    assert digest(tmp_path) == before
    next(tmp_path.glob("*.mp4")).unlink()
    assert digest(tmp_path) != before


def test_wrong_folders_are_told(pool: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no folder"):
        select(pool, "diverse", count=40, guard_media=[tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="neither pictures nor clips"):
        select(pool, "diverse", count=40, guard_media=[tmp_path])
