"""What selection promises beside its arithmetic: unmet bounds, the guard, the control, what is stored."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from selection_pools import (
    DUPLICATES,
    IMAGES,
    POOLS,
    Made,
    agree,
    as_settings,
    image_row,
    image_rows,
    make,
    members,
    messages,
    metric_rows,
    plain_pairs,
    uids,
    video_row,
)

from gdo.errors import UsageError
from gdo.pool.store import Pool
from gdo.report.tables import selection_tables
from gdo.selectors.explain import explain
from gdo.selectors.select import select


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("mixed"), *POOLS["all described"])


# What cannot be met is said, with numbers.


def test_too_few_videos_are_told_with_what_binds(tmp_path: Path) -> None:
    videos = [video_row(n, *plain_pairs(100 + n, 6), video="only") for n in range(2)]
    made = make(tmp_path, image_rows(20), videos)
    report = agree(made, count=20, min_video_ratio=0.5, max_video_ratio=0.6, max_qa_per_video=3).report
    assert report["constraints"]["min_video_count"] == 10
    assert report["constraints"]["unmet_constraints"]["video_min"] == 10 - 3
    assert report["met"]["video_count"] == 3
    because = report["unmet_because"]["video_min"]
    assert because["in_pool"] == 12
    assert because["left_out"] == {"per-video cap": 9}
    assert because["sources"] == {"per-video cap": {"tube": 9}}


def test_a_pool_that_cannot_fill_the_subset_says_how_many_are_missing(tmp_path: Path) -> None:
    made = make(tmp_path, DUPLICATES)
    report = agree(made, count=4).report
    assert report["target_count"] == 4
    assert report["selected_count"] == 1
    assert report["constraints"]["unmet_constraints"]["count"] == 3
    assert report["unmet_because"]["count"]["left_out"] == {"exact duplicate of a chosen text": 5}


def test_a_pool_too_small_for_its_preset_is_told_what_fixes_the_size(mixed: Made) -> None:
    def told(**options: Any) -> str:
        console = Console(width=400)
        with console.capture() as capture:
            console.print(selection_tables(select(mixed.pool, "temp", **options)))
        return capture.get()

    note = "max_ratio (1.6% of the pool) fixes the size, under the 15,000 that the preset asks at least"
    assert note in told()
    assert "fixes the size" not in told(count=5)
    assert "fixes the size" not in told(settings=["min_count=1", "max_ratio=0.5"])


def test_an_empty_pool_is_refused(tmp_path: Path) -> None:
    with Pool(tmp_path / "pool.duckdb", create=True).write():
        pass
    with pytest.raises(UsageError, match="no samples"):
        select(tmp_path / "pool.duckdb", "temp")
    with pytest.raises(UsageError, match="no pool at"):
        select(tmp_path / "nowhere.duckdb", "temp")


# The benchmark guard.

ASKED = [("what is this", "a dog"), ("what is this", "a cat"), ("who runs", "a dog"), ("why so", "because")]
METRICS = metric_rows([image_row(n) for n in range(len(ASKED))], turns=1)
"""Rows of samples kept out still count in the mean and spread of the z-scores."""
GUARDED = {"question": {0, 1}, "pair": {0}, "both": {0, 1}}


def assert_same_members(left: Made, right: Made) -> None:
    """The same samples at the same stages; a sum over rows in another order moves a score's last digits."""
    one, two = members(left.pool, "temp"), members(right.pool, "temp")
    assert [(uid, stage) for uid, _, stage in one] == [(uid, stage) for uid, _, stage in two]
    assert [score for _, score, _ in one] == pytest.approx([score for _, score, _ in two], abs=1e-9)


@pytest.mark.parametrize("by", ["question", "pair", "both"])
@pytest.mark.parametrize("shape", ["fields", "messages"])
def test_the_guard_keeps_out_by_question_by_pair_or_both(by: Any, shape: str, tmp_path: Path) -> None:
    rows = [image_row(n, pair) for n, pair in enumerate(ASKED)]
    made = make(tmp_path / "all", rows, metrics=METRICS)
    question, answer = "<image>\n what\tis  this ", "a  dog"
    exam = {"question": "what\tis  this ", "answer": answer}
    guard = tmp_path / "exam.jsonl"
    guard.write_text(
        json.dumps(exam if shape == "fields" else {"messages": messages((question, answer))}) + "\n"
    )
    selection = select(made.pool, "temp", count=4, guard=[guard], guard_by=by)
    left = [row for n, row in enumerate(rows) if n not in GUARDED[by]]
    assert selection.report["excluded_by_guard"] == len(GUARDED[by])
    assert set(uids(made.pool, "temp")) == {f"ov::{row['id']}::t0" for row in left}

    clean = make(tmp_path / "clean", left, metrics=METRICS)
    agree(clean, count=4)
    assert_same_members(made, clean)
    kept_out = explain(made.pool, "temp", "ov::i0::t0")
    assert not kept_out.chosen
    assert "guard" in kept_out.verdict


def test_a_guard_without_questions_or_over_the_whole_pool_is_refused(mixed: Made, tmp_path: Path) -> None:
    guard = tmp_path / "exam.jsonl"
    guard.write_text('{"text": "no question here"}\n')
    with pytest.raises(UsageError, match=r"exam\.jsonl has no row"):
        select(mixed.pool, "temp", guard=[guard])
    made = make(tmp_path / "one", [image_row(1, ("what", "that"))])
    guard.write_text('{"question": "what", "answer": "that"}\n')
    with pytest.raises(UsageError, match="nothing is left to choose from: the guard keeps out 1 "):
        select(made.pool, "temp", guard=[guard])


def test_samples_whose_media_gave_no_picture_stay_out(tmp_path: Path) -> None:
    rows = [row | {"images": [f"{n}.jpg"]} for n, row in enumerate(IMAGES)]
    metrics = metric_rows(rows)
    made = make(tmp_path / "all", rows, metrics=metrics)
    with Pool(made.pool).write() as connection:
        connection.execute("UPDATE media SET error = 'not an image', frames = 0 WHERE paths = ['3.jpg']")
    report = select(made.pool, "temp", count=9).report
    clean = make(tmp_path / "clean", [row for n, row in enumerate(rows) if n != 3], metrics=metrics)
    agree(clean, count=9)
    assert report["excluded_unreadable_media"] == 2
    assert_same_members(made, clean)
    kept_out = explain(made.pool, "temp", "ov::i3::t1")
    assert not kept_out.chosen
    assert "media" in kept_out.verdict or "picture" in kept_out.verdict
    kept = select(made.pool, "temp", count=9, settings=["unreadable_media=keep"]).report
    assert kept["total_pairs"] == report["total_pairs"] + 2


# The uniform control.


def control(made: Made, count: int, multiplier: float, **changes: Any) -> list[str]:
    select(
        made.pool, "temp", settings=as_settings({"count": count, "uniform_multiplier": multiplier, **changes})
    )
    return uids(made.pool, "temp", "uniform")


@pytest.fixture(scope="module")
def repetitive(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """6 images of one text, 6 of their own, and 8 samples of one video: 12 under a per-video cap of 5."""
    images = [*DUPLICATES, *image_rows(6, pairs=1)]
    videos = [video_row(1, *plain_pairs(101, 8))]
    return make(tmp_path_factory.mktemp("repetitive"), images, videos)


def test_the_control_is_relaxed_only_when_the_pool_runs_short(repetitive: Made) -> None:
    duplicates = {f"ov::{row['id']}::t0" for row in DUPLICATES}

    def kinds(count: int) -> tuple[int, int, int]:
        drawn = control(repetitive, count, 1, max_qa_per_video=5)
        assert len(set(drawn)) == len(drawn)
        video = sum(uid.startswith("vv") for uid in drawn)
        return len(drawn), sum(uid in duplicates for uid in drawn), video

    for count in range(1, 13):
        size, same_text, same_video = kinds(count)
        assert size == count
        assert same_text <= 1
        assert same_video <= 5
    assert kinds(12) == (12, 1, 5)
    assert kinds(17) == (17, 6, 5)
    assert kinds(19) == (19, 6, 7)
    assert kinds(20) == (20, 6, 8)


def test_the_control_has_ten_subsets_rounded_up_or_the_whole_pool(mixed: Made) -> None:
    assert len(control(mixed, 3, 2.5)) == 8
    selection = select(mixed.pool, "temp", count=6)
    assert selection.report["uniform_count"] == 60
    assert selection.report["uniform_taken"] == selection.report["total_pairs"] == 40


def test_a_smaller_control_is_the_beginning_of_a_larger_one(repetitive: Made) -> None:
    whole = control(repetitive, 20, 1, max_qa_per_video=5)
    for count, multiplier in ((2, 1), (2, 3), (4, 2), (3, 5), (9, 2)):
        assert control(repetitive, count, multiplier, max_qa_per_video=5) == whole[: count * multiplier]


def test_the_seed_decides_the_control_and_not_the_subset(mixed: Made) -> None:
    drawn, taken = set(), set()
    for seed in range(4):
        select(mixed.pool, "temp", count=12, seed=seed, settings=["uniform_multiplier=1"])
        drawn.add(tuple(uids(mixed.pool, "temp", "uniform")))
        taken.add(frozenset(uids(mixed.pool, "temp")))
    assert len(drawn) == 4
    assert len(taken) == 1


def test_the_seed_decides_among_equal_scores(tmp_path: Path) -> None:
    made = make(tmp_path, [image_row(n, (f"what {n:02}", "a dog")) for n in range(30)])
    taken = []
    for seed in range(4):
        agree(made, count=5, seed=seed)
        taken.append(uids(made.pool, "temp"))
    assert len(set(map(frozenset, taken))) == 4


# Storing.


def test_selecting_again_under_a_name_replaces_that_subset_alone(mixed: Made) -> None:
    select(mixed.pool, "temp", name="other", count=4)
    kept = members(mixed.pool, "other")
    for count in (9, 5):
        select(mixed.pool, "minloss", name="mine", count=count)
        assert len(members(mixed.pool, "mine")) == count
        with Pool(mixed.pool).read() as connection:
            rows = connection.execute("SELECT preset, seed FROM subset WHERE subset = 'mine'").fetchall()
        assert rows == [("minloss", 42)]
    assert members(mixed.pool, "other") == kept
    with Pool(mixed.pool).read() as connection:
        runs = connection.execute(
            "SELECT arguments FROM run WHERE command = 'select' ORDER BY run_id"
        ).fetchall()
    assert json.loads(runs[-1][0])["subset"] == "mine"
    assert json.loads(runs[-1][0])["count"] == 5
