"""Pairs of vectors that are close to each other, among millions, in bounded memory.

Few vectors are compared all with all. Of many, only those are compared that share a list: some vectors are
pivots, and each vector goes to the lists of its nearest pivots, which FAISS looks up (an inverted file). This
is done several times over, each time on another random projection to few dimensions, where close vectors are
close as well; so two of them that are parted once are not parted always. Whatever is proposed this way is
decided by the inner product of the vectors themselves, summed in a fixed order.

Thousands of vectors that are all close to each other would make millions of pairs. So each keeps its closest
ones only, and a pair stays if either end keeps it; and one stays for each two groups that no other joins.
"""

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.duplicates.components import components
from gdo.errors import UsageError

ALL_WITH_ALL = 20_000
"""Up to so many vectors need no lists, and no FAISS."""
PROJECTIONS = 5
DIMENSIONS = 64
ROWS_PER_PIVOT = 192
NEAREST = 2
"""Lists that a vector is in, for each projection."""
CELLS = 2
"""Of the pivots' own inverted file, times the root of how many there are."""
CELLS_LOOKED_AT = 8
"""Of those."""
BLOCK = 2048
"""Vectors compared with as many others at a time."""
ROWS_PER_SEARCH = 16_384
CLOSEST = 64
"""Pairs that a vector keeps; more it has among pages of one form, say."""
HELD = 4_000_000
"""Pairs found since they were last thinned out."""
ROUNDING = 1e-3
"""What products in float32 may be short of."""
DEVIATIONS = 5
"""Standard deviations that the product of two projections may lie below the threshold."""

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Told = Callable[[int, int], None]
Proposed = Iterator[tuple[Rows, Rows]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """Pairs of rows, ordered, each once.

    Attributes:
        first: The smaller row, int64 [pairs].
        second: The larger one.
        products: Their inner products, float64 [pairs].
    """

    first: Rows
    second: Rows
    products: NDArray[np.float64]

    def only(self, which: NDArray[np.bool_]) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.first[which], self.second[which], self.products[which])


def close_pairs(vectors: Vectors, threshold: float, told: Told | None = None) -> Pairs:
    """All pairs (of many vectors: nearly all) whose inner product is at least `threshold`.

    Where a vector is in more than `CLOSEST` pairs, those are left out that are among the closest of neither.

    Args:
        vectors: Unit vectors, float32 [rows, size]; may be memory-mapped.
        threshold: 0 to 1; what lies far below 0.7 is found less surely.
        told: Called with rows or lists done, and how many there are.

    Raises:
        UsageError: There are many vectors, and FAISS is not installed.
    """
    tell = told or (lambda done, total: None)
    few = len(vectors) <= ALL_WITH_ALL
    proposed = _among_all(vectors, threshold, tell) if few else _among_lists(vectors, threshold, tell)
    none = np.empty(0, np.int64)
    found, since, held = Pairs(none, none, np.empty(0)), list[Pairs](), 0
    for first, second in proposed:
        since.append(_verified(vectors, first, second, threshold))
        held += len(since[-1].first)
        if held > HELD:
            found, since, held = _thinned([found, *since], len(vectors)), [], 0
    return _thinned([found, *since], len(vectors))


def closest(found: Sequence[Pairs], rows: int, most: int = CLOSEST) -> Pairs:
    """The pairs once each, in order, without those that are among the closest of neither end.

    Args:
        found: Pairs, some perhaps twice.
        rows: How many there are.
        most: Pairs that each row keeps.
    """
    pairs = _once(found, rows)
    return pairs.only(_closest(pairs, most))


def _thinned(found: Sequence[Pairs], rows: int) -> Pairs:
    """The closest pairs, and the closest of those left out for each two groups that nothing else joins."""
    pairs = _once(found, rows)
    kept = _closest(pairs, CLOSEST)
    if not kept.all():
        group = components(rows, pairs.first[kept], pairs.second[kept])
        sides = np.sort([group[pairs.first], group[pairs.second]], axis=0)
        apart = np.flatnonzero(sides[0] != sides[1])
        order = apart[np.argsort(-pairs.products[apart], kind="stable")]
        _, first_of = np.unique(sides[0][order] * rows + sides[1][order], return_index=True)
        kept[order[first_of]] = True
    return pairs.only(kept)


def _once(found: Sequence[Pairs], rows: int) -> Pairs:
    """Pairs once each, in order."""
    first, second, products = (
        np.concatenate([getattr(pairs, name) for pairs in found]) for name in ("first", "second", "products")
    )
    keys, once = np.unique(first * rows + second, return_index=True)
    return Pairs(keys // rows, keys % rows, products[once])


def _closest(pairs: Pairs, most: int) -> NDArray[np.bool_]:
    """Which pairs are among the closest of either end: bool [pairs]."""
    kept = np.zeros(len(pairs.first), np.bool_)
    for end in (pairs.first, pairs.second):
        order = np.lexsort((np.arange(len(end)), -pairs.products, end))
        sizes = np.bincount(end)
        place = np.arange(len(end)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
        kept[order[place < most]] = True
    return kept


def _among_all(vectors: Vectors, threshold: float, tell: Told) -> Proposed:
    for start in range(0, len(vectors), BLOCK):
        yield from _among(
            vectors, np.arange(start, len(vectors)), threshold - ROUNDING, vectors, first_only=True
        )
        tell(min(start + BLOCK, len(vectors)), len(vectors))


def _among_lists(vectors: Vectors, threshold: float, tell: Told) -> Proposed:
    # The product of two unit vectors is estimated by that of their projections with about this deviation.
    deviation = (1 - threshold**2) / DIMENSIONS**0.5
    least = threshold - DEVIATIONS * deviation
    total = 2 * PROJECTIONS * len(vectors)
    for number in range(PROJECTIONS):
        rng = np.random.default_rng(number)
        done = 2 * number * len(vectors)
        projected = _projected(vectors, rng)
        lists = _nearest_pivots(projected, rng, partial(_tell_from, tell, done, total))
        members = np.argsort(lists, axis=None, kind="stable") // NEAREST
        start, done = 0, done + len(vectors)
        for end in np.cumsum(np.bincount(lists.ravel())).tolist():
            yield from _among(projected, members[start:end], least, vectors)
            start = end
            tell(done + end // NEAREST, total)


def _tell_from(tell: Told, before: int, total: int, done: int) -> None:
    tell(before + done, total)


def _projected(vectors: Vectors, rng: np.random.Generator) -> Vectors:
    """Unit vectors float32 [rows, DIMENSIONS]: the vectors seen from random directions."""
    directions = rng.standard_normal((vectors.shape[1], DIMENSIONS), dtype=np.float32)
    projected = np.empty((len(vectors), DIMENSIONS), np.float32)
    for start in range(0, len(vectors), ROWS_PER_SEARCH):
        some = vectors[start : start + ROWS_PER_SEARCH] @ directions
        projected[start : start + len(some)] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return projected


def _nearest_pivots(
    projected: Vectors, rng: np.random.Generator, tell: Callable[[int], None]
) -> NDArray[np.int32]:
    """Numbers of the nearest pivots of each vector: int32 [rows, NEAREST]."""
    try:
        import faiss
    except ImportError as error:
        raise UsageError(
            f"{len(projected):,} vectors cannot be compared without FAISS: "
            "pip install 'gdo[cpu]' or 'gdo[gpu]'"
        ) from error
    pivots = np.sort(rng.permutation(len(projected))[: len(projected) // ROWS_PER_PIVOT])
    cells = round(CELLS * len(pivots) ** 0.5)
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(DIMENSIONS), DIMENSIONS, cells, faiss.METRIC_INNER_PRODUCT)
    index.cp.min_points_per_centroid = 1
    index.nprobe = CELLS_LOOKED_AT
    index.train(projected[pivots])
    index.add(projected[pivots])
    index = on_gpus(index, faiss)
    nearest = np.empty((len(projected), NEAREST), np.int32)
    for start in range(0, len(projected), ROWS_PER_SEARCH):
        _, near = index.search(projected[start : start + ROWS_PER_SEARCH], NEAREST)
        nearest[start : start + len(near)] = np.where(near < 0, near[:, :1], near)
        tell(start + len(near))
    return nearest


def on_gpus(index: Any, faiss: Any) -> Any:
    """A FAISS index on all GPUs, where FAISS has any; left on the CPU, with a warning, where they fail."""
    if not faiss.get_num_gpus():
        return index
    try:
        return faiss.index_cpu_to_all_gpus(index)
    except RuntimeError as error:
        warnings.warn(f"near-duplicates are looked up on the CPU, the GPUs failed: {error}", stacklevel=2)
        return index


def _among(
    seen: Vectors, rows: Rows, least: float, vectors: Vectors, *, first_only: bool = False
) -> Proposed:
    """Pairs of these rows whose product is at least so much; the first block with all, or all with all.

    Args:
        seen: What is multiplied.
        rows: Of `seen` and of `vectors`.
        least: Of the products.
        vectors: Tell the closest where very many are close.
        first_only: Only the first block.
    """
    for start in range(0, BLOCK if first_only else len(rows), BLOCK):
        here = rows[start : start + BLOCK]
        for after in range(start, len(rows), BLOCK):
            there = rows[after : after + BLOCK]
            close = np.flatnonzero(seen[here] @ seen[there].T >= least)
            if len(close) > CLOSEST * len(here):
                close = close[_closest_of_block(close, vectors[here] @ vectors[there].T)]
            x, y = here[close // len(there)], there[close % len(there)]
            once = (close // len(there) < close % len(there) if after == start else True) & (x != y)
            yield np.minimum(x, y)[once], np.maximum(x, y)[once]


def _closest_of_block(close: Rows, products: Vectors) -> NDArray[np.bool_]:
    """Which of some cells of a block belong to the closest of their row or column: bool [close].

    One more than `CLOSEST` each, since a vector may meet itself; and the first one of each, which joins those
    that are close to many but not among each other's closest.
    """
    best = np.zeros(products.shape, np.bool_)
    for marks, values in ((best, products), (best.T, products.T)):
        last = min(CLOSEST, values.shape[1] - 1)
        most = np.argpartition(-values, last, axis=1)[:, : last + 1]
        np.put_along_axis(marks, most, True, axis=1)
    chosen = np.asarray(best.ravel()[close])
    for ends in np.divmod(close, products.shape[1]):
        chosen[np.unique(ends, return_index=True)[1]] = True
    return chosen


def _verified(vectors: Vectors, first: Rows, second: Rows, threshold: float) -> Pairs:
    """The pairs that are close enough, and their products; summed in float64, not by BLAS."""
    products = np.concatenate(
        [np.empty(0)]
        + [
            np.einsum(
                "ij,ij->i",
                vectors[first[start : start + BLOCK]].astype(np.float64),
                vectors[second[start : start + BLOCK]].astype(np.float64),
            )
            for start in range(0, len(first), BLOCK)
        ]
    )
    enough = products >= threshold
    return Pairs(first[enough], second[enough], products[enough])
