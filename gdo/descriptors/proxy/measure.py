"""What a proxy learned, by the samples that were held out."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from gdo.descriptors.probe.forest import Forest, States
from gdo.descriptors.probe.packing import Tree
from gdo.descriptors.proxy.lessons import Lessons, to_pixels
from gdo.descriptors.proxy.report import Losses

CHECKED = 128
"""Held-out trees that tell during the training whether it still learns."""


def measure(forest: Forest, lessons: Lessons) -> Losses | None:
    """Score the held-out samples that show media."""
    shown = [
        replace(tree, media=to_pixels(tree.media))
        for tree in lessons.shown
        if lessons.rows[tree.branches[0].sample].held_out
    ]
    numbers = sorted(branch.sample for tree in shown for branch in tree.branches)
    if not numbers:
        return None
    seen = _losses(forest, shown)
    blind = _losses(forest, [lessons.blind[n] for n in numbers])
    unigram = _unigram(lessons, forest.model.config.text_config.vocab_size)
    answers = {n: _answer(lessons, n) for n in numbers}
    gains = [blind[n] - seen[n] for n in numbers]
    mean = sum(gains) / len(gains)
    spread = math.sqrt(sum((gain - mean) ** 2 for gain in gains) / max(1, len(gains) - 1))
    tokens = sum(map(len, answers.values()))

    def per_token(losses: dict[int, float]) -> float:
        return sum(losses[n] * len(answers[n]) for n in numbers) / tokens

    of_words = sum(unigram(token) for answer in answers.values() for token in answer) / tokens
    return Losses(per_token(seen), per_token(blind), of_words, mean, spread / math.sqrt(len(gains)))


def held_out_loss(forest: Forest, lessons: Lessons) -> float:
    """Mean loss of the held-out samples as the pool shows them, at most `CHECKED` trees of them."""
    trees = [tree for tree in lessons.shown if lessons.rows[tree.branches[0].sample].held_out]
    if not trees:
        trees = [tree for n, tree in lessons.blind.items() if lessons.rows[n].held_out]
    losses = _losses(forest, [replace(tree, media=to_pixels(tree.media)) for tree in trees[:CHECKED]])
    return sum(losses.values()) / len(losses) if losses else math.inf


def _losses(forest: Forest, trees: Sequence[Tree]) -> dict[int, float]:
    found: dict[int, float] = {}

    def use(states: States) -> None:
        values = forest.answer_losses(states)
        found.update(zip((place.branch.sample for place in states.packed.places), values, strict=True))

    forest.run(trees, use, lambda tree, reason: None)
    return found


def _unigram(lessons: Lessons, vocabulary: int) -> Callable[[int], float]:
    """Loss of a token by how often it stands in the answers that were trained on, one added to each count."""
    learned = [n for n in lessons.blind if not lessons.rows[n].held_out]
    counts = Counter(token for n in learned for token in _answer(lessons, n))
    total = counts.total() + vocabulary
    return lambda token: math.log(total / (counts[token] + 1))


def _answer(lessons: Lessons, sample: int) -> list[int]:
    branch = lessons.blind[sample].branches[0]
    return branch.ids[branch.answer :]
