"""Crowded pictures whose every token has something to say, and drills of looking things up in them.

A tower that learns by the answers to questions alone gets a bit per clip, and hardly comes to see. Here each
visual token has its own words: the colour, the shape and the way of what covers it, or the ground's tone.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import cv2
import numpy as np
import numpy.typing as npt

from gdo.demo.looks import COLOURS, SHAPES, TONES, Picture, backdrop, contrasting, draw_shape, to_picture

WAYS = ("still", "left", "right", "up", "down", "appears", "vanishes")
TOKEN = 16
"""Side of a visual token in pixels."""
SIZES = ((64, 80), (64, 80), (80, 80), (48, 96))
"""Height and width of the example pool's clips as the model sees them."""
_FINE = 4
_COVERED = 0.12

Words = list[tuple[str, ...]]
"""What each visual token shows, row by row; one word is a ground's tone, none is unknown."""
Grid = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Mosaic:
    """Two frames full of shapes, every one going its own way.

    Attributes:
        rows: Visual tokens downwards.
        columns: Visual tokens across.
        frames: Two pictures.
        masks: Where shapes are in them, uint8 [height, width, 3] of 0 and up.
        words: Of each token.
    """

    rows: int
    columns: int
    frames: list[Picture]
    masks: list[Picture]
    words: Words


@dataclass(frozen=True, slots=True)
class Disc:
    """About what a shape covers: centre and half axes in pixels."""

    x: float
    y: float
    across: float
    down: float


def covering(height: int, width: int, discs: Sequence[Disc]) -> Grid:
    """Which disc covers most of each token, -1 where none does; [height / TOKEN, width / TOKEN]."""
    rows, columns = height // TOKEN, width // TOKEN
    spots = (np.arange(_FINE) + 0.5) * TOKEN / _FINE
    ys = (np.arange(rows)[:, None] * TOKEN + spots).reshape(-1, 1)
    xs = (np.arange(columns)[:, None] * TOKEN + spots).reshape(1, -1)
    most = np.full((rows, columns), _COVERED)
    which = np.full((rows, columns), -1)
    for number, disc in enumerate(discs):
        inside = ((xs - disc.x) / disc.across) ** 2 + ((ys - disc.y) / disc.down) ** 2 <= 0.9
        share = inside.reshape(rows, _FINE, columns, _FINE).mean((1, 3))
        which[share > most], most = number, np.maximum(share, most)
    return which


def make_mosaic(rng: Random) -> Mosaic:
    """Draw a mosaic: shapes of any size, colour and way, none over another by much."""
    height, width = rng.choice(SIZES)
    zoom = rng.choice((1.25, 1.6, 2.0, 2.5))
    tall, wide = int(height * zoom) // 2 * 2, int(width * zoom) // 2 * 2
    tone = rng.choice(list(TONES))
    ground = backdrop(tall, wide, tone, rng.getrandbits(32))
    frames = [ground.copy(), ground.copy()]
    masks = [np.zeros_like(ground), np.zeros_like(ground)]
    colours = contrasting(TONES[tone])
    placed: list[Disc] = []
    said: Words = []
    for _ in range(40):
        radius = rng.uniform(4, 13) * zoom
        x, y = rng.uniform(radius, wide - radius), rng.uniform(radius, tall - radius)
        if any(math.hypot(x - it.x, y - it.y) < 0.95 * (radius + it.across) for it in placed):
            continue
        placed.append(Disc(x, y, radius, radius))
        way, step = _step(rng, zoom)
        shape, colour = rng.choice(SHAPES), rng.choice(colours)
        said.append((colour, shape, way))
        for when, gone in ((0, "appears"), (1, "vanishes")):
            if way == gone:
                continue
            spot = (x + (when - 0.5) * step[0], y + (when - 0.5) * step[1])
            draw_shape(frames[when], shape, colour, spot, radius)
            draw_shape(masks[when], shape, "white", spot, radius)
    small = [Disc(it.x / zoom, it.y / zoom, it.across / zoom, it.down / zoom) for it in placed]
    which = covering(height, width, small)
    words = [said[number] if number >= 0 else (tone,) for number in which.ravel()]
    return Mosaic(
        *which.shape,
        [_shrink(one, height, width) for one in frames],
        [_shrink(one, height, width) for one in masks],
        words,
    )


def _step(rng: Random, zoom: float) -> tuple[str, tuple[float, float]]:
    """A way, and how far it goes from one frame to the next."""
    way = rng.choices(WAYS, (2, 1.5, 1.5, 1.5, 1.5, 1, 1))[0]
    far = zoom * math.exp(rng.uniform(math.log(0.5), math.log(7)))
    aside = far * rng.uniform(-0.15, 0.15)
    steps = {"left": (-far, aside), "right": (far, aside), "up": (aside, -far), "down": (aside, far)}
    return way, steps.get(way, (0.0, 0.0))


def _shrink(picture: Picture, height: int, width: int) -> Picture:
    return to_picture(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))


@dataclass(frozen=True, slots=True)
class Drill:
    """An imagined picture or clip as words alone, and what is to be looked up in it.

    Attributes:
        rows: Visual tokens of a frame, downwards.
        columns: Visual tokens of a frame, across.
        times: Moments; 1 for a picture.
        words: Of each token of each moment.
        list: Words and numbers to say one after the other: a look or a label, and what goes with it.
        learned: Which of them follow from the picture.
    """

    rows: int
    columns: int
    times: int
    words: Words
    list: list[str]
    learned: list[bool]


def make_drill(rng: Random) -> Drill:
    """Imagine a few things, each of its own colour and shape, and list them: by one look say the rest."""
    clip = rng.random() < 0.5
    times = 4 if clip else 1
    height, width = rng.choice(SIZES)
    rows, columns = height // TOKEN, width // TOKEN
    count = rng.randint(1, 3) if clip else rng.randint(2, 6)
    looks = list(zip(rng.sample(list(COLOURS), count), rng.sample(SHAPES, count), strict=True))
    ways = [_course(rng, times) for _ in looks]
    spots = [(rng.randrange(rows), rng.randrange(columns)) for _ in looks]
    words: Words = []
    for time in range(times):
        grid: list[list[tuple[str, ...]]] = [[("grey",)] * columns for _ in range(rows)]
        for number, (look, course) in enumerate(zip(looks, ways, strict=True)):
            row, column = spots[number] = _moved(spots[number], course[time], rows, columns)
            if course[time] == "vanishes" and time and course[time - 1] == "vanishes":
                continue
            grid[row][column] = (*look, course[time]) if clip else look
        words += [cell for line in grid for cell in line]
    seen = {word for cell in words for word in cell}
    asked = [(n, by) for n in range(count) for by in (0, 1) if looks[n][1] in seen]
    rng.shuffle(asked)
    said, learned = list[str](), list[bool]()
    for number, by in asked:
        look, course = looks[number], ways[number] if clip else ()
        said += [look[by], look[1 - by], *course]
        learned += [False, True, *(True for _ in course)]
    return Drill(rows, columns, times, words, said, learned)


def _course(rng: Random, times: int) -> tuple[str, ...]:
    """A way for each moment: one all along, or one and then another."""
    first = rng.choice(WAYS[:5])
    after = rng.choice((*WAYS[:5], "vanishes"))
    turn = rng.choice((times, rng.randint(1, times)))
    return (first,) * turn + (after,) * (times - turn)


def _moved(spot: tuple[int, int], way: str, rows: int, columns: int) -> tuple[int, int]:
    down, right = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}.get(way, (0, 0))
    return min(max(spot[0] + down, 0), rows - 1), min(max(spot[1] + right, 0), columns - 1)
