"""The pool's database file: opening it, waiting for its lock, migrating it, and recording what changed it.

DuckDB lets one process write, or many read, never both. So a command holds the file only for the seconds
in which it reads its input or commits its output, and waits its turn when somebody else has it.
"""

import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from glob import escape
from importlib import resources
from importlib.metadata import version
from pathlib import Path
from typing import Any

import duckdb

from gdo import __version__
from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.candidate import refresh_candidate
from gdo.pool.words import words_script

MEMORY_LIMIT = "600MB"
"""DuckDB's own buffers; beyond them it spills into the pool's side folder."""
CHECKPOINT_THRESHOLD = "1KB"
"""A larger change goes into the file itself when it is committed, not into the log first and then there."""
LOCK_WAIT = 120.0
"""Seconds to wait for another process to let go of the file."""

Stamp = tuple[int, int, int, int]
"""Time and size of a pool's file and of the log beside it, which hold what was committed."""
AfterCommit = Callable[[Stamp, Stamp], None]
"""Called with the stamps of a pool before and after a change."""

_LOCKED = "Could not set lock on file"


class OlderSchemaError(UsageError):
    """A pool that an older gdo made cannot be read before it is brought up to date."""


class Pool:
    """A pool on disk: the DuckDB file, its log if there is one, and the folder of side files, `<file>.d/`."""

    def __init__(self, path: Path | str, *, create: bool = False) -> None:
        self.path = Path(os.path.normpath(Path(path).absolute()))
        self.folder = self.path.with_name(self.path.name + ".d")
        self.log = self.path.with_name(self.path.name + ".wal")
        if not create and not self.path.exists():
            raise UsageError(f"there is no pool at {self.path}; `gdo ingest {path} FILE...` makes one")
        if create and not self.path.parent.is_dir():
            raise UsageError(f"the folder {self.path.parent} does not exist; make it, then ingest again")

    @contextmanager
    def read(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """A read-only connection; other readers may be there at the same time."""
        connection = self._connect(read_only=True)
        try:
            _check_version(connection, self.path)
            yield connection
        finally:
            connection.close()

    @contextmanager
    def write(self, after_commit: AfterCommit | None = None) -> Iterator[duckdb.DuckDBPyConnection]:
        """A connection in one transaction: committed at the end of the block, or nothing of it happened.

        `after_commit` is called when all is in the file and no other process can have written to it.
        """
        self.folder.mkdir(exist_ok=True)
        if not self.path.exists():
            self._create()
        connection = self._connect(read_only=False)
        before = self.stamp()
        try:
            connection.execute("BEGIN")
            _migrate(connection, self.path)
            yield connection
            connection.execute("COMMIT")
            if after_commit:
                with suppress(duckdb.Error):  # it is committed without the checkpoint too
                    connection.execute("CHECKPOINT")
                    after_commit(before, self.stamp())
        finally:
            connection.close()

    def stamp(self) -> Stamp:
        """What tells one state of the pool's file from another."""
        return (*_time_and_size(self.path), *_time_and_size(self.log))

    def upgrade(self) -> None:
        """Bring a file that an older gdo made to this version's schema."""
        try:
            with self.read():
                return
        except OlderSchemaError:
            with self.write():
                return

    def _create(self) -> None:
        """Put an empty pool in place, whole, so that a killed first ingest leaves no half of one."""
        with locked(self.folder):
            if not self.path.exists():
                self.log.unlink(missing_ok=True)
                for half_made in self.path.parent.glob(f".{escape(self.path.name)}.*.part*"):
                    half_made.unlink()
                write_aside(self.path, _make)

    def _connect(self, *, read_only: bool) -> duckdb.DuckDBPyConnection:
        """Open the file, waiting for whoever holds it."""
        config: dict[str, Any] = {
            "memory_limit": MEMORY_LIMIT,
            "temp_directory": str(self.folder / "tmp") if os.access(self.path.parent, os.W_OK) else "",
            "preserve_insertion_order": True,
            "checkpoint_threshold": CHECKPOINT_THRESHOLD,
            "autoinstall_known_extensions": False,
        }
        _refuse_other_file(self.path)
        deadline = time.monotonic() + LOCK_WAIT
        pause = 0.05
        while True:
            try:
                connection = duckdb.connect(str(self.path), read_only=read_only, config=config)
                return _without_progress_bar(connection)
            except duckdb.IOException as error:
                if _LOCKED not in str(error) or time.monotonic() > deadline:
                    raise _explain_open(self.path, error) from error
                time.sleep(pause)
                pause = min(pause * 1.5, 1.0)
            except duckdb.Error as error:
                raise _explain_open(self.path, error) from error


def _refuse_other_file(path: Path) -> None:
    """Refuse what DuckDB would open beside its own files, as tables in memory: JSON, CSV, Parquet, SQLite.

    Raises:
        UsageError: The file is none of DuckDB.
    """
    with path.open("rb") as file:
        head = file.read(12)
    if head and head[8:] != b"DUCK":
        raise UsageError(
            f"{path} cannot be opened as a pool: it is another kind of file; the pool stands before the "
            "files, as in gdo ingest POOL FILE..."
        )


def _time_and_size(path: Path) -> tuple[int, int]:
    """Of a file; zeros where it is not there."""
    try:
        told = path.stat()
    except FileNotFoundError:
        return 0, 0
    return told.st_mtime_ns, told.st_size


def _without_progress_bar(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """The connection, told not to draw on standard output when a query takes long."""
    with suppress(duckdb.InvalidInputException):  # another thread's query has locked the settings
        connection.execute("SET enable_progress_bar = false")
    return connection


def _explain_open(path: Path, error: duckdb.Error) -> GdoError:
    text = str(error)
    if _LOCKED in text:
        holder = re.search(r"Conflicting lock is held in (.+?)\.(?: |$)", text)
        who = f" by {holder.group(1)}" if holder else ""
        return GdoError(f"{path} is held{who} and was not free within {LOCK_WAIT:.0f} s; close it there")
    return GdoError(f"{path} cannot be opened as a pool: {text.splitlines()[0]}")


def _make(path: Path) -> None:
    """Write a pool without samples, all of it in the one file: closing would not tell of a full disk."""
    try:
        with duckdb.connect(str(path)) as connection:
            connection.execute("BEGIN")
            _migrate(connection, path)
            connection.execute("COMMIT")
            connection.execute("CHECKPOINT")
    finally:
        path.with_name(path.name + ".wal").unlink(missing_ok=True)


@contextmanager
def locked(folder: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold a folder's lock, which ends with the process; False where another holds it and we do not wait."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        yield free
    finally:
        os.close(descriptor)


def remove_unless_locked(folder: Path) -> None:
    """Remove a folder that was locked while in use, if whoever used it was killed."""
    with locked(folder, wait=False) as free:
        if free:
            shutil.rmtree(folder, ignore_errors=True)


def _migrations() -> list[tuple[int, str]]:
    """The numbered SQL files, in order."""
    folder = resources.files("gdo.pool") / "sql"
    files = sorted(item.name for item in folder.iterdir() if re.match(r"\d{3}_.*\.sql$", item.name))
    return [(int(name[:3]), (folder / name).read_text()) for name in files]


def _schema_version(connection: duckdb.DuckDBPyConnection) -> int:
    if not scalar(connection, "SELECT count(*) FROM duckdb_tables() WHERE table_name = 'migration'"):
        return 0
    return int(scalar(connection, "SELECT coalesce(max(number), 0) FROM migration"))


def _migrate(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Bring the schema to this version's; part of the caller's transaction."""
    have = _schema_version(connection)
    migrations = _migrations()
    if have == 0 and scalar(connection, "SELECT count(*) FROM duckdb_tables()"):
        raise UsageError(f"{path} is a DuckDB file with other tables, not a pool; give another path")
    if have > migrations[-1][0]:
        raise UsageError(f"{path} was made by a newer gdo (schema {have}); upgrade gdo to write to it")
    if have == migrations[-1][0]:
        return
    connection.execute(
        "CREATE TABLE IF NOT EXISTS migration (number INTEGER, gdo VARCHAR, applied TIMESTAMP)"
    )
    for number, script in migrations:
        if number > have:
            connection.execute(script)
            connection.execute("INSERT INTO migration VALUES (?, ?, ?)", [number, __version__, utc_now()])
    refresh_candidate(connection)
    connection.execute(words_script())


def _check_version(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    have, want = _schema_version(connection), _migrations()[-1][0]
    if have == 0:
        raise UsageError(f"{path} is a DuckDB file but not a pool (it has no table `migration`)")
    if have < want:
        raise OlderSchemaError(
            f"{path} has schema {have}, this gdo reads {want}; any writing command, such as "
            f"`gdo describe {path} temporal`, brings it up to date"
        )


def sql_script(name: str) -> str:
    """The text of a script in `gdo/pool/sql`."""
    return (resources.files("gdo.pool") / "sql" / name).read_text()


def scalar(connection: duckdb.DuckDBPyConnection, query: str, parameters: Sequence[Any] = ()) -> Any:
    """The first value of the first row of a query that gives at least one row."""
    return connection.execute(query, list(parameters)).fetchall()[0][0]


def utc_now() -> datetime:
    """The time now in UTC, without the zone, as the pool stores times."""
    return datetime.now(UTC).replace(tzinfo=None)


def versions() -> dict[str, str]:
    """The versions a result may depend on."""
    packages = ("duckdb", "numpy", "polars", "pyarrow", "av", "opencv-python-headless")
    return {"gdo": __version__} | {name: version(name) for name in packages}


def record_run(
    connection: duckdb.DuckDBPyConnection, command: str, arguments: dict[str, Any], started: datetime
) -> None:
    """Write one row into `run`, inside the transaction that makes the change."""
    connection.execute(
        "INSERT INTO run SELECT coalesce(max(run_id), 0) + 1, ?, ?, ?, ?, ? FROM run",
        [command, json.dumps(arguments, default=str), json.dumps(versions()), started, utc_now()],
    )
