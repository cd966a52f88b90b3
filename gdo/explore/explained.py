"""Selections worked out again ahead of time, so that a sample's reasons are there when somebody asks.

Working one out takes seconds on a million samples. A process of low priority does it for the newest subsets
as soon as the pool is open, and hands over what it found in a file: mapped, it costs no memory of ours.
"""

import mmap
import os
import pickle
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, count
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Lock
from typing import Any

from gdo.errors import GdoError
from gdo.pool.child import end_with_parent
from gdo.pool.store import Pool, Stamp
from gdo.selectors.explain import rework
from gdo.selectors.select import Worked

MOST_KEPT = 8
"""Subsets whose selection is kept; each takes about 170 bytes of disk for a sample."""
_ALIGNED = 64

_Key = tuple[str, Stamp]


@dataclass(frozen=True, slots=True)
class _Written:
    """A selection on its way between processes.

    Attributes:
        file: Its arrays, each padded to a multiple of 64 bytes.
        sizes: Bytes of each array.
        rest: The selection without them, pickled.
    """

    file: Path
    sizes: list[int]
    rest: bytes

    def take(self) -> Worked:
        """The selection, its arrays mapped and read-only; the file is there for as long as they are."""
        with self.file.open("rb") as stream:
            content = memoryview(mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ))
        self.file.unlink()
        starts = accumulate((size + -size % _ALIGNED for size in self.sizes), initial=0)
        arrays = [content[start : start + size] for start, size in zip(starts, self.sizes, strict=False)]
        worked: Worked = pickle.loads(self.rest, buffers=arrays)
        return worked


class _Working:
    """A selection that a process is working out, or has."""

    def __init__(self, pool: Path, subset: str, file: Path) -> None:
        spawn, self._lock = get_context("spawn"), Lock()
        self._outcome: Worked | GdoError | None = None
        self._told, theirs = spawn.Pipe(duplex=False)
        self._process = spawn.Process(target=_write, args=[pool, subset, file, theirs])
        with theirs:
            self._process.start()

    def result(self) -> Worked:
        """The selection; whoever is first waits for it.

        Raises:
            GdoError: What `rework` raises, or the process failed.
        """
        with self._lock:
            if self._outcome is None:
                self._outcome = self._take()
        if isinstance(self._outcome, Worked):
            return self._outcome
        raise self._outcome

    def _take(self) -> Worked | GdoError:
        try:
            with self._told:
                told = self._told.recv()
            self._process.join()
            return told.take() if isinstance(told, _Written) else told
        except (EOFError, OSError) as error:
            why = str(error) or "its process was ended"
            return GdoError(f"the selection could not be worked out again: {why}; ask again")

    def end(self) -> None:
        """End the process, if it is still at work."""
        self._process.kill()


class Explained:
    """The selections of a pool's subsets, worked out once for each state of the pool.

    Args:
        pool: The pool.
        folder: Where the processes hand them over.
    """

    def __init__(self, pool: Pool, folder: Path) -> None:
        self._pool, self._folder = pool, folder
        self._kept: OrderedDict[_Key, _Working] = OrderedDict()
        self._lock, self._numbers, self._is_closed = Lock(), count(), False

    def get(self, subset: str) -> Worked:
        """A subset's selection with everything it was worked out from.

        Raises:
            UsageError: No such subset, or it was not selected.
            GdoError: The pool has changed since the subset was chosen, or the process failed.
        """
        key = subset, self._pool.stamp()
        try:
            return self._working(key).result()
        except GdoError:
            with self._lock:
                self._kept.pop(key, None)
            raise

    def prepare(self, subsets: Sequence[str]) -> None:
        """Work these out ahead, one after the other."""
        for subset in subsets[:MOST_KEPT]:
            with suppress(GdoError):
                self.get(subset)

    def close(self) -> None:
        """End the processes."""
        with self._lock:
            self._is_closed = True
            for working in self._kept.values():
                working.end()

    def _working(self, key: _Key) -> _Working:
        """What has the selection or is to have it; the longest unused goes."""
        with self._lock:
            if self._is_closed:
                raise GdoError("the pool was opened anew in the meantime; ask again")
            if key not in self._kept:
                file = self._folder / f"explained-{next(self._numbers)}"
                self._kept[key] = _Working(self._pool.path, key[0], file)
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)[1].end()
            return self._kept[key]


def _write(pool: Path, subset: str, file: Path, told: "Connection[Any, Any]") -> None:
    """Work a selection out and put its arrays into a file; what goes wrong is told, not printed."""
    end_with_parent()
    os.nice(5)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    try:
        arrays: list[pickle.PickleBuffer] = []
        rest = pickle.dumps(rework(pool, subset), protocol=5, buffer_callback=arrays.append)
        sizes = []
        with file.open("wb") as stream:
            for array in arrays:
                with array.raw() as content:
                    stream.write(content)
                    stream.write(bytes(-content.nbytes % _ALIGNED))
                    sizes.append(content.nbytes)
        told.send(_Written(file, sizes, rest))
    except GdoError as error:
        told.send(error)
    except Exception as error:
        told.send(GdoError(f"the selection could not be worked out again: {error or type(error).__name__}"))
