"""What stands in the pool of each kind of work: headers of media, and a table of values per descriptor."""

import json
from dataclasses import asdict
from typing import Any
from urllib.parse import quote

import duckdb

from gdo.descriptors.base import Kept, ProbedDescriptor
from gdo.descriptors.engine.parts import Parts
from gdo.descriptors.probe.contract import ModelCard
from gdo.pool.candidate import quoted
from gdo.pool.store import Pool, scalar, utc_now

_MEDIA = "SELECT media_id, media_id AS key_hash, kind, root, paths FROM media"

# Media that were read. Values may stand without it: of media that left the pool and came back.
_READ = "(bytes IS NOT NULL OR width IS NOT NULL OR error IS NOT NULL)"

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


# Rows of samples that are not there any more, or whose file was replaced since, are not taken.
_DROP_STALE = """
DELETE FROM fresh WHERE qa_uid NOT IN (
    SELECT qa_uid FROM sample JOIN source USING (source_id)
    JOIN read_parquet($sources) USING (source_id, ingested)
)
"""


class HeaderParts(Parts):
    """The headers of media: what table `media` says of a file beside its path."""

    key = "media_id"
    subjects = _MEDIA

    def __init__(self, pool: Pool, folder: str = "headers") -> None:
        super().__init__(pool, "headers", folder)

    def settled(self) -> bool:
        """Always: headers are told in table `media` alone."""
        return True

    def take(self, connection: duckdb.DuckDBPyConnection, has_parts: bool, at_end: bool) -> None:
        """Write what was learned of the files."""
        if has_parts:
            connection.execute(_UPDATE_MEDIA)

    def _stored(self, connection: duckdb.DuckDBPyConnection, retry_errors: bool) -> str:
        known = "error IS NULL" if retry_errors else "true"
        return f"SELECT media_id FROM media WHERE {_READ} AND {known}"


class DescriptorParts(Parts):
    """The values of one descriptor at its version and probe.

    Attributes:
        card: The model that makes them; None where there is none.
    """

    def __init__(self, pool: Pool, descriptor: Kept, card: ModelCard | None = None) -> None:
        folder = f"{descriptor.name}-v{descriptor.version}"
        folder += f"-{quote(descriptor.probe, safe='')}" if descriptor.probe else ""
        super().__init__(pool, descriptor.name, folder)
        self.descriptor = descriptor
        self.card = card
        if descriptor.subject == "media":
            self.key, self.subjects = "media_id", _MEDIA
        elif isinstance(descriptor, ProbedDescriptor):
            self.key, self.subjects = "qa_uid", "SELECT qa_uid, uid_hash AS key_hash FROM sample"
        else:
            inputs = "".join(f", {quoted(name)}" for name in getattr(descriptor, "inputs", ()))
            self.key = "qa_uid"
            self.subjects = f"SELECT qa_uid, uid_hash AS key_hash{inputs} FROM candidate"
        self._told = [descriptor.name, descriptor.version, descriptor.probe]

    def settled(self) -> bool:
        """Whether `candidate` shows these values, and all there are to be."""
        with self.pool.read() as connection:
            shown = connection.execute(
                "SELECT name, subject, version, probe, columns FROM descriptor WHERE name = ?",
                [self.name],
            ).fetchall()
            return shown == [self._catalog_row()] and self._was_complete(connection, self._told)

    def take(self, connection: duckdb.DuckDBPyConnection, has_parts: bool, at_end: bool) -> None:
        """Add the rows that are not there yet, and let `candidate` show them if it should."""
        self.make_table(connection)
        if has_parts:
            self._insert(connection)
        if self.card:
            _record_probe(connection, self.card)
        complete = at_end and not scalar(
            connection,
            f"SELECT count(*) FROM ({self.subjects}) ANTI JOIN ({self._rows()}) USING ({self.key})",
        )
        self._record(connection, complete)
        if complete or self._may_show(connection):
            connection.execute("DELETE FROM descriptor WHERE name = ?", [self.name])
            connection.execute("INSERT INTO descriptor VALUES (?, ?, ?, ?, ?)", list(self._catalog_row()))

    def make_table(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Make the table of the values, or give it the columns that it lacks."""
        table, columns = quoted(self.name), self._columns
        key_type = "UBIGINT" if self.key == "media_id" else "VARCHAR"
        declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
        connection.execute(
            f"CREATE TABLE IF NOT EXISTS {table} "
            f"({self.key} {key_type}, version INTEGER, probe VARCHAR, {declared}, error VARCHAR)"
        )
        for name, kind in columns.items():
            connection.execute(f"ALTER TABLE {table} ADD COLUMN IF NOT EXISTS {name} {kind}")

    @property
    def _columns(self) -> dict[str, str]:
        """Names and types of the values' columns, as SQL takes them."""
        return {quoted(name): column.type for name, column in self.descriptor.columns.items()}

    def _insert(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Add rows; a new row takes the place of an old one's error, not of its values."""
        table, whose = quoted(self.name), self._told[1:]
        if self.sources.exists():
            connection.execute(_DROP_STALE, {"sources": str(self.sources)})
        connection.execute(
            f"DELETE FROM {table} WHERE version = ? AND probe = ? AND error IS NOT NULL "
            f"AND {self.key} IN (SELECT {self.key} FROM fresh)",
            whose,
        )
        names = ", ".join([self.key, *self._columns, "error"])
        connection.execute(
            f"INSERT INTO {table} BY NAME SELECT {names}, ?::INTEGER AS version, ? AS probe "
            f"FROM fresh ANTI JOIN ({self._rows()}) USING ({self.key})",
            whose,
        )
        if self.key == "media_id":
            connection.execute(_UPDATE_MEDIA)

    def _record(self, connection: duckdb.DuckDBPyConnection, complete: bool) -> None:
        """Keep in table `description` when this was begun, and when it was complete for the first time."""
        connection.execute(
            "INSERT INTO description SELECT ?, ?, ?, ?, NULL WHERE NOT EXISTS "
            "(FROM description WHERE name = ? AND version = ? AND probe = ?)",
            [*self._told, utc_now(), *self._told],
        )
        if complete:
            connection.execute(
                "UPDATE description SET complete = coalesce(complete, ?) "
                "WHERE name = ? AND version = ? AND probe = ?",
                [utc_now(), *self._told],
            )

    def _may_show(self, connection: duckdb.DuckDBPyConnection) -> bool:
        """Whether unfinished values may be shown: no other ones are complete."""
        shown = connection.execute(
            "SELECT name, version, probe FROM descriptor WHERE name = ?", [self.name]
        ).fetchall()
        others = [list(row) for row in shown if list(row) != self._told]
        return not any(self._was_complete(connection, row) for row in others)

    def _was_complete(self, connection: duckdb.DuckDBPyConnection, told: list[Any]) -> bool:
        return bool(
            scalar(
                connection,
                "SELECT count(complete) > 0 FROM description WHERE name = ? AND version = ? AND probe = ?",
                told,
            )
        )

    def _catalog_row(self) -> tuple[str, str, int, str, str]:
        described = self.descriptor
        columns = json.dumps({name: asdict(column) for name, column in described.columns.items()})
        return (described.name, described.subject, described.version, described.probe, columns)

    def _stored(self, connection: duckdb.DuckDBPyConnection, retry_errors: bool) -> str:
        if not scalar(connection, "SELECT count(*) FROM duckdb_tables() WHERE table_name = ?", [self.name]):
            return f"SELECT {self.key} FROM ({self.subjects}) WHERE false"
        rows = self._rows() + (" AND error IS NULL" if retry_errors else "")
        if self.key == "media_id":
            rows += f" AND media_id IN (SELECT media_id FROM media WHERE {_READ})"
        return rows

    def _rows(self) -> str:
        """A query of the keys in the descriptor's table, at this version and probe."""
        probe = self.descriptor.probe.replace("'", "''")
        return (
            f"SELECT {self.key} FROM {quoted(self.name)} "
            f"WHERE version = {self.descriptor.version} AND probe = '{probe}'"
        )


def _record_probe(connection: duckdb.DuckDBPyConnection, card: ModelCard) -> None:
    """Write a model into table `probe`, once; its details may come later, with its weights."""
    details = json.dumps(dict(card.details), default=str)
    connection.execute(
        "UPDATE probe SET details = ? WHERE label = ? AND details = '{}'", [details, card.label]
    )
    connection.execute(
        "INSERT INTO probe SELECT ?, ?, ?, ?, ?, ?, ?, ? WHERE NOT EXISTS (FROM probe WHERE label = ?)",
        [
            card.label,
            card.model,
            card.source,
            card.fingerprint,
            card.dtype,
            json.dumps(asdict(card.settings)),
            details,
            utc_now(),
            card.label,
        ],
    )
