"""Conditions that people wrote: they run in processes that can be ended, as the queries of `gdo sql` do."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from queue import LifoQueue
from typing import Any

import duckdb
import numpy as np
from numpy.typing import NDArray

from gdo.explore.filters import check_where
from gdo.pool.query import errors_of, guarded, lock_down
from gdo.pool.sandbox import Begun, Sandbox
from gdo.pool.store import MEMORY_LIMIT, scalar

TIME_LIMIT = 10.0
"""Seconds for a query."""
MOST_SPILL = "4GB"
"""Of disk, that queries may take for what has no room in memory."""
PROCESSES = 2
"""So that one person's long condition does not keep another waiting."""


def open_copy(path: Path) -> duckdb.DuckDBPyConnection:
    """Open a copy of a pool, read-only and locked."""
    config: dict[str, Any] = {
        "memory_limit": MEMORY_LIMIT,
        "temp_directory": str(path.parent / "tmp"),
        "max_temp_directory_size": MOST_SPILL,
        "autoinstall_known_extensions": False,
    }
    connection = duckdb.connect(str(path), read_only=True, config=config)
    lock_down(connection)
    return connection


@dataclass(frozen=True, slots=True)
class _Question:
    """Which samples meet a condition; on its way into a process, where it is called."""

    copy: Path
    where: str

    def __call__(self, begun: Begun) -> NDArray[np.uint8]:
        begun()
        query = f"SELECT rowid AS row FROM candidate WHERE (\n{self.where}\n)"
        with closing(_opened(self.copy).cursor()) as cursor:
            check_where(cursor, self.where)
            inside = np.zeros(scalar(cursor, "SELECT count(*) FROM candidate"), np.bool_)
            with guarded(cursor, query, TIME_LIMIT):
                inside[cursor.execute(query).fetchnumpy()["row"]] = True
        return np.packbits(inside)


_opened = lru_cache(maxsize=1)(open_copy)


class Strangers:
    """The processes; started when first needed, the one that was last at work taken first."""

    def __init__(self) -> None:
        self._all = [Sandbox() for _ in range(PROCESSES)]
        self._free: LifoQueue[Sandbox] = LifoQueue()
        for sandbox in self._all:
            self._free.put(sandbox)

    def start(self, copy: Path) -> None:
        """Let all of them open a copy, before somebody waits for it."""
        with ThreadPoolExecutor(PROCESSES) as threads:
            list(threads.map(self.ask, [copy] * PROCESSES, ["true"] * PROCESSES))

    def ask(self, copy: Path, where: str) -> NDArray[np.uint8]:
        """Which samples of a copy of a pool meet a condition: a bit for each row.

        Raises:
            UsageError: The condition is refused, or wrong.
            GdoError: It ran out of time or memory, or failed on the data.
        """
        sandbox = self._free.get()
        try:
            with errors_of(TIME_LIMIT):
                return sandbox.call(_Question(copy, where), TIME_LIMIT)
        finally:
            self._free.put(sandbox)

    def close(self) -> None:
        """End the processes."""
        for sandbox in self._all:
            sandbox.close()
