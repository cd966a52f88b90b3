"""What all sections of a report read: the open pool, its columns of values, and a sample of its rows.

Counts, means and histograms are taken over all rows by the database; quantiles, ranks and maps over a sample
by a hash of the ids, which is the same on every machine and is all of a pool up to `SAMPLE` rows.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import polars as pl

from gdo.descriptors.catalog import COVERAGE, DESCRIPTORS, PROBED
from gdo.pool.candidate import VALUE_COLUMNS, quoted
from gdo.pool.store import scalar

SAMPLE = 200_000
"""Rows that quantiles are taken over, about."""
SHOWN_SOURCES = 12
"""Sources that charts tell apart; tables sum up the others."""
_NUMERIC = {"DOUBLE", "FLOAT", "BIGINT", "INTEGER", "BOOLEAN"}
_LABELS = {"cluster_id"}
_SCORE = "what presets rank by: a weighted mean of the others; 0 to 1"


@dataclass(frozen=True, slots=True)
class Value:
    """A column of descriptor values in view `candidate`.

    Attributes:
        name: Of the column.
        unit: Empty where it has none.
        doc: What it says.
        descriptor: What computes it; empty for `quality_score` and columns that were only imported.
        made_by: Version and probe as stored, empty where it was not computed here.
    """

    name: str
    unit: str
    doc: str
    descriptor: str
    made_by: str

    @property
    def axis(self) -> str:
        """Title of an axis."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    @property
    def finite(self) -> str:
        """SQL of the value as a DOUBLE, NULL where it is no finite number."""
        number = f"CAST({quoted(self.name)} AS DOUBLE)"
        return f"CASE WHEN isfinite({number}) THEN {number} END"


class Source:
    """An open pool as the sections read it."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, home: Path) -> None:
        self.connection = connection
        self.home = home
        self.samples = int(scalar(connection, "SELECT count(*) FROM sample"))

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(query, list(parameters)).fetchall()

    def frame(self, query: str) -> pl.DataFrame:
        """All rows of a query as a table."""
        table: pl.DataFrame = self.connection.sql(query).pl()
        return table

    def has(self, table: str) -> bool:
        """Whether the pool has a table, with rows in it."""
        there = "SELECT count(*) FROM duckdb_tables() WHERE table_name = ?"
        return bool(scalar(self.connection, there, [table])) and bool(
            self.rows(f"SELECT 1 FROM {quoted(table)} LIMIT 1")
        )

    @cached_property
    def values(self) -> list[Value]:
        """The columns of numbers in view `candidate` that descriptors or imports fill, filled or not."""
        stored = {
            column: (name, told, f"version {version}" + (f", {probe}" if probe else ""))
            for name, version, probe, columns in self.rows(
                "SELECT name, version, probe, columns FROM descriptor ORDER BY name"
            )
            for column, told in json.loads(columns).items()
        }
        known = _known_columns()
        described = self.rows("SELECT column_name, column_type FROM (DESCRIBE candidate)")
        found = []
        for name, kind in described:
            if kind not in _NUMERIC or name in _LABELS or not (name in VALUE_COLUMNS or name in stored):
                continue
            descriptor, told, made_by = stored.get(name) or (*known.get(name, ("", {})), "")
            found.append(Value(name, told.get("unit", ""), told.get("doc", ""), descriptor, made_by))
        return found

    @cached_property
    def filled(self) -> list[Value]:
        """Those of `values` that some row of the sample has."""
        return [value for value in self.values if self.sample[value.name].count()]

    @cached_property
    def sample(self) -> pl.DataFrame:
        """A sample of the rows of `candidate`, ordered by hash: ids, fields, `cluster_id` and all values."""
        columns = ", ".join(f"{value.finite} AS {quoted(value.name)}" for value in self.values)
        return self.frame(
            "SELECT qa_uid, uid_hash, bucket, source_group, cluster_id, question_tokens, answer_tokens, "
            f"{columns} FROM candidate WHERE uid_hash <= {self.bound(SAMPLE)} ORDER BY uid_hash, qa_uid"
        )

    def bound(self, rows: int) -> int:
        """The hash up to which about so many rows lie."""
        return int(min(1.0, rows / max(1, self.samples)) * (2**64 - 1))

    @property
    def sampled(self) -> str:
        """What a figure was taken from, where that is not all of the pool; else empty."""
        if len(self.sample) == self.samples:
            return ""
        return f"of a sample of {len(self.sample):,} of {self.samples:,}"

    @cached_property
    def buckets(self) -> list[str]:
        """The buckets, the same order in every chart."""
        return [bucket for (bucket,) in self.rows("SELECT DISTINCT bucket FROM sample ORDER BY 1")]

    @cached_property
    def subsets(self) -> list[str]:
        """Names of the subsets, oldest first."""
        return [name for (name,) in self.rows("SELECT subset FROM subset ORDER BY created, subset")]


def _known_columns() -> dict[str, tuple[str, Mapping[str, str]]]:
    """Descriptor, unit and meaning of the columns that gdo itself can compute."""
    makers = [*PROBED.values(), COVERAGE, *DESCRIPTORS.values()]
    known: dict[str, tuple[str, Mapping[str, str]]] = {
        column: (maker.name, {"unit": told.unit, "doc": told.doc})
        for maker in makers
        for column, told in maker.columns.items()
    }
    return known | {"quality_score": ("", {"unit": "", "doc": _SCORE})}
