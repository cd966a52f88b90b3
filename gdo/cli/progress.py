"""Progress of long commands on standard error: a live bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich import progress as bars
from rich.console import Console

if TYPE_CHECKING:
    from gdo.descriptors.describe import Progress

EVERY = 10.0
"""Seconds between two lines where there is no terminal."""


class ProgressLine:
    """Shows what a command is doing; `update` may be called as often as one likes."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, markup=False, emoji=False, highlight=False)
        self._live = bars.Progress(
            bars.SpinnerColumn(),
            bars.TextColumn("{task.description}", markup=False),
            bars.BarColumn(),
            bars.MofNCompleteColumn(),
            bars.TextColumn("{task.fields[note]}", markup=False),
            bars.TimeElapsedColumn(),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._live.add_task("", total=None, note="")
        self._last = time.monotonic()

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def update(self, what: str, done: int, total: int | None = None, note: str = "") -> None:
        """Show `done` of `total` and a note, such as a rate."""
        if self._console.is_terminal:
            self._live.update(self._task, description=what, completed=done, total=total, note=note)
        elif time.monotonic() - self._last > EVERY:
            self._last = time.monotonic()
            of = f" of {total:,}" if total else ""
            sys.stderr.write(f"{what}: {done:,}{of} {note}\n")
            sys.stderr.flush()

    def show(self, progress: "Progress") -> None:
        """Show how far a descriptor is, or what comes before it."""
        if progress.rate is None:
            self.update(progress.name, progress.done, progress.total, progress.note)
            return
        left = str(timedelta(seconds=round(progress.seconds_left)))
        errors = f", {progress.errors:,} errors" if progress.errors else ""
        note = f"{progress.rate:,.1f}/s, {left} left{errors}"
        self.update(f"describing {progress.name}", progress.done, progress.total, note)

    def say(self, sentence: str) -> None:
        """Print a sentence above the bar."""
        self._console.print(sentence, soft_wrap=True)


@contextmanager
def progress_line() -> Iterator[ProgressLine]:
    """A progress line for the time of a block."""
    with ProgressLine() as line:
        yield line
