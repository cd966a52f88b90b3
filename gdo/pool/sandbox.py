"""A process for work that nothing else can stop: it has so much memory and time, and then it is ended.

DuckDB looks at interrupts between pieces of work, and counts most of its memory but not all. A single call,
such as the edit distance of two long texts, is one piece however long it takes. So queries that strangers
wrote run here.
"""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from threading import Lock, Thread
from typing import Any, Self, TypeVar

from gdo.errors import UsageError

MEMORY = 2 << 30
"""Bytes that the process may have of its own, beside files and libraries."""
GRACE = 2.0
"""Seconds beyond its limit that the work may take to end by itself."""
START = 300.0
"""Seconds to start, and to wait for whoever holds the pool."""

Begun = Callable[[], None]
Result = TypeVar("Result")

_CHILD = "import sys; sys.path[:] = {path!r}; from gdo.pool.sandbox import serve; serve({end}, {parent})"


class Sandbox:
    """One such process, started when first needed and again after it had to be ended; one call at a time."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: Connection[Any, Any] | None = None
        self._calls = Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def call(self, work: Callable[[Begun], Result], seconds: float) -> Result:
        """Let the process do something.

        Args:
            work: Can be pickled; calls what it is given when its time begins to count. It keeps to the time
                by itself where it can.
            seconds: Time that it has.

        Returns:
            What it returns.

        Raises:
            TimeoutError: The process had to be ended.
            MemoryError: The process ended.
            Exception: What the work raises.
        """
        with self._calls:
            try:
                return self._call(work, seconds)
            except BaseException as error:
                if not isinstance(error, UsageError):  # what used up time or memory may still hold some
                    self._end()
                raise

    def close(self) -> None:
        """End the process."""
        with self._calls:
            self._end()

    def _call(self, work: Callable[[Begun], Result], seconds: float) -> Result:
        connection = self._start()
        try:
            connection.send(work)
            for patience in (START, seconds + GRACE):
                if not connection.poll(patience):
                    raise TimeoutError
                kind, value = connection.recv()
                if kind == "raised":
                    raise value
                if kind == "done":
                    break
        except (EOFError, ConnectionError) as error:
            raise MemoryError from error
        result: Result = value
        return result

    def _start(self) -> "Connection[Any, Any]":
        if self._connection and self._process and self._process.poll() is None:
            return self._connection
        self._end()
        self._connection, theirs = Pipe()
        script = _CHILD.format(path=sys.path, end=theirs.fileno(), parent=os.getpid())
        quiet = subprocess.DEVNULL
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-c", script],
                pass_fds=[theirs.fileno()],
                stdin=quiet,
                stdout=quiet,
                stderr=quiet,
            )
        return self._connection

    def _end(self) -> None:
        if self._connection:
            self._connection.close()
        if self._process:
            self._process.kill()
            self._process.wait()
        self._process = self._connection = None


def serve(end: int, parent: int) -> None:
    """Do what comes through the pipe, until it is closed: what the process is for.

    Args:
        end: The file descriptor of this process's end of the pipe.
        parent: The process to work for, and to end with.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    Thread(target=_end_with, args=[parent], daemon=True).start()
    pipe: Connection[Any, Any] = Connection(end)
    with pipe as connection:
        while True:
            try:
                work = connection.recv()
            except EOFError:
                return
            try:
                answer = ("done", work(lambda: connection.send(("begun", None))))
            except Exception as error:
                answer = ("raised", error)
            connection.send(answer)


def _end_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)
