"""What benchmarks say of their figures: rank statistics with ties, and how far to trust them."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

# 97.5 % points of Student's t for 1 to 9 degrees of freedom.
_T975 = (12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622)
_Z975 = 1.959964


@dataclass(frozen=True, slots=True)
class Interval:
    """A figure and its 95 % confidence interval; `low` and `high` are NaN where there is none."""

    value: float
    low: float = math.nan
    high: float = math.nan

    def within(self, least: float, most: float) -> "Interval":
        """The same, its ends cut at what the figure can be."""
        return Interval(self.value, max(self.low, least), min(self.high, most))

    def __str__(self) -> str:
        if math.isnan(self.value):
            return "-"
        known = "" if math.isnan(self.low) else f" [{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f}{known}"


def ranks(values: npt.ArrayLike) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Rank correlation, ties given their mean rank; NaN where a side does not vary."""
    x, y = ranks(first), ranks(second)
    if not np.ptp(x) or not np.ptp(y):
        return math.nan
    return float(np.corrcoef(x, y)[0, 1])


def auc(scores: npt.ArrayLike, truth: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Chance that a true one scores above a false one, a tie counting half; NaN without either.

    Args:
        scores: [n], higher means more likely true.
        truth: [n], flags.
        weights: [n], how often each counts; once if None.
    """
    x, y = np.asarray(scores, dtype=np.float64), np.asarray(truth, dtype=np.bool_)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    _, inverse = np.unique(x, return_inverse=True)
    true, false = np.bincount(inverse, w * y), np.bincount(inverse, w * ~y)
    below = np.cumsum(false) - false
    pairs = true.sum() * false.sum()
    return float((true * (below + false / 2)).sum() / pairs) if pairs else math.nan


def t_interval(values: Sequence[float]) -> Interval:
    """Mean and Student's t interval over independent repetitions (seeds); no interval for fewer than two."""
    known = np.array([value for value in values if not math.isnan(value)])
    if len(known) < 2:
        return Interval(float(known.mean()) if len(known) else math.nan)
    reach = t975(len(known) - 1) * float(known.std(ddof=1)) / math.sqrt(len(known))
    return Interval(float(known.mean()), float(known.mean()) - reach, float(known.mean()) + reach)


def t975(freedom: int) -> float:
    """The 97.5 % point of Student's t (from 10 degrees of freedom Cornish and Fisher's expansion)."""
    if freedom <= len(_T975):
        return _T975[freedom - 1]
    z, n = _Z975, freedom
    terms = (z**3 + z) / (4 * n), (5 * z**5 + 16 * z**3 + 3 * z) / (96 * n**2)
    return z + sum(terms) + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * n**3)


def bootstrap_interval(
    statistic: Callable[[Floats], float], groups: Sequence[object], *, rounds: int = 1000, seed: int = 0
) -> Interval:
    """A figure of the data and the middle 95 % of what it is on resampled data.

    Args:
        statistic: The figure, given how often each item counts: [n] to a number.
        groups: [n], what each item belongs to (its video); whole groups are drawn, for their items are alike.
        rounds: How many times to draw.
        seed: Of the draws.
    """
    _, codes = np.unique(np.array([str(group) for group in groups]), return_inverse=True)
    size = int(codes.max()) + 1
    rng = np.random.default_rng(seed)
    drawn = [statistic(rng.multinomial(size, np.full(size, 1 / size))[codes]) for _ in range(rounds)]
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    return Interval(statistic(np.ones(len(codes))), float(low), float(high))
