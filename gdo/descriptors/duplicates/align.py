"""How alike two pictures are, one of which may be a slightly cropped copy of the other.

A spectrum is a smooth function of the place in the picture, so it can be evaluated on any window exactly. The
window of one picture that is most like the whole of the other is found by a few Gauss-Newton steps (image
registration after Lucas and Kanade, 1981); what is told is the inner product there.
"""

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.fingerprint import WAVES, Floats

STEPS = 5
GRID = 32
"""Points along each side at which pictures are compared."""
BLUR = 0.027
"""Standard deviation of the blur of both, as a share of the side: what compression changes, it hides."""
SHIFT, STRETCH = 0.06, 0.10
"""A window's centre lies off the picture's, and its side is longer or shorter, by at most so much."""
WIDE = 0.10, 0.20
"""The same for pictures that are looked at closely afterwards."""
PAIRS_AT_ONCE = 128

_PLACES = (np.arange(GRID) + 0.5) / GRID - 0.5
_DAMPING = np.exp(-((np.pi * BLUR * np.arange(WAVES)) ** 2) / 2)
_HARMONICS = np.arange(WAVES)
_SCALE = np.where(_HARMONICS == 0, 1.0, 2.0**0.5)

Doubles = NDArray[np.float64]


def similarity(a: Floats, b: Floats, limits: tuple[float, float] = (SHIFT, STRETCH)) -> Doubles:
    """How alike pictures are: their inner product where either's best window is laid on the other.

    Every pair is worked out by itself, so its value does not depend on the others.

    Args:
        a: Spectra float32 [pairs, WAVES, WAVES].
        b: The others, of the same shape.
        limits: Most that a window is off and longer or shorter by, as shares of the side.

    Returns:
        float64 [pairs], at most 1, which is the same picture.
    """
    found = np.empty(len(a))
    for start in range(0, len(a), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        x, y = (waves[some].astype(np.float64) * _DAMPING[:, None] * _DAMPING for waves in (a, b))
        found[some] = np.maximum(_fit(x, y, limits), _fit(y, x, limits))
    return found


def _fit(whole: Doubles, part: Doubles, limits: tuple[float, float]) -> Doubles:
    """The best inner product of `part` with a window of `whole`."""
    still = _waves(np.zeros(len(part)), np.zeros(len(part)))[0]
    target = _unit(_draw(part, still, still))[0]
    window = np.zeros((len(whole), 4))
    best = np.full(len(whole), -1.0)
    for step in range(STEPS + 1):
        down, down_slope = _waves(window[:, 0], window[:, 2])
        across, across_slope = _waves(window[:, 1], window[:, 3])
        seen, length = _unit(_draw(whole, down, across))
        best = np.maximum(best, (seen * target).sum(axis=(1, 2)))
        if step < STEPS:
            slopes = (_draw(whole, down_slope, across), _draw(whole, down, across_slope))
            window += _step([slope / length for slope in slopes], target - seen)
            most = np.repeat(limits, 2)
            window = np.clip(window, -most, most)
    return best


def _step(slopes: list[Doubles], rest: Doubles) -> Doubles:
    """How windows move towards where `rest` is least: [pairs, 4]."""
    down, across = slopes
    ways = np.stack([down, across, down * _PLACES[:, None], across * _PLACES], axis=1)
    ways -= ways.mean(axis=(2, 3), keepdims=True)
    flat = ways.reshape(len(ways), 4, -1)
    curvature = flat @ flat.transpose(0, 2, 1) + 1e-6 * np.eye(4)
    return np.asarray(np.linalg.solve(curvature, flat @ rest.reshape(len(rest), -1, 1))[..., 0])


def _waves(shift: Doubles, stretch: Doubles) -> tuple[Doubles, Doubles]:
    """Cosines and their slopes along one side of windows: [pairs, GRID, WAVES] each."""
    places = 0.5 + shift[:, None] + _PLACES * (1 + stretch[:, None])
    angles = np.pi * places[..., None] * _HARMONICS
    return np.cos(angles) * _SCALE, -np.sin(angles) * (_SCALE * np.pi * _HARMONICS)


def _draw(waves: Doubles, down: Doubles, across: Doubles) -> Doubles:
    """Pictures [pairs, GRID, GRID] of spectra."""
    return down @ waves @ across.transpose(0, 2, 1)


def _unit(pictures: Doubles) -> tuple[Doubles, Doubles]:
    """Pictures without their mean and of unit length, and the lengths that they had."""
    centred = pictures - pictures.mean(axis=(1, 2), keepdims=True)
    length = np.sqrt((centred**2).sum(axis=(1, 2), keepdims=True))
    return centred / np.maximum(length, 1e-12), length
