"""Descriptors: what each value is, how it is spread over modalities and sources, and why it is missing."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from gdo.pool.candidate import quoted
from gdo.report.html.blocks import Block, Chart, Grid, Heading, Note, Section
from gdo.report.html.charts import bars, boxes, histogram
from gdo.report.html.source import SHOWN_SOURCES, Source, Value

BINS = 40
_FENCES = (0.05, 0.25, 0.5, 0.75, 0.95)
_ENDS = (0.005, 0.995)
"""Values beyond these quantiles are counted in the outermost bars."""
_SPREAD, _TAIL = 20, 0.15
"""An axis is logarithmic where the ends are so many times apart, and half of the values in so low a part."""
_REASONS = 5
_CLUSTERS = 20


@dataclass(frozen=True, slots=True)
class Moments:
    """What the database says of one column over all rows of a group, NULL and infinite ones left out."""

    count: int
    mean: float | None
    deviation: float | None
    least: float | None
    most: float | None


def values_section(source: Source, moments: dict[tuple[str, str], Moments]) -> Section:
    """A heading for each filled column of values with its figures; the others by what would make them."""
    intro = "Distributions over all samples, by modality and by source."
    blocks: list[Block] = [_overview(source, moments)]
    if not source.filled:
        blocks.append(Note("No sample has descriptor values yet.", "gdo describe POOL"))
        return Section("descriptors", "Descriptors", intro, blocks)
    edges = {value.name: edges_of(source.sample[value.name]) for value in source.filled}
    counts = _histograms(source, edges)
    for value in source.filled:
        blocks += _one(source, value, edges[value.name], counts[value.name])
    blocks += _clusters(source) + _missing(source)
    return Section("descriptors", "Descriptors", intro, blocks)


def measure(source: Source) -> dict[tuple[str, str], Moments]:
    """Moments by (bucket, column); bucket `` is all of the pool. One scan."""
    parts = [
        f"count(v{n}), avg(v{n}), stddev_pop(v{n}), min(v{n}), max(v{n})" for n in range(len(source.values))
    ]
    shown = ", ".join(f"{value.finite} AS v{n}" for n, value in enumerate(source.values))
    rows = source.rows(
        f"SELECT bucket, {', '.join(parts)} FROM (SELECT bucket, {shown} FROM candidate) "
        "GROUP BY GROUPING SETS ((), (bucket))"
    )
    return {
        (bucket or "", value.name): Moments(*figures[5 * n : 5 * n + 5])
        for bucket, *figures in rows
        for n, value in enumerate(source.values)
    }


def edges_of(values: pl.Series) -> list[float]:
    """Edges of bins that suit a column: even, or at even ratios where it is positive with a long tail."""
    known = values.drop_nulls().to_numpy()
    low, high = (float(end) for end in np.quantile(known, _ENDS))
    if low == high:
        low, high = float(known.min()), float(known.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    if low > 0 and high / low > _SPREAD and float(np.median(known)) - low < _TAIL * (high - low):
        return [float(edge) for edge in np.geomspace(low, high, BINS + 1)]
    return [float(edge) for edge in np.linspace(low, high, BINS + 1)]


def _histograms(source: Source, edges: dict[str, list[float]]) -> dict[str, dict[str, list[int]]]:
    """Counts between the edges by column and bucket, over all rows in one scan."""
    filled = source.filled
    parts = ", ".join(f"histogram({value.finite}, ?)" for value in filled)
    rows = source.rows(
        f"SELECT bucket, {parts} FROM candidate GROUP BY bucket ORDER BY bucket",
        [edges[value.name][1:] for value in filled],
    )
    return {
        value.name: {bucket: _binned(found[n], edges[value.name]) for bucket, *found in rows}
        for n, value in enumerate(filled)
    }


def _binned(found: dict[float, int] | None, edges: Sequence[float]) -> list[int]:
    """A list of counts from DuckDB's map of upper edges; what lies above the last belongs to it."""
    counts = [0] * (len(edges) - 1)
    for upper, count in (found or {}).items():
        counts[min(int(np.searchsorted(edges[1:], upper)), len(counts) - 1)] += count
    return counts


def _one(source: Source, value: Value, edges: Sequence[float], counts: dict[str, list[int]]) -> list[Block]:
    made = f"Descriptor {value.descriptor}, {value.made_by}." if value.made_by else ""
    said = f"{value.doc[:1].upper()}{value.doc[1:]}. {made}" if value.doc else made or "Imported."
    present = {bucket: of for bucket, of in counts.items() if sum(of)}
    groups = source.sample.group_by("source_group").agg(
        pl.col(value.name).count().alias("n"),
        *(pl.col(value.name).quantile(q, "linear").alias(f"q{q}") for q in _FENCES),
    )
    rows = [
        (f"{row[0]} ({row[1]:,})", row[2:])
        for row in groups.filter(pl.col("n") > 0)
        .sort(["n", "source_group"], descending=[True, False])
        .head(SHOWN_SOURCES)
        .rows()
    ]
    sampled = f" {source.sampled[:1].upper()}{source.sampled[1:]}." if source.sampled else ""
    ends = "All samples; the outermost bars hold also what lies beyond the 0.5 % and 99.5 % quantile."
    fences = "Quartiles; whiskers from 5 to 95 %; samples in brackets."
    return [
        Heading(value.name, f"d-{value.name}", said),
        Chart(f"{value.name} by modality", histogram(edges, present, unit=value.axis), ends),
        Chart(f"{value.name} by source", boxes(rows, edges, unit=value.axis), fences + sampled),
    ]


def _overview(source: Source, moments: dict[tuple[str, str], Moments]) -> Grid:
    rows = []
    for value in source.values:
        all_of = moments[("", value.name)]
        quantiles = [source.sample[value.name].quantile(q, "linear") for q in (0.05, 0.5, 0.95)]
        figures = (all_of.mean, all_of.deviation, all_of.least, *quantiles, all_of.most)
        rows.append((value.name, value.unit, all_of.count, source.samples - all_of.count, *figures))
    columns = [
        "column",
        "unit",
        "samples>",
        "missing>",
        "mean>",
        "deviation>",
        "least>",
        "5 %>",
        "median>",
        "95 %>",
        "most>",
    ]
    note = f"Quantiles {source.sampled}." if source.sampled else ""
    return Grid("All columns of values", columns, rows, note)


def _clusters(source: Source) -> list[Block]:
    sizes = source.rows(
        "SELECT cluster_id, count(*) FROM candidate WHERE cluster_id IS NOT NULL "
        "GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    if not sizes:
        return []
    shown = {f"cluster {number}": count for number, count in sizes[:_CLUSTERS]}
    note = f"The {len(shown)} largest of {len(sizes):,} clusters; the smallest has {sizes[-1][1]:,} samples."
    return [
        Heading("cluster_id", "d-cluster_id", "Number of the nearest centroid."),
        Chart("Largest clusters", bars({"samples": shown}, axis="samples"), note, wide=True),
    ]


def _missing(source: Source) -> list[Block]:
    """Why values are missing, as the descriptors' own tables tell."""
    rows: list[tuple[object, ...]] = []
    for name, version, probe in source.rows("SELECT name, version, probe FROM descriptor ORDER BY name"):
        rows += [
            (name, *reason)
            for reason in source.rows(
                f"SELECT string_split(error, ': ')[-1], count(*) FROM {quoted(name)} "
                "WHERE version = ? AND probe = ? AND error IS NOT NULL GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT ?",
                [version, probe, _REASONS],
            )
        ]
    blocks: list[Block] = []
    if rows:
        blocks.append(Grid("Why values are missing", ["descriptor", "reason", "rows>"], rows))
    commands: dict[str, list[str]] = {}
    for value in source.values:
        if value not in source.filled and value.descriptor:
            commands.setdefault(f"gdo describe POOL {value.descriptor}", []).append(value.name)
    blocks += [Note(f"No sample has {', '.join(names)}.", command) for command, names in commands.items()]
    return blocks
