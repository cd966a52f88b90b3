"""Between computing and the pool: what is still to do, finished parts on disk, and their commit.

Computing does not hold the database. The work list and the results are Parquet files in a folder beside the
pool; a short transaction takes finished parts in, and only then are they deleted. A part that is found
again, because somebody pulled the plug in between, adds nothing.
"""

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from gdo.descriptors.base import Descriptor
from gdo.errors import GdoError
from gdo.pool.atomic import write_aside
from gdo.pool.candidate import quoted, refresh_candidate
from gdo.pool.store import Pool, locked, record_run, scalar

LIST_ROWS = 4096
"""Subjects in one row group of the work list: a frame list may name thousands of paths."""


@dataclass(frozen=True, slots=True)
class Command:
    """What is told in table `run` of the command at work."""

    name: str
    arguments: dict[str, Any]
    started: datetime


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
        for batch in pq.ParquetFile(self.path).iter_batches(size):
            yield pa.Table.from_batches([batch])


class Parts(ABC):
    """The unfinished work of one kind: its folder, its work list, its finished parts.

    Attributes:
        key: The column that names a subject.
        subjects: A query of all subjects: key, `key_hash`, and what computing needs.
        folder: Where the work list and the parts stand.
    """

    key: str
    subjects: str

    def __init__(self, pool: Pool, name: str) -> None:
        self.pool = pool
        self.name = name
        self.folder = pool.folder / "describe" / name

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
            yield

    def save(self, table: pa.Table) -> None:
        """Keep the result of one batch."""
        path = self.folder / f"part-{uuid.uuid4().hex}.parquet"
        write_aside(path, lambda aside: pq.write_table(table, aside))

    def files(self) -> list[Path]:
        """The parts that wait to be committed."""
        return sorted(self.folder.glob("part-*.parquet"))

    def plan(self, limit: int | None, *, retry_errors: bool) -> Plan:
        """Write the list of subjects that have no values yet, in the pool or in parts.

        Args:
            limit: At most so many: those with the smallest hash, which no order of ingestion favours.
            retry_errors: Take those with an error too.
        """
        path = self.folder / "todo.parquet"
        with self.pool.read() as connection:
            done = [self._stored(connection, retry_errors)]
            if files := self.files():
                connection.register("part", ds.dataset(files, format="parquet"))
                done.append(f"SELECT {self.key} FROM part" + (" WHERE error IS NULL" if retry_errors else ""))
            missing = (
                f"({self.subjects}) AS subject ANTI JOIN ({' UNION ALL '.join(done)}) USING ({self.key})"
            )
            total = scalar(connection, f"SELECT count(*) FROM ({self.subjects})")
            already = total - scalar(connection, f"SELECT count(*) FROM {missing}")
            if limit is not None:
                some = f"SELECT {self.key} FROM {missing} ORDER BY key_hash, {self.key} LIMIT {int(limit)}"
                missing = f"({self.subjects}) AS subject SEMI JOIN ({some}) USING ({self.key})"
            rows = connection.sql(f"SELECT * EXCLUDE key_hash FROM {missing}")
            write_aside(path, lambda aside: rows.write_parquet(str(aside), row_group_size=LIST_ROWS))
        return Plan(already, pq.read_metadata(path).num_rows, path)

    def commit(self, command: Command) -> None:
        """Take the parts into the pool in one transaction, waiting for the file; then delete them.

        The command's row in `run` is written with the first commit and renewed by the later ones.
        """
        files = self.files()
        if not files and self._is_current():
            return
        with self.pool.write() as connection:
            if files:
                connection.register("part", ds.dataset(files, format="parquet"))
                connection.execute(
                    f"CREATE TEMP TABLE fresh AS SELECT * FROM part "
                    f"QUALIFY row_number() OVER (PARTITION BY {self.key} ORDER BY error IS NOT NULL) = 1"
                )
            self._take(connection, bool(files))
            connection.execute(
                "DELETE FROM run WHERE command = ? AND started = ?", [command.name, command.started]
            )
            record_run(connection, command.name, command.arguments, command.started)
        for file in files:
            file.unlink()

    def try_commit(self, command: Command) -> None:
        """Commit if nobody holds the database right now; otherwise a later call will."""
        try:
            duckdb.connect(str(self.pool.path)).close()
        except duckdb.Error:
            return
        self.commit(command)

    @abstractmethod
    def _is_current(self) -> bool:
        """Whether the pool needs nothing but the parts."""

    @abstractmethod
    def _stored(self, connection: duckdb.DuckDBPyConnection, retry_errors: bool) -> str:
        """A query of the keys that the pool has values for."""

    @abstractmethod
    def _take(self, connection: duckdb.DuckDBPyConnection, has_parts: bool) -> None:
        """Take the parts' rows, table `fresh`, into the pool."""


_MEDIA = "SELECT media_id, media_id AS key_hash, kind, root, paths FROM media"


# What could not be learned this time stays as it was.
_UPDATE_MEDIA = """
UPDATE media SET
    bytes = coalesce(fresh.info.bytes, media.bytes),
    width = coalesce(fresh.info.width, media.width),
    height = coalesce(fresh.info.height, media.height),
    fps = coalesce(fresh.info.fps, media.fps),
    frames = coalesce(fresh.info.frames, media.frames),
    duration = coalesce(fresh.info.duration, media.duration),
    error = fresh.info.error
FROM fresh
WHERE fresh.media_id = media.media_id
"""


class HeaderParts(Parts):
    """The headers of media: what table `media` says of a file beside its path."""

    key = "media_id"
    subjects = _MEDIA

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool, "headers")

    def _is_current(self) -> bool:
        return True

    def _stored(self, connection: duckdb.DuckDBPyConnection, retry_errors: bool) -> str:
        known = "error IS NULL" if retry_errors else "true"
        probed = "bytes IS NOT NULL OR width IS NOT NULL OR error IS NOT NULL"
        return f"SELECT media_id FROM media WHERE ({probed}) AND {known}"

    def _take(self, connection: duckdb.DuckDBPyConnection, has_parts: bool) -> None:
        if has_parts:
            connection.execute(_UPDATE_MEDIA)


class DescriptorParts(Parts):
    """The values of one descriptor at its version and probe."""

    def __init__(self, pool: Pool, descriptor: Descriptor) -> None:
        version = f"{descriptor.name}-v{descriptor.version}"
        super().__init__(pool, version + (f"-{quote(descriptor.probe, safe='')}" if descriptor.probe else ""))
        self.descriptor = descriptor
        if descriptor.subject == "media":
            self.key, self.subjects = "media_id", _MEDIA
        else:
            inputs = "".join(f", {quoted(name)}" for name in descriptor.inputs)
            self.key = "qa_uid"
            self.subjects = f"SELECT qa_uid, uid_hash AS key_hash{inputs} FROM candidate"

    def _catalog_row(self) -> tuple[str, str, int, str, str]:
        described = self.descriptor
        columns = json.dumps({name: asdict(column) for name, column in described.columns.items()})
        return (described.name, described.subject, described.version, described.probe, columns)

    def _is_current(self) -> bool:
        with self.pool.read() as connection:
            rows = connection.execute(
                "SELECT name, subject, version, probe, columns FROM descriptor WHERE name = ?",
                [self.descriptor.name],
            ).fetchall()
        return rows == [self._catalog_row()]

    def _stored(self, connection: duckdb.DuckDBPyConnection, retry_errors: bool) -> str:
        table = self.descriptor.name
        if not scalar(connection, "SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [table]):
            return f"SELECT {self.key} FROM ({self.subjects}) WHERE false"
        return self._rows() + (" AND error IS NULL" if retry_errors else "")

    def _rows(self) -> str:
        """A query of the keys in the descriptor's table, at this version and probe."""
        probe = self.descriptor.probe.replace("'", "''")
        return (
            f"SELECT {self.key} FROM {quoted(self.descriptor.name)} "
            f"WHERE version = {self.descriptor.version} AND probe = '{probe}'"
        )

    def _take(self, connection: duckdb.DuckDBPyConnection, has_parts: bool) -> None:
        described, table = self.descriptor, quoted(self.descriptor.name)
        key_type = "UBIGINT" if described.subject == "media" else "VARCHAR"
        columns = {quoted(name): column.type for name, column in described.columns.items()}
        declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} "
            f"({self.key} {key_type}, version INTEGER, probe VARCHAR, {declared}, error VARCHAR)"
        )
        for name, kind in columns.items():
            connection.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} {kind}")
        if has_parts:
            names = ", ".join([self.key, *columns, "error"])
            connection.execute(
                f"DELETE FROM {table} WHERE version = ? AND probe = ? AND error IS NOT NULL "
                f"AND {self.key} IN (SELECT {self.key} FROM fresh)",
                [described.version, described.probe],
            )
            connection.execute(
                f"INSERT INTO {table} BY NAME SELECT {names}, ?::INTEGER AS version, ? AS probe "
                f"FROM fresh ANTI JOIN ({self._rows()}) USING ({self.key})",
                [described.version, described.probe],
            )
            if described.subject == "media":
                connection.execute(_UPDATE_MEDIA)
        connection.execute("DELETE FROM descriptor WHERE name = ?", [described.name])
        connection.execute("INSERT INTO descriptor VALUES (?, ?, ?, ?, ?)", list(self._catalog_row()))
        refresh_candidate(connection)
