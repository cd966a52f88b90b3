"""Selection on small pools: `gdo` against the plain oracle, sample by sample."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from selection_pools import (
    POOLS,
    SIZES,
    Made,
    Row,
    agree,
    as_settings,
    image_row,
    make,
    members,
    video_row,
    words,
)

from gdo.pool.store import Pool
from gdo.selectors.preset import load_preset
from gdo.selectors.select import read_pool, select, work_out


@pytest.mark.parametrize("content", POOLS)
def test_agrees_with_the_oracle_on_pools_of_every_make_up(content: str, tmp_path: Path) -> None:
    made = make(tmp_path, *POOLS[content])
    for changes in SIZES.values():
        agree(made, "temp", **changes)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("mixed"), *POOLS["all described"])


@pytest.mark.parametrize("terms", [["vds"], ["ppl"], ["sc"], ["vds", "ppl", "sc"]])
def test_without_drops_a_term(terms: list[str], mixed: Made) -> None:
    agree(mixed, count=12)
    whole = {uid: score for uid, score, _ in members(mixed.pool, "temp")}
    agree(mixed, count=12, without=terms)
    dropped = {uid: score for uid, score, _ in members(mixed.pool, "temp")}
    select(mixed.pool, "temp", name="argument", count=12, without=terms)
    assert {uid: score for uid, score, _ in members(mixed.pool, "argument")} == dropped
    both = dropped.keys() & whole.keys()
    touched = {uid for uid in both if terms != ["vds"] or uid.startswith("vv")}
    assert touched
    assert {uid for uid in both if dropped[uid] != whole[uid]} == touched


@pytest.mark.parametrize("target", [1, 2, 9, 32])
def test_target_frames(target: int, mixed: Made) -> None:
    agree(mixed, count=12, target_frames=target)


@pytest.mark.parametrize("form", ["normalised", "raw"])
def test_question_form_reads_the_text_as_released_or_as_written(form: str, tmp_path: Path) -> None:
    rows = [image_row(1, ("which?\nA. one\nB. two", "a")), image_row(2, ("Which choice is it", "b"))]
    made = make(tmp_path, [*rows, image_row(3, ("plain", "c"))])
    report = agree(made, count=3, question_form=form).report
    assert report["profiles"]["pool"]["question_form"] == {
        "raw": {"MCQ": 2, "Open": 1},
        "normalised": {"Open": 2, "MCQ": 1},
    }[form]  # fmt: skip


# Against the oracle: pools nobody thought of.

QUESTIONS = (
    "what is it",
    "What happens  next?",
    "Which CHOICE fits\nA) one\nB) two",
    "pick\n A. this",
    "<image> before\u00a0then\u2003after",
    "thenceforth, choicest beforehand",
    "é 北京 ſequence İ K_1 3.14",
    "",
)
COLUMNS = ("loss_video", "loss_blind", "frame_diversity", "vds", "quality_score")
SOURCES = ("coco", "coco(train)", "a_b_c_d_e", "a_b_c", "(x)", "", None)
VALUES = st.one_of(
    st.floats(-3, 3).map(lambda value: round(value, 3)),
    st.sampled_from([None, math.nan, math.inf, "nan", "0.25", "x", 0.0]),
)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[str, str]:
    question = draw(st.sampled_from(QUESTIONS))
    answer = words(draw(st.integers(0, 70)), draw(st.integers(0, 3)))
    return f"{question} {words(draw(st.integers(0, 12)))}", answer


TURNS = st.lists(pairs(), min_size=1, max_size=4)
TROUBLES = ("{broken", "17", {"id": "x", "images": [], "messages": []}, {"images": ["a"], "messages": 3})


@st.composite
def image_file(draw: st.DrawFn) -> list[Any]:
    """Rows of images, one in three without an id, between rows that give nothing."""
    rows: list[Any] = [image_row(99, ("a sure one", "yes"))]
    for number in range(draw(st.integers(0, 8))):
        row = image_row(number, *draw(TURNS), source=draw(st.sampled_from(SOURCES)))
        if draw(st.integers(0, 2)) == 0:
            del row["id"]
        rows += [*draw(st.lists(st.sampled_from(TROUBLES), max_size=1)), row]
    return rows


@st.composite
def video_file(draw: st.DrawFn) -> list[Any]:
    """The same of videos; some rows share theirs."""
    rows: list[Any] = [video_row(99, ("a sure one", "yes"))]
    for number in range(draw(st.integers(0, 8))):
        video, frames = draw(st.sampled_from(["one", "two", None])), draw(st.integers(1, 70))
        source = draw(st.sampled_from(SOURCES))
        row = video_row(number, *draw(TURNS), video=video, frames=frames, source=source)
        for key in draw(st.sampled_from([[], ["id"], ["video_id"]])):
            del row[key]
        rows += [*draw(st.lists(st.sampled_from(TROUBLES), max_size=1)), row]
    return rows


@st.composite
def metric_file(draw: st.DrawFn) -> list[Row]:
    """Values for some samples, and for ids that no sample has."""
    described = draw(st.lists(st.sampled_from(UIDS), unique=True, max_size=24))
    rows = [{"qa_uid": uid, **draw(st.dictionaries(st.sampled_from(COLUMNS), VALUES))} for uid in described]
    return [*rows, {"qa_uid": "vv::v99::t0", "vds": 1.0}] if rows else []


UIDS = [f"{kind}{n}::t{turn}" for kind in ("ov::i", "vv::v") for n in range(8) for turn in range(3)]
RATIO = st.integers(0, 20).map(lambda n: n / 20)


@st.composite
def presets(draw: st.DrawFn) -> Row:
    low, high = sorted((draw(RATIO), draw(RATIO)))
    preset: Row = {
        "min_video_ratio": draw(st.sampled_from([low, -1])),
        "max_video_ratio": draw(st.sampled_from([high, -1])),
        "min_temporal_in_video_ratio": draw(RATIO),
        "temporal_categories": draw(st.sampled_from([["Temporal"], ["Temporal", "Mixed"]])),
        "oversample_factor": draw(st.sampled_from([0.5, 1.0, 1.3, 4.0])),
        "video_oversample_factor": draw(st.sampled_from([1.0, 2.2])),
        "temporal_oversample_factor": draw(st.sampled_from([1.0, 3.0])),
        "source_group_floor_topk": draw(st.integers(0, 6)),
        "min_source_group_ratio": draw(st.sampled_from([0.0, 0.1, 0.3])),
        "source_group_floor_frac_of_expected": draw(st.sampled_from([0.0, 0.4, 1.0])),
        "max_qa_per_video": draw(st.integers(1, 4)),
        "uniform_multiplier": draw(st.sampled_from([1, 1.5, 10])),
        "target_frames": draw(st.sampled_from([1, 8, 32])),
        "question_form": draw(st.sampled_from(["normalised", "raw"])),
        "seed": draw(st.integers(0, 3)),
        "without": draw(st.sampled_from([[], ["vds"], ["ppl", "sc"]])),
    }
    size = draw(st.sampled_from(["auto", "count", "ratio"]))
    if size == "count":
        return preset | {"count": draw(st.integers(1, 40))}
    if size == "ratio":
        return preset | {"ratio": draw(st.integers(1, 20)) / 20}
    return preset | {
        "min_count": draw(st.integers(1, 10)),
        "max_count": draw(st.integers(10, 40)),
        "max_ratio": draw(st.integers(1, 20)) / 20,
        "effective_strata_mult": draw(st.sampled_from([0.13, 1.57])),
        "coverage_mass": draw(st.integers(1, 20)) / 20,
        "tail_target": draw(st.sampled_from([0.5, 2.0])),
        "vds3_target_positive": draw(st.integers(0, 9)),
        "vds3_threshold": draw(st.sampled_from([0.0, 0.5])),
    }


@pytest.mark.slow
@settings(max_examples=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(
    images=st.one_of(st.just([]), image_file()),
    videos=st.one_of(st.just([]), video_file()),
    metrics=metric_file(),
    changes=st.lists(presets(), min_size=3, max_size=3),
)
def test_agrees_with_the_oracle_on_random_pools(
    images: list[Any],
    videos: list[Any],
    metrics: list[Row],
    changes: list[Row],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    assume(images or videos)
    made = make(tmp_path_factory.mktemp("random"), images, videos, metrics)
    for preset in changes:
        loaded = load_preset("temp", settings=as_settings(preset))
        with Pool(made.pool).read() as connection:
            worked = work_out(read_pool(Pool(made.pool), connection, loaded), loaded, [], "both")
        gaps = np.diff(np.sort(worked.scores.rho))
        assume(not ((gaps > 0) & (gaps < 1e-10)).any())
        agree(made, "temp", **preset)
