"""Dense optical flow of many pairs of pictures at once, in torch: Farneback's method as OpenCV computes it.

Each picture is approximated around every pixel by a quadratic polynomial; the shift between two pictures
follows from how the polynomials differ, averaged over a window, from coarse to fine. Whatever is linear
(smoothing, resizing, fitting polynomials, averaging) is a matrix for the rows times the picture times a
matrix for the columns, borders included, so that a batch takes few large kernels.

Source: G. Farneback, Two-Frame Motion Estimation Based on Polynomial Expansion (SCIA 2003), with the pyramid,
borders and damping of OpenCV's calcOpticalFlowFarneback. Not here: other parameters than those of the
released GDO code, Gaussian windows, an initial flow.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from threading import Lock

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn.functional import grid_sample, pad

HALVINGS = 2
"""Levels below the full picture, each half the size of the one above."""
SMALLEST = 32
"""No level is lower or narrower than so many pixels."""
WINDOW = 15
ITERATIONS = 2
POLY_RADIUS = 5
POLY_SIGMA = 1.1
EDGE_TRUST = (0.14, 0.14, 0.4472, 0.4472, 0.4472)
"""Weights of the outermost pixels, whose polynomials lack neighbours."""
DAMPING = 1e-3
"""Added to the determinant, so that what has no structure stays where it is."""

Matrix = NDArray[np.float64]


def flow(before: Tensor, after: Tensor) -> Tensor:
    """Optical flow between pictures, computed on their device.

    Args:
        before: Grey values 0 to 255, float32 [pairs, height, width], 10 pixels or more a side.
        after: The same a moment later.

    Returns:
        float32 [pairs, 2, height, width]: by how many pixels what `before` shows has moved right and down.
    """
    method = farneback(before.shape[1], before.shape[2], before.device)
    return method.between(method.fit(before), method.fit(after))


class Farneback:
    """The method for pictures of one size on one device."""

    def __init__(self, height: int, width: int, device: torch.device) -> None:
        halvings = [k for k in range(1, HALVINGS + 1) if min(height, width) / 2**k >= SMALLEST]
        self.levels = [_Level(height, width, k, device) for k in (0, *halvings)]

    @torch.inference_mode()
    def fit(self, pictures: Tensor) -> list[Tensor]:
        """Polynomials around every pixel.

        Args:
            pictures: float32 [pictures, height, width].

        Returns:
            For each level, from full size down, float32 [pictures, 5, height, width]: the coefficients of
            y, x, yy, xx and xy.
        """
        with _exact_products():
            return [level.fit(pictures) for level in self.levels]

    @torch.inference_mode()
    def between(self, before: Sequence[Tensor], after: Sequence[Tensor]) -> Tensor:
        """Flow between pictures, given as `fit` gives them; returns what `flow` returns."""
        old, new = before[-1], after[-1]
        found = old.new_zeros(len(old), 2, *old.shape[2:])
        with _exact_products():
            for level, old, new in zip(self.levels[::-1], before[::-1], after[::-1], strict=True):
                found = level.refine(old, new, found)
        return found

    def along(self, pictures: Tensor) -> Tensor:
        """Flow from each picture to the next: float32 [pictures - 1, 2, height, width]."""
        fitted = self.fit(pictures)
        return self.between([level[:-1] for level in fitted], [level[1:] for level in fitted])


farneback = lru_cache(maxsize=8)(Farneback)
"""The method for a size and a device, with its matrices made once."""


class _Level:
    """One size of the pictures: its matrices, and its part in the search.

    The polynomials looked up are padded to powers of two: `grid_sample` counts from -1 to 1 over a side, and
    only so are whole pixels met exactly, and still places still.
    """

    def __init__(self, height: int, width: int, halvings: int, device: torch.device) -> None:
        def put(values: ArrayLike) -> Tensor:
            return torch.tensor(np.asarray(values), dtype=torch.float32, device=device)

        full = (height, width)
        self.size = (round(height / 2**halvings), round(width / 2**halvings))
        self.padded = tuple(1 << (length - 1).bit_length() for length in self.size)
        coarser = (round(height / 2 ** (halvings + 1)), round(width / 2 ** (halvings + 1)))
        rows, columns = (_fits(of, to, halvings) for of, to in zip(full, self.size, strict=True))
        self.fit_rows = put(np.concatenate(rows))
        self.fit_columns = [put(each).T for each in columns]
        self.enlarge = [put(_resize(of, to)) for of, to in zip(coarser, self.size, strict=True)]
        self.window = [put(_box(length)) for length in self.size]
        self.trust = put(np.outer(*(_trust(length) for length in self.size)))
        self.y, self.x = put(np.arange(self.size[0])[:, None]), put(np.arange(self.size[1]))

    def fit(self, pictures: Tensor) -> Tensor:
        """The polynomials at this level."""
        mean, slope, bend = (self.fit_rows @ pictures).chunk(3, dim=1)
        to_mean, to_slope, to_bend = self.fit_columns
        fitted = (slope @ to_mean, mean @ to_slope, bend @ to_mean, mean @ to_bend, slope @ to_slope)
        return torch.stack(fitted, dim=1)

    def refine(self, old: Tensor, new: Tensor, found: Tensor) -> Tensor:
        """Better the flow that the coarser level found; from none, zeros of this size."""
        if found.shape[2:] != self.size:
            found = 2 * (self.enlarge[0] @ found @ self.enlarge[1].T)
        new = pad(new, (0, self.padded[1] - self.size[1], 0, self.padded[0] - self.size[0]))
        for _ in range(ITERATIONS):
            found = self._solve(self._equations(old, new, found))
        return found

    def _equations(self, old: Tensor, new: Tensor, found: Tensor) -> Tensor:
        """Each pixel's part in the least squares for the shift: [pairs, 5, height, width].

        What has moved out of the picture is taken to bend as before and not to slope.
        """
        dx, dy = found.unbind(1)
        x, y = self.x + dx, self.y + dy
        height, width = self.size
        inside = ((x >= 0) & (x < width - 1) & (y >= 0) & (y < height - 1))[:, None]
        places = [(2 * at + 1) / length - 1 for at, length in ((x, self.padded[1]), (y, self.padded[0]))]
        there = grid_sample(new, torch.stack(places, dim=-1), align_corners=False)
        lines = (old[:, :2] - torch.where(inside, there[:, :2], 0)) / 2
        bends = (old[:, 2:] + torch.where(inside, there[:, 2:], old[:, 2:])) / 2
        yy, xx, xy = (bends * self.trust).unbind(1)
        xy = xy / 2
        by, bx = (lines * self.trust).unbind(1)
        by, bx = by + yy * dy + xy * dx, bx + xy * dy + xx * dx
        parts = (yy * yy + xy * xy, (yy + xx) * xy, xx * xx + xy * xy, yy * by + xy * bx, xy * by + xx * bx)
        return torch.stack(parts, dim=1)

    def _solve(self, equations: Tensor) -> Tensor:
        """Average the equations over the window around each pixel, and solve them there."""
        yy, xy, xx, by, bx = (self.window[0] @ equations @ self.window[1].T).unbind(1)
        scale = 1 / (yy * xx - xy * xy + DAMPING)
        return torch.stack(((yy * bx - xy * by) * scale, (xx * by - xy * bx) * scale), dim=1)


_switches = Lock()


@contextmanager
def _exact_products() -> Iterator[None]:
    """Matrices are multiplied in full float32, whatever else is allowed: flow is in their last digits."""
    products = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul  # type: ignore[attr-defined]
    with _switches:
        before = [each.fp32_precision for each in products]
        for each in products:
            each.fp32_precision = "ieee"
        try:
            yield
        finally:
            for each, precision in zip(products, before, strict=True):
                each.fp32_precision = precision


def _fits(of: int, to: int, halvings: int) -> tuple[Matrix, Matrix, Matrix]:
    """Smooth and shrink a line of pixels, then fit a parabola around each: its mean, slope and bend.

    The three are orthogonal under the weights, so each is a weighted sum of its own.
    """
    sigma = (2**halvings - 1) / 2
    radius = max(1, (round(5 * sigma) | 1) // 2)
    smooth = np.array([1, 2, 1]) / 4 if halvings == 0 else _gauss(radius, sigma)
    line = _resize(of, to) @ _filter(of, smooth, lambda at: of - 1 - np.abs(of - 1 - np.abs(at)))
    x = np.arange(-POLY_RADIUS, POLY_RADIUS + 1)
    weights = _gauss(POLY_RADIUS, POLY_SIGMA)
    second, fourth = (float(weights @ x.astype(float) ** power) for power in (2, 4))
    kernels = weights, weights * x / second, weights * (x**2 - second) / (fourth - second**2)
    mean, slope, bend = (_filter(to, kernel, lambda at: at.clip(0, to - 1)) @ line for kernel in kernels)
    return mean, slope, bend


def _box(length: int) -> Matrix:
    """Mean over the window; beyond the ends the outermost pixel goes on."""
    return _filter(length, np.full(WINDOW, 1 / WINDOW), lambda at: at.clip(0, length - 1))


def _gauss(radius: int, sigma: float) -> Matrix:
    """Weights of a Gaussian, cut off at a radius and summing to 1."""
    weights = np.exp(-(np.arange(-radius, radius + 1) ** 2) / (2 * sigma**2))
    return np.asarray(weights / weights.sum())


def _filter(length: int, kernel: Matrix, border: Callable[[NDArray[np.int64]], NDArray[np.int64]]) -> Matrix:
    """Matrix of a sliding weighted sum; `border` tells which pixel stands for one beyond the ends."""
    matrix = np.zeros((length, length))
    rows = np.arange(length)
    for offset, weight in enumerate(kernel, start=-(len(kernel) // 2)):
        np.add.at(matrix, (rows, border(rows + offset)), weight)
    return matrix


def _resize(of: int, to: int) -> Matrix:
    """Matrix of linear interpolation between the centres of pixels."""
    centre = ((np.arange(to) + 0.5) * of / to - 0.5).clip(0, of - 1)
    left = centre.astype(int)
    matrix = np.zeros((to, of))
    np.add.at(matrix, (np.arange(to), left), 1 - (centre - left))
    np.add.at(matrix, (np.arange(to), (left + 1).clip(max=of - 1)), centre - left)
    return matrix


def _trust(length: int) -> Matrix:
    """Weights of the pixels of a line."""
    trust = np.ones(length)
    trust[: len(EDGE_TRUST)] *= EDGE_TRUST
    trust[::-1][: len(EDGE_TRUST)] *= EDGE_TRUST
    return trust
