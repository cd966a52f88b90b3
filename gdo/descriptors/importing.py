"""Values computed elsewhere, keyed by qa_uid: the reference's merged metrics, or anybody's table.

The file is read outside the database into one Parquet file of numbers, which a short transaction then
merges into table `imported`.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import duckdb
import pyarrow.parquet as pq

from gdo.descriptors.number_tables import SCHEMA, number_tables, source_of
from gdo.errors import UsageError
from gdo.pool.candidate import VALUE_COLUMNS, literal, refresh_candidate
from gdo.pool.samples import without_garbage_collection
from gdo.pool.store import Pool, record_run, scalar, utc_now

RANGES = {
    "amm": (0, None),
    "tnc": (0, 1),
    "self_consistency": (0, 1),
    "cluster_dist": (0, None),
    "cluster_rep": (0, 1),
    "cluster_hard": (0, 1),
}
"""Least and most of columns that have such; values beyond are told, and taken as they are."""
TOLD = 5
"""Broken lines told one by one; all are counted."""


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
        missing: Values that are null, not finite, not numbers, or ids of clusters that are not whole, by
            column; stored as NULL.
        hints: What a person should know: values out of range, or a file of which no id is in the pool.
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
    hints: list[str] = field(default_factory=list)
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
            view = f"CREATE TEMP VIEW number AS SELECT * FROM read_parquet({literal(str(numbers))})"
            connection.execute(view)
            _merge(connection, report)
            report.hints += _hints(connection, report)
            record_run(connection, "import-descriptors", {"path": str(path)}, started)
    finally:
        numbers.unlink(missing_ok=True)
    report.seconds = time.monotonic() - clock
    return report


def _read_numbers(path: Path, numbers: Path, report: ImportReport) -> None:
    """Write the file's values as numbers, and report its rows and columns."""
    seen: set[str] = set()
    with (
        pq.ParquetWriter(numbers, SCHEMA, compression="lz4", use_dictionary=False) as writer,
        without_garbage_collection(),
    ):
        for table in number_tables(path, seen, report):
            writer.write_table(table)
    if "qa_uid" not in seen:
        told = f"its columns are {', '.join(sorted(seen))}" if seen else "; ".join(report.broken_lines)
        raise UsageError(
            f"{path} has no column qa_uid, by which values find their samples ({told or 'no rows'}); "
            "it is to be JSON lines, JSON or Parquet, not CSV"
        )
    report.columns = [name for name in VALUE_COLUMNS if source_of(name, seen)]
    sources = {source_of(name, seen) for name in report.columns}
    report.unknown_columns = sorted(seen - {"qa_uid"} - sources)
    if not report.columns:
        raise UsageError(f"{path} has no column of values; known are {', '.join(VALUE_COLUMNS)}")


def _merge(connection: duckdb.DuckDBPyConnection, report: ImportReport) -> None:
    """Replace rows of `imported` by those of `number`, in the columns that the file has."""
    distinct = int(scalar(connection, "SELECT count(DISTINCT qa_uid) FROM number"))
    report.duplicates = report.rows - distinct
    if report.duplicates:
        connection.execute(
            "CREATE TEMP TABLE fresh AS SELECT * FROM number "
            "SEMI JOIN (SELECT qa_uid, max(line) AS line FROM number GROUP BY qa_uid) USING (qa_uid, line)"
        )
    else:
        connection.execute("CREATE TEMP VIEW fresh AS SELECT * FROM number")
    values = [
        f"TRY_CAST({_whole(name) if name in report.columns else f'imported.{name}'} AS {kind}) AS {name}"
        for name, kind in VALUE_COLUMNS.items()
    ]
    first = not scalar(connection, "SELECT count(*) FROM imported")
    connection.execute(
        f"CREATE TEMP {'VIEW' if first else 'TABLE'} merged AS SELECT fresh.qa_uid, {', '.join(values)} "
        "FROM fresh LEFT JOIN imported USING (qa_uid)"
    )
    connection.execute("DELETE FROM imported WHERE qa_uid IN (SELECT qa_uid FROM fresh)")
    connection.execute("INSERT INTO imported BY NAME SELECT * FROM merged")
    refresh_candidate(connection)
    report.matched = int(scalar(connection, "SELECT count(*) FROM fresh SEMI JOIN sample USING (qa_uid)"))
    report.unknown = distinct - report.matched
    report.samples_without_row = int(
        scalar(connection, "SELECT count(*) FROM sample ANTI JOIN imported USING (qa_uid)")
    )


def _whole(name: str) -> str:
    """A fresh value; an id of a cluster that is not whole is none."""
    value = f"fresh.{name}"
    return (
        f"CASE WHEN {value} = floor({value}) THEN {value} END" if VALUE_COLUMNS[name] == "BIGINT" else value
    )


def _hints(connection: duckdb.DuckDBPyConnection, report: ImportReport) -> list[str]:
    """Count ids of clusters that are not whole as missing, and tell what a person should look at."""
    beyond = ", ".join(
        f"count_if({name} < {least}" + (f" OR {name} > {most})" if most is not None else ")")
        for name, (least, most) in RANGES.items()
    )
    halves, *counts = connection.execute(
        f"SELECT count_if(cluster_id <> floor(cluster_id)), {beyond} FROM number"
    ).fetchall()[0]
    report.missing.update({"cluster_id": halves} if halves else {})
    hints = [
        f"{count:,} values of {name} are not {least} {'or more' if most is None else f'to {most}'}; "
        "taken as they are"
        for (name, (least, most)), count in zip(RANGES.items(), counts, strict=True)
        if count
    ]
    if report.rows and not report.matched:
        theirs = scalar(connection, "SELECT min(qa_uid) FROM fresh")
        ours = scalar(connection, "SELECT min(qa_uid) FROM sample") or "none, it is empty"
        hints.append(f"no id of the file is in the pool: the file has {theirs}, the pool {ours}")
    return hints
