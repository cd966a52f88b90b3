"""Between computing and the pool: what is still to do, finished parts on disk, and their commit.

Computing does not hold the database. The work list and the results are Parquet files in a folder beside the
pool; a short transaction takes finished parts in, and only then are they deleted. A part that is found
again, because somebody pulled the plug in between, adds nothing.
"""

import uuid
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gdo.descriptors.engine.ray_storage import gather
from gdo.errors import GdoError
from gdo.pool.atomic import write_aside
from gdo.pool.candidate import quoted, refresh_candidate
from gdo.pool.store import Pool, locked, record_run, scalar

LIST_ROWS = 4096
"""Rows in one row group of a work list: a frame list may name thousands of paths."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is told in table `run` of the command at work."""

    name: str
    arguments: dict[str, Any]
    started: datetime


@dataclass(frozen=True, slots=True)
class Tally:
    """What one part holds.

    Attributes:
        name: What was computed.
        computed: Subjects with values.
        reasons: How often each reason was given in place of values.
    """

    name: str
    computed: int
    reasons: Counter[str]


def count(name: str, table: pa.Table) -> Tally:
    """What a part holds; reasons are told apart by what stands before their details."""
    errors = [error.partition(" (")[0] for error in table["error"].to_pylist() if error is not None]
    return Tally(name, table.num_rows - len(errors), Counter(errors))


@dataclass(frozen=True, slots=True)
class Plan:
    """What one run has to do.

    Attributes:
        already: Subjects that need nothing.
        todo: Subjects in the work list.
        path: The work list.
    """

    already: int
    todo: int
    path: Path

    def batches(self, size: int) -> Iterator[pa.Table]:
        """The work list, `size` rows at a time."""
        return read_batches(self.path, size)


def read_batches(path: Path, size: int) -> Iterator[pa.Table]:
    """The rows of a Parquet file, `size` at a time."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(size):
            yield pa.Table.from_batches([batch])


def write_list(rows: duckdb.DuckDBPyRelation, path: Path) -> int:
    """Write a work list, and tell its length."""
    write_aside(path, lambda aside: rows.write_parquet(str(aside), row_group_size=LIST_ROWS))
    return int(pq.read_metadata(path).num_rows)


class Parts(ABC):
    """The unfinished work of one kind: its folder, its work list, its finished parts.

    Attributes:
        name: What is computed, as people call it.
        key: The column that names a subject.
        subjects: A query of all subjects: key, `key_hash`, and what computing needs.
        folder: Where the work list and the parts stand.
        sources: Where `stamp` stands.
    """

    key: str
    subjects: str

    def __init__(self, pool: Pool, name: str, folder: str) -> None:
        self.pool = pool
        self.name = name
        self.folder = pool.folder / "describe" / folder
        self.sources = self.folder / "sources.parquet"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep a second process from computing the same.

        Raises:
            GdoError: Another process is at it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        with locked(self.folder, wait=False) as free:
            if not free:
                raise GdoError(
                    f"another process computes {self.name} for {self.pool.path}; wait for it or stop it"
                )
            for half_written in self.folder.glob(".*.part"):
                half_written.unlink()
            gather(self.folder)
            yield

    def save(self, table: pa.Table) -> Tally:
        """Keep the result of one batch."""
        path = self.folder / f"part-{uuid.uuid4().hex}.parquet"
        write_aside(path, lambda aside: pq.write_table(table, aside))
        return count(self.name, table)

    def files(self) -> list[Path]:
        """The parts that wait to be committed."""
        return sorted(self.folder.glob("part-*.parquet"))

    def missing(
        self, connection: duckdb.DuckDBPyConnection, limit: int | None, *, retry_errors: bool
    ) -> tuple[str, int]:
        """A query of the subjects that have no values yet, in the pool or in parts; and how many have some.

        Args:
            connection: The pool; the query is for this connection alone.
            limit: At most so many: those with the smallest hash, which no order of ingestion favours.
            retry_errors: Take those with an error too.
        """
        done = [self._stored(connection, retry_errors)]
        if files := self.files():
            part = f"part of {self.folder.name}"
            connection.register(part, ds.dataset(files, format="parquet"))
            done.append(f"SELECT {self.key} FROM {quoted(part)}" + (" WHERE error IS NULL" * retry_errors))
        missing = f"({self.subjects}) AS subject ANTI JOIN ({' UNION ALL '.join(done)}) USING ({self.key})"
        total = scalar(connection, f"SELECT count(*) FROM ({self.subjects})")
        already = total - scalar(connection, f"SELECT count(*) FROM {missing}")
        if limit is not None:
            some = f"SELECT {self.key} FROM {missing} ORDER BY key_hash, {self.key} LIMIT {int(limit)}"
            missing = f"({self.subjects}) AS subject SEMI JOIN ({some}) USING ({self.key})"
        return f"SELECT * EXCLUDE key_hash FROM {missing}", already

    def plan(self, limit: int | None, *, retry_errors: bool) -> Plan:
        """Write the list of subjects that have no values yet; see `missing`."""
        path = self.folder / "todo.parquet"
        with self.pool.read() as connection:
            query, already = self.missing(connection, limit, retry_errors=retry_errors)
            return Plan(already, write_list(connection.sql(query), path), path)

    def stamp(self) -> None:
        """Note which files the samples are from: one that is replaced makes the parts of its samples stale.

        Parts that wait keep the older note. It may be too strict for new ones, which are then made again.
        """
        if self.key == "qa_uid" and not (self.files() and self.sources.exists()):
            with self.pool.read() as connection:
                write_list(connection.sql("SELECT source_id, ingested FROM source"), self.sources)

    @abstractmethod
    def settled(self) -> bool:
        """Whether the pool needs nothing but the parts."""

    @abstractmethod
    def take(self, connection: duckdb.DuckDBPyConnection, has_parts: bool, at_end: bool) -> None:
        """Take the parts' rows, table `fresh`, into the pool.

        Args:
            connection: The pool, within a transaction.
            has_parts: Whether there are any.
            at_end: Whether the run has nothing left to do.
        """

    @abstractmethod
    def _stored(self, connection: duckdb.DuckDBPyConnection, retry_errors: bool) -> str:
        """A query of the keys that the pool has values for."""


def commit(parts: Sequence[Parts], command: Command, *, at_end: bool = False) -> None:
    """Take parts into the pool in one transaction, waiting for the file; then delete them.

    The command's row in `run` is written with the first commit and renewed by the later ones.

    Args:
        parts: Kinds of work that one run does together.
        command: The run.
        at_end: Whether it has nothing left to do.
    """
    settled = not at_end or all(each.settled() for each in parts)
    if settled and not any(each.files() for each in parts):
        return
    with parts[0].pool.write() as connection:
        files = [each.files() for each in parts]
        for each, its in zip(parts, files, strict=True):
            if its:
                connection.register("part", ds.dataset(its, format="parquet"))
                connection.execute(
                    f"CREATE OR REPLACE TEMP TABLE fresh AS SELECT * FROM part "
                    f"QUALIFY row_number() OVER (PARTITION BY {each.key} ORDER BY error IS NOT NULL) = 1"
                )
            each.take(connection, bool(its), at_end)
        refresh_candidate(connection)
        connection.execute(
            "DELETE FROM run WHERE command = ? AND started = ?", [command.name, command.started]
        )
        record_run(connection, command.name, command.arguments, command.started)
    for file in (file for its in files for file in its):
        file.unlink(missing_ok=True)


def try_commit(parts: Sequence[Parts], command: Command) -> None:
    """Commit if nobody holds the database right now; otherwise a later call will."""
    try:
        duckdb.connect(str(parts[0].pool.path)).close()
    except duckdb.Error:
        return
    commit(parts, command)
