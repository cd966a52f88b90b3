"""How descriptors relate: rank correlations of all pairs of columns."""

import polars as pl

from gdo.report.html.blocks import Chart, Note, Section
from gdo.report.html.charts import heat
from gdo.report.html.source import Source

ROWS = 50_000
"""Rows that ranks are taken over, at most: the first of the sample."""
_LENGTHS = ("question_tokens", "answer_tokens")


def relations_section(source: Source) -> Section:
    """The correlations as shades."""
    intro = "Spearman's rank correlation of each pair of columns, over the samples that have both values."
    rows = source.sample.head(ROWS)
    names = [name for name in (*(v.name for v in source.filled), *_LENGTHS) if rows[name].n_unique() > 2]
    if len(names) < 3:
        missing = Note("There are no two columns of values to relate.", "gdo describe POOL")
        return Section("relations", "How descriptors relate", intro, [missing])
    values = [[1.0 if a == b else spearman(rows, a, b) for b in names] for a in names]
    of = f" Taken over {len(rows):,} of {source.samples:,} samples." if len(rows) < source.samples else ""
    note = f"Empty where fewer than 3 samples have both.{of}"
    chart = Chart("Rank correlation", heat(names, values, signed=True), note, wide=True)
    return Section("relations", "How descriptors relate", intro, [chart])


def spearman(rows: pl.DataFrame, first: str, second: str) -> float | None:
    """Spearman's correlation of two columns where both are there; None where it has no meaning."""
    both = rows.select(first, second).drop_nulls()
    if len(both) < 3 or both[first].n_unique() < 2 or both[second].n_unique() < 2:
        return None
    return float(both.select(pl.corr(first, second, method="spearman")).item())
