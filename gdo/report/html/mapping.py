"""The map: stored vectors of samples in the plane of their two main components."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gdo.pool.candidate import literal
from gdo.report.html.blocks import Colouring, Map, Note, Section
from gdo.report.html.source import Source

POINTS = 4_000
"""Samples on the map, about; as many more, at most, for all subsets together."""
CHOSEN = 400
"""Further points for each subset, so that small ones are seen; fewer where subsets are many."""
CLASSES = 10
"""Names that a colouring tells apart; the rest are `other`."""
Floats = NDArray[np.float64]

_EXTRA = """
SELECT qa_uid FROM (
    SELECT qa_uid, row_number() OVER (PARTITION BY subset ORDER BY uid_hash, qa_uid) AS place
    FROM subset_sample JOIN sample USING (qa_uid) WHERE role = 'chosen' AND list_contains(?, subset)
) WHERE place <= ?
"""
_VECTORS = """
SELECT e.qa_uid, e.embedding, w.extra FROM embedding AS e JOIN wanted AS w USING (qa_uid)
WHERE e.version = {version} AND e.probe = {probe} AND e.embedding IS NOT NULL ORDER BY w.extra, w.place
"""


def map_section(source: Source, subsets: Sequence[str]) -> Section:
    """The map with all its colourings."""
    title = "Map of the pool"
    stored = source.rows("SELECT version, probe FROM descriptor WHERE name = 'embedding'")
    more = min(CHOSEN, POINTS // max(1, len(subsets)))
    points = _points(source, subsets, more, *stored[0]) if stored else None
    if points is None or len(points) < 3:
        missing = Note("The pool has no vectors of samples to draw a map of.", "gdo describe POOL coverage")
        return Section("map", title, "", [missing])
    base = int((~points["extra"]).sum())
    vectors = points["embedding"].to_numpy().astype(np.float64)
    placed, told = project(vectors, max(base, 3))
    rows = points.select("qa_uid", "extra").join(_facts(source, points), on="qa_uid", how="left")
    intro = (
        "Each point is a sample, placed by the two main components of its vector "
        f"(table embedding, probe {stored[0][1] or 'none'}): they hold {told:.0%} of the spread, so near on "
        "the map does not always mean alike."
    )
    note = f"{base:,} of {source.samples:,} samples, drawn by a hash of their ids."
    if base < len(points):
        note += f" Colourings by a subset show up to {more:,} more of its samples."
    x, y = ([round(float(v), 4) for v in column] for column in placed.T)
    drawn = Map("Samples", x, y, rows["qa_uid"].to_list(), _colourings(source, rows, subsets), base, note)
    return Section("map", title, intro, [drawn])


def project(vectors: Floats, fitted: int) -> tuple[Floats, float]:
    """Principal components of the first `fitted` rows, and all rows placed by the first two.

    Args:
        vectors: [rows, size].
        fitted: Rows that mean and components are taken over.

    Returns:
        Places [rows, 2], signs set so that the largest weight is positive; the share of the variance.
    """
    some = vectors[:fitted]
    middle = some.mean(axis=0)
    spread = np.cov(some - middle, rowvar=False)
    sizes, components = np.linalg.eigh(spread)
    main = components[:, ::-1][:, :2]
    main = main * np.sign(main[np.abs(main).argmax(axis=0), [0, 1]])
    total = float(sizes.clip(0).sum())
    return (vectors - middle) @ main, float(sizes[-2:].sum()) / total if total else 0.0


def _points(
    source: Source, subsets: Sequence[str], more: int, version: int, probe: str
) -> pl.DataFrame | None:
    base = source.sample.filter(pl.col("uid_hash") <= source.bound(POINTS))["qa_uid"].to_list()
    seen = set(base)
    chosen = sorted({uid for (uid,) in source.rows(_EXTRA, [list(subsets), more])} - seen)
    uids = base + chosen
    wanted = pl.DataFrame(
        {"qa_uid": uids, "extra": [False] * len(base) + [True] * len(chosen), "place": range(len(uids))},
        schema={"qa_uid": pl.String, "extra": pl.Boolean, "place": pl.Int64},
    )
    source.connection.register("wanted", wanted)
    try:
        return source.frame(_VECTORS.format(version=int(version), probe=literal(probe)))
    finally:
        source.connection.unregister("wanted")


def _facts(source: Source, points: pl.DataFrame) -> pl.DataFrame:
    """Fields and values of the points; extra ones may lie outside the source's sample."""
    return points.select("qa_uid").join(source.sample, on="qa_uid", how="inner")


def _colourings(source: Source, rows: pl.DataFrame, subsets: Sequence[str]) -> list[Colouring]:
    names = {"modality": "bucket", "source": "source_group", "cluster": "cluster_id"}
    made = [
        _by_name(title, rows[column].to_list())
        for title, column in names.items()
        if column in rows.columns and rows[column].count()
    ]
    made += [
        Colouring(value.name, [None if v is None else float(f"{v:.4g}") for v in rows[value.name].to_list()])
        for value in source.filled
        if rows[value.name].count()
    ]
    uids = rows["qa_uid"].to_list()
    return made + [_by_subset(source, subset, uids) for subset in subsets]


def _by_name(title: str, values: Sequence[Any]) -> Colouring:
    counts = Counter(value for value in values if value is not None)
    largest = sorted(counts, key=lambda name: (-counts[name], str(name)))[:CLASSES]
    place = {name: number for number, name in enumerate(largest)}
    names = [str(name) for name in largest]
    if len(counts) > len(largest):
        names.append("other")
    shown = [None if value is None else place.get(value, len(largest)) for value in values]
    return Colouring(title, shown, names)


def _by_subset(source: Source, subset: str, uids: Sequence[str]) -> Colouring:
    roles = {"chosen": 0, "uniform": 1}
    source.connection.register("wanted", pl.DataFrame({"qa_uid": uids}))
    try:
        members = source.rows(
            "SELECT role, qa_uid FROM subset_sample SEMI JOIN wanted USING (qa_uid) WHERE subset = ? "
            "ORDER BY role DESC",
            [subset],
        )
    finally:
        source.connection.unregister("wanted")
    of = {uid: roles[role] for role, uid in members}
    names = ["chosen", "in the control only", "neither"]
    return Colouring(f"subset {subset}", [of.get(uid, 2) for uid in uids], names, extra=True)
