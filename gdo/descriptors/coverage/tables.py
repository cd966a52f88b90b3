"""Which vectors the tables of vectors hold: those of one length, while others wait under another name."""

from collections.abc import Sequence

import duckdb

from gdo.descriptors.engine.stored import DescriptorParts
from gdo.pool.store import Pool

_TYPES = "SELECT table_name, data_type FROM duckdb_columns() WHERE column_name = 'embedding'"


def put_in_place(pool: Pool, parts: Sequence[DescriptorParts]) -> None:
    """Let the tables of these parts hold vectors of their length.

    Vectors of another length wait in a table named after it, and come back when they are asked for. It is one
    transaction, at whose end each name stands for a table: a run may be killed before it has vectors.
    """
    with pool.read() as connection:
        there = _tables(connection)
    fits = (there.get(part.name, _kind(part)) == _kind(part) for part in parts)
    if all(fits) and not any(_waiting(part) in there for part in parts):
        return
    with pool.write() as connection:
        for part in parts:
            kind = _tables(connection).get(part.name, _kind(part))
            if kind != _kind(part):
                _move(connection, part.name, f"{part.name}_{kind[6:-1]}")
            _move(connection, _waiting(part), part.name)
            part.make_table(connection)


def _tables(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The type of the vectors of each table that has some."""
    return dict(connection.execute(_TYPES).fetchall())


def _kind(part: DescriptorParts) -> str:
    return part.descriptor.columns["embedding"].type


def _waiting(part: DescriptorParts) -> str:
    return f"{part.name}_{_kind(part)[6:-1]}"


def _move(connection: duckdb.DuckDBPyConnection, source: str, target: str) -> None:
    """Rename a table; if one of the new name is there, its rows stay and it gets those that it lacks."""
    there = _tables(connection)
    if source not in there:
        return
    if target not in there:
        connection.execute(f"ALTER TABLE {source} RENAME TO {target}")
        return
    key = "media_id" if target.startswith("media") else "qa_uid"
    connection.execute(
        f"INSERT INTO {target} BY NAME SELECT * FROM {source} "
        f"ANTI JOIN {target} USING ({key}, version, probe)"
    )
    connection.execute(f"DROP TABLE {source}")
