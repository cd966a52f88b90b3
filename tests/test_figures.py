"""The benchmarks' statistics, against known values; and their tables and picture, on made-up figures."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from figures import Interval, auc, bootstrap_interval, ranks, spearman, t975, t_interval
from rich.console import Console


def test_auc_counts_pairs_and_ties_half() -> None:
    rng = np.random.default_rng(1)
    scores, truth = rng.integers(0, 6, 60), rng.random(60) < 0.4
    pairs = list(product(scores[truth], scores[~truth]))
    assert auc(scores, truth) == pytest.approx(sum((a > b) + (a == b) / 2 for a, b in pairs) / len(pairs))
    assert auc([1, 2, 3], [False, True, True]) == 1
    assert auc([3, 3, 3], [True, False, True]) == 0.5
    assert math.isnan(auc([1, 2], [True, True]))
    assert math.isnan(auc([], []))


def test_weights_of_auc_are_repetitions() -> None:
    scores, truth, times = (
        np.array([1, 2, 2, 4]),
        np.array([False, True, False, True]),
        np.array([3, 0, 2, 5]),
    )
    assert auc(scores, truth, times) == auc(np.repeat(scores, times), np.repeat(truth, times))


def test_ranks_and_spearman_share_ties() -> None:
    assert ranks([10, 20, 20, 5]).tolist() == [2, 3.5, 3.5, 1]
    assert spearman([1, 2, 3, 4], [1, 4, 9, 16]) == pytest.approx(1)
    assert spearman([1, 2, 3, 4], [3, 2, 1, 0]) == pytest.approx(-1)
    # 1 - 6 sum(d^2) / (n (n^2 - 1)) with d = 1, 1, 0, 1, 1
    assert spearman([1, 2, 3, 4, 5], [2, 1, 3, 5, 4]) == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert math.isnan(spearman([1, 1], [1, 2]))


@pytest.mark.parametrize(
    ("freedom", "point"), [(1, 12.7062), (2, 4.3027), (9, 2.2622), (10, 2.2281), (20, 2.0860), (120, 1.9799)]
)
def test_student_s_t(freedom: int, point: float) -> None:
    assert t975(freedom) == pytest.approx(point, abs=2e-4)


def test_intervals_over_repetitions() -> None:
    found = t_interval([0.90, 0.92, 0.94])
    assert found.value == pytest.approx(0.92)
    assert found.high - found.value == pytest.approx(4.3027 * 0.02 / math.sqrt(3))
    assert t_interval([0.9, math.nan]).value == 0.9
    assert str(t_interval([0.9])) == "0.900"
    assert str(t_interval([])) == "-"
    assert found.within(0, 0.95) == Interval(found.value, found.low, 0.95)
    assert math.isnan(t_interval([0.9]).within(0, 1).low)


def test_bootstrap_draws_whole_groups() -> None:
    values = np.repeat(np.arange(40.0), 25)
    groups = np.repeat(np.arange(40), 25).tolist()

    def mean(weights: np.ndarray) -> float:
        return float(weights @ values / weights.sum())

    grouped = bootstrap_interval(mean, groups)
    alone = bootstrap_interval(mean, range(1000))
    error = np.arange(40.0).std() / math.sqrt(40)
    assert grouped.value == alone.value == pytest.approx(19.5)
    assert (grouped.high - grouped.low) / 2 == pytest.approx(1.96 * error, rel=0.15)
    assert (alone.high - alone.low) / 2 == pytest.approx(1.96 * error / 5, rel=0.15)
    assert bootstrap_interval(mean, groups) == grouped


def made_samples(seed: int) -> pl.DataFrame:
    """A described example pool: amm is the truth, vds tells all, ppl and tnc tell nothing of some."""
    rng = np.random.default_rng(seed)
    count = 400
    kinds = np.array(["order", "text_only", "colour", "one_frame"])[rng.integers(0, 4, count)]
    clip = kinds != "colour"
    flow = rng.random(count)
    return pl.DataFrame(
        {
            "qa_uid": [str(n) for n in range(count)],
            "media": [f"{n}.mp4" for n in range(count)],
            "kind": kinds,
            "temporal": kinds == "order",
            "needs_media": kinds != "text_only",
            "wrong_answer": rng.random(count) < 0.2,
            "held_out": rng.random(count) < 0.3,
            "true_flow": [value if c else None for value, c in zip(flow, clip, strict=True)],
            "amm": np.where(clip, flow**2, 0.0),
            "programme": [
                None if not c else "move" if f > 0.3 else "blink" for c, f in zip(clip, flow, strict=True)
            ],
            "vds": np.where(kinds == "text_only", 0.0, 1.0),
            "ppl": [None if n < 10 else 1.0 for n in range(count)],
            "words": (kinds == "order").astype(float),
            "text": rng.random(count),
            "self": rng.random(count),
        }
    )


def test_validity_s_figures_tables_and_picture(tmp_path: Path) -> None:
    validity = pytest.importorskip("validity")
    pools = [made_samples(seed) for seed in (1, 2, 3)]
    summaries = validity.summarise([list(validity.figures_of(pool)) for pool in pools])
    found = {(s.what, s.scope, s.trained): s for s in summaries}
    moving = found["amm", "clips where only motion changes pixels", True]
    assert found["amm", "all clips", True].interval.value == pytest.approx(1)
    assert 0 < moving.count < found["amm", "all clips", True].count < 1200
    assert found["vds", "all samples", True].values == [1, 1, 1]
    assert found["vds", "order", False].values == [1, 1, 1]
    assert ("vds", "text_only", True) not in found
    assert found["words", "clips", True].values == [1, 1, 1]
    assert found["ppl", "all samples", True].values == [0.5, 0.5, 0.5]
    assert found["ppl", "all samples", True].count == 1170
    assert all(s.interval.high <= 1 and s.interval.low >= -1 for s in summaries if s.count > 900)
    console = Console(width=140, record=True)
    validity.show(console, summaries)
    assert "AUC of vds: needs the picture" in console.export_text()
    pytest.importorskip("matplotlib")
    validity.draw(tmp_path / "figure.png", summaries, pools[0])
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
