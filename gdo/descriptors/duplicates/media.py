"""Media that show the same: candidates by single frames, decided by all frames of the shorter one.

Two moving pictures are as alike as the median frame of the shorter one is to its best partner in the other,
wherever that stands: a copy may be trimmed at either end. Pictures are laid on each other first (align.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.duplicates.align import SHIFT, STRETCH, WIDE, similarity
from gdo.descriptors.duplicates.components import components
from gdo.descriptors.duplicates.neighbours import close_pairs
from gdo.descriptors.duplicates.prints import COARSE, Prints, coarse, telling

THRESHOLD = 0.993
"""Least similarity of copies; see the README for how it was chosen."""
LEAST = 0.96
"""Pairs less alike than this are never kept, whatever the threshold."""
CANDIDATE = 0.75
"""Least product of short vectors of two frames of copies."""
HOPELESS = 0.7
"""A frame whose best partner has a lower product of short vectors is not aligned: it is another picture."""
DECIMALS = 6
FOUND_BY = ("fingerprint", "close look", "embedding")
"""How a pair was found: by fingerprints alone; by a close look at one whose fingerprints fall a little short;
or by one at a pair that lies close by its embeddings."""
PAIRS_AT_ONCE = 64

Rows = NDArray[np.int64]
Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Alike:
    """Pairs of media that are copies, or may be.

    Attributes:
        first: The smaller row of each pair, int64 [pairs].
        second: The larger one.
        similarity: Of their fingerprints, rounded to `DECIMALS` places, float64 [pairs].
        way: Place in `FOUND_BY`, int8 [pairs].
    """

    first: Rows
    second: Rows
    similarity: NDArray[np.float64]
    way: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.first)

    def only(self, which: NDArray[Any]) -> "Alike":
        """Some of the pairs: their places, or for each one whether it is."""
        return Alike(*(getattr(self, field.name)[which] for field in fields(self)))

    def and_those(self, others: "Alike") -> "Alike":
        """These pairs and then the others."""
        both = [(getattr(self, field.name), getattr(others, field.name)) for field in fields(self)]
        return Alike(*(np.concatenate(each) for each in both))

    def groups(self, size: int) -> Rows:
        """The smallest member of each row's group: int64 [size]."""
        return components(size, self.first, self.second)

    def closest(self, size: int) -> NDArray[np.float64]:
        """The similarity of each row to the most similar other one; 0 where it is in no pair."""
        best = np.zeros(size)
        for rows in (self.first, self.second):
            np.maximum.at(best, rows, self.similarity)
        return best

    def ways(self, size: int) -> NDArray[np.int8]:
        """How each row was joined, the first of `FOUND_BY` that did: int8 [size]."""
        best = np.full(size, len(FOUND_BY), np.int8)
        for rows in (self.first, self.second):
            np.minimum.at(best, rows, self.way)
        return best


def alike(prints: Prints, folder: Path, told: Told | None = None) -> Alike:
    """Find all pairs of media that may be copies of each other, of at least `LEAST` similarity.

    Args:
        prints: Their fingerprints.
        folder: Where a file of short vectors may stand for the time.
        told: Called with what is done, how much of it, and of how much.

    Raises:
        UsageError: There are many media, and FAISS is not installed.
    """
    tell = told or (lambda what, done, total: None)
    first, second = _candidates(prints, folder, tell)
    pairs = compared(prints, first, second, FOUND_BY[0], tell)
    return pairs.only(pairs.similarity >= LEAST)


def compared(prints: Prints, first: Rows, second: Rows, way: str, tell: Told, *, wide: bool = False) -> Alike:
    """Pairs of rows with how alike they are.

    Args:
        prints: Fingerprints.
        first: The smaller row of each pair.
        second: The larger one.
        way: How they were found.
        tell: Called with what is done, how much of it, and of how much.
        wide: Whether crops that are not slight count too; for pairs that are looked at closely afterwards.
    """
    values = np.empty(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        some = slice(start, start + PAIRS_AT_ONCE)
        values[some] = compare(prints, first[some].tolist(), prints, second[some].tolist(), wide=wide)
        tell("comparing pairs of media", min(start + PAIRS_AT_ONCE, len(first)), len(first))
    return Alike(first, second, values, np.full(len(first), FOUND_BY.index(way), np.int8))


def _candidates(prints: Prints, folder: Path, tell: Told) -> tuple[Rows, Rows]:
    """Pairs of rows that have a frame much like one of the other."""
    path = folder / "short-vectors.bin"
    owners = list[Rows]()
    with path.open("wb") as file:
        for row in range(len(prints)):
            vectors = telling(coarse(prints.frames(row)))
            file.write(vectors.tobytes())
            owners.append(np.full(len(vectors), row))
    try:
        if not owners:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        owner = np.concatenate(owners)
        vectors = np.memmap(path, np.float32, "r", shape=(len(owner), COARSE**2))
        pairs = close_pairs(
            vectors, CANDIDATE, lambda done, total: tell("looking for similar frames", done, total)
        )
    finally:
        path.unlink()
    first, second = owner[pairs.first], owner[pairs.second]
    kept = (first != second) & (prints.still[first] == prints.still[second])
    keys = np.unique(first[kept] * len(prints) + second[kept])
    return keys // len(prints), keys % len(prints)


def compare(
    ours: Prints, first: Sequence[int], theirs: Prints, second: Sequence[int], *, wide: bool = False
) -> NDArray[np.float64]:
    """How alike media are, pair by pair, rounded to `DECIMALS` places: float64 [pairs], at most 1.

    Args:
        ours: Fingerprints.
        first: The row in `ours` of each pair, one pair at least.
        theirs: The same, or others.
        second: The row in `theirs` of each pair.
        wide: Whether crops that are not slight count too; for pairs that are looked at closely afterwards.
    """
    shorter, partners, hopes, counts = [], [], [], list[int]()
    for a, b in zip(first, second, strict=True):
        short, long = sorted((ours.frames(a), theirs.frames(b)), key=len)
        products = coarse(short) @ coarse(long).T
        shorter.append(short)
        hopes.append(products.max(axis=1) >= (-1.0 if wide else HOPELESS))
        partners.append(long[products.argmax(axis=1)])
        counts.append(len(short))
    x, y, hopeful = (np.concatenate(each) for each in (shorter, partners, hopes))
    values = np.zeros(len(x))
    values[hopeful] = similarity(x[hopeful], y[hopeful], WIDE if wide else (SHIFT, STRETCH))
    medians = [_lower_median(some) for some in np.split(values, np.cumsum(counts)[:-1])]
    return np.round(np.array(medians), DECIMALS)


def copies(ours: Prints, theirs: Prints, threshold: float = THRESHOLD) -> NDArray[np.bool_]:
    """Which of `ours` are copies of one of `theirs`: bool [ours].

    All are compared with all: `theirs`, whose short vectors are held in memory, should be the few.
    """
    found = np.zeros(len(ours), np.bool_)
    if not len(theirs):
        return found
    vectors = [telling(coarse(theirs.frames(row))) for row in range(len(theirs))]
    owner = np.repeat(np.arange(len(theirs)), [len(some) for some in vectors])
    looks = np.concatenate(vectors)
    for row in range(len(ours)):
        near = (telling(coarse(ours.frames(row))) @ looks.T).max(axis=0) >= CANDIDATE
        candidates = [one for one in np.unique(owner[near]).tolist() if theirs.still[one] == ours.still[row]]
        if candidates:
            found[row] = compare(ours, [row] * len(candidates), theirs, candidates).max() >= threshold
    return found


def _lower_median(values: NDArray[np.float64]) -> float:
    return float(np.sort(values)[(len(values) - 1) // 2])
