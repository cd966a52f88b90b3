"""Copies of pools for those who look at one for long: whoever has a pool open shuts its writers out.

A copy's folder is locked while it is in use; the lock ends with the process, and folders that were left
behind are removed.
"""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
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
    """A read-only connection to a copy of a pool's file; the pool itself is held only while it is copied."""
    folder = CopyFolder(pool.folder if os.access(pool.folder, os.W_OK) else None)
    try:
        copy = Pool(folder.path / pool.path.name, create=True)
        with pool.read():
            shutil.copyfile(pool.path, copy.path)
            if pool.log.exists():
                shutil.copyfile(pool.log, copy.log)
        with copy.read() as connection:
            yield connection
    finally:
        folder.remove()


def _remove_left(home: Path) -> None:
    """Remove the folders that no process holds any more."""
    for folder in home.glob(f"{_PREFIX}*"):
        # Errors: it is another user's, or in use, or was just removed by one.
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
