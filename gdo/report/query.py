"""Rows of a query for the terminal: numbers that can be pasted into the next query."""

from collections.abc import Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.text import Text

from gdo.report.fitted import Fitted, plain

if TYPE_CHECKING:
    from gdo.pool.query import QueryResult

SHOWN_ROWS = 100
"""Rows of a query that are shown where nobody says how many."""

_NUMBERS = {
    *("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT"),
    *("UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"),
    *("FLOAT", "DOUBLE", "DECIMAL"),
}
_EXACT = 1e15
"""From here on not every digit before the point would be true."""


def query_tables(result: "QueryResult") -> RenderableType:
    """The rows of a query, or where they were written."""
    more = "" if result.complete else ", more are there (--max-rows)"
    if result.path:
        return Text(f"{result.count:,} rows written to {result.path}{more}")
    shown = Fitted()
    for name, kind in zip(result.columns, result.types, strict=True):
        shown.add(name, number=kind.partition("(")[0] in _NUMBERS)
    for row in zip(*map(_cells, zip(*result.rows, strict=True)), strict=True):
        shown.add_row(*map(plain, row))
    return Group(shown, Text(f"{result.count:,} rows{more}", style="dim"))


def _cells(values: Sequence[Any]) -> list[str]:
    """A column as text; its fractions with the fewest digits, six or more, that tell them apart."""
    different = len({repr(value) for value in values})
    for digits in (6, 9, 12):
        cells = [_cell(value, digits) for value in values]
        if len(set(cells)) == different:
            return cells
    return [_cell(value, None) for value in values]


def _cell(value: Any, digits: int | None) -> str:
    if value is None:
        return "-"
    if isinstance(value, Decimal):
        return f"{value:f}"
    if not isinstance(value, float) or digits is None:
        return str(value)
    whole = len(f"{abs(value):.0f}") if abs(value) < _EXACT else 0
    return f"{value:.{max(digits, whole)}g}"
