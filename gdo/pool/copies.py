"""Copies of pools for those who look at one for long: whoever has a pool open shuts its writers out.

A copy's folder is locked while it is in use; the lock ends with the process, and folders that were left
behind are removed.
"""

import fcntl
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from glob import escape
from pathlib import Path

import duckdb

from gdo.pool.store import Pool

_PREFIX = "gdo-copy-"
_LOCK = "lock"


class CopyFolder:
    """A new folder that is kept for as long as this object's process lives, or until it is removed.

    Args:
        home: Folder to make it in; default the machine's for such files.

    Attributes:
        path: The folder.
    """

    def __init__(self, home: Path | None = None) -> None:
        _remove_left(Path(home or tempfile.gettempdir()))
        while True:
            self.path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=home))
            self._lock = (self.path / _LOCK).open("wb")
            fcntl.flock(self._lock, fcntl.LOCK_EX)
            if self.path.exists():  # else another process took it for a left one, before it was locked
                return
            self._lock.close()

    def remove(self) -> None:
        """Remove it; files that are open stay so."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


@contextmanager
def read_copy(pool: Pool) -> Iterator[duckdb.DuckDBPyConnection]:
    """A read-only connection to a copy of a pool's file, which is held only while it is copied.

    Where there is no room for a copy beside the pool, the connection is to the pool itself.
    """
    with ExitStack() as held:
        copy = pool
        with suppress(OSError):
            folder = CopyFolder(pool.folder)
            held.callback(folder.remove)
            copy = _copied(pool, folder)
        with copy.read() as connection:
            yield connection


def _copied(pool: Pool, folder: CopyFolder) -> Pool:
    """A pool's file and its logs in another folder, which is removed again where it has no room."""
    copy = Pool(folder.path / pool.path.name, create=True)
    try:
        copy.folder.mkdir()
        with pool.read():
            for log in pool.path.parent.glob(f"{escape(pool.path.name)}.wal*"):
                shutil.copyfile(log, folder.path / log.name)
            shutil.copyfile(pool.path, copy.path)  # last: closing the file ends DuckDB's lock on it
    except OSError:
        folder.remove()
        raise
    return copy


def _remove_left(home: Path) -> None:
    """Remove the folders that no process holds any more."""
    for folder in home.glob(f"{_PREFIX}*"):
        # Errors: it is another user's, or in use, or was just removed by one.
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
