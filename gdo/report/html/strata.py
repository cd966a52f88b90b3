"""The strata that selection fills: the seven fields that make them, and the largest ones."""

from typing import Any

import polars as pl

from gdo.report.html.blocks import Block, Chart, Grid, Section, Tiles, share
from gdo.report.html.charts import bars, heat
from gdo.report.html.source import SHOWN_SOURCES, Source
from gdo.selectors.candidates import FIELDS

ORDER = {
    "duration_bucket": ("image", "very_short", "short", "medium", "long", "very_long"),
    "temporal_category": ("Static", "Mixed", "Temporal"),
    "q_len_bucket": ("q_tiny", "q_short", "q_medium", "q_long", "q_very_long"),
    "a_len_bucket": ("a_tiny", "a_short", "a_medium", "a_long", "a_very_long"),
}
"""Classes that have an order; the others go by size."""
LARGEST = 20


def strata_section(source: Source) -> Section:
    """Classes of every field, and how the samples lie over the strata."""
    names = ", ".join(FIELDS)
    strata = source.frame(
        f"SELECT {names}, count(*) AS n FROM candidate GROUP BY ALL ORDER BY n DESC, {names}"
    )
    intro = "A stratum is one combination of these seven fields; presets give each a quota."
    if strata.is_empty():
        return Section("strata", "Strata", intro)
    total = int(strata["n"].sum())
    running = strata["n"].cum_sum()
    blocks: list[Block] = [
        Tiles(
            [
                ("strata", len(strata)),
                ("hold half of the samples", int((running < total / 2).sum()) + 1),
                ("hold 95 %", int((running < 0.95 * total).sum()) + 1),
                ("have one sample", int((strata["n"] == 1).sum())),
            ]
        )
    ]
    for field in FIELDS:
        counts = _counts(strata, field)
        blocks.append(
            Chart(field, bars({"pool": share(fold(counts))}, axis="share of samples", percent=True))
        )
    blocks += [_crossed(strata, "duration_bucket", "temporal_category")]
    largest: list[tuple[Any, ...]] = [(*row, row[-1] / total) for row in strata.head(LARGEST).rows()]
    rows = [(*row[:-1], f"{row[-1]:.2%}") for row in largest]
    blocks.append(Grid("Largest strata", [*FIELDS, "samples>", "share>"], rows))
    return Section("strata", "Strata", intro, blocks)


def in_order(field: str, counts: dict[str, int]) -> dict[str, int]:
    """Counts of a field's classes in the order that they are shown in."""
    order = ORDER.get(field)
    if order:
        return {name: counts[name] for name in order if name in counts}
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def fold(counts: dict[str, int], shown: int = SHOWN_SOURCES) -> dict[str, int]:
    """The first classes, and the rest of them as one."""
    names = list(counts)
    rest = names[shown:]
    folded = {name: counts[name] for name in names[:shown]}
    return folded | ({f"{len(rest):,} more": sum(counts[name] for name in rest)} if rest else {})


def _counts(strata: pl.DataFrame, field: str) -> dict[str, int]:
    summed = strata.group_by(field).agg(pl.col("n").sum())
    return in_order(field, dict(summed.iter_rows()))


def _crossed(strata: pl.DataFrame, down: str, across: str) -> Chart:
    """How one field's classes divide over another's."""
    summed = strata.group_by(down, across).agg(pl.col("n").sum())
    cells = {(row, column): count for row, column, count in summed.rows()}
    rows, columns = list(_counts(strata, down)), list(_counts(strata, across))
    sums = {row: sum(cells.get((row, column), 0) for column in columns) for row in rows}
    values = [[cells.get((row, column), 0) / sums[row] for column in columns] for row in rows]
    figure = heat(rows, values, columns=columns, signed=False)
    return Chart(f"{across} within each {down}", figure, "Each row sums to 1.")
