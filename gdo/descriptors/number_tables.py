"""Files of values keyed by qa_uid, as Arrow tables of numbers.

Blocks of JSON lines that hold nothing but numbers are parsed whole, in threads; all else row by row.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json as pj
from numpy.typing import NDArray

from gdo.errors import UsageError
from gdo.pool.candidate import VALUE_COLUMNS
from gdo.pool.columns import null_as_nan, numbers
from gdo.pool.readers import READERS, Block, Lines, detect
from gdo.pool.rows import BadRowError
from gdo.pool.threads import MAX_THREADS, in_threads
from gdo.pool.typed import read_objects

if TYPE_CHECKING:
    from gdo.descriptors.importing import ImportReport

ALIASES = {"tnc_score": "tnc"}
"""The reference's names of columns that are called otherwise here."""
ROWS_AT_A_TIME = 20_000
SCHEMA = pa.schema({"qa_uid": pa.string(), "line": pa.int64()} | dict.fromkeys(VALUE_COLUMNS, pa.float64()))


def number_tables(path: Path, seen: set[str], report: "ImportReport") -> Iterator[pa.Table]:
    """The good rows of a file as tables of `SCHEMA`, in order.

    Broken rows and missing values are told to `report`, the names of all columns go to `seen`.

    Raises:
        UsageError: The file is neither JSON nor Parquet.
    """
    container = detect(path)
    if container not in {"jsonl", "json", "parquet"}:
        raise UsageError(f"{path} is neither JSON lines nor JSON nor Parquet")
    threads = min(len(os.sched_getaffinity(0)), MAX_THREADS)
    for block, table in in_threads(_with_objects, READERS[container](path), threads):
        if table is None or not isinstance(block, Lines):
            yield from _row_by_row(block.rows(), seen, report)
        else:
            seen.update(table.column_names)
            report.rows += len(table)
            line = numbers(np.arange(block.start, block.start + len(table)))
            yield _numbers(table["qa_uid"], line, partial(_column_of, table), seen, report)


def source_of(column: str, seen: set[str]) -> str | None:
    """What a column is called in the file; None where it is not there."""
    names = (column, *(alias for alias, name in ALIASES.items() if name == column))
    return next((name for name in names if name in seen), None)


def _with_objects(block: Block) -> tuple[Block, pa.Table | None]:
    """A block, and its rows as columns where each has a qa_uid and numbers alone in columns of values."""
    if not isinstance(block, Lines) or block.oversized:
        return block, None
    only_id = pa.schema({"qa_uid": pa.string()})
    table = read_objects(block.data, pj.ParseOptions(only_id, unexpected_field_behavior="infer"))
    if table is None or table["qa_uid"].null_count or pc.min(pc.binary_length(table["qa_uid"])).as_py() == 0:
        return block, None
    known = {*VALUE_COLUMNS, *ALIASES}
    kinds = {field.type for field in table.schema if field.name in known}
    return block, table if kinds <= {pa.int64(), pa.float64(), pa.null()} else None


def _row_by_row(
    items: Iterable[tuple[int, Any]], seen: set[str], report: "ImportReport"
) -> Iterator[pa.Table]:
    """Some rows at a time; the others are told, and all columns are noted."""
    items = iter(items)
    while some := list(islice(items, ROWS_AT_A_TIME)):
        seen.update(*(row for _, row in some if isinstance(row, dict)))
        good = []
        for line, row in some:
            if flaw := _flaw(row):
                report.tell_broken(line, flaw)
            else:
                good.append((line, row))
        report.rows += len(good)
        rows = [row for _, row in good]
        uids, lines = [str(row["qa_uid"]) for row in rows], [line for line, _ in good]
        yield _numbers(uids, lines, partial(_values_of, rows), seen, report)


def _values_of(rows: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """What rows say under a name, as numbers."""
    return to_numbers([row.get(name) for row in rows])


def _flaw(row: Any) -> str | None:
    """Why a row cannot be used."""
    if isinstance(row, dict):
        return "no qa_uid" if row.get("qa_uid") in (None, "") else None
    return str(row) if isinstance(row, BadRowError) else "not an object"


def _numbers(
    uids: Any,
    lines: Any,
    column: Callable[[str], NDArray[np.float64]],
    seen: set[str],
    report: "ImportReport",
) -> pa.Table:
    """Rows as a table of numbers; NaN in a column is null."""
    columns: dict[str, Any] = {"qa_uid": uids, "line": lines}
    for name in VALUE_COLUMNS:
        source = source_of(name, seen)
        if source:
            values = column(source)
            columns[name] = numbers(values, ~np.isnan(values))
            report.missing[name] += columns[name].null_count
        else:
            columns[name] = pa.nulls(len(lines), pa.float64())
    return pa.table(columns, schema=SCHEMA)


def _column_of(table: pa.Table, name: str) -> NDArray[np.float64]:
    """A column of a parsed block as numbers; NaN where it is not there, null or not finite."""
    if name not in table.column_names:
        return np.full(len(table), math.nan)
    values = null_as_nan(table[name].cast(pa.float64(), safe=False))
    return np.where(np.isfinite(values), values, math.nan)


def to_numbers(values: list[Any]) -> NDArray[np.float64]:
    """Numbers as float64; whatever is null, not finite or not a number is NaN."""
    if {type(value) for value in values} <= {int, float, type(None)}:
        numbers = np.array(values, dtype=np.float64)
    else:
        numbers = np.array([_to_number(value) for value in values], dtype=np.float64)
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _to_number(value: Any) -> float:
    if isinstance(value, bool | bytes):
        return math.nan
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return math.nan
