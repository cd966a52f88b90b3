"""In which order the proxy learns: batches of trees that depend on nothing but the seed and their number."""

from collections.abc import Iterator
from dataclasses import replace
from random import Random

from gdo.descriptors.probe.packing import Tree
from gdo.descriptors.proxy.lessons import Lessons

BRANCHES = 4
"""Samples of one medium that are learned from at once."""
TEMPORAL_SHARE = 0.05
"""Samples whose question is asked about instead, in every round."""


def batches(lessons: Lessons, seed: int, tokens: int) -> Iterator[list[Tree]]:
    """Batches without end, round by round over all samples that are not held out.

    Args:
        lessons: All samples.
        seed: Of the order.
        tokens: Positions in a batch, at least one tree.
    """
    number = 0
    while True:
        yield from _cut(_round(lessons, Random(f"{seed}/{number}")), tokens)
        number += 1


def _round(lessons: Lessons, rng: Random) -> list[Tree]:
    """All samples once with their media and once without, in a random order.

    Were they seldom blind, texts would be known by heart beside media only, and vds would be of that.
    """
    learned = [n for n in lessons.blind if not lessons.rows[n].held_out]
    trees = [lessons.blind[n] for n in learned]
    trees += [lessons.temporal[n] for n in learned if rng.random() < TEMPORAL_SHARE]
    for tree in lessons.shown:
        branches = [branch for branch in tree.branches if not lessons.rows[branch.sample].held_out]
        rng.shuffle(branches)
        parts = (branches[i : i + BRANCHES] for i in range(0, len(branches), BRANCHES))
        trees += [replace(tree, branches=part) for part in parts]
    rng.shuffle(trees)
    return trees


def _cut(trees: list[Tree], tokens: int) -> Iterator[list[Tree]]:
    batch, size = list[Tree](), 0
    for tree in trees:
        if batch and size + tree.length > tokens:
            yield batch
            batch, size = [], 0
        batch.append(tree)
        size += tree.length
    if batch:
        yield batch
