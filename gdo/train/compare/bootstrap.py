"""How sure a comparison is: bootstrap over questions and seeds, and paired tests on the same questions."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gdo.train.compare.matching import Floats

RESAMPLES = 10_000
AT_ONCE = 2**22
"""Weights of questions that are drawn together."""
LEVEL = 0.95


@dataclass(frozen=True, slots=True)
class Runs:
    """The answers of one group of runs, which differ in their seed alone.

    Attributes:
        correct: 1 right, 0 wrong, float64 [seeds, checkpoints, questions].
        amounts: Of training at each checkpoint by unit, [seeds, checkpoints] each.
    """

    correct: Floats
    amounts: dict[str, Floats]

    def curve(self) -> Floats:
        """Mean accuracy over the seeds at each checkpoint, [checkpoints]."""
        return np.asarray(self.correct.mean(axis=(0, 2)))


def resample(
    groups: Sequence[Runs], *, seed: int, resamples: int = RESAMPLES
) -> Iterator[list[tuple[Floats, dict[str, Floats]]]]:
    """Trajectories of each group under resampled questions and seeds, some resamples at a time.

    Questions are drawn once for all groups, since all were asked the same; seeds for each group.

    Yields:
        For each group the accuracies, [some, checkpoints], and the amounts by unit, likewise.
    """
    random = np.random.default_rng(seed)
    questions = groups[0].correct.shape[2]
    some = max(1, min(resamples, AT_ONCE // max(1, questions)))
    for at in range(0, resamples, some):
        count = min(some, resamples - at)
        weights = _drawn(random, count, questions)
        told = []
        for runs in groups:
            seeds, checkpoints, _ = runs.correct.shape
            drawn = _drawn(random, count, seeds)
            flat = weights @ runs.correct.reshape(seeds * checkpoints, questions).T
            accuracies = np.einsum("bs,bsk->bk", drawn, flat.reshape(count, seeds, checkpoints))
            told.append((accuracies, {unit: drawn @ values for unit, values in runs.amounts.items()}))
        yield told


def _drawn(random: np.random.Generator, count: int, of: int) -> Floats:
    """The share that each of so many things has in a draw with replacement of as many, [count, of]."""
    places = random.integers(0, of, size=(count, of)) + of * np.arange(count)[:, None]
    return np.bincount(places.ravel(), minlength=count * of).reshape(count, of) / of


def interval(values: Floats, level: float = LEVEL) -> tuple[float, float]:
    """The central interval of resampled values, each of its ends one of them, so that infinity may be."""
    tail = round((1 - level) / 2, 9)
    low, high = np.quantile(values, [tail, 1 - tail], method="inverted_cdf")
    return float(low), float(high)


def mcnemar(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> float:
    """McNemar's exact two-sided p of two runs' answers to the same questions; 1 where they never differ.

    Source: McNemar, Psychometrika 12, 1947; exact by the binomial distribution.

    Args:
        first: Whether each question was answered rightly, [questions].
        second: Likewise.
    """
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    count = only_first + only_second
    tail = sum(math.comb(count, number) for number in range(min(only_first, only_second) + 1))
    return min(1.0, 2 * tail / (1 << count))


def sign_flips(differences: Floats, *, seed: int, flips: int = RESAMPLES) -> float:
    """Paired permutation test: two-sided p of the mean of differences, their signs flipped at random.

    Args:
        differences: Of the two groups' mean correctness on each question, [questions].
        seed: Of the flips.
        flips: How many; the p is never below 1 / (flips + 1).
    """
    random = np.random.default_rng(seed)
    kept = differences[differences != 0]
    if not len(kept):
        return 1.0
    observed, beyond = abs(kept.sum()), 0
    some = max(1, AT_ONCE // len(kept))
    for at in range(0, flips, some):
        signs = random.integers(0, 2, size=(min(some, flips - at), len(kept)), dtype=np.int8) * 2.0 - 1
        beyond += int((np.abs(signs @ kept) >= observed - 1e-9).sum())
    return (1 + beyond) / (1 + flips)
