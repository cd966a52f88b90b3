"""What a small model is taught with: stills and clips like the example pool's, their words, and questions."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import numpy.typing as npt
from mosaics import TOKEN, Disc, Drill, Words, covering

from gdo.demo.clip_facts import clip_facts
from gdo.demo.looks import Picture, backdrop, draw_shape, to_picture
from gdo.demo.plan import IMAGE_SOURCES, VIDEO_SOURCES
from gdo.demo.scenes import Actor, Scene, make_scene
from gdo.demo.still_art import BAR_UNIT, FLOOR, draw_still
from gdo.demo.still_facts import still_facts
from gdo.demo.stills import Still, Style, make_still
from gdo.demo.text_facts import text_fact
from gdo.demo.words import CLIP_LEADS, NO_LEADS, STILL_LEADS, TEMPORAL_KINDS, Fact, ask
from gdo.descriptors.proxy.shape import CPU

FRAMES, FRAME_PIXELS, IMAGE_PIXELS = CPU.frames, CPU.frame_pixels, CPU.image_pixels
_LEAST_STEP = 0.35
"""Pixels between two frames below which a shape stands still."""
_LOOKS = ("colour", "shape", "heading", "ground", "object")
_WEIGHTS = {"position": 2.0, "reading": 1.6, "colour": 1.3, "count": 1.3}
"""How much oftener kinds are asked that are slow to be learned, or that the example pool has most of."""
_READ = ("title", "word", "number", "value", "extreme", "place")
_STYLES: dict[Style, float] = {"photo": 4, "heap": 3, "chart": 3, "sign": 1}
"""How often each is drawn where all that is true of it is asked."""
_OFTENER = {"side": 2.5, "count": 2.0, "before": 2.0, "description": 0.4} | dict.fromkeys(
    ("times", "arrivals", "moving", "lane", "which", "number", "place", "extreme"), 1.5
)
"""How much oftener than others a sort of fact is asked about then."""
_LETTERS = 0.35
"""Share of questions that are multiple choice for certain: letters are slow to be learned too."""


@dataclass(frozen=True, slots=True)
class Shown:
    """A still or clip to learn from.

    Attributes:
        content: What it shows.
        height: Of a picture, in pixels.
        width: Of a picture, in pixels.
        frames: Its pictures, a still twice; none where it is only imagined.
        words: Of each visual token.
        stamps: Seconds of each pair of frames; none for a still.
    """

    content: Scene | Still
    height: int
    width: int
    frames: list[Picture]
    words: Words
    stamps: tuple[float, ...]

    @property
    def rows(self) -> int:
        """Visual tokens of a frame, downwards."""
        return self.height // TOKEN

    @property
    def columns(self) -> int:
        """Visual tokens of a frame, across."""
        return self.width // TOKEN


def draw(rng: Random, *, clips: float = 0.45, paint: bool = True) -> Shown:
    """Draw a clip or a still as the example pool has them; without `paint` it is only imagined."""
    return _clip(rng, paint) if rng.random() < clips else _still(rng, paint)


def fit(height: int, width: int, pixels: int) -> tuple[int, int]:
    """The size that the processor gives a picture: whole tokens, at most so many pixels."""
    tall, wide = round(height / TOKEN) * TOKEN, round(width / TOKEN) * TOKEN
    if tall * wide > pixels:
        shrink = (height * width / pixels) ** 0.5
        tall, wide = (max(1, int(side / shrink / TOKEN)) * TOKEN for side in (height, width))
    return tall, wide


def imagine_evenly(rng: Random, *, read: bool) -> Shown:
    """Imagine a clip, or a still of any style; to `read`, a chart or a sign."""
    if read:
        return show_still(make_still(rng, rng.choice(("chart", "chart", "sign"))), paint=False)
    if rng.random() < 0.4:
        return _clip(rng, paint=False)
    (style,) = rng.choices(list(_STYLES), list(_STYLES.values()))
    return show_still(make_still(rng, style), paint=False)


def _clip(rng: Random, paint: bool) -> Shown:
    source = rng.choices(VIDEO_SOURCES, [source.share for source in VIDEO_SOURCES])[0]
    scene = make_scene(rng, rng.choice(source.contents))
    height, width = fit(scene.height, scene.width, FRAME_PIXELS)
    picks = [round(i * (scene.frames - 1) / (FRAMES - 1)) for i in range(FRAMES)]
    times = [pick / (scene.frames - 1) for pick in picks]
    words = [
        cell
        for first, second in zip(times[::2], times[1::2], strict=True)
        for cell in _cells(scene, first, second, height, width)
    ]
    stamps = tuple((a + b) / 2 / scene.fps for a, b in zip(picks[::2], picks[1::2], strict=True))
    frames = _frames(scene, times, height, width) if paint else []
    return Shown(scene, height, width, frames, words, stamps)


def _cells(scene: Scene, first: float, second: float, height: int, width: int) -> Words:
    across, down = width / scene.width, height / scene.height
    discs, said = list[Disc](), list[tuple[str, ...]]()
    for actor in scene.actors:
        before, after = actor.at(first), actor.at(second)
        seen = [spot for spot in (before, after) if spot]
        if not seen:
            continue
        x, y = (sum(axis) / len(seen) for axis in zip(*seen, strict=True))
        way, dx, dy = _way(before, after, across, down)
        reach = actor.radius * across + abs(dx) / 2, actor.radius * down + abs(dy) / 2
        discs.append(Disc(x * across, y * down, *reach))
        said.append((_colour(actor, second), actor.shape, way))
    which = covering(height, width, discs).ravel()
    return [said[number] if number >= 0 else (scene.tone,) for number in which]


def _way(
    before: tuple[float, float] | None, after: tuple[float, float] | None, across: float, down: float
) -> tuple[str, float, float]:
    """Which way a shape goes between two frames, and how far in pixels."""
    if not before or not after:
        return ("vanishes" if before else "appears"), 0.0, 0.0
    dx, dy = (after[0] - before[0]) * across, (after[1] - before[1]) * down
    if max(abs(dx), abs(dy)) < _LEAST_STEP:
        return "still", dx, dy
    if abs(dx) >= abs(dy):
        return ("right" if dx > 0 else "left"), dx, dy
    return ("down" if dy > 0 else "up"), dx, dy


def _colour(actor: Actor, time: float) -> str:
    return actor.turns[1] if actor.turns and time >= actor.turns[0] else actor.colour


def _frames(scene: Scene, times: Sequence[float], height: int, width: int) -> list[Picture]:
    ground = backdrop(scene.height, scene.width, scene.tone, scene.seed)
    frames = []
    for time in times:
        picture = ground.copy()
        for actor in scene.actors:
            spot = actor.at(time)
            if spot:
                draw_shape(picture, actor.shape, _colour(actor, time), spot, actor.radius)
        frames.append(to_picture(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)))
    return frames


def _still(rng: Random, paint: bool) -> Shown:
    styles: dict[str, Style] = {"photo": "photo", "heap": "heap", "chart": "chart", "sign": "sign"}
    sources = [source for source in IMAGE_SOURCES if not source.pairs]
    source = rng.choices(sources, [source.share for source in sources])[0]
    return show_still(make_still(rng, styles[source.contents[0]]), paint=paint)


def show_still(still: Still, *, paint: bool = True) -> Shown:
    """A still as a model sees it, with its tokens' words."""
    height, width = fit(still.height, still.width, IMAGE_PIXELS)
    frames: list[Picture] = []
    if paint:
        small = cv2.resize(draw_still(still), (width, height), interpolation=cv2.INTER_AREA)
        frames = [to_picture(small)] * 2
    return Shown(still, height, width, frames, _still_words(still, height, width), ())


def reading_drill(rng: Random) -> Drill:
    """Imagine a chart or a sign, and list what it says: bars by their label or by their colour."""
    still = make_still(rng, rng.choice(("chart", "sign")))
    shown = show_still(still, paint=False)
    if still.style == "sign":
        said = [still.text, still.detail, still.arrow, still.sky]
        return Drill(shown.rows, shown.columns, 1, shown.words, said, [True] * len(said))
    said, learned = [still.text], [True]
    for bar in rng.sample(still.items, len(still.items)):
        known, asked = rng.choice(((bar.name, bar.colour), (bar.colour, bar.name)))
        said += [known, asked, str(bar.value)]
        learned += [False, True, True]
    by_value = sorted(still.items, key=lambda bar: bar.value)
    said += [bar.name for bar in (*still.items, *by_value)]
    learned += [True] * 2 * len(by_value)
    return Drill(shown.rows, shown.columns, 1, shown.words, said, learned)


def _still_words(still: Still, height: int, width: int) -> Words:
    if still.style == "chart":
        return _laid(_chart_parts(still), height, width)
    if still.style == "sign":
        return _laid(_sign_parts(still), height, width)
    shorter = min(height, width)
    raised = 1 if still.style == "photo" else 0  # a photo's things stand on their foot
    discs = [
        Disc(it.x * width, it.y * height - raised * it.size * shorter, it.size * shorter, it.size * shorter)
        for it in still.items
    ]
    which = covering(height, width, discs)
    rows, columns = which.shape
    return [
        (still.items[which[row, column]].colour, still.items[which[row, column]].name)
        if which[row, column] >= 0
        else _ground(still, row / rows)
        for row, column in np.ndindex(rows, columns)
    ]


def _ground(still: Still, down: float) -> tuple[str, ...]:
    """What is seen beside the things, as far as it is known."""
    if still.style == "heap":
        return (still.ground,)
    return (still.ground,) if down >= 0.75 else (still.sky.split()[0],) if down < 0.25 else ()


Part = tuple[tuple[float, float, float, float], tuple[str, ...]]
"""What is seen between (left, top) and (right, bottom), as shares of the picture."""


def _chart_parts(still: Still) -> list[Part]:
    """Title, bars and labels of a chart; a label says what its bar does, too."""
    shorter = min(still.height, still.width) / still.width
    parts: list[Part] = [((0.38, 0.03, 0.62, 0.13), (still.text,))]
    for bar in still.items:
        half = bar.size * shorter
        top = FLOOR - bar.value * BAR_UNIT
        value = f"={bar.value}"
        parts.append(((bar.x - half, top, bar.x + half, FLOOR), (bar.colour, "bar", value)))
        parts.append(((bar.x - 0.06, 0.87, bar.x + 0.06, 0.95), (bar.colour, bar.name, value)))
    return parts


def _sign_parts(still: Still) -> list[Part]:
    """Board, word, number and arrow of a sign."""
    reach = 0.1 * min(still.height, still.width)
    across, down = reach / still.width, reach / still.height
    half, number = 0.03 * len(still.text), int(still.detail)
    digits = 0.045 * len(still.detail)
    return [
        ((0.12, 0.14, 0.88, 0.7), (still.sky,)),
        ((0.5 - half, 0.2, 0.5 + half, 0.36), (still.sky, still.text)),
        ((0.34 - digits, 0.44, 0.34 + digits, 0.62), (still.sky, f"{number // 10}_", f"_{number % 10}")),
        ((0.64 - across, 0.53 - down, 0.64 + across, 0.53 + down), (still.sky, still.arrow)),
    ]


def _laid(parts: Sequence[Part], height: int, width: int) -> Words:
    """Words of each token of a picture of such parts, later ones over earlier ones."""
    rows, columns = height // TOKEN, width // TOKEN
    words: Words = [()] * (rows * columns)
    for (left, top, right, bottom), said in parts:
        shares = np.outer(_overlap(top, bottom, rows), _overlap(left, right, columns)).ravel()
        least = min(0.3, 0.8 * shares.max())
        words = [said if share > least else before for share, before in zip(shares, words, strict=True)]
    return words


def _overlap(start: float, end: float, count: int) -> npt.NDArray[np.float64]:
    """Which share of each of `count` equal parts of [0, 1] lies between start and end."""
    edges = np.clip(np.arange(count + 1) / count, start, end)
    return np.diff(edges) * count


def questions(
    rng: Random,
    content: Scene | Still,
    count: int,
    *,
    looks: float = 0.0,
    plain: float = 0.0,
    text: float = 0.1,
) -> list[tuple[str, str]]:
    """Questions on a still or clip and their answers, hard kinds oftener than others.

    Args:
        rng: What to ask.
        content: Of what.
        count: How many.
        looks: Share of questions on a thing's looks alone, in their plainest words.
        plain: Share, of the others, in their plainest words.
        text: Share, of the others, that need no look.
    """
    facts = facts_of(content)
    by_kind: dict[str, list[Fact]] = {}
    for fact in facts:
        by_kind.setdefault(fact.kind, []).append(fact)
    simple = [fact for fact in facts if fact.key.split("/")[0] in _LOOKS] or by_kind.get("colour", [])
    kinds = sorted(by_kind)
    weights = [_WEIGHTS.get(kind, 1.0) for kind in kinds]
    asked = []
    for kind in rng.choices(kinds, weights, k=count):
        fact = rng.choice(by_kind[kind])
        if simple and rng.random() < looks:
            asked.append(_plainly(rng.choice(simple)))
        elif rng.random() < plain and not fact.prose:
            asked.append(_plainly(fact))
        else:
            asked.append(needing_no_look(rng) if rng.random() < text else _ask(fact, rng, _leads(content)))
    return asked


def all_about(
    rng: Random, content: Scene | Still, count: int, *, plain: float, read: bool
) -> list[tuple[str, str]]:
    """Questions on a still or clip and their answers, rare sorts of facts nearly as often as others.

    Args:
        rng: What to ask.
        content: Of what.
        count: How many.
        plain: Share of questions in their plainest words.
        read: Ask only for what is written there and how high bars are.
    """
    sorts: dict[str, list[Fact]] = {}
    for fact in facts_of(content):
        sort = fact.key.split("/")[0]
        if sort in _READ or not read:
            sorts.setdefault(sort, []).append(fact)
    weights = [_OFTENER.get(sort, 1.0) * len(facts) ** 0.5 for sort, facts in sorts.items()]
    asked = []
    for sort in rng.choices(list(sorts), weights, k=count):
        fact = rng.choice(sorts[sort])
        if rng.random() < plain and not fact.prose:
            asked.append(_plainly(fact))
        else:
            asked.append(_ask(fact, rng, _leads(content)))
    return asked


def needing_no_look(rng: Random) -> tuple[str, str]:
    """A question that needs no picture, and its answer."""
    return _ask(text_fact(rng), rng, NO_LEADS)


def whether_time(rng: Random) -> tuple[str, bool]:
    """A question, mostly of clips, and whether more than one frame is needed to answer it."""
    if rng.random() < 0.12:
        return needing_no_look(rng)[0], False
    content = draw(rng, clips=0.75, paint=False).content
    fact = rng.choice(facts_of(content))
    return _ask(fact, rng, _leads(content))[0], fact.kind in TEMPORAL_KINDS


def stated(rng: Random, content: Scene | Still, count: int) -> list[tuple[str, str]]:
    """Questions whose answers are stated before them, among other things that are true; and the answers."""
    facts = [fact for fact in facts_of(content) if not fact.prose]
    pairs = []
    for fact in rng.choices(facts, k=count):
        said = [fact, *rng.sample(facts, rng.randint(0, min(3, len(facts))))]
        rng.shuffle(said)
        texts = dict.fromkeys(one.sentence.format(one.answer) for one in said)
        question, answer = _ask(fact, rng, NO_LEADS)
        pairs.append((" ".join([*(text[0].upper() + text[1:] for text in texts), question]), answer))
    return pairs


def facts_of(content: Scene | Still) -> list[Fact]:
    """Every fact of a still or clip."""
    return clip_facts(content) if isinstance(content, Scene) else still_facts(content)


def _leads(content: Scene | Still) -> Sequence[str]:
    return CLIP_LEADS if isinstance(content, Scene) else STILL_LEADS


def _ask(fact: Fact, rng: Random, leads: Sequence[str]) -> tuple[str, str]:
    chosen = not fact.prose and rng.random() < _LETTERS
    told = ask(fact, rng, leads)
    while chosen and "\nA. " not in told.question:
        told = ask(fact, rng, leads)
    return told.question, told.answer


def _plainly(fact: Fact) -> tuple[str, str]:
    return fact.wordings[0], fact.answer[0].upper() + fact.answer[1:]
