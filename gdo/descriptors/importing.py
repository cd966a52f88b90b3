"""Values computed elsewhere, keyed by qa_uid: the reference's merged metrics, or anybody's table.

The file is read outside the database into one Parquet file of numbers, which a short transaction then
merges into table `imported`.
"""

import math
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from numpy.typing import NDArray

from gdo.errors import UsageError
from gdo.pool.candidate import VALUE_COLUMNS, refresh_candidate
from gdo.pool.readers import READERS, detect
from gdo.pool.rows import BadRowError
from gdo.pool.samples import without_garbage_collection
from gdo.pool.store import Pool, record_run, scalar, utc_now

ALIASES = {"tnc_score": "tnc"}
"""The reference's names of columns that are called otherwise here."""
ROWS_AT_A_TIME = 20_000
TOLD = 5
"""Broken lines told one by one; all are counted."""

_SCHEMA = pa.schema({"qa_uid": pa.string(), "line": pa.int64()} | dict.fromkeys(VALUE_COLUMNS, pa.float64()))


@dataclass(slots=True)
class ImportReport:
    """What became of one file of values.

    Attributes:
        path: The file.
        rows: Rows with a qa_uid.
        broken: Rows without one, or that cannot be read.
        broken_lines: The first few of them, with line and reason.
        duplicates: Rows whose qa_uid stands again further down; the last row holds.
        matched: Ids that are samples of the pool.
        unknown: Ids that are not; kept, for the released score takes its mean and spread over all rows.
        samples_without_row: Samples of the pool without imported values, from this file or an earlier one.
        columns: Columns taken, by their names here.
        unknown_columns: Columns left out.
        missing: Values that are null, not finite or not numbers, by column; stored as NULL.
        seconds: Time taken.
    """

    path: str
    rows: int = 0
    broken: int = 0
    broken_lines: list[str] = field(default_factory=list)
    duplicates: int = 0
    matched: int = 0
    unknown: int = 0
    samples_without_row: int = 0
    columns: list[str] = field(default_factory=list)
    unknown_columns: list[str] = field(default_factory=list)
    missing: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0

    def tell_broken(self, line: int, reason: str) -> None:
        """Count a broken row; remember the first few."""
        self.broken += 1
        if len(self.broken_lines) < TOLD:
            self.broken_lines.append(f"line {line}: {reason}")


def import_descriptors(pool: Path | str, file: Path | str) -> ImportReport:
    """Take descriptor values from a file: one row per qa_uid, JSON lines (also .gz, .zst), JSON or Parquet.

    A row takes the place of an earlier import's row of the same qa_uid, but only in the columns that the
    file has. Imported values come before computed ones in view `candidate`.

    Args:
        pool: Path of the pool's database file.
        file: The file of values.

    Raises:
        UsageError: There is no such pool or file, or the file has no column qa_uid or none of values.
    """
    target, path, started, clock = Pool(pool), Path(file).absolute(), utc_now(), time.monotonic()
    report = ImportReport(str(path))
    target.folder.mkdir(exist_ok=True)
    numbers = target.folder / f"import-{os.getpid()}.parquet"
    try:
        _read_numbers(path, numbers, report)
        with target.write() as connection:
            connection.register("number", ds.dataset(numbers, format="parquet"))
            _merge(connection, report)
            record_run(connection, "import-descriptors", {"path": str(path)}, started)
    finally:
        numbers.unlink(missing_ok=True)
    report.seconds = time.monotonic() - clock
    return report


def _read_numbers(path: Path, numbers: Path, report: ImportReport) -> None:
    """Write the file's values as numbers, and report its rows and columns."""
    seen: set[str] = set()
    with (
        pq.ParquetWriter(numbers, _SCHEMA, compression="lz4", use_dictionary=False) as writer,
        without_garbage_collection(),
    ):
        for lines, rows in _chunks(path, seen, report):
            writer.write_table(_numbers(lines, rows, seen, report))
    if "qa_uid" not in seen:
        told = f"its columns are {', '.join(sorted(seen))}" if seen else "; ".join(report.broken_lines)
        raise UsageError(
            f"{path} has no column qa_uid, by which values find their samples ({told or 'no rows'})"
        )
    report.columns = [name for name in VALUE_COLUMNS if _source(name, seen)]
    sources = {_source(name, seen) for name in report.columns}
    report.unknown_columns = sorted(seen - {"qa_uid"} - sources)
    if not report.columns:
        raise UsageError(f"{path} has no column of values; known are {', '.join(VALUE_COLUMNS)}")


def _source(column: str, seen: set[str]) -> str | None:
    """What a column is called in the file; None where it is not there."""
    names = (column, *(alias for alias, name in ALIASES.items() if name == column))
    return next((name for name in names if name in seen), None)


def _chunks(
    path: Path, seen: set[str], report: ImportReport
) -> Iterator[tuple[list[int], list[dict[str, Any]]]]:
    """Lines and rows of the good rows, some at a time; the others are told, and all columns are noted."""
    container = detect(path)
    if container not in {"jsonl", "json", "parquet"}:
        raise UsageError(f"{path} is neither JSON lines nor JSON nor Parquet")
    items = (item for block in READERS[container](path) for item in block.rows())
    while some := list(islice(items, ROWS_AT_A_TIME)):
        seen.update(*(row for _, row in some if isinstance(row, dict)))
        good = []
        for line, row in some:
            if flaw := _flaw(row):
                report.tell_broken(line, flaw)
            else:
                good.append((line, row))
        report.rows += len(good)
        yield [line for line, _ in good], [row for _, row in good]


def _flaw(row: Any) -> str | None:
    """Why a row cannot be used."""
    if isinstance(row, dict):
        return "no qa_uid" if row.get("qa_uid") in (None, "") else None
    return str(row) if isinstance(row, BadRowError) else "not an object"


def _numbers(lines: list[int], rows: list[dict[str, Any]], seen: set[str], report: ImportReport) -> pa.Table:
    """Rows as a table of numbers."""
    columns: dict[str, Any] = {"qa_uid": [str(row["qa_uid"]) for row in rows], "line": lines}
    for name in VALUE_COLUMNS:
        source = _source(name, seen)
        if source:
            values = to_numbers([row.get(source) for row in rows])
            columns[name] = pa.array(values, mask=np.isnan(values))
            report.missing[name] += columns[name].null_count
        else:
            columns[name] = pa.nulls(len(rows), pa.float64())
    return pa.table(columns, schema=_SCHEMA)


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


def _merge(connection: duckdb.DuckDBPyConnection, report: ImportReport) -> None:
    """Replace rows of `imported` by those of `number`, in the columns that the file has."""
    connection.execute(
        "CREATE TEMP TABLE fresh AS SELECT * FROM number "
        "SEMI JOIN (SELECT qa_uid, max(line) AS line FROM number GROUP BY qa_uid) USING (qa_uid, line)"
    )
    values = [
        f"TRY_CAST({'fresh' if name in report.columns else 'imported'}.{name} AS {kind}) AS {name}"
        for name, kind in VALUE_COLUMNS.items()
    ]
    connection.execute(
        f"CREATE TEMP TABLE merged AS SELECT fresh.qa_uid, {', '.join(values)} "
        "FROM fresh LEFT JOIN imported USING (qa_uid)"
    )
    connection.execute("DELETE FROM imported WHERE qa_uid IN (SELECT qa_uid FROM fresh)")
    connection.execute("INSERT INTO imported BY NAME SELECT * FROM merged")
    refresh_candidate(connection)
    distinct = int(scalar(connection, "SELECT count(*) FROM fresh"))
    report.duplicates = report.rows - distinct
    report.matched = int(scalar(connection, "SELECT count(*) FROM fresh SEMI JOIN sample USING (qa_uid)"))
    report.unknown = distinct - report.matched
    report.samples_without_row = int(
        scalar(connection, "SELECT count(*) FROM sample ANTI JOIN imported USING (qa_uid)")
    )
