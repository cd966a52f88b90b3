"""How things look: the colours, shapes and textures that clips and stills are drawn with.

Pictures are uint8 RGB arrays [height, width, 3]. Everything is drawn in integers or with OpenCV's fixed-point
anti-aliasing, so that a picture is the same on every machine.
"""

import math
from random import Random

import cv2
import numpy as np
import numpy.typing as npt

Picture = npt.NDArray[np.uint8]
Rgb = tuple[int, int, int]
Point = tuple[float, float]

COLOURS: dict[str, Rgb] = {
    "red": (214, 34, 36),
    "green": (34, 176, 62),
    "blue": (36, 74, 222),
    "yellow": (248, 222, 36),
    "orange": (246, 136, 24),
    "purple": (140, 44, 176),
    "white": (248, 248, 248),
    "black": (18, 18, 20),
}
TONES: dict[str, Rgb] = {
    "grey": (128, 128, 128),
    "brown": (140, 104, 76),
    "beige": (196, 182, 152),
    "pale blue": (158, 184, 204),
    "dark green": (40, 66, 50),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")

_SHIFT = 4  # bits of a pixel's fraction in OpenCV's drawing calls


def contrasting(backdrop: Rgb) -> list[str]:
    """Names of the colours that stand out clearly from a backdrop."""
    return [name for name, rgb in COLOURS.items() if math.dist(rgb, backdrop) > 90]


def other_colours(*names: str) -> tuple[str, ...]:
    """All colour names but these."""
    return tuple(name for name in COLOURS if name not in names)


def pick_looks(rng: Random, count: int, backdrop: Rgb) -> list[tuple[str, str]]:
    """Draw `count` pairs (shape, colour), no shape and no colour twice, that stand out in grey too.

    Optical flow sees no colour: a red shape on a brown ground of the same grey would hardly move for it.
    """
    clear = [name for name in contrasting(backdrop) if abs(_grey(COLOURS[name]) - _grey(backdrop)) > 22]
    return list(zip(rng.sample(SHAPES, count), rng.sample(clear, count), strict=True))


def _grey(rgb: Rgb) -> float:
    return 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]


def area(shape: str, radius: float) -> float:
    """Area of a shape in square pixels."""
    if shape == "circle":
        return math.pi * radius**2
    x, y = _OUTLINES[shape].T
    return float(abs(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2 * radius**2


def texture(height: int, width: int, seed: int) -> npt.NDArray[np.int16]:
    """Smooth noise in three octaves, about -90 to 90: int16 [height, width]."""
    rng = np.random.default_rng(seed)
    total = np.zeros((height, width), np.int16)
    for cell, weight in ((32, 8), (12, 6), (4, 4)):
        grid = rng.integers(0, 256, (height // cell + 2, width // cell + 2), np.uint8)
        layer = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        total += (layer.astype(np.int16) - 128) * weight // 16
    return total


def backdrop(height: int, width: int, tone: str, seed: int) -> Picture:
    """A still, textured ground in one of `TONES`."""
    grain = texture(height, width, seed)[..., None] * 2 // 5
    return to_picture(np.array(TONES[tone], np.int16) + grain)


def to_picture(values: npt.ArrayLike) -> Picture:
    """Round and clip any values to a picture's range."""
    picture: Picture = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return picture


def draw_shape(picture: Picture, shape: str, colour: str, centre: Point, radius: float) -> None:
    """Draw a shape with a thin edge and a lighter core onto a picture, in place.

    Args:
        picture: uint8 [height, width, 3].
        shape: One of `SHAPES`.
        colour: One of `COLOURS`.
        centre: (x, y), pixels from the left and from the top.
        radius: Distance from the centre to the edge, pixels.
    """
    rgb = COLOURS[colour]
    edge = shade(rgb, 0.55 if sum(rgb) > 120 else 1.0)
    core = tuple(channel + (255 - channel) // 5 for channel in rgb)
    for scale, ink in ((1.0, edge), (0.86, rgb), (0.4, core)):
        _fill(picture, shape, centre, radius * scale, ink)


def shade(rgb: Rgb, factor: float) -> Rgb:
    """A colour made darker (factor below 1) or lighter (above)."""
    red, green, blue = (min(255, round(channel * factor)) for channel in rgb)
    return red, green, blue


def fill_polygon(picture: Picture, corners: npt.ArrayLike, ink: tuple[int, ...]) -> None:
    """Fill a polygon with corners (x, y) in pixels, anti-aliased, in place."""
    points = np.rint(np.asarray(corners) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(picture, [points], ink, cv2.LINE_AA, _SHIFT)


def fill_ellipse(picture: Picture, centre: Point, axes: tuple[float, float], ink: tuple[int, ...]) -> None:
    """Fill an upright ellipse with half axes (horizontal, vertical) in pixels, anti-aliased, in place."""
    scale = 1 << _SHIFT
    middle = (round(centre[0] * scale), round(centre[1] * scale))
    half = (round(axes[0] * scale), round(axes[1] * scale))
    cv2.ellipse(picture, middle, half, 0, 0, 360, ink, -1, cv2.LINE_AA, _SHIFT)


def _fill(picture: Picture, shape: str, centre: Point, radius: float, ink: tuple[int, ...]) -> None:
    if shape == "circle":
        fill_ellipse(picture, centre, (radius, radius), ink)
    else:
        fill_polygon(picture, np.array(centre) + radius * _OUTLINES[shape], ink)


def _ring(radii: tuple[float, ...], corners: int, turn: float) -> npt.NDArray[np.float64]:
    """Corners around the centre, their distances taken in turn from `radii`: float64 [corners, 2]."""
    angles = np.deg2rad(turn) + np.arange(corners) * 2 * np.pi / corners
    reach = np.resize(np.array(radii), corners)
    return np.stack([reach * np.cos(angles), reach * np.sin(angles)], axis=1)


def _cross(arm: float) -> npt.NDArray[np.float64]:
    quarter = np.array([(-arm, -1.0), (arm, -1.0), (arm, -arm)])
    turned = [quarter @ np.linalg.matrix_power(np.array([[0.0, 1.0], [-1.0, 0.0]]), k) for k in range(4)]
    return np.concatenate(turned)


_OUTLINES: dict[str, npt.NDArray[np.float64]] = {
    "square": 0.82 * np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]),
    "triangle": _ring((1.1,), 3, -90) + np.array([0.0, 0.12]),
    "star": _ring((1.1, 0.5), 10, -90),
    "diamond": _ring((1.05,), 4, 0),
    "cross": _cross(0.36),
}
