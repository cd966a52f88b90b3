"""Draws the stills: shaded things in a landscape, heaps of shapes, bar charts, signs."""

from collections.abc import Callable

import cv2
import numpy as np

from gdo.demo.looks import (
    COLOURS,
    Picture,
    Point,
    Rgb,
    backdrop,
    draw_shape,
    fill_ellipse,
    fill_polygon,
    shade,
    texture,
    to_picture,
)
from gdo.demo.stills import GROUNDS, SKIES, Item, Still, Style

_INK = (24, 24, 28)
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_HORIZON = 0.5
_TOP_VALUE = 12
FLOOR = 0.84
"""Where the bars of a chart stand, as a share of its height."""
BAR_UNIT = 0.66 / _TOP_VALUE
"""How far one more in value raises a bar, as a share of the height."""


def draw_still(still: Still) -> Picture:
    """The picture of a still: uint8 RGB [height, width, 3]."""
    return _PAINTERS[still.style](still)


def _photo(still: Still) -> Picture:
    picture = _landscape(still)
    side = min(still.width, still.height)
    for item in sorted(still.items, key=lambda item: item.y):
        x, foot, radius = item.x * still.width, item.y * still.height, item.size * side
        _shadow(picture, x, foot, radius)
        _OBJECTS[item.name](picture, COLOURS[item.colour], x, foot, radius)
    light = texture(still.height, still.width, still.seed + 1)[..., None] // 14
    return to_picture(picture.astype(np.int16) + light)


def _landscape(still: Still) -> Picture:
    """Sky with clouds above, ground with a grain that grows towards the viewer below."""
    height, width = still.height, still.width
    horizon = round(height * _HORIZON)
    high, low = (np.array(rgb, np.float64) for rgb in SKIES[still.sky])
    fall = np.linspace(0.0, 1.0, horizon)[:, None, None]
    clouds = texture(horizon, width, still.seed)[..., None] * (0.1 + 0.3 * fall)
    sky = high * (1 - fall) + low * fall + clouds
    depth = np.linspace(0.3, 1.0, height - horizon)[:, None, None]
    grain = texture(height - horizon, width, still.seed + 2)[..., None] * depth * 0.55
    ground = np.array(GROUNDS[still.ground], np.float64) * (0.8 + 0.2 * depth) + grain
    return to_picture(np.concatenate([sky, ground]))


def _shadow(picture: Picture, x: float, foot: float, radius: float) -> None:
    """Darken an ellipse to the right of an object's foot, in place."""
    mask = np.zeros_like(picture)
    fill_ellipse(mask, (x + radius * 0.5, foot), (radius * 1.5, radius * 0.35), (110, 110, 110))
    picture[:] = (picture.astype(np.uint16) * (255 - mask) // 255).astype(np.uint8)


def _ball(picture: Picture, rgb: Rgb, x: float, foot: float, radius: float) -> None:
    for step in range(12):
        part = 1 - step / 12
        ink = shade(rgb, 0.5 + 0.7 * (1 - part))
        shift = 0.35 * radius * (1 - part)
        fill_ellipse(picture, (x - shift, foot - radius - shift), (radius * part, radius * part), ink)


def _box(picture: Picture, rgb: Rgb, x: float, foot: float, radius: float) -> None:
    left, right, top = x - radius, x + 0.6 * radius, foot - 1.5 * radius
    back, rise = right + 0.5 * radius, 0.35 * radius
    fill_polygon(picture, [(left, top), (right, top), (right, foot), (left, foot)], shade(rgb, 0.9))
    fill_polygon(
        picture, [(right, top), (back, top - rise), (back, foot - rise), (right, foot)], shade(rgb, 0.6)
    )
    lid = [(left, top), (left + 0.5 * radius, top - rise), (back, top - rise), (right, top)]
    fill_polygon(picture, lid, shade(rgb, 1.15))


def _pyramid(picture: Picture, rgb: Rgb, x: float, foot: float, radius: float) -> None:
    peak, edge = (x, foot - 2 * radius), (x + 0.35 * radius, foot + 0.1 * radius)
    fill_polygon(picture, [peak, edge, (x - radius, foot)], shade(rgb, 1.0))
    fill_polygon(picture, [peak, (x + 1.1 * radius, foot - 0.2 * radius), edge], shade(rgb, 0.6))


def _barrel(picture: Picture, rgb: Rgb, x: float, foot: float, radius: float) -> None:
    half, top, lip = 0.75 * radius, foot - 1.9 * radius, 0.25 * radius
    for step in range(10):
        start, end = x - half + 2 * half * step / 10, x - half + 2 * half * (step + 1) / 10
        ink = shade(rgb, 1.1 - 0.07 * abs(step - 3))
        fill_polygon(picture, [(start, top), (end, top), (end, foot), (start, foot)], ink)
    fill_ellipse(picture, (x, foot), (half, lip), shade(rgb, 0.75))
    fill_ellipse(picture, (x, top), (half, lip), shade(rgb, 1.2))
    for y in (top + 0.5 * radius, foot - 0.5 * radius):
        hoop = [(x - half, y), (x + half, y), (x + half, y + 0.12 * radius), (x - half, y + 0.12 * radius)]
        fill_polygon(picture, hoop, shade(rgb, 0.5))


_OBJECTS: dict[str, Callable[[Picture, Rgb, float, float, float], None]] = {
    "ball": _ball,
    "box": _box,
    "pyramid": _pyramid,
    "barrel": _barrel,
}


def _heap(still: Still) -> Picture:
    picture = backdrop(still.height, still.width, still.ground, still.seed)
    side = min(still.width, still.height)
    for item in still.items:
        x, y = item.x * still.width, item.y * still.height
        draw_shape(picture, item.name, item.colour, (x, y), item.size * side)
    return picture


def _chart(still: Still) -> Picture:
    """Bars on paper, with a scale at the left and the labels below."""
    height, width = still.height, still.width
    picture = to_picture(backdrop(height, width, still.ground, still.seed).astype(np.int16) // 3 + 165)
    floor, left, unit = FLOOR * height, 0.13 * width, BAR_UNIT * height
    for value in range(0, _TOP_VALUE + 1, 2):
        y = floor - value * unit
        fill_polygon(picture, _bar(left, y, 0.94 * width, y + 1), (150, 150, 150))
        _write(picture, str(value), (0.08 * width, y), height / 640)
    for item in still.items:
        _draw_bar(picture, item, floor, unit)
    _write(picture, still.text, (0.5 * width, 0.08 * height), height / 420)
    return picture


def _draw_bar(picture: Picture, item: Item, floor: float, unit: float) -> None:
    height, width = picture.shape[:2]
    x, half = item.x * width, item.size * min(height, width)
    top = floor - item.value * unit
    fill_polygon(picture, _bar(x - half, top, x + half, floor), shade(COLOURS[item.colour], 0.5))
    fill_polygon(picture, _bar(x - half + 1.5, top + 1.5, x + half - 1.5, floor), COLOURS[item.colour])
    _write(picture, item.name, (x, 0.91 * height), height / 640)


def _bar(left: float, top: float, right: float, bottom: float) -> list[tuple[float, float]]:
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _sign(still: Still) -> Picture:
    """A board on a post."""
    height, width = still.height, still.width
    picture = backdrop(height, width, still.ground, still.seed)
    left, right, top, bottom = 0.12 * width, 0.88 * width, 0.14 * height, 0.7 * height
    fill_polygon(picture, _bar(0.47 * width, bottom, 0.53 * width, 0.97 * height), (92, 92, 96))
    fill_polygon(picture, _bar(left, top, right, bottom), (238, 238, 238))
    fill_polygon(picture, _bar(left + 4, top + 4, right - 4, bottom - 4), COLOURS[still.sky])
    _write(picture, still.text, (0.5 * width, 0.28 * height), width / 300, (250, 250, 250))
    _write(picture, still.detail, (0.34 * width, 0.53 * height), width / 250, (250, 250, 250))
    _arrow(picture, still.arrow, 0.64 * width, 0.53 * height, 0.1 * min(width, height))
    return picture


def _arrow(picture: Picture, way: str, x: float, y: float, reach: float) -> None:
    outline = np.array(
        [(-1.0, -0.3), (0.1, -0.3), (0.1, -0.8), (1.0, 0.0), (0.1, 0.8), (0.1, 0.3), (-1.0, 0.3)]
    )
    turns = {"right": (1, 0), "left": (-1, 0), "down": (0, 1), "up": (0, -1)}
    cos, sin = turns[way]
    turned = outline @ np.array([(cos, sin), (-sin, cos)])
    fill_polygon(picture, np.array([x, y]) + reach * turned, (250, 250, 250))


def _write(picture: Picture, text: str, centre: Point, scale: float, ink: Rgb = _INK) -> None:
    """Write text centred on a point, in place."""
    weight = 2 if scale > 0.7 else 1
    (wide, tall), _ = cv2.getTextSize(text, _FONT, scale, weight)
    corner = round(centre[0] - wide / 2), round(centre[1] + tall / 2)
    cv2.putText(picture, text, corner, _FONT, scale, ink, weight, cv2.LINE_AA)


_PAINTERS: dict[Style, Callable[[Still], Picture]] = {
    "photo": _photo,
    "heap": _heap,
    "chart": _chart,
    "sign": _sign,
}
