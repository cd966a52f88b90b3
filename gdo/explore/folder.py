"""Folders for copies of pools, and the removal of those whose explorer was killed.

An explorer holds a lock on a file in its folder, which the system lets go of however the process ends.
"""

import fcntl
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

_PREFIX = "gdo-explore-"
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
            if self.path.exists():  # else another explorer took it for a left one, before it was locked
                return
            self._lock.close()

    def remove(self) -> None:
        """Remove it; files that are open stay so."""
        shutil.rmtree(self.path, ignore_errors=True)
        self._lock.close()


def _remove_left(home: Path) -> None:
    """Remove the folders that no process holds any more."""
    for folder in home.glob(f"{_PREFIX}*"):
        # Errors: it is another user's, or another explorer's, or was just removed by one.
        with suppress(OSError), (folder / _LOCK).open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder)
