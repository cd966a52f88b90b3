"""Samples that ask the same of the same media, or of copies: found by their words, without any weights.

Whoever made the questions of one medium will not have asked the same thing twice, but for the same words. So
questions of one maker are told apart unless their words are equal. Those of two makers are matched one to
one, best first: if their answers agree and their questions are alike, whoever asked; and where one source has
a medium and a copy of it, so that one may have been made from the other, on weaker signs too, even if a wrong
answer has crept in.
"""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from gdo.descriptors.duplicates.evidence import Evidence
from gdo.descriptors.duplicates.look import Twins
from gdo.descriptors.duplicates.words import Asked, Words

PLAIN = 0.4
"""Likeness of two questions, 0 to 1, that makes them the same if their answers agree, whoever asked."""
FEW = 64
"""Media of one group that are looked at closely; more are pages of one form."""
MOST_MATCHED = 0.9
"""Share of two media's questions that are taken to have a partner, at most."""
SAME_TEXT = 1000.0
"""Evidence of equal texts: more than any other."""
COMMON = 64
"""A word that so many of a medium's questions or answers have is not looked up by."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample as it is compared.

    Attributes:
        uid: Its qa_uid.
        media: The media as they were shown.
        source: The data source.
        asked: Its words.
        text: Digest of question and answer; equal ones are the same, whatever their words.
    """

    uid: str
    media: tuple[int, ...]
    source: str
    asked: Asked
    text: int


def same_questions(samples: Sequence[Sample], evidence: Evidence, twins: Twins) -> list[list[str]]:
    """Group samples of the same media, or of copies, that ask the same; groups of one are left out.

    The result depends neither on the order of the samples nor on what other media there are.

    Args:
        samples: All that show these media.
        evidence: Weighs the signs.
        twins: Asked only where it decides, and of no more than `FEW` media.

    Returns:
        The samples' qa_uid, ascending, in the order of the groups' first.
    """
    makers: dict[tuple[tuple[int, ...], str], dict[Asked, list[Sample]]] = defaultdict(
        lambda: defaultdict(list)
    )
    for sample in sorted(samples, key=lambda one: one.uid):
        makers[sample.media, sample.source][sample.asked].append(sample)
    clusters: list[list[Sample]] = []
    if len({media for media, _ in makers}) > FEW:
        twins = _never
    for maker in sorted(makers):
        units = sorted(makers[maker].values(), key=_key)
        partner = _match(units, clusters, evidence, twins)
        for place, unit in enumerate(units):
            if place in partner:
                clusters[partner[place]].extend(unit)
            else:
                clusters.append(list(unit))
    groups = [sorted(one.uid for one in cluster) for cluster in clusters if len(cluster) > 1]
    return sorted(groups)


def _never(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return False


def _key(unit: Sequence[Sample]) -> tuple[list[str], list[str], tuple[str, ...]]:
    asked = unit[0].asked
    return sorted(asked.question), sorted(asked.answer), asked.order


def _match(
    units: Sequence[Sequence[Sample]],
    clusters: Sequence[Sequence[Sample]],
    evidence: Evidence,
    twins: Twins,
) -> dict[int, int]:
    """Which cluster each unit belongs to: one to one, the strongest evidence first.

    Where most others of two media are matched, what is left over needs less. Those whose answers differ must
    be of media that are the same on a close look: pages of one form look much the same too, and say something
    else each.
    """
    scores = _scores(units, clusters, evidence)
    most = min(len(units), sum(_copied(units[0][0], cluster[0]) for cluster in clusters))
    partner: dict[int, int] = {}
    taken = set[int]()
    for place, number in sorted(scores, key=lambda pair: (-scores[pair], pair)):
        mine, other = units[place][0], clusters[number][0]
        if place in partner or number in taken or scores[place, number] < -_lent(len(partner), most):
            continue
        if evidence.agree(mine.asked, other.asked) or twins(mine.media, other.media):
            partner[place] = number
            taken.add(number)
    return partner


def _lent(matched: int, most: int) -> float:
    """What evidence may fall short by: the log-odds that a question has a partner, so many having one."""
    share = min((matched + 0.5) / max(most, 1), MOST_MATCHED)
    return max(0.0, math.log(share / (1 - share)))


def _scores(
    units: Sequence[Sequence[Sample]], clusters: Sequence[Sequence[Sample]], evidence: Evidence
) -> dict[tuple[int, int], float]:
    """The evidence for pairs of units and clusters that may be the same."""
    scores: dict[tuple[int, int], float] = {}
    by_word = _by_word([cluster[0].asked.answer for cluster in clusters])
    by_text = {sample.text: number for number, cluster in enumerate(clusters) for sample in cluster}
    for place, unit in enumerate(units):
        mine = unit[0]
        numbers = {number for word in mine.asked.answer for number in by_word.get(word, ())}
        if place < COMMON:
            numbers.update(range(min(len(clusters), COMMON)))
        for number in numbers:
            other = clusters[number][0]
            if _may_be_same(mine, other, evidence):
                scores[place, number] = evidence.score(mine.asked, other.asked)
        scores |= {(place, by_text[one.text]): SAME_TEXT for one in unit if one.text in by_text}
    return scores


def _may_be_same(a: Sample, b: Sample, evidence: Evidence) -> bool:
    """Whether their evidence counts: of what was not copied, only for like questions with one answer."""
    if evidence.agree(a.asked, b.asked):
        return _copied(a, b) or evidence.likeness(a.asked, b.asked) >= PLAIN
    return _copied(a, b) and evidence.related(a.asked, b.asked)


def _copied(a: Sample, b: Sample) -> bool:
    """Whether one may have been made from the other: of one source, about copies of a medium.

    Two sources that share pictures ask each on its own, and so does one that asks twice about a picture.
    """
    return a.source == b.source and a.media != b.media


def _by_word(texts: Sequence[Words]) -> Mapping[str, list[int]]:
    """Numbers of texts by their words; words that very many share would make too many pairs."""
    lists: dict[str, list[int]] = defaultdict(list)
    for number, words in enumerate(texts):
        for word in words:
            lists[word].append(number)
    return {word: numbers for word, numbers in lists.items() if len(numbers) <= COMMON}
