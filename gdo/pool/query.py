"""SQL for people: any SELECT over the pool, and nothing that could change, leak or stall anything.

The sandbox is DuckDB's own: a read-only connection without file, network or extension access, whose settings
are locked. On top of it stand a check of the one statement and of what it calls, a time limit, and a process
of its own that is ended where DuckDB does not stop. So the worst a query can do is to run until its time or
memory is used up.
"""

import csv
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import write_output
from gdo.pool.sandbox import Begun, Sandbox
from gdo.pool.store import MEMORY_LIMIT, Pool, scalar

BATCH_ROWS = 10_000
SPILL_LIMIT = "4GB"
"""What a query may put aside on disk."""

_LOCKS = (
    "python_enable_replacements = false",
    "autoload_known_extensions = false",
    "allow_community_extensions = false",
    "enable_external_access = false",
    "lock_configuration = true",
)
_LOCKING = threading.Lock()
_CATALOG = {"duckdb_tables", "duckdb_columns", "duckdb_views", "duckdb_functions", "duckdb_types"}
_TABLE_FUNCTIONS = _CATALOG | {
    *("range", "generate_series", "unnest", "repeat", "json_each", "json_tree"),
    *("pragma_table_info", "pragma_show", "pragma_version", "summary"),
}
_MACHINE_TABLE = re.compile(r"(duckdb|pragma|pg)_", re.IGNORECASE)
_MACHINE_FUNCTIONS = {"current_setting", "write_log"}
_EXPLAIN = re.compile(r"\s*explain(\s+analyze)?(\s*\([^)]*\))?\s", re.IGNORECASE)
_WRONG_QUERY = (
    duckdb.ParserException,
    duckdb.BinderException,
    duckdb.CatalogException,
    duckdb.InvalidInputException,
    duckdb.NotImplementedException,
    duckdb.PermissionException,
)


@dataclass(frozen=True, slots=True)
class QueryResult:
    """What a query gave.

    Attributes:
        columns: Names, in the query's order.
        types: DuckDB's type of each column.
        rows: The rows, where no output file was asked for; empty otherwise.
        count: How many rows were read or written.
        complete: False where `max_rows` cut the result short.
        path: The file written, if any.
    """

    columns: list[str]
    types: list[str]
    rows: list[tuple[Any, ...]]
    count: int
    complete: bool
    path: Path | None


def run_sql(
    pool: Path | str,
    query: str,
    *,
    output: Path | None = None,
    time_limit: float = 60.0,
    max_rows: int | None = None,
    sandbox: Sandbox | None = None,
) -> QueryResult:
    """Run one reading statement on a pool: SELECT, WITH, FROM, DESCRIBE, SUMMARIZE, SHOW or EXPLAIN.

    Args:
        pool: The pool's file.
        query: One SQL statement, in DuckDB's dialect.
        output: Write the rows to this file (`.csv`, `.json` or `.parquet`) instead of returning them.
        time_limit: Seconds after which the query is stopped.
        max_rows: Read at most so many rows; None for all.
        sandbox: The process that runs it; default one of its own. Many queries are faster in one that stays.

    Raises:
        UsageError: The statement is not one that reads the pool, or is wrong; the message has DuckDB's hints.
        GdoError: It ran out of time or memory, or failed on the data.
    """
    if time_limit <= 0:
        raise UsageError(f"the time limit must be above 0 seconds; it is {time_limit:g}")
    source = Pool(pool)
    write = None if output is None else _writer(output)
    with errors_of(time_limit), ExitStack() as own:
        process = sandbox or own.enter_context(Sandbox())
        if write is None or output is None:
            return process.call(_Query(source, query, time_limit, max_rows), time_limit)
        written = list[QueryResult]()

        def fill(aside: Path) -> None:
            work = _Query(source, query, time_limit, max_rows, partial(write, path=aside))
            written.append(process.call(work, time_limit))

        write_output(output, fill)
        return replace(written[0], path=output)


@contextmanager
def errors_of(time_limit: float) -> Iterator[None]:
    """Tell a person why the query's process had to be ended, or ended."""
    try:
        yield
    except TimeoutError as error:
        raise _too_long(time_limit) from error
    except MemoryError as error:
        raise GdoError("the query needs more memory than it may have, and was ended; narrow it") from error


@dataclass(frozen=True, slots=True)
class _Query:
    """A query on its way into the sandbox, where it is called."""

    source: Pool
    query: str
    time_limit: float
    max_rows: int | None
    write: "_Write | None" = None

    def __call__(self, begun: Begun) -> QueryResult:
        with suppress(OSError):  # where DuckDB spills to; a read-only folder can still be queried
            self.source.folder.mkdir(exist_ok=True)
        with self.source.read() as connection:
            begun()
            connection.execute(f"SET max_temp_directory_size = '{SPILL_LIMIT}'")
            with guarded(connection, self.query, self.time_limit) as check_time:
                relation = connection.sql(self.query)
                names, types = list(relation.columns), [str(kind) for kind in relation.types]
                # Left open, it would keep the database alive, and the next connect here would hang.
                with relation.to_arrow_reader(BATCH_ROWS) as reader:
                    batches = _Batches(reader, self.max_rows, check_time)
                    rows: list[tuple[Any, ...]] = []
                    if self.write is None:
                        rows = [row for batch in batches for row in _rows(batch)]
                    else:
                        self.write(batches, reader.schema)
        return QueryResult(names, types, rows, batches.count, batches.complete, None)


class _Batches:
    """The result as Arrow batches: cut at `max_rows`, counted, with the clock looked at between two."""

    def __init__(
        self, reader: pa.RecordBatchReader, max_rows: int | None, check_time: Callable[[], None]
    ) -> None:
        self.reader, self.max_rows, self.check_time = reader, max_rows, check_time
        self.count = 0
        self.complete = True

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        for batch in self.reader:
            self.check_time()
            kept = batch if self.max_rows is None else batch.slice(0, self.max_rows - self.count)
            self.count += kept.num_rows
            yield kept
            if kept.num_rows < batch.num_rows:
                self.complete = False
                return


@contextmanager
def guarded(
    connection: duckdb.DuckDBPyConnection, query: str, time_limit: float
) -> Iterator[Callable[[], None]]:
    """Lock a read-only connection, and let a stranger's query run on it in this block.

    Args:
        connection: Its settings, which it shares with the others to this file in the process, are locked.
        query: What the stranger wrote.
        time_limit: Seconds after which whatever runs on the connection is interrupted.

    Yields:
        A function that raises if the time is up, for work that DuckDB does not do.

    Raises:
        UsageError: The query is not one statement that reads the pool, or is wrong.
        GdoError: It ran out of time or memory, or failed on the data.
    """
    with _errors_for_people():
        lock_down(connection)
        _check_statement(connection, query)
        with _time_limit(connection, time_limit) as check_time:
            yield check_time


def lock_down(connection: duckdb.DuckDBPyConnection) -> None:
    """Shut the sandbox; connections of one process share it, so another query may have shut it already."""
    with _LOCKING:
        if not scalar(connection, "SELECT current_setting('lock_configuration')"):
            for setting in _LOCKS:
                connection.execute(f"SET {setting}")


def _check_statement(connection: duckdb.DuckDBPyConnection, query: str) -> None:
    """Refuse all but one statement that reads, and calls that show the machine instead of the pool."""
    statements = connection.extract_statements(query)
    if len(statements) != 1:
        raise UsageError(f"give one SQL statement; here are {len(statements)}")
    kind = statements[0].type
    if kind == duckdb.StatementType.MULTI:
        raise UsageError("give PIVOT its values, such as PIVOT candidate ON bucket IN ('image_qa', ...)")
    if kind not in (duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN):
        raise UsageError(
            f"a {kind.name} statement is refused: `gdo sql` only reads (SELECT, WITH, FROM, DESCRIBE, "
            "SUMMARIZE, SHOW, EXPLAIN)"
        )
    if kind == duckdb.StatementType.EXPLAIN:
        query = _EXPLAIN.sub("", query, count=1)
    tree = orjson.loads(scalar(connection, "SELECT json_serialize_sql(?)", [query]))
    if tree["error"]:
        raise UsageError("EXPLAIN takes a statement that reads, with no comment before it")
    for name in _refused_calls(tree["statements"]):
        raise UsageError(f"{name} is refused: queries may use the pool's tables and nothing else")


def _refused_calls(node: Any) -> Iterator[str]:
    """The table functions, functions and catalog views in a parsed statement that reach beyond the pool."""
    if isinstance(node, list):
        for item in node:
            yield from _refused_calls(item)
    elif isinstance(node, dict):
        kind, call = node.get("type"), str(node.get("function_name", "")).lower()
        if kind == "TABLE_FUNCTION":
            name = str(node["function"].get("function_name", "")).lower()
            if name not in _TABLE_FUNCTIONS:
                yield f"{name}()"
        elif kind == "BASE_TABLE":
            name = str(node.get("table_name", "")).lower()
            if _MACHINE_TABLE.match(name) and name not in _CATALOG:
                yield name
        elif call in _MACHINE_FUNCTIONS:
            yield f"{call}()"
        for item in node.values():
            yield from _refused_calls(item)


@contextmanager
def _time_limit(connection: duckdb.DuckDBPyConnection, seconds: float) -> Iterator[Callable[[], None]]:
    """Interrupt the connection after so many seconds, again and again until the block is left.

    Yields:
        A function that raises if the time is up, for work that DuckDB does not do.
    """
    done, expired = threading.Event(), threading.Event()
    too_long = _too_long(seconds)

    def watch() -> None:
        if not done.wait(seconds):
            expired.set()
            while not done.wait(0.1):
                connection.interrupt()

    def check() -> None:
        if expired.is_set():
            raise too_long

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield check
    except duckdb.InterruptException as error:
        raise too_long from error
    finally:
        done.set()
        thread.join()


def _too_long(seconds: float) -> GdoError:
    return GdoError(
        f"the query did not end within its limit of {seconds:g} seconds; narrow it, or allow it more"
    )


@contextmanager
def _errors_for_people() -> Iterator[None]:
    """Turn DuckDB's errors into ours: the message up to its first empty line, which keeps the hints."""
    try:
        yield
    except duckdb.Error as error:
        text = " ".join(str(error).split("\n\n")[0].split())
        if isinstance(error, duckdb.PermissionException):
            raise UsageError(f"the query may not leave the pool: {text}") from error
        if isinstance(error, _WRONG_QUERY):
            raise UsageError(f"the query is wrong: {text}") from error
        if isinstance(error, duckdb.OutOfMemoryException):
            raise GdoError(
                f"the query needs more than {MEMORY_LIMIT} of memory; narrow it: {text}"
            ) from error
        raise GdoError(f"the query failed: {text}") from error


_Write = Callable[[_Batches, pa.Schema], None]


def _writer(output: Path) -> Callable[..., None]:
    """The function that writes this file, by its suffix."""
    writers = {".csv": _write_csv, ".json": _write_json, ".parquet": _write_parquet}
    if output.suffix not in writers:
        raise UsageError(f"{output} ends in none of {', '.join(writers)}; the ending says what to write")
    if not output.absolute().parent.is_dir():
        raise UsageError(f"the folder {output.absolute().parent} does not exist; make it first")
    return writers[output.suffix]


def _write_csv(batches: _Batches, schema: pa.Schema, path: Path) -> None:
    """Rows as CSV with a header; NULL is an empty cell, lists and structs are JSON text, NaN is `nan`."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(schema.names)
        for batch in batches:
            writer.writerows([_csv_cell(value) for value in row] for row in _rows(batch))


def _write_json(batches: _Batches, schema: pa.Schema, path: Path) -> None:
    """Rows as a JSON array of objects, one a line; NaN and the infinities, which JSON lacks, are null."""
    _check_names(schema.names)
    separator = b"[\n"
    with path.open("wb") as file:
        for batch in batches:
            for row in _rows(batch):
                file.write(separator + _json(dict(zip(schema.names, row, strict=True))))
                separator = b",\n"
        file.write(b"\n]\n" if separator == b",\n" else b"[]\n")


def _write_parquet(batches: _Batches, schema: pa.Schema, path: Path) -> None:
    """Rows as Parquet with DuckDB's types; HUGEINT is decimal(38, 0)."""
    _check_names(schema.names)
    try:
        with pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for batch in batches:
                writer.write_batch(batch)
    except pa.ArrowNotImplementedError as error:
        raise UsageError(f"Parquet lacks a column's type, CAST it to VARCHAR: {error}") from error


def _check_names(names: Sequence[str]) -> None:
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two columns are called {twice!r}; give one another name with AS")


def _rows(batch: pa.RecordBatch) -> list[tuple[Any, ...]]:
    """The rows of a batch as Python values."""
    return list(zip(*map(_values, batch.columns), strict=True))


def _values(column: pa.Array) -> list[Any]:
    values: list[Any] = column.to_pylist(maps_as_pydicts="strict")
    if pa.types.is_decimal(column.type) and column.type.scale == 0:  # DuckDB's HUGEINT: the type of sum()
        return [int(value) if value is not None and -(2**63) <= value < 2**64 else value for value in values]
    return values


def _csv_cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return _json(value).decode() if isinstance(value, list | dict) else str(value)


def _json(value: Any) -> bytes:
    return orjson.dumps(value, default=_json_value, option=orjson.OPT_NON_STR_KEYS)


def _json_value(value: Any) -> Any:
    """What JSON has no form for: decimals become numbers where they fit, blobs hexadecimal, others text."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() and abs(value) < 2**63 else float(value)
    return value.hex() if isinstance(value, bytes) else str(value)
