"""The example pool: the same on every run, true to its truth table, whole after an interruption."""

import hashlib
import json
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise
from pathlib import Path
from random import Random

import av
import cv2
import numpy as np
import polars as pl
import psutil
import pytest

from gdo.demo.clip_facts import clip_facts
from gdo.demo.looks import COLOURS, TONES
from gdo.demo.make import ExamplePool, make_example_pool
from gdo.demo.media import Medium, Variant, draw_clip, make_variant, true_motion, write_medium
from gdo.demo.plan import IMAGE_SOURCES, REDUNDANT, VIDEO_SOURCES, make_plan
from gdo.demo.scenes import PROGRAMMES, Scene, make_scene
from gdo.demo.still_facts import pair_facts, still_facts
from gdo.demo.stills import make_still
from gdo.demo.text_facts import text_fact
from gdo.demo.words import TEMPORAL_KINDS, Fact, ask
from gdo.errors import GdoError, UsageError

SAMPLES = 150
STYLES = ("photo", "heap", "chart", "sign")


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> ExamplePool:
    return make_example_pool(tmp_path_factory.mktemp("pool"), samples=SAMPLES, workers=1)


@pytest.fixture(scope="module")
def truth(pool: ExamplePool) -> pl.DataFrame:
    return pl.read_parquet(pool.truth)


def read_pairs(pool: ExamplePool) -> dict[str, dict[str, str]]:
    """The question-answer pairs of the JSONL files by qa_uid, read as the ingest spec says."""
    pairs = {}
    for path, prefix in zip(pool.files, ("ov", "vv"), strict=True):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            turns = row["conversations"]
            assert [turn["from"] for turn in turns] == ["human", "gpt"] * (len(turns) // 2)
            shown = row.get("image", row.get("video"))
            for i, (question, answer) in enumerate(zip(turns[::2], turns[1::2], strict=True)):
                pairs[f"{prefix}::{row['id']}::t{i}"] = {
                    "question": question["value"].replace("<image>", "").replace("<video>", "").strip(),
                    "answer": answer["value"],
                    "media": shown if isinstance(shown, str) else shown[0],
                    "source": row["data_source"],
                }
    return pairs


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_same_bytes_with_more_workers(pool: ExamplePool, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    again = make_example_pool(
        tmp_path, samples=SAMPLES, workers=2, progress=lambda done, total: seen.append((done, total))
    )
    assert digests(again.folder) == digests(pool.folder)
    total = len(make_plan(SAMPLES, 42).media)
    assert seen == [(done, total) for done in range(1, total + 1)]


def test_another_seed_gives_another_pool() -> None:
    first, other = (set(make_plan(SAMPLES, seed).media) for seed in (1, 2))
    assert not first & other


def test_truth_joins_the_pairs_one_to_one(pool: ExamplePool, truth: pl.DataFrame) -> None:
    pairs = read_pairs(pool)
    assert len(pairs) == SAMPLES == len(truth)
    assert truth["qa_uid"].to_list() == list(pairs)
    for row in truth.iter_rows(named=True):
        pair = pairs[row["qa_uid"]]
        assert (pair["media"], pair["source"]) == (row["media"], row["source"])
        assert (pair["answer"] == row["correct_answer"]) is not row["wrong_answer"]
        assert row["temporal"] == (row["kind"] in TEMPORAL_KINDS)
        assert row["needs_media"] == (row["kind"] != "text_only")


def test_pool_files_say_nothing_of_the_truth(pool: ExamplePool) -> None:
    keys = {key for path in pool.files for line in path.read_text().splitlines() for key in json.loads(line)}
    assert keys == {"id", "image", "video", "video_id", "conversations", "data_source"}


def test_all_media_decode(pool: ExamplePool, truth: pl.DataFrame) -> None:
    for path in truth["media"].unique():
        if path.endswith(".jpg"):
            assert cv2.imread(str(pool.media_root / path)).std() > 5
            continue
        with av.open(str(pool.media_root / path)) as container:
            stream = container.streams.video[0]
            assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
            frames = sum(1 for _ in container.decode(stream))
        assert frames == stream.frames >= 13


def test_shares_are_near_what_is_asked() -> None:
    plan = make_plan(2000, 42)
    rows = plan.images + plan.videos
    samples = [sample for row in rows for sample in row.samples]
    assert len(samples) == 2000
    clips = sum(len(row.samples) for row in plan.videos)
    assert 0.36 < clips / 2000 < 0.44
    by_source = Counter(row.source for row in rows for _ in row.samples)
    for source in IMAGE_SOURCES + VIDEO_SOURCES:
        assert by_source[source.name] / 2000 == pytest.approx(source.share, abs=0.015)
    kinds = Counter(sample.asked.kind for sample in samples)
    assert min(kinds.values()) >= 50, kinds
    assert 0.5 < sum(s.asked.kind in TEMPORAL_KINDS for r in plan.videos for s in r.samples) / clips < 0.7
    assert 0.08 < kinds["text_only"] / 2000 < 0.16
    assert sum(sample.copy_of is not None for sample in samples) == 60
    assert 70 <= sum(sample.wrong for sample in samples) <= 90
    for part in (plan.images, plan.videos):
        shown = {medium for row in part for medium in row.media}
        twins = {row.media[0] for row in part if row.original}
        assert 0.06 < len(twins) / len(shown) < 0.1
    per_clip = Counter(row.media[0] for row in plan.videos for _ in row.samples)
    assert sum(count > 8 for count in per_clip.values()) >= 5


def test_most_of_a_redundant_pool_is_not_worth_training_on() -> None:
    plan = make_plan(2000, 42, mix=REDUNDANT)
    poor = [
        bool(sample.wrong or sample.copy_of or row.original or sample.asked.kind == "text_only")
        for row in plan.images + plan.videos
        for sample in row.samples
    ]
    assert sum(poor) / len(poor) > 0.5


def test_exact_duplicates_are_exact(pool: ExamplePool, truth: pl.DataFrame) -> None:
    pairs = read_pairs(pool)
    copies = truth.filter(pl.col("exact_duplicate_of").is_not_null())
    assert len(copies) == round(0.03 * SAMPLES)
    for uid, original in copies.select("qa_uid", "exact_duplicate_of").iter_rows():
        assert uid != original
        assert pairs[uid] == pairs[original]


def test_near_duplicates_ask_the_same_in_other_words(pool: ExamplePool, truth: pl.DataFrame) -> None:
    pairs = read_pairs(pool)
    twins = truth.filter(pl.col("duplicate_of_media").is_not_null() & pl.col("exact_duplicate_of").is_null())
    assert len(twins) > 0
    for row in twins.iter_rows(named=True):
        group = truth.filter(pl.col("duplicate_group") == row["duplicate_group"])
        original = group.filter(pl.col("media") == row["duplicate_of_media"])
        assert len(original) > 0
        assert pairs[row["qa_uid"]]["question"] != pairs[original["qa_uid"][0]]["question"]
        assert row["how"] in {"re-encoded", "rescaled", "cropped", "trimmed"}
        assert (pool.folder / row["media"]).read_bytes() != (
            pool.folder / row["duplicate_of_media"]
        ).read_bytes()
    sizes = truth.drop_nulls("duplicate_group").group_by("duplicate_group").len()
    assert sizes["len"].min() >= 2


def test_near_duplicate_pictures_look_alike(pool: ExamplePool, truth: pl.DataFrame) -> None:
    stills = truth.filter(pl.col("how").is_not_null() & pl.col("media").str.ends_with(".jpg"))
    pairs = stills.select("media", "duplicate_of_media").unique()
    assert len(pairs) > 0
    for paths in pairs.iter_rows():
        twin, original = (cv2.resize(cv2.imread(str(pool.folder / path)), (32, 32)) for path in paths)
        assert np.corrcoef(twin.ravel(), original.ravel())[0, 1] > 0.7


def test_killed_and_called_again_it_is_completed(pool: ExamplePool, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(done: int, total: int) -> None:
        if done == total // 2:
            raise Killed

    with pytest.raises(Killed):
        make_example_pool(tmp_path, samples=SAMPLES, workers=1, progress=kill)
    assert not (tmp_path / "truth.parquet").exists()
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.jpg")}
    assert kept
    missing = next(medium for medium in make_plan(SAMPLES, 42).media if not (tmp_path / medium.path).exists())
    left = (tmp_path / missing.path).with_name(f".{Path(missing.path).name}.4321.part")
    left.write_bytes(b"half a file")
    make_example_pool(tmp_path, samples=SAMPLES, workers=1)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert digests(tmp_path) == digests(pool.folder)


@pytest.mark.slow
def test_processes_that_draw_end_with_the_one_that_was_killed(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from gdo.demo.make import make_example_pool\n"
        f"if __name__ == '__main__': make_example_pool(Path({str(tmp_path)!r}), samples=2000, workers=2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as maker:
        try:
            while not [*tmp_path.rglob("*.jpg"), *tmp_path.rglob("*.mp4")]:
                assert maker.poll() is None
                time.sleep(0.1)
            drawing = psutil.Process(maker.pid).children(recursive=True)
        finally:
            maker.kill()
    assert len(drawing) >= 2
    _, alive = psutil.wait_procs(drawing, timeout=60)
    for process in alive:
        process.kill()
    assert not alive


def test_a_finished_pool_is_reused(pool: ExamplePool) -> None:
    before = {path: path.stat().st_mtime_ns for path in pool.folder.rglob("*")}
    calls: list[int] = []
    again = make_example_pool(pool.folder, samples=SAMPLES, progress=lambda done, total: calls.append(done))
    assert again == pool
    assert not calls
    assert before == {path: path.stat().st_mtime_ns for path in pool.folder.rglob("*")}


def test_what_is_in_the_way_is_named(pool: ExamplePool, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="another example pool"):
        make_example_pool(pool.folder, samples=SAMPLES, seed=43)
    (tmp_path / "images.jsonl").write_text("mine\n")
    with pytest.raises(UsageError, match=r"images\.jsonl is in the way"):
        make_example_pool(tmp_path, samples=SAMPLES)
    with pytest.raises(GdoError, match="cannot write the example pool"):
        make_example_pool(tmp_path / "images.jsonl", samples=SAMPLES)
    with pytest.raises(UsageError, match="at least 20 samples, not 3"):
        make_example_pool(tmp_path, samples=3)
    with pytest.raises(UsageError, match="workers must be at least 1"):
        make_example_pool(tmp_path, workers=0)


def all_facts() -> list[list[Fact]]:
    rng = Random(7)
    clips = [clip_facts(make_scene(rng, programme)) for programme in PROGRAMMES for _ in range(20)]
    stills = [still_facts(make_still(rng, style)) for style in STYLES for _ in range(20)]
    pairs = [pair_facts(make_still(rng, "photo"), make_still(rng, "photo")) for _ in range(10)]
    return [*clips, *stills, *pairs, *([text_fact(rng)] for _ in range(200))]


def test_facts_are_well_formed() -> None:
    for facts in all_facts():
        assert len({fact.key for fact in facts}) == len(facts)
        for fact in facts:
            assert len(set(fact.wordings)) == len(fact.wordings) >= 2
            assert fact.others
            assert fact.answer not in fact.others
            assert len(set(fact.others)) == len(fact.others)


def test_asking_gives_a_right_and_a_wrong_answer_in_the_same_form() -> None:
    rng = Random(3)
    forms = Counter[bool]()
    for facts in all_facts():
        for fact in facts:
            asked = ask(fact, rng, ("In this clip, ",))
            assert asked.answer != asked.wrong
            options = [line for line in asked.question.splitlines() if line[1:3] == ". "]
            forms[bool(options)] += 1
            if options:
                right = next(line for line in options if line[0] == asked.answer[0])
                assert right[3:].lower() == fact.answer.lower()
            assert ask(fact, rng, (), but_not=asked.wording).wording != asked.wording
    assert 0.2 < forms[True] / forms.total() < 0.45


def centre_of(picture: np.ndarray, colour: str) -> np.ndarray:
    near = np.abs(picture.astype(int) - COLOURS[colour]).max(axis=2) < 6
    return np.argwhere(near).mean(axis=0)[::-1]


@pytest.mark.parametrize("seed", range(12))
def test_truth_agrees_with_the_pixels(seed: int) -> None:
    rng = Random(seed)
    scene = make_scene(rng, "move")
    hero = scene.actors[scene.leads[0]]
    frames = list(draw_clip(scene, Variant()))
    first, last = centre_of(frames[0], hero.colour), centre_of(frames[-1], hero.colour)
    across, down = last - first
    seen = ("right" if across > 0 else "left") if abs(across) > abs(down) else ("down" if down > 0 else "up")
    facts = {fact.key: fact for fact in clip_facts(scene)}
    assert facts[f"heading/{hero.shape}"].answer == seen
    assert facts[f"colour/{hero.shape}"].answer == hero.colour
    if sum(actor.moves for actor in scene.actors) == 1:
        travelled = np.hypot(across, down) / (len(frames) - 1)
        assert true_motion(scene, Variant()).speed == pytest.approx(travelled, rel=0.1, abs=0.05)


@pytest.mark.parametrize("programme", list(PROGRAMMES))
def test_scenes_keep_inside_the_picture(programme: str) -> None:
    rng = Random(programme)
    for _ in range(30):
        scene = make_scene(rng, programme)
        for actor in scene.actors:
            for _, x, y in actor.path:
                assert actor.radius <= x <= scene.width - actor.radius
                assert actor.radius <= y <= scene.height - actor.radius
            assert all(a[0] < b[0] for a, b in pairwise(actor.path))
        assert (true_motion(scene, Variant()).flow > 0) == (true_motion(scene, Variant()).speed > 0)


def test_optical_flow_can_follow_what_moves() -> None:
    rng = Random(13)
    for programme in PROGRAMMES:
        for _ in range(20):
            scene = make_scene(rng, programme)
            for actor in scene.actors:
                grey = [
                    cv2.cvtColor(np.uint8([[rgb]]), cv2.COLOR_RGB2GRAY)[0, 0]
                    for rgb in (COLOURS[actor.colour], TONES[scene.tone])
                ]
                assert abs(int(grey[0]) - int(grey[1])) >= 22
                places = [actor.at(frame / 7) for frame in range(8)]
                for before, after in pairwise(places):
                    if before and after:
                        assert np.hypot(after[0] - before[0], after[1] - before[1]) < 0.13 * scene.width


def test_variants_change_the_file_and_the_truth_as_they_say(tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    rng = Random(5)
    scene = make_scene(rng, "move")
    plain = true_motion(scene, Variant())
    kinds = {make_variant(rng, scene).how for _ in range(60)}
    assert kinds == {"re-encoded", "rescaled", "cropped", "trimmed"}
    for variant, frames, width in (
        (Variant("rescaled", scale=0.5), scene.frames, scene.width / 2),
        (Variant("cropped", crop=0.04), scene.frames, scene.width * 0.92),
        (Variant("trimmed", skip=0.1, drop=0.1), scene.frames * 0.8, scene.width),
    ):
        medium = Medium(scene, variant)
        write_medium(tmp_path, medium)
        with av.open(str(tmp_path / medium.path)) as container:
            stream = container.streams.video[0]
            assert stream.frames == pytest.approx(frames, abs=1)
            assert stream.width == pytest.approx(width, abs=2)
        assert true_motion(scene, variant).speed == pytest.approx(plain.speed * variant.scale, rel=0.02)


def test_counted_events_can_be_counted_in_the_frames() -> None:
    rng = Random(11)
    for _ in range(15):
        scene: Scene = make_scene(rng, "blink")
        hero = scene.actors[scene.leads[0]]
        seen = [hero.at(frame / (scene.frames - 1)) is not None for frame in range(scene.frames)]
        assert sum(a and not b for a, b in pairwise(seen)) == hero.times
