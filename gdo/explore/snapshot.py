"""A pool as it was at one moment, in a file of the explorer's own.

People browse for hours, and whoever has a pool open shuts its writers out. So the explorer reads the pool
once and lets go of it. The copy has view `candidate` as a table, which answers in milliseconds what the
view's joins take seconds for, and the other tables that people ask; it is opened as `gdo sql` opens a pool.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from gdo.explore.arrays import Arrays
from gdo.explore.columns import Told, find_facets, find_numbers, told_columns
from gdo.explore.rows import RowFile, write_rows
from gdo.explore.strangers import Strangers, open_copy
from gdo.explore.vectors import VectorIndex, read_vectors
from gdo.pool.candidate import literal, quoted
from gdo.pool.copies import CopyFolder
from gdo.pool.store import Pool, Stamp

_FILE = "pool.duckdb"
_ROWS = "rows.arrow"
_VECTORS = "vectors.npy"

# What people ask beside samples; vectors and single descriptors' tables stay in the pool.
_TABLES = """
SELECT table_name FROM duckdb_tables()
WHERE database_name = current_database() AND NOT internal
    AND table_name NOT IN ('sample', 'imported', 'migration', 'evaluation_answer')
    AND table_name NOT IN (SELECT name FROM descriptor)
ORDER BY table_name
"""

_SAMPLE_MEDIA = """
CREATE VIEW explored.sample_media AS
SELECT qa_uid, generate_subscripts(media_ids, 1) - 1 AS position, unnest(media_ids) AS media_id
FROM candidate
"""

# One row is one sample or medium that a descriptor was asked for and has not all values of.
_GAPS = """
CREATE TABLE explored.descriptor_gap (descriptor VARCHAR, qa_uid VARCHAR, media_id UBIGINT, error VARCHAR)
"""
_GAPS_OF = """
INSERT INTO explored.descriptor_gap BY NAME
SELECT ? AS descriptor, {key}, error FROM {table}
WHERE version = ? AND probe = ? AND (error IS NOT NULL OR {missing})
"""


@dataclass
class Snapshot:
    """The copy of a pool, and what is known of it.

    Attributes:
        pool: The pool it was made from.
        stamp: What tells one state of the pool's file from another.
        folder: Where the copy stands, and what else is made of it.
        connection: Read-only and locked; each thread takes a cursor of it.
        columns: The columns of `candidate`.
        rows: The rows of `candidate`.
        arrays: The columns that samples are filtered and sorted by, in memory.
        vectors: Those of samples; None where the pool has none.
    """

    pool: Pool
    stamp: Stamp
    folder: CopyFolder
    connection: duckdb.DuckDBPyConnection
    columns: list[Told]
    rows: RowFile
    arrays: Arrays
    vectors: VectorIndex | None

    def ask(self, query: str, parameters: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """The rows of a query of ours, columns by name."""
        with self.cursor() as cursor:
            result = cursor.execute(query, list(parameters))
            names = [column[0] for column in result.description]
            return [dict(zip(names, row, strict=True)) for row in result.fetchall()]

    @contextmanager
    def cursor(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection of its own for one thread."""
        cursor = self.connection.cursor()
        try:
            yield cursor
        finally:
            cursor.close()

    @property
    def file(self) -> Path:
        """The copy's file."""
        return self.folder.path / _FILE

    def is_stale(self) -> bool:
        """Whether the pool was written to since."""
        return self.pool.stamp() != self.stamp

    def close(self) -> None:
        """Let go of the copy, and remove it; who is still being answered from it keeps it open."""
        with suppress(duckdb.Error):
            self.connection.close()
        self.discard()

    def discard(self) -> None:
        """Remove the copy's files; who is being answered from it keeps it open to the end."""
        self.folder.remove()


def take_snapshot(pool: Pool, strangers: Strangers, home: Path | None = None) -> Snapshot:
    """Copy what the explorer needs of a pool.

    Args:
        pool: The pool; it is held for as long as this takes.
        strangers: Who runs queries that people wrote.
        home: Folder to make the copy's folder in; default the machine's for such files.

    Raises:
        GdoError: The pool cannot be opened.
    """
    folder = CopyFolder(home)
    file, rows_file = folder.path / _FILE, folder.path / _ROWS
    try:
        with pool.read() as connection:
            stamp = pool.stamp()
            columns = told_columns(connection)
            _copy(connection, file)
            copy = open_copy(file)
            write_rows(copy, rows_file)
            rows = RowFile(rows_file)
            facets, numbers = find_facets(copy, columns), find_numbers(columns)
            arrays = Arrays(copy, file, rows, strangers, facets, numbers)
            vectors = read_vectors(connection, arrays, folder.path / _VECTORS)
    except BaseException:
        folder.remove()
        raise
    return Snapshot(pool, stamp, folder, copy, columns, rows, arrays, vectors)


def _copy(connection: duckdb.DuckDBPyConnection, target: Path) -> None:
    """Write the tables into a new file, samples in their order."""
    tables = [name for (name,) in connection.execute(_TABLES).fetchall()]
    connection.execute(f"ATTACH {literal(str(target))} AS explored (READ_WRITE)")
    for name in ("candidate", *tables):
        connection.execute(f"CREATE TABLE explored.{quoted(name)} AS FROM {quoted(name)}")
    connection.execute(_SAMPLE_MEDIA)
    connection.execute(_GAPS)
    _copy_gaps(connection)
    connection.execute("DETACH explored")


def _copy_gaps(connection: duckdb.DuckDBPyConnection) -> None:
    """Write down which values are missing for which reason."""
    shown = {column.name for column in told_columns(connection)}
    query = "SELECT name, subject, version, probe, columns FROM descriptor"
    for name, subject, version, probe, columns in connection.execute(query).fetchall():
        mine = [quoted(column) for column in json.loads(columns) if column in shown]
        if mine:
            key = "media_id" if subject == "media" else "qa_uid"
            missing = " OR ".join(f"{column} IS NULL" for column in mine)
            filled = _GAPS_OF.format(key=key, table=quoted(name), missing=missing)
            connection.execute(filled, [name, version, probe])
