"""Samples that ask the same of the same media, or of copies: found by their words, without any weights.

Whoever made the questions of one medium will not have asked the same thing twice, but for the same words. So
questions of one maker are told apart unless their words are equal. Those of two makers are matched one to
one, best first: if their answers agree and their questions are alike, whoever asked; and where one source has
a medium and a copy of it, so that one may have been made from the other, on weaker signs too, even if a wrong
answer has crept in.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product

from gdo.descriptors.duplicates.look import Twins
from gdo.descriptors.duplicates.words import Asked, Evidence, Words, alternatives

ENOUGH = 4.2
"""Evidence that makes two questions the same."""
PLAIN = 0.4
"""Likeness of two questions, 0 to 1, that makes them the same if their answers agree, whoever asked."""
ALIKE = 0.25
"""Likeness that makes them the same although the answers differ, where one may be made from the other."""
FEW = 64
"""Media of one group that are looked at closely; more are pages of one form."""
SURE = 0.4
"""Likeness that does so if hardly any other question of the two media matches."""
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
        evidence: Weighs words by how common they are.
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


def _key(unit: Sequence[Sample]) -> tuple[list[str], list[str]]:
    return sorted(unit[0].asked.question), sorted(unit[0].asked.answer)


def _match(
    units: Sequence[Sequence[Sample]],
    clusters: Sequence[Sequence[Sample]],
    evidence: Evidence,
    twins: Twins,
) -> dict[int, int]:
    """Which cluster each unit belongs to: one to one, for the strongest evidence in all."""
    scores: dict[tuple[int, int], float] = {}
    by_word = _by_word([cluster[0].asked.answer for cluster in clusters])
    by_text = {sample.text: number for number, cluster in enumerate(clusters) for sample in cluster}
    for place, unit in enumerate(units):
        scores |= {(place, by_text[one.text]): SAME_TEXT for one in unit if one.text in by_text}
        for number in {number for word in unit[0].asked.answer for number in by_word.get(word, ())}:
            mine, other = unit[0], clusters[number][0]
            score = evidence.score(mine.asked, other.asked)
            if score is None or score < ENOUGH:
                continue
            if evidence.likeness(mine.asked, other.asked) >= _enough_alike(mine, other):
                scores.setdefault((place, number), score)
    partner = _swap(_greedy(scores), scores)
    return partner | _match_the_rest(units, clusters, evidence, twins, partner)


def _enough_alike(a: Sample, b: Sample) -> float:
    """How alike questions with one answer must be: yes and no are the answers to very many."""
    if not _copied(a, b):
        return PLAIN
    return ALIKE if a.asked.sort == "verdict" else 0.0


def _copied(a: Sample, b: Sample) -> bool:
    """Whether one may have been made from the other: of one source, about copies of a medium.

    Two sources that share pictures ask each on its own, and so does one that asks twice about a picture.
    """
    return a.source == b.source and a.media != b.media


def _match_the_rest(
    units: Sequence[Sequence[Sample]],
    clusters: Sequence[Sequence[Sample]],
    evidence: Evidence,
    twins: Twins,
    partner: Mapping[int, int],
) -> dict[int, int]:
    """Match by their questions those whose answers differ, one of them wrong.

    Only where the media are the same on a close look: pages of one form look much the same too, and say
    something else each. Whoever asked mostly the same of both need not put it so alike as others.
    """
    mostly = 2 * len(partner) >= min(len(units), len(clusters))
    taken = set(partner.values())
    places = [place for place in range(len(units)) if place not in partner]
    numbers = [number for number in range(len(clusters)) if number not in taken]
    scores: dict[tuple[int, int], float] = {}
    for place, number in product(places[:COMMON], numbers[:COMMON]):
        mine, other = units[place][0], clusters[number][0]
        likeness = evidence.likeness(mine.asked, other.asked)
        if likeness < ALIKE or not _copied(mine, other):
            continue
        offered = alternatives(mine.asked, other.asked)
        if mostly or ((likeness >= SURE or offered) and evidence.related(mine.asked, other.asked)):
            scores[place, number] = likeness + offered
    return _greedy(scores, lambda place, number: twins(units[place][0].media, clusters[number][0].media))


def _greedy(
    scores: Mapping[tuple[int, int], float], agreed: Callable[[int, int], bool] = lambda place, number: True
) -> dict[int, int]:
    partner: dict[int, int] = {}
    taken = set[int]()
    for place, number in sorted(scores, key=lambda pair: (-scores[pair], pair)):
        if place not in partner and number not in taken and agreed(place, number):
            partner[place] = number
            taken.add(number)
    return partner


def _swap(partner: dict[int, int], scores: Mapping[tuple[int, int], float]) -> dict[int, int]:
    """Let two units change partners where both together fit better so."""
    for a, b in combinations(sorted(partner), 2):
        crossed = scores.get((a, partner[b]), 0.0), scores.get((b, partner[a]), 0.0)
        if all(crossed) and sum(crossed) > scores[a, partner[a]] + scores[b, partner[b]]:
            partner[a], partner[b] = partner[b], partner[a]
    return partner


def _by_word(texts: Sequence[Words]) -> Mapping[str, list[int]]:
    """Numbers of texts by their words; words that very many share would make too many pairs."""
    lists: dict[str, list[int]] = defaultdict(list)
    for number, words in enumerate(texts):
        for word in words:
            lists[word].append(number)
    return {word: numbers for word, numbers in lists.items() if len(numbers) <= COMMON}
