"""Writing files so that a reader sees the old one or the new one, never half of one."""

import fcntl
import os
from collections.abc import Callable
from contextlib import ExitStack, suppress
from glob import escape
from pathlib import Path
from typing import Any


def write_aside(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, then put it in its place.

    The side file's name holds the process id, so that two writers never share one.
    """
    aside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        write(aside)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def write_output(path: Path, write: Callable[[Path], Any]) -> None:
    """The same for a file of a person's own, where nobody else tidies up: see `remove_left`."""
    remove_left(path.parent, escape(path.name))
    write_locked(path, write)


def write_locked(path: Path, write: Callable[[Path], Any]) -> None:
    """`write_aside` with a lock on the side file, which the system lets go of however the writer ends."""
    with ExitStack() as held:

        def fill(aside: Path) -> None:
            lock = held.enter_context(aside.open("wb"))
            with suppress(OSError):  # a file system without locks
                fcntl.flock(lock, fcntl.LOCK_EX)
            write(aside)

        write_aside(path, fill)


def remove_left(folder: Path, names: str = "*") -> None:
    """Remove side files whose writers were killed: nobody holds their locks.

    Args:
        folder: Where they are; all that is written there so is written by `write_locked`.
        names: Of the files that were written, as a pattern.
    """
    for left in folder.glob(f".{names}.[0-9]*.part"):
        # Errors: it is being written, or is another user's, or was just removed.
        with suppress(OSError), left.open("rb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()
