"""Comparisons of runs: formulas on trajectories made by hand, intervals, tests, tables, picture."""

import math
import re
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl
import pytest
from PIL import Image
from rich.console import Console

from gdo.errors import UsageError
from gdo.report.comparison import compare_tables, write_trajectories
from gdo.train.compare.bootstrap import Runs, interval, mcnemar, resample, sign_flips
from gdo.train.compare.matching import match, peak_match
from gdo.train.compare.run import CompareReport, compare
from gdo.train.evaluate.results import SCHEMA


def peak(amounts: list[float], accuracies: list[float], target: float) -> float:
    return float(peak_match(np.array([amounts]), np.array([accuracies]), np.array([target]))[0])


@pytest.mark.parametrize(
    ("accuracies", "target", "want"),
    [
        ([0.2, 0.4, 0.6], 0.4, 100.0),  # at a checkpoint
        ([0.2, 0.4, 0.6], 0.5, 150.0),  # between two
        ([0.2, 0.4, 0.6], 0.6, 200.0),  # at the last
        ([0.2, 0.4, 0.6], 0.61, math.inf),  # never
        ([0.5, 0.4, 0.6], 0.45, 0.0),  # at once, at 0 samples
        ([0.2, 0.6, 0.1], 0.4, 50.0),  # first reach counts, the fall after it does not
        ([0.2, 0.2, 0.2], 0.2, 0.0),
        ([0.2, 0.1, 0.3], 0.2 + 1e-12, 0.0),  # rounding
    ],
)
def test_peak_match(accuracies: list[float], target: float, want: float) -> None:
    assert peak([0.0, 100.0, 200.0], accuracies, target) == pytest.approx(want)


def test_without_the_starting_model_the_first_checkpoint_is_the_earliest_match() -> None:
    assert peak([100.0, 200.0], [0.5, 0.6], 0.4) == 100.0


def test_reduction_and_delta_are_those_of_the_paper() -> None:
    """MVBench: 62.27 -> 63.65, matched at 35.4k of 512k samples, 14.5x."""
    told = match(
        np.array([[0.0, 35_400.0, 50_000.0]]),
        np.array([[0.60, 0.6227, 0.6365]]),
        np.array([512_000.0]),
        np.array([0.6227]),
    )
    assert round(float(told.reduction[0]), 1) == 14.5
    assert told.delta[0] == pytest.approx(1.38)
    never = match(np.array([[1.0]]), np.array([[0.1]]), np.array([10.0]), np.array([0.2]))
    assert (never.peak[0], never.reduction[0], never.delta[0]) == (math.inf, 0.0, pytest.approx(-10))
    at_once = match(np.array([[0.0]]), np.array([[0.2]]), np.array([10.0]), np.array([0.2]))
    assert (at_once.peak[0], at_once.reduction[0]) == (0.0, math.inf)


def test_delta_takes_the_best_checkpoint_and_final_delta_the_last() -> None:
    told = match(np.array([[1.0, 2.0]]), np.array([[0.7, 0.5]]), np.array([2.0]), np.array([0.6]))
    assert (told.delta[0], told.final_delta[0]) == (pytest.approx(10), pytest.approx(-10))


def test_intervals_may_end_in_infinity() -> None:
    values = np.array([1.0] * 50 + [2.0] * 40 + [math.inf] * 10)
    assert interval(values) == (1.0, math.inf)
    assert interval(np.arange(1000.0)) == (24.0, 974.0)


def test_the_bootstrap_is_as_wide_as_theory_says() -> None:
    """One run, 400 questions, 30 % right: the standard error is sqrt(0.3 * 0.7 / 400)."""
    correct = np.zeros((1, 1, 400))
    correct[..., :120] = 1
    runs = Runs(correct, {"samples": np.array([[10.0]])})
    told = np.concatenate([some[0][0] for some in resample([runs], seed=0, resamples=4000)])
    assert told.shape == (4000, 1)
    assert told.mean() == pytest.approx(0.3, abs=0.002)
    assert told.std() == pytest.approx(math.sqrt(0.3 * 0.7 / 400), rel=0.05)


def test_seeds_are_drawn_and_questions_are_the_same_for_all() -> None:
    """Two seeds, one all right and one all wrong; a second group that equals the first seed's questions."""
    correct = np.stack([np.ones((1, 50)), np.zeros((1, 50))])
    half = np.zeros((1, 1, 50))
    half[..., ::2] = 1
    other, amounts = Runs(1 - half, {}), {"samples": np.array([[1.0], [3.0]])}
    parts = list(resample([Runs(correct, amounts), Runs(half, {}), other], seed=1, resamples=2000))
    seeds = np.concatenate([some[0][0] for some in parts])[:, 0]
    assert set(seeds.round(9)) == {0.0, 0.5, 1.0}
    assert (seeds == pytest.approx(0.5)) is False
    drawn = np.concatenate([some[0][1]["samples"] for some in parts])[:, 0]
    np.testing.assert_allclose(drawn, 3 - 2 * seeds)
    both = [np.concatenate([some[group][0] for some in parts])[:, 0] for group in (1, 2)]
    np.testing.assert_allclose(both[0] + both[1], 1)


def test_mcnemar_is_the_binomial_test() -> None:
    first = np.array([True] * 9 + [False] + [True] * 20)
    second = np.array([False] * 9 + [True] + [True] * 20)
    assert mcnemar(first, second) == pytest.approx(2 * 11 / 1024)
    assert mcnemar(first, first) == 1.0
    assert mcnemar(np.ones(4000, dtype=bool), np.zeros(4000, dtype=bool)) == 0.0


def test_sign_flips_agree_with_mcnemar_for_single_runs() -> None:
    differences = np.array([1.0] * 9 + [-1.0] + [0.0] * 20)
    assert sign_flips(differences, seed=0) == pytest.approx(2 * 11 / 1024, abs=0.005)
    assert sign_flips(np.zeros(5), seed=0) == 1.0
    assert sign_flips(np.ones(40), seed=0) == pytest.approx(1 / 10_001)


QUESTIONS = 200


def make_run(
    folder: Path, right: dict[int, int], *, subset: str, seed: int = 0, uniform: bool = False, **more: Any
) -> str:
    """An evaluated run: at so many samples, so many of the questions answered rightly."""
    is_run = 0 not in right
    (folder / "evaluation").mkdir(parents=True)
    data = {"path": "/p.duckdb", "subset": subset, "uniform": uniform, "multiple": 1.0, "mix": []}
    recipe = {"name": "smoke", "seed": seed, "lr": 1e-3}
    if is_run:
        (folder / "run.json").write_bytes(orjson.dumps({"model": "m", "data": data, "recipe": recipe}))
    of = {"model": "m", "questions": "q", "budget": {"frames": 4}, "frames_as": "images", **more}
    (folder / "evaluation" / "bench.json").write_bytes(orjson.dumps({"of": of}))
    order = np.random.default_rng(seed + len(subset)).permutation(QUESTIONS)
    rows = [
        {
            "step": samples // 10,
            "samples": samples,
            "tokens": samples * 100,
            "frames": samples * 4,
            "qa_uid": f"q{number:03d}",
            "kind": "order" if number % 2 else "colour",
            "correct": None if number == 7 and is_run else bool(order[number] < count),
            "error": "gone.png: no such file" if number == 7 and is_run else None,
        }
        for samples, count in right.items()
        for number in range(QUESTIONS)
    ]
    pl.DataFrame(rows, schema=SCHEMA).write_parquet(folder / "evaluation" / "bench.parquet")
    return str(folder)


@pytest.fixture
def targets(tmp_path: Path) -> list[str]:
    """Three seeds of a subset, three of its control that trains ten times as much, and their start."""
    made = [make_run(tmp_path / "start", {0: 50}, subset="s")]
    for seed in range(3):
        learned = {50: 90 + seed, 100: 140 + seed}
        made.append(make_run(tmp_path / f"temp{seed}", learned, subset="temp", seed=seed))
        slowly = {500: 80 + seed, 1000: 115 + seed}
        made.append(make_run(tmp_path / f"uni{seed}", slowly, subset="temp", seed=seed, uniform=True))
    return made


def told_of(report: CompareReport) -> str:
    console = Console(width=240)
    with console.capture() as capture:
        console.print(compare_tables(asdict(report)))
    return capture.get()


def test_runs_are_grouped_by_what_they_trained(targets: list[str]) -> None:
    report = compare(targets, "bench", resamples=500)
    assert [(group.name, group.seeds, group.is_control) for group in report.groups] == [
        ("temp", [0, 1, 2], False),
        ("temp uniform 1x", [0, 1, 2], True),
    ]
    assert (report.questions, report.left_out) == (199, 1)
    assert report.kinds == {"colour": 100, "order": 99}
    subset = report.groups[0]
    assert [point["samples"] for point in subset.points] == [0, 50, 100]
    assert [point["accuracy"] for point in subset.points] == pytest.approx([0.25, 0.455, 0.705], abs=0.006)
    assert all(point["low"] < point["accuracy"] < point["high"] for point in subset.points)
    of_all = report.comparisons[0]
    assert (of_all.kind, of_all.group, of_all.control) == ("all", "temp", "temp uniform 1x")
    end, low, high = report.groups[1].points[-1], subset.points[1], subset.points[2]
    share = (end["accuracy"] - low["accuracy"]) / (high["accuracy"] - low["accuracy"])
    samples = of_all.reach["samples"]
    assert samples.peak.value == pytest.approx(50 + 50 * share)
    assert samples.reduction.value == pytest.approx(1000 / (50 + 50 * share))
    assert samples.reduction.low and samples.reduction.high
    assert samples.reduction.low < samples.reduction.value < samples.reduction.high
    assert of_all.reach["tokens"].peak.value == pytest.approx(100 * (50 + 50 * share))
    assert samples.reached == 1.0
    assert of_all.delta.value == pytest.approx(100 * (high["accuracy"] - end["accuracy"]))
    assert of_all.delta.value == of_all.final_delta.value
    assert (of_all.test, of_all.p < 0.05) == ("sign_flips", True)
    assert [one.kind for one in report.comparisons] == ["all", "colour", "order"]
    assert compare(targets, "bench", resamples=500) == report


def test_what_is_never_reached_is_null_and_told(tmp_path: Path) -> None:
    worse = make_run(tmp_path / "worse", {50: 20, 100: 30}, subset="worse")
    control = make_run(tmp_path / "uni", {500: 80, 1000: 150}, subset="other", uniform=True)
    report = compare([worse, control], "bench", resamples=200)
    samples = report.comparisons[0].reach["samples"]
    assert (samples.peak.value, samples.reduction.value, samples.reached) == (None, None, 0.0)
    assert report.comparisons[0].test == "mcnemar"
    assert report.comparisons[0].delta.value is not None
    assert report.comparisons[0].delta.value < -50
    assert re.search(r"samples +never +1,000 +- \(- to -\) +0\.0%", told_of(report))
    orjson.dumps(asdict(report))


def test_labels_join_runs_that_trained_other_data(tmp_path: Path) -> None:
    a, b, c = (make_run(tmp_path / n, {10: 50 + i, 20: 90}, subset=n) for i, n in enumerate("abc"))
    report = compare([f"ours={a}", f"ours={b}", c], "bench", resamples=100)
    assert [(group.name, len(group.runs)) for group in report.groups] == [("ours", 2), ("c", 1)]
    assert {(one.group, one.control) for one in report.comparisons} == {("ours", "c")}


def test_groups_are_held_against_what_is_asked_for(tmp_path: Path) -> None:
    a, b, c = (make_run(tmp_path / n, {10: 50, 20: 90}, subset=n, uniform=n > "b") for n in "abc")
    runs = [f"small={a}", f"large={b}", f"uni={c}"]
    for controls, pairs in (
        (None, {("small", "uni"), ("large", "uni")}),
        ({"large": ["uni"]}, {("large", "uni")}),
    ):
        report = compare(runs, "bench", controls=controls, resamples=100)
        assert {(one.group, one.control) for one in report.comparisons} == pairs


def test_what_cannot_be_compared_is_refused(tmp_path: Path, targets: list[str]) -> None:
    with pytest.raises(UsageError, match="there is one group of runs"):
        compare([targets[1], targets[3]], "bench")
    with pytest.raises(UsageError, match="has no evaluation 'none', it has bench"):
        compare(targets, "none")
    other = make_run(tmp_path / "other", {50: 1}, subset="x", questions="others")
    with pytest.raises(UsageError, match="evaluated with other questions: others and q"):
        compare([*targets, other], "bench")
    start = make_run(tmp_path / "base", {50: 1}, subset="x", model="n")
    with pytest.raises(UsageError, match="start from different models: m and n"):
        compare([*targets, start], "bench")
    longer = make_run(tmp_path / "longer", {50: 1, 60: 2, 70: 3}, subset="temp", seed=9)
    with pytest.raises(UsageError, match="runs of temp have 3, 3, 3, 4 checkpoints"):
        compare([*targets, longer], "bench")


def test_the_picture_shows_every_group(tmp_path: Path, targets: list[str]) -> None:
    report = compare(targets, "bench", resamples=200)
    write_trajectories(asdict(report), tmp_path / "compare.png")
    with Image.open(tmp_path / "compare.png") as picture:
        shown = {colour for _, colour in picture.convert("RGB").getcolors(1 << 24)}
    assert {(0x1F, 0x77, 0xB4), (0xD6, 0x27, 0x28)} <= shown
    with pytest.raises(UsageError, match=r"must end in \.png"):
        write_trajectories(asdict(report), tmp_path / "compare.pdf")
    table = told_of(report)
    assert "temp uniform 1x" in table
    assert "By kind of question" in table


def test_the_command_tells_it_without_torch(tmp_path: Path, targets: list[str]) -> None:
    script = (
        "import sys; from gdo.cli.main import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    )
    arguments = ["compare", *targets, "--on", "bench", "-o", str(tmp_path / "c.png"), "--json"]
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments], capture_output=True, text=True, check=False, timeout=600
    )
    assert done.returncode == 0, done.stderr
    told = orjson.loads(done.stdout)
    assert told["comparisons"][0]["reach"]["samples"]["reduction"]["value"] > 10
    assert (tmp_path / "c.png").stat().st_size > 1000
