"""What happens in a clip: shapes with paths, laid out in lanes, by one of ten programmes.

A scene is plain data, made without drawing anything. Times run from 0 (first frame) to 1 (last frame).
Whatever a question may ask about happens between 0.1 and 0.9, so that a clip trimmed by a tenth at either end
still answers it. Shapes go slowly enough for eight frames of the clip: what lies more than its own radius
further on in the next one cannot be followed.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from gdo.demo.looks import TONES, pick_looks

Act = Literal["still", "move", "stop", "turn", "bounce", "blink", "appear", "recolour", "race"]
Heading = Literal["left", "right", "up", "down"]
Track = tuple[tuple[float, float, float], ...]

SIZES = ((160, 120), (128, 96), (176, 144), (192, 108), (144, 144))
RATES = (8, 10, 12, 15)


@dataclass(frozen=True, slots=True)
class Actor:
    """A shape and what it does.

    Attributes:
        shape: One of `looks.SHAPES`.
        colour: Its colour, at first.
        radius: Its size in pixels.
        act: What it does.
        path: Its places (time, x, y), in time order; it moves straight and evenly between them.
        shown: The spans of time (from, to) in which it is seen.
        turns: A colour it takes on, and when: (time, colour).
        times: How often it bounces or blinks.
    """

    shape: str
    colour: str
    radius: float
    act: Act
    path: Track
    shown: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    turns: tuple[float, str] | None = None
    times: int = 0

    def at(self, time: float) -> tuple[float, float] | None:
        """Its centre (x, y) at a time, None while it is not shown."""
        if not any(start <= time <= end for start, end in self.shown):
            return None
        before = max((p for p in self.path if p[0] <= time), key=lambda p: p[0])
        after = min((p for p in self.path if p[0] >= time), key=lambda p: p[0])
        part = (time - before[0]) / (after[0] - before[0]) if after[0] > before[0] else 0.0
        return before[1] + part * (after[1] - before[1]), before[2] + part * (after[2] - before[2])

    def headings(self) -> list[Heading]:
        """Which way it goes in each stretch in which it moves."""
        steps = zip(self.path, self.path[1:], strict=False)
        return [_heading(b[1] - a[1], b[2] - a[2]) for a, b in steps if a[1:] != b[1:]]

    @property
    def moves(self) -> bool:
        """Whether it changes its place at all."""
        return bool(self.headings())


@dataclass(frozen=True, slots=True)
class Scene:
    """A clip before it is drawn.

    Attributes:
        programme: Which of `PROGRAMMES` made it.
        width: Pixels.
        height: Pixels.
        fps: Frames per second.
        frames: Number of frames.
        tone: One of `looks.TONES`, the ground's.
        seed: Of the ground's texture.
        axis: The lanes run along "x" (they lie above each other) or "y" (side by side).
        actors: From the first lane (top or left) to the last.
        leads: Indices of the actors the programme is about, in the order in which they act.
    """

    programme: str
    width: int
    height: int
    fps: int
    frames: int
    tone: str
    seed: int
    axis: Literal["x", "y"]
    actors: tuple[Actor, ...]
    leads: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Role:
    """What an actor does, before it has a look and a lane.

    Its track is (time, place along the lane from 0 to 1, place across it from -1 to 1).
    """

    act: Act
    track: Track
    shown: tuple[tuple[float, float], ...] = ((0.0, 1.0),)
    turns: float | None = None
    times: int = 0


def make_scene(rng: Random, programme: str) -> Scene:
    """Draw a scene of a programme (a key of `PROGRAMMES`)."""
    width, height = rng.choice(SIZES)
    fps = rng.choice(RATES)
    frames = round(fps * rng.uniform(3.5 if programme in ("blink", "bounce") else 2.0, 6.0))
    axis: Literal["x", "y"] = rng.choice(("x", "y"))
    tone = rng.choice(list(TONES))
    roles = PROGRAMMES[programme](rng)
    solo = any(across for role in roles for _, _, across in role.track)
    extras = 0 if solo else rng.randint(0, max(0, 3 - len(roles)))
    cast = roles + [_move(rng) if rng.random() < 0.25 else _still(rng) for _ in range(extras)]
    looks = pick_looks(rng, len(cast) + 1, TONES[tone])
    lanes = rng.sample(range(len(cast)), len(cast))
    size = rng.uniform(0.8, 1.0)
    stage = _Stage(width, height, axis, len(cast), size)
    actors: dict[int, Actor] = {}
    for role, lane, (shape, colour) in zip(cast, lanes, looks, strict=False):
        turns = None if role.turns is None else (role.turns, looks[-1][1])
        path = tuple(stage.spot(lane, *place) for place in role.track)
        actors[lane] = Actor(shape, colour, stage.radius, role.act, path, role.shown, turns, role.times)
    in_order = tuple(actors[lane] for lane in range(len(cast)))
    leads = tuple(lanes[: len(roles)])
    return Scene(programme, width, height, fps, frames, tone, rng.getrandbits(32), axis, in_order, leads)


@dataclass(frozen=True, slots=True)
class _Stage:
    """The picture cut into lanes, and how large a shape fits in."""

    width: int
    height: int
    axis: Literal["x", "y"]
    lanes: int
    size: float

    @property
    def radius(self) -> float:
        across = self.height if self.axis == "x" else self.width
        return round(self.size * min(0.2 * min(self.width, self.height), 0.42 * across / self.lanes), 2)

    def spot(self, lane: int, time: float, along: float, across: float) -> tuple[float, float, float]:
        """(time, x, y) in pixels of a place in a lane; a sixteenth of the picture stays free on all sides."""
        length, breadth = (self.width, self.height) if self.axis == "x" else (self.height, self.width)
        room = length * 7 / 8 - 2 * self.radius
        main = round(length / 16 + self.radius + along * room, 2)
        slack = max(0.0, breadth * 7 / 8 / self.lanes / 2 - self.radius)
        side = round(breadth / 16 + breadth * 7 / 8 * (lane + 0.5) / self.lanes + across * slack, 2)
        return (round(time, 4), main, side) if self.axis == "x" else (round(time, 4), side, main)


def _heading(dx: float, dy: float) -> Heading:
    if abs(dx) >= abs(dy):
        return "right" if dx > 0 else "left"
    return "down" if dy > 0 else "up"


def _travel(rng: Random, least: float = 0.08, most: float = 1.0) -> tuple[float, float]:
    """A stretch of lane (from, to) of a length between two bounds, short ones as likely as long ones."""
    length = math.exp(rng.uniform(math.log(least), math.log(most)))
    start = rng.uniform(0.0, 1.0 - length)
    return (start, start + length) if rng.random() < 0.5 else (start + length, start)


def _still(rng: Random) -> _Role:
    return _Role("still", _rest(rng.random()))


def _rest(along: float) -> Track:
    return (0.0, along, 0.0), (1.0, along, 0.0)


def _move(rng: Random) -> _Role:
    start, end = _travel(rng)
    return _Role("move", ((0.0, start, 0.0), (1.0, end, 0.0)))


def _stop(rng: Random) -> _Role:
    start, end = _travel(rng, 0.08, 0.4)
    halt = rng.uniform(0.4, 0.65)
    return _Role("stop", ((0.0, start, 0.0), (halt, end, 0.0), (1.0, end, 0.0)))


def _turn(rng: Random) -> _Role:
    """Turn back, or (needs the whole picture) aside."""
    start, end = _travel(rng, 0.15, 0.4)
    bend = rng.uniform(0.4, 0.6)
    if rng.random() < 0.4:
        back = end + rng.uniform(0.6, 1.0) * (start - end)
        return _Role("turn", ((0.0, start, 0.0), (bend, end, 0.0), (1.0, back, 0.0)))
    side = rng.uniform(0.3, 0.5)
    first, last = rng.choice(((-side, side), (side, -side)))
    return _Role("turn", ((0.0, start, first), (bend, end, first), (1.0, end, last)))


def _bounce(rng: Random) -> _Role:
    """Go there and back `times` times."""
    times = rng.randint(1, 5)
    length = rng.uniform(0.6, 1.0) * min(0.4, 0.45 / times)
    home, away = rng.choice(((0.5 - length / 2, 0.5 + length / 2), (0.5 + length / 2, 0.5 - length / 2)))
    ticks = [0.12 + 0.76 * i / (2 * times) for i in range(2 * times + 1)]
    middle = tuple((tick, away if i % 2 else home, 0.0) for i, tick in enumerate(ticks))
    return _Role("bounce", ((0.0, home, 0.0), *middle, (1.0, home, 0.0)), times=times)


def _blink(rng: Random) -> _Role:
    """Vanish and come back `times` times."""
    times = rng.randint(1, 4)
    ticks = [0.12 + 0.76 * i / (2 * times) for i in range(2 * times + 1)]
    gaps = [(ticks[i], ticks[i + 1]) for i in range(0, 2 * times, 2)]
    edges = [0.0, *(round(tick, 4) for gap in gaps for tick in gap), 1.0]
    shown = tuple(zip(edges[::2], edges[1::2], strict=True))
    return _Role("blink", _rest(rng.random()), shown, times=times)


def _appear(rng: Random) -> list[_Role]:
    count = rng.randint(2, 3)
    moments = [round(0.12 + 0.7 * (i + rng.uniform(0.0, 0.5)) / count, 4) for i in range(count)]
    return [_Role("appear", _rest(rng.random()), ((moment, 1.0),)) for moment in moments]


def _recolour(rng: Random) -> _Role:
    track = _move(rng).track if rng.random() < 0.5 else _rest(rng.random())
    return _Role("recolour", track, turns=round(rng.uniform(0.35, 0.65), 4))


def _relay(rng: Random) -> list[_Role]:
    """One goes while the other waits, then the other way about."""
    (a, b), (c, d) = _travel(rng, 0.08, 0.3), _travel(rng, 0.08, 0.3)
    return [
        _Role("stop", ((0.0, a, 0.0), (0.1, a, 0.0), (0.45, b, 0.0), (1.0, b, 0.0))),
        _Role("stop", ((0.0, c, 0.0), (0.55, c, 0.0), (0.9, d, 0.0), (1.0, d, 0.0))),
    ]


def _race(rng: Random) -> list[_Role]:
    """Two go the same way: the first starts ahead, and is passed or is not."""
    if rng.random() < 0.65:
        ahead, behind = (rng.uniform(0.3, 0.4), rng.uniform(0.6, 0.7)), (0.0, 1.0)
    else:
        ahead, behind = (rng.uniform(0.3, 0.4), 1.0), (0.0, rng.uniform(0.4, 0.7))
    flip, length = rng.random() < 0.5, rng.uniform(0.5, 0.9)
    return [
        _Role(
            "race", tuple((t, 1.0 - length * p if flip else length * p, 0.0) for t, p in ((0.0, a), (1.0, b)))
        )
        for a, b in (ahead, behind)
    ]


PROGRAMMES: dict[str, Callable[[Random], list[_Role]]] = {
    "still": lambda rng: [_still(rng)],
    "move": lambda rng: [_move(rng)],
    "stop": lambda rng: [_stop(rng)],
    "turn": lambda rng: [_turn(rng)],
    "appear": _appear,
    "relay": _relay,
    "race": _race,
    "blink": lambda rng: [_blink(rng)],
    "bounce": lambda rng: [_bounce(rng)],
    "recolour": lambda rng: [_recolour(rng)],
}
