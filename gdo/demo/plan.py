"""What goes into an example pool: sources, rows, questions and planted faults, decided before drawing.

Every medium has its own random stream, named by (seed, source, number). So a larger pool of the same seed has
the media of a smaller one, and nothing depends on the order in which work is done.
"""

from collections import Counter
from dataclasses import dataclass, field
from random import Random

from gdo.demo.clip_facts import clip_facts
from gdo.demo.media import RECIPE, Medium, make_variant
from gdo.demo.scenes import PROGRAMMES, Scene, make_scene
from gdo.demo.still_facts import pair_facts, still_facts
from gdo.demo.stills import Still, Style, make_still
from gdo.demo.text_facts import text_fact
from gdo.demo.words import CLIP_LEADS, NO_LEADS, STILL_LEADS, TEMPORAL_KINDS, Asked, Fact, ask

_CLIP_QUESTIONS = (10, 14, 18, 16, 12, 9, 6, 5, 4, 3, 2, 1)
_STILL_QUESTIONS = (30, 34, 22, 14)


@dataclass(frozen=True, slots=True)
class Mix:
    """How much of a pool is worth training on.

    Attributes:
        exact: Share of samples that repeat another, letter for letter.
        wrong: Share of samples with a wrong answer.
        text: Share of questions that need no look.
        temporal: Share of a clip's other questions that need several frames.
        near: One medium in so many has a near-duplicate; 0 for none.
    """

    exact: float = 0.03
    wrong: float = 0.04
    text: float = 0.12
    temporal: float = 0.66
    near: int = 11


EXAMPLE = Mix()
REDUNDANT = Mix(exact=0.12, wrong=0.15, text=0.35, temporal=0.4, near=3)
"""As large pools are: more than half is repeated, wrong, or needs no look."""
CLEAN = Mix(exact=0, wrong=0, text=0.05, near=0)
"""To test on."""


@dataclass(frozen=True, slots=True)
class Source:
    """One of the pool's data sources.

    Attributes:
        name: The `data_source` of its rows.
        share: Of all samples.
        contents: Programmes of its clips, or styles of its stills; one named twice comes twice as often.
        pairs: Each row shows two stills.
    """

    name: str
    share: float
    contents: tuple[str, ...]
    pairs: bool = False


IMAGE_SOURCES = (
    Source("stills_photos(synthetic)", 0.30, ("photo",)),
    Source("stills_charts", 0.13, ("chart",)),
    Source("stills_signs(rendered)", 0.085, ("sign",)),
    Source("count_the_shapes_v1_train", 0.07, ("heap",)),
    Source("stills_pairs", 0.015, ("photo",), pairs=True),
)
VIDEO_SOURCES = (
    Source("0_30_s_motion_v0_1", 0.15, ("still", "move", "move", "stop", "turn", "turn")),
    Source("0_30_s_order_v0_1", 0.12, ("appear", "relay", "race")),
    Source("0_30_s_count_v0_1", 0.07, ("blink", "bounce")),
    Source("shapes_0_30_s_change", 0.045, ("recolour", "recolour", "stop")),
    Source("shapes_0_30_s_mixed", 0.015, tuple(PROGRAMMES)),
)


@dataclass(eq=False, slots=True)
class Sample:
    """A question-answer pair of the pool, with the truth about it.

    Attributes:
        asked: The question and both answers.
        wrong: The pool gives the wrong answer.
        copy_of: The sample this one is an exact duplicate of.
        uid: Its `qa_uid`.
    """

    asked: Asked
    wrong: bool = False
    copy_of: "Sample | None" = None
    uid: str = ""

    @property
    def answer(self) -> str:
        """The answer that stands in the pool."""
        return self.asked.wrong if self.wrong else self.asked.answer


@dataclass(eq=False, slots=True)
class Row:
    """One line of a JSONL file.

    Attributes:
        source: Its `data_source`.
        media: What it shows.
        original: The medium that its own one is a near-duplicate of.
        samples: Its turns.
        id: Its `id`.
    """

    source: str
    media: tuple[Medium, ...]
    original: Medium | None
    samples: list[Sample] = field(default_factory=list)
    id: str = ""

    @property
    def root(self) -> str:
        """What its near-duplicates have in common with it: the path of the original medium."""
        return (self.original or self.media[0]).path


@dataclass(frozen=True, slots=True)
class Plan:
    """The rows of the two JSONL files, in order."""

    images: list[Row]
    videos: list[Row]

    @property
    def media(self) -> list[Medium]:
        """Every medium once, in order of first appearance."""
        return list(dict.fromkeys(medium for row in self.images + self.videos for medium in row.media))


def make_plan(samples: int, seed: int, mix: Mix = EXAMPLE) -> Plan:
    """Decide on a pool of exactly `samples` question-answer pairs."""
    rng = Random(f"{RECIPE}/{seed}/plan")
    copies = round(mix.exact * samples)
    budgets = _largest_remainder(samples - copies)
    images = _fill(IMAGE_SOURCES, budgets, seed, mix)
    videos = _fill(VIDEO_SOURCES, budgets, seed, mix)
    rows = images + videos
    everything = [(row, sample) for row in rows for sample in row.samples]
    for _, sample in rng.sample(everything, round(mix.wrong * len(everything))):
        sample.wrong = True
    for row, sample in rng.sample(everything, copies):
        copy = Sample(sample.asked, sample.wrong, copy_of=sample)
        target = videos if isinstance(row.media[0].content, Scene) else images
        target.append(Row(row.source, row.media, row.original, [copy]))
    rng.shuffle(images)
    rng.shuffle(videos)
    _name(images, "im", "ov")
    _name(videos, "vd", "vv")
    return Plan(images, videos)


def _name(rows: list[Row], mark: str, prefix: str) -> None:
    for line, row in enumerate(rows):
        row.id = f"{mark}{line:06d}"
        for turn, sample in enumerate(row.samples):
            sample.uid = f"{prefix}::{row.id}::t{turn}"


def _largest_remainder(total: int) -> Counter[str]:
    """Samples per source name, in proportion to the shares, adding up to `total`."""
    sources = IMAGE_SOURCES + VIDEO_SOURCES
    exact = {source.name: source.share * total for source in sources}
    budgets = Counter({name: int(value) for name, value in exact.items()})
    by_rest = sorted(exact, key=lambda name: budgets[name] - exact[name])
    budgets.update(by_rest[: total - budgets.total()])
    return budgets


def _fill(sources: tuple[Source, ...], budgets: Counter[str], seed: int, mix: Mix) -> list[Row]:
    """Rows of the sources, each up to its budget of samples, near-duplicates included."""
    rows: list[Row] = []
    media = 0
    for source in sources:
        left, item = budgets[source.name], 0
        while left:
            rng = Random(f"{RECIPE}/{seed}/{source.name}/{item}")
            contents = [_content(source, rng) for _ in range(1 + source.pairs)]
            shown = tuple(Medium(content) for content in contents)
            chosen = _choose(contents, rng, mix)[:left]
            asked = [_put(fact, contents[0], rng) for fact in chosen]
            rows += _split(Row(source.name, shown, None, [Sample(one) for one in asked]), rng)
            left -= len(asked)
            if mix.near and media % mix.near == mix.near // 2 and not source.pairs and left:
                again = rng.sample(range(len(asked)), min(left, rng.randint(1, len(asked))))
                twin = Medium(contents[0], make_variant(rng, contents[0]))
                said = [_put(chosen[i], contents[0], rng, asked[i].wording) for i in again]
                rows.append(Row(source.name, (twin,), shown[0], [Sample(one) for one in said]))
                left -= len(said)
            item += 1
            media += len(shown)
    return rows


def _content(source: Source, rng: Random) -> Scene | Still:
    choice = rng.choice(source.contents)
    if choice in PROGRAMMES:
        return make_scene(rng, choice)
    styles: dict[str, Style] = {"photo": "photo", "heap": "heap", "chart": "chart", "sign": "sign"}
    return make_still(rng, styles[choice])


def _choose(contents: list[Scene | Still], rng: Random, mix: Mix) -> list[Fact]:
    """The facts that a medium is asked about; most of a clip's need several frames, some need no look."""
    weights = _CLIP_QUESTIONS if isinstance(contents[0], Scene) else _STILL_QUESTIONS
    count = rng.choices(range(1, len(weights) + 1), weights)[0]
    facts = _facts(contents)
    rng.shuffle(facts)
    temporal = [fact for fact in facts if fact.kind in TEMPORAL_KINDS]
    single = [fact for fact in facts if fact.kind not in TEMPORAL_KINDS]
    chosen = []
    for _ in range(count):
        if rng.random() < mix.text or not (temporal or single):
            chosen.append(text_fact(rng))
        elif temporal and (rng.random() < mix.temporal or not single):
            chosen.append(_take(temporal, rng))
        else:
            chosen.append(_take(single, rng))
    return chosen


def _take(facts: list[Fact], rng: Random) -> Fact:
    """Remove a fact and give it, each kind that is left being as likely as any other."""
    kind = rng.choice(sorted({fact.kind for fact in facts}))
    return facts.pop(next(i for i, fact in enumerate(facts) if fact.kind == kind))


def _facts(contents: list[Scene | Still]) -> list[Fact]:
    match contents:
        case [Scene() as scene]:
            return clip_facts(scene)
        case [Still() as first, Still() as second]:
            return pair_facts(first, second)
        case [Still() as still]:
            return still_facts(still)
    raise AssertionError("a row shows a clip, a still or two stills")


def _put(fact: Fact, content: Scene | Still, rng: Random, but_not: int | None = None) -> Asked:
    leads = CLIP_LEADS if isinstance(content, Scene) else STILL_LEADS
    return ask(fact, rng, NO_LEADS if fact.kind == "text_only" else leads, but_not)


def _split(row: Row, rng: Random) -> list[Row]:
    """Some clips with many questions have them in two rows."""
    if len(row.samples) < 5 or rng.random() < 0.7:
        return [row]
    cut = len(row.samples) // 2
    return [Row(row.source, row.media, None, part) for part in (row.samples[:cut], row.samples[cut:])]
