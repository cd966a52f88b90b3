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
    "brown": (120, 88, 62),
    "beige": (196, 182, 152),
    "pale blue": (158, 184, 204),
    "dark green": (46, 82, 60),
}
SHAPES = ("circle", "square", "triangle", "star", "diamond", "cross")

_SHIFT = 4  # bits of a pixel's fraction in OpenCV's drawing calls
_AREA = {  # area of the shape of radius 1, by the outlines below
    "circle": math.pi,
    "square": 4 * 0.82**2,
    "triangle": 1.5 * math.sqrt(3) / 2 * 1.1**2 * 1.0,
    "star": 5 * 1.1 * 0.5 * math.sin(math.pi / 5),
    "diamond": 2 * 1.05**2,
    "cross": 4 * 0.36 * (2 * 1.0 - 0.36),
}


def contrasting(backdrop: Rgb) -> list[str]:
    """Names of the colours that stand out clearly from a backdrop."""
    return [name for name, rgb in COLOURS.items() if math.dist(rgb, backdrop) > 90]


def other_colours(*names: str) -> tuple[str, ...]:
    """All colour names but these."""
    return tuple(name for name in COLOURS if name not in names)


def pick_looks(rng: Random, count: int, backdrop: Rgb) -> list[tuple[str, str]]:
    """Draw `count` pairs (shape, colour), no shape and no colour twice."""
    return list(zip(rng.sample(SHAPES, count), rng.sample(contrasting(backdrop), count), strict=True))


def area(shape: str, radius: float) -> float:
    """Area of a shape in square pixels."""
    return _AREA[shape] * radius**2


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
    return np.clip(np.array(TONES[tone], np.int16) + grain, 0, 255).astype(np.uint8)


def draw_shape(picture: Picture, shape: str, colour: str, x: float, y: float, radius: float) -> None:
    """Draw a shape with a thin edge and a lighter core onto a picture, in place.

    Args:
        picture: uint8 [height, width, 3].
        shape: One of `SHAPES`.
        colour: One of `COLOURS`.
        x: Centre, pixels from the left.
        y: Centre, pixels from the top.
        radius: Distance from the centre to the edge, pixels.
    """
    rgb = COLOURS[colour]
    edge = shade(rgb, 0.55 if sum(rgb) > 120 else 1.0)
    core = tuple(channel + (255 - channel) // 5 for channel in rgb)
    for scale, ink in ((1.0, edge), (0.86, rgb), (0.4, core)):
        _fill(picture, shape, x, y, radius * scale, ink)


def shade(rgb: Rgb, factor: float) -> Rgb:
    """A colour made darker (factor below 1) or lighter (above)."""
    red, green, blue = (min(255, round(channel * factor)) for channel in rgb)
    return red, green, blue


def fill_polygon(picture: Picture, corners: npt.ArrayLike, ink: tuple[int, ...]) -> None:
    """Fill a polygon with corners (x, y) in pixels, anti-aliased, in place."""
    points = np.rint(np.asarray(corners) * (1 << _SHIFT)).astype(np.int32)
    cv2.fillPoly(picture, [points], ink, cv2.LINE_AA, _SHIFT)


def fill_ellipse(
    picture: Picture, x: float, y: float, axes: tuple[float, float], ink: tuple[int, ...]
) -> None:
    """Fill an upright ellipse with half axes (horizontal, vertical) in pixels, anti-aliased, in place."""
    scale = 1 << _SHIFT
    centre = (round(x * scale), round(y * scale))
    half = (round(axes[0] * scale), round(axes[1] * scale))
    cv2.ellipse(picture, centre, half, 0, 0, 360, ink, -1, cv2.LINE_AA, _SHIFT)


def _fill(picture: Picture, shape: str, x: float, y: float, radius: float, ink: tuple[int, ...]) -> None:
    if shape == "circle":
        fill_ellipse(picture, x, y, (radius, radius), ink)
    else:
        fill_polygon(picture, np.array([x, y]) + radius * _OUTLINES[shape], ink)


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
