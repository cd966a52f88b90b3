"""What a still picture shows: things on a ground, shapes in a heap, a bar chart or a sign, as plain data."""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Literal

from gdo.demo.looks import COLOURS, SHAPES, TONES, Rgb, contrasting

Style = Literal["photo", "heap", "chart", "sign"]

OBJECTS = ("ball", "box", "pyramid", "barrel")
GROUNDS: dict[str, Rgb] = {
    "grass": (84, 128, 62),
    "sand": (206, 184, 138),
    "snow": (226, 232, 238),
    "asphalt": (84, 86, 90),
    "soil": (112, 80, 56),
}
SKIES: dict[str, tuple[Rgb, Rgb]] = {
    "clear and blue": ((70, 130, 206), (186, 214, 238)),
    "grey and overcast": ((140, 146, 152), (196, 200, 204)),
    "orange at sunset": ((92, 76, 128), (244, 160, 84)),
    "dark at night": ((10, 14, 36), (44, 52, 88)),
}
LABELS = ("Rye", "Oat", "Tea", "Salt", "Wool", "Iron", "Fish", "Corn", "Milk", "Silk", "Coal", "Rice")
TITLES = ("Sales", "Harvest", "Visitors", "Exports", "Stock", "Deliveries")
WORDS = ("OPEN", "CLOSED", "EXIT", "BAKERY", "MUSEUM", "HARBOUR", "LIBRARY", "STATION", "GARDEN", "TICKETS")
ARROWS = ("left", "right", "up", "down")

_SIZES = ((320, 240), (384, 256), (256, 256), (288, 352), (400, 300))


@dataclass(frozen=True, slots=True)
class Item:
    """One thing in a still.

    Attributes:
        name: An object, a shape, or a bar's label.
        colour: One of `looks.COLOURS`.
        x: Centre, as a share of the width.
        y: Centre (of an object: its foot), as a share of the height.
        size: Radius (of a bar: half its width), as a share of the shorter side.
        value: A bar's value.
    """

    name: str
    colour: str
    x: float
    y: float
    size: float
    value: int = 0


@dataclass(frozen=True, slots=True)
class Still:
    """A still before it is drawn.

    Attributes:
        style: What sort of picture.
        width: Pixels.
        height: Pixels.
        seed: Of the textures.
        ground: One of `GROUNDS` (a photo) or of `looks.TONES`.
        items: From left to right, where the style has a left and a right.
        sky: One of `SKIES` (a photo), the sign's colour, else empty.
        text: The chart's title or the sign's word.
        detail: The sign's second line, a number.
        arrow: Where the sign's arrow points.
    """

    style: Style
    width: int
    height: int
    seed: int
    ground: str
    items: tuple[Item, ...] = ()
    sky: str = ""
    text: str = ""
    detail: str = ""
    arrow: str = ""


def make_still(rng: Random, style: Style) -> Still:
    """Draw a still of a style."""
    width, height = rng.choice(_SIZES)
    return _STYLES[style](rng, width, height, rng.getrandbits(32))


def _photo(rng: Random, width: int, height: int, seed: int) -> Still:
    """One to four objects on a ground under a sky."""
    ground, sky = rng.choice(list(GROUNDS)), rng.choice(list(SKIES))
    count = rng.randint(1, 4)
    names = rng.sample(OBJECTS, count)
    colours = rng.sample(contrasting(GROUNDS[ground]), count)
    items = tuple(
        Item(
            name,
            colour,
            round(0.1 + 0.8 * (i + rng.uniform(0.4, 0.6)) / count, 3),
            round(rng.uniform(0.7, 0.88), 3),
            round(rng.uniform(0.75, 1.0) * min(0.14, 0.32 / count), 3),
        )
        for i, (name, colour) in enumerate(zip(names, colours, strict=True))
    )
    return Still("photo", width, height, seed, ground, items, sky)


def _heap(rng: Random, width: int, height: int, seed: int) -> Still:
    """Two sorts of shapes, scattered over a grid of cells."""
    tone = rng.choice(list(TONES))
    shapes, colours = rng.sample(SHAPES, 2), rng.sample(contrasting(TONES[tone]), 2)
    counts = rng.randint(1, 6), rng.randint(0, 4)
    sorts = [
        pair for pair, n in zip(zip(shapes, colours, strict=True), counts, strict=True) for _ in range(n)
    ]
    cells = sorted(rng.sample(range(12), len(sorts)), key=lambda cell: cell % 4)
    rng.shuffle(sorts)
    items = tuple(
        Item(
            shape,
            colour,
            round(0.1 + 0.8 * (cell % 4 + rng.uniform(0.42, 0.58)) / 4, 3),
            round(0.1 + 0.8 * (cell // 4 + rng.uniform(0.42, 0.58)) / 3, 3),
            round(rng.uniform(0.065, 0.085), 3),
        )
        for (shape, colour), cell in zip(sorts, cells, strict=True)
    )
    return Still("heap", width, height, seed, tone, items)


def _chart(rng: Random, width: int, height: int, seed: int) -> Still:
    """Three to six bars of different heights."""
    count = rng.randint(3, 6)
    paper = rng.choice(("beige", "pale blue"))
    labels, values = rng.sample(LABELS, count), rng.sample(range(1, 13), count)
    colours = rng.sample([name for name in contrasting(TONES[paper]) if name != "white"], count)
    items = tuple(
        Item(label, colour, round(0.14 + 0.76 * (i + 0.5) / count, 3), 0.84, round(0.26 / count, 3), value)
        for i, (label, colour, value) in enumerate(zip(labels, colours, values, strict=True))
    )
    return Still("chart", width, height, seed, paper, items, text=rng.choice(TITLES))


def _sign(rng: Random, width: int, height: int, seed: int) -> Still:
    """A board with a word, a number and an arrow."""
    board = rng.choice([name for name in COLOURS if name not in ("yellow", "white")])
    tone, text = rng.choice(list(TONES)), rng.choice(WORDS)
    detail, arrow = str(rng.randint(2, 99)), rng.choice(ARROWS)
    return Still("sign", width, height, seed, tone, sky=board, text=text, detail=detail, arrow=arrow)


_STYLES: dict[Style, Callable[[Random, int, int, int], Still]] = {
    "photo": _photo,
    "heap": _heap,
    "chart": _chart,
    "sign": _sign,
}
