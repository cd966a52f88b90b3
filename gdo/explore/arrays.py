"""Columns of a copy in memory, so that filters, counts and sorting answer at once on a million samples.

A filter becomes a mask over the copy's rows. Facets are codes, an order is a permutation of rows; DuckDB is
asked only for conditions that people wrote, once each, and for the few rows that are shown.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa

from gdo.errors import UsageError
from gdo.explore.columns import Facet
from gdo.explore.filters import Filter, Membership, check_subset
from gdo.explore.order import order_of
from gdo.explore.rows import RowFile
from gdo.explore.strangers import Strangers

Mask = npt.NDArray[np.bool_]
Rows = npt.NDArray[np.int32]
"""Row numbers of the copy's `candidate`, from 0."""
Integers = npt.NDArray[np.int64]
Value = str | int | bool | None

MOST_KEPT = 64
"""Masks and orders that are kept, a few megabytes each."""
_MOST_PREPARED = 8

Kept = TypeVar("Kept")


class Coded:
    """A facet's column: int32 codes [samples] and the value of each code; missing is a value like others."""

    def __init__(self, column: pa.ChunkedArray) -> None:
        encoded = column.combine_chunks().dictionary_encode(null_encoding="encode")
        self.values: list[Value] = encoded.dictionary.to_pylist()
        self.codes: npt.NDArray[np.int32] = encoded.indices.to_numpy()

    def mask(self, wanted: Sequence[Value]) -> Mask:
        """The rows that have one of these values."""
        chosen = np.fromiter((value in wanted for value in self.values), np.bool_, len(self.values))
        return np.asarray(chosen[self.codes])

    def count(self, rows: Mask | Integers | None) -> list[tuple[Value, int]]:
        """The values with how many rows have them, of all or of some, most frequent first."""
        codes = self.codes if rows is None else self.codes[rows]
        counts = np.bincount(codes, minlength=len(self.values)).tolist()
        found = [(value, count) for value, count in zip(self.values, counts, strict=True) if count]
        return sorted(found, key=lambda pair: (-pair[1], str(pair[0])))


class Arrays:
    """The columns of one copy.

    Attributes:
        samples: Rows of the copy.
        facets: Columns that samples are filtered by.
        numbers: Columns that they are sorted by.
    """

    def __init__(
        self,
        connection: duckdb.DuckDBPyConnection,
        copy: Path,
        rows: RowFile,
        strangers: Strangers,
        facets: Sequence[Facet],
        numbers: Sequence[str],
    ) -> None:
        self._connection, self._copy, self._rows, self._strangers = connection, copy, rows, strangers
        self.facets = {facet.name: facet for facet in facets}
        self.numbers = list(numbers)
        self.coded = {name: Coded(rows.column(name)) for name in self.facets}
        self._ordinal = _floats(rows.column("ordinal"))
        self.samples = rows.count
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._lock = Lock()

    def prepare(self, numbers: Sequence[str], subsets: Sequence[str]) -> None:
        """Make before somebody waits for it: values and orders of columns, masks of subsets."""
        known = [name for name in numbers if name in self.numbers]
        for name in known:
            self.numbers_of(name)
        for largest_first in (True, False):
            for name in known:
                self.order(name, largest_first=largest_first)
        for subset in subsets[:_MOST_PREPARED]:
            self.member(Membership(subset=subset))
            self.member(Membership(subset=subset, role="uniform"))

    def mask(self, wanted: Filter) -> Mask | None:
        """The rows that a filter lets through; None for all.

        Raises:
            UsageError: The filter is wrong.
            GdoError: Its condition in SQL ran out of time or memory.
        """
        parts = [self._facet(name, values) for name, values in wanted.facets.items() if values]
        parts += [self.member(member) for member in wanted.subsets]
        if wanted.where.strip():
            parts.append(self._where(wanted.where))
        return np.asarray(np.logical_and.reduce(parts), np.bool_) if parts else None

    def order(self, by: str, *, largest_first: bool) -> Rows | None:
        """All rows sorted by a column, those without a value last, equal ones as they were ingested.

        Args:
            by: A column of numbers; empty for the order of ingestion.
            largest_first: Largest first; not for the order of ingestion.

        Returns:
            None where that is the order of the rows.

        Raises:
            UsageError: Samples cannot be sorted by it.
        """
        if by and by not in self.numbers:
            raise UsageError(f"samples cannot be sorted by {by!r}; but by {', '.join(self.numbers)}")
        return self._keep(("order", by, largest_first and bool(by)), lambda: self._sort(by, largest_first))

    def numbers_of(self, name: str) -> npt.NDArray[np.float32]:
        """The values of a column of numbers, NaN where there is none: float32 [samples]."""
        return self._keep(("numbers", name), lambda: _floats(self._rows.column(name)).astype(np.float32))

    def member(self, member: Membership) -> Mask:
        """The rows in a subset, or those that are not."""
        inside = self._keep(("subset", member.subset, member.role), lambda: self._members(member))
        return inside if member.inside else ~inside

    def rows_of(self, ordinals: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """The rows of samples by `ordinal`; all of them are there."""
        order = self.order("", largest_first=False)
        places = np.searchsorted(self._ordinal, ordinals, sorter=order)
        return places if order is None else order[places].astype(np.int64)

    def ordinals(self, rows: Rows) -> npt.NDArray[np.int64]:
        """The `ordinal` of rows."""
        return self._ordinal[rows].astype(np.int64)

    def _facet(self, name: str, values: Sequence[str | int | None]) -> Mask:
        if name not in self.facets:
            raise UsageError(f"there is no facet {name!r}; there are {', '.join(self.facets)}")
        return self.coded[name].mask([self.facets[name].value(value) for value in values])

    def _where(self, where: str) -> Mask:
        def ask() -> npt.NDArray[np.uint8]:
            return self._strangers.ask(self._copy, where)

        packed = self._keep(("where", where), ask)
        return np.unpackbits(packed, count=self.samples).view(np.bool_)

    def _members(self, member: Membership) -> Mask:
        with self._connection.cursor() as cursor:
            check_subset(cursor, member.subset)
            rows = cursor.execute(
                "SELECT c.rowid AS row FROM candidate AS c JOIN subset_sample USING (qa_uid) "
                "WHERE subset = ? AND role = ?",
                [member.subset, member.role],
            ).fetchnumpy()["row"]
        inside = np.zeros(self.samples, np.bool_)
        inside[rows] = True
        return inside

    def _sort(self, by: str, largest_first: bool) -> Rows | None:
        if not by:
            if (np.diff(self._ordinal) > 0).all():
                return None
            return np.argsort(self._ordinal, kind="stable").astype(np.int32)
        values = _floats(self._rows.column(by))
        start = self.order("", largest_first=False)
        if start is None:
            return order_of(values, largest_first=largest_first)
        return start[order_of(values[start], largest_first=largest_first)]

    def _keep(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """What was made before, or make it; the longest unused goes."""
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                found: Kept = self._kept[key]
                return found
        made = make()
        with self._lock:
            self._kept[key] = made
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        return made


def _floats(column: pa.ChunkedArray) -> npt.NDArray[np.float64]:
    """A column of numbers, NaN where there is none."""
    values: npt.NDArray[np.float64] = column.cast(pa.float64(), safe=False).to_numpy()
    return values
