"""Two subsets side by side: what only one has, what both have, and how these differ."""

from typing import Any

import numpy as np

from gdo.explore.arrays import Integers
from gdo.explore.filters import Membership
from gdo.explore.snapshot import Snapshot

MOST_VALUES = 40
"""Facets with more values than this are not compared value by value."""


def compare_subsets(snapshot: Snapshot, first: Membership, second: Membership) -> dict[str, Any]:
    """Sizes, descriptor medians and shares of facet values of: only the first, both, only the second.

    Raises:
        UsageError: There is no such subset.
    """
    a, b = snapshot.arrays.member(first), snapshot.arrays.member(second)
    masks = {"first": a & ~b, "both": a & b, "second": b & ~a}
    parts = {name: np.flatnonzero(mask) for name, mask in masks.items()}
    values = [column for column in snapshot.columns if column.value]
    return {
        "sizes": {name: len(rows) for name, rows in parts.items()},
        "numbers": [
            {"name": column.name, "unit": column.unit, "words": column.words}
            | {name: _median(snapshot, column.name, rows) for name, rows in parts.items()}
            for column in values
            if column.name in snapshot.arrays.numbers
        ],
        "facets": [
            {"name": name, "values": _shares(snapshot, name, parts)}
            for name, coded in snapshot.arrays.coded.items()
            if len(coded.values) <= MOST_VALUES
        ],
    }


def _median(snapshot: Snapshot, name: str, rows: Integers) -> float | None:
    """None where no sample of the part has a value."""
    values = snapshot.arrays.numbers_of(name)[rows]
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else None


def _shares(snapshot: Snapshot, name: str, parts: dict[str, Integers]) -> list[dict[str, Any]]:
    """The share of each part that has each value, 0 to 1; values that none has are left out."""
    counts = {part: dict(snapshot.arrays.coded[name].count(rows)) for part, rows in parts.items()}
    sizes = {part: max(1, len(rows)) for part, rows in parts.items()}
    values = dict.fromkeys(value for counted in counts.values() for value in counted)
    return [
        {"value": value} | {part: counts[part].get(value, 0) / sizes[part] for part in parts}
        for value in values
    ]
