"""Worker processes of one machine: a hung or crashed one costs the task it was at, and nothing else."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from typing import Generic, TypeVar

from pebble import ProcessExpired, ProcessPool

from gdo.errors import GdoError

Task = TypeVar("Task")
Result = TypeVar("Result")

TASKS_PER_WORKER = 1000
"""Tasks after which a worker is replaced: decoders of broken files lose memory."""
QUEUED = 3
"""Tasks handed out per worker, so that none waits for the next one."""
MAX_BREAKS = 3
"""Times that all workers may be lost without a task done in between."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    return len(os.sched_getaffinity(0))


def run_tasks(
    work: Callable[[Sequence[Task]], Result],
    batches: Iterable[Sequence[Task] | None],
    give_up: Callable[[Task, str], Result],
    *,
    workers: "int | Crew",
    time_limit: float,
    queued: int = 0,
) -> Iterator[Result]:
    """Run `work` over batches in worker processes, and yield the results as they come.

    A batch whose worker hangs or crashes is run again task by task, so that the bad one is found.

    Args:
        work: A function that can be pickled, from a batch to its result.
        batches: Batches of tasks, taken as they are needed; None for none before a running one has ended.
        give_up: The result of a task whose worker did not come back, for this reason.
        workers: Number of processes, or a crew that outlives this call; 0 works in this process, without a
            time limit.
        time_limit: Seconds that `work` keeps to by itself; a worker that exceeds them by far is killed.
        queued: Batches that may wait for a worker or for the caller, where that is more than usual.

    Raises:
        GdoError: Workers cannot be started.
    """
    if workers == 0:
        yield from (work(batch) for batch in batches if batch is not None)
        return
    crew = workers if isinstance(workers, Crew) else Crew(workers)
    run = _Run(crew, work, 1.25 * time_limit + 1, max(queued, QUEUED * crew.workers))
    source = iter(batches)
    try:
        while run.hand_out(source):
            for batch, future in run.finished():
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    run.again.append(batch)
                elif not isinstance(error, TimeoutError | ProcessExpired):
                    run.breaks = 0
                    yield future.result()
                elif len(batch) > 1:
                    run.again.extend([task] for task in batch)
                else:
                    yield give_up(batch[0], _why_lost(error, time_limit))
    finally:
        if crew is workers:
            run.drop()
        else:
            crew.end()


def run_in_order(
    work: Callable[[Task], Result],
    tasks: Iterable[Task],
    give_up: Callable[[Task, str], Result],
    *,
    workers: "int | Crew",
    time_limit: float,
    ahead: int,
) -> Iterator[Result]:
    """Run `work` over single tasks as `run_tasks` does, and yield the results in the order of the tasks.

    Args:
        work: A function that can be pickled, from a task to its result.
        tasks: The tasks; taken as they are needed.
        give_up: The result of a task whose worker did not come back, for this reason.
        workers: Number of processes, or a crew; 0 works in this process, without a time limit.
        time_limit: Seconds that `work` keeps to by itself.
        ahead: Tasks begun that the caller has not had the result of, at most: what bounds the memory.
    """
    finished: dict[int, Result] = {}
    taken = 0

    def numbered() -> Iterator[list[tuple[int, Task]] | None]:
        for number, task in enumerate(tasks):
            while number >= taken + ahead:
                yield None
            yield [(number, task)]

    results = run_tasks(
        partial(_work_numbered, work),
        numbered(),
        lambda task, reason: (task[0], give_up(task[1], reason)),
        workers=workers,
        time_limit=time_limit,
        queued=ahead,
    )
    for number, result in results:
        finished[number] = result
        while taken in finished:
            yield finished.pop(taken)
            taken += 1


def _work_numbered(work: Callable[[Task], Result], batch: Sequence[tuple[int, Task]]) -> tuple[int, Result]:
    """The result of a batch of one task, with the task's number."""
    ((number, task),) = batch
    return number, work(task)


class Crew:
    """Worker processes that stay for one call of `run_tasks` or for many, one call at a time.

    Attributes:
        workers: Their number.
        pool: The processes.
    """

    pool: ProcessPool

    def __init__(self, workers: int) -> None:
        self.workers = workers
        self._start()

    def replace(self) -> None:
        """Start anew."""
        self.end()
        self._start()

    def end(self) -> None:
        """End the workers, whatever they are at."""
        self.pool.stop()  # type: ignore[no-untyped-call]
        self.pool.join()

    def _start(self) -> None:
        self.pool = ProcessPool(
            self.workers,
            max_tasks=TASKS_PER_WORKER,
            initializer=_prepare_worker,
            context=get_context("spawn"),
        )


class _Run(Generic[Task, Result]):
    """What a crew is at in one call; all workers are replaced when pebble calls its pool broken."""

    def __init__(
        self, crew: Crew, work: Callable[[Sequence[Task]], Result], hard_limit: float, queued: int
    ) -> None:
        self.crew = crew
        self.work = work
        self.hard_limit = hard_limit
        self.queued = queued
        self.running: dict[Future[Result], Sequence[Task]] = {}
        self.again: deque[Sequence[Task]] = deque()
        self.breaks = 0

    def hand_out(self, source: Iterator[Sequence[Task] | None]) -> bool:
        """Keep the workers busy, first with what has to be done again; False once nothing is left."""
        if not self.crew.pool.active:
            self._replace()
        while len(self.running) < self.queued:
            batch = self.again.popleft() if self.again else next(source, None)
            if batch is None:
                break
            try:
                future = self.crew.pool.schedule(self.work, args=[batch], timeout=self.hard_limit)
            except RuntimeError:
                self.again.append(batch)
                return True
            self.running[future] = batch
        return bool(self.running)

    def finished(self) -> Iterator[tuple[Sequence[Task], Future[Result]]]:
        """Wait for a batch to end, one way or another."""
        for future in wait(self.running, return_when=FIRST_COMPLETED).done:
            yield self.running.pop(future), future

    def drop(self) -> None:
        """Forget what is still running."""
        for future in self.running:
            future.cancel()

    def _replace(self) -> None:
        self.breaks += 1
        if self.breaks > MAX_BREAKS:
            raise GdoError(
                "worker processes end as soon as they start; a script that calls gdo needs "
                '`if __name__ == "__main__":` around its work, or else workers=0; or the memory is full'
            )
        self.again.extend(self.running.values())
        self.running.clear()
        self.crew.replace()


def _why_lost(error: TimeoutError | ProcessExpired, time_limit: float) -> str:
    """Why a worker did not come back from a task."""
    if isinstance(error, TimeoutError):
        return f"took longer than {time_limit:g} s"
    return f"the reader crashed ({how_ended(error.exitcode)})"


def how_ended(code: int | None) -> str:
    """The exit code of a process, or the signal that ended it."""
    return signal.Signals(-code).name if code and code < 0 else f"exit code {code}"


def _prepare_worker() -> None:
    """Leave Ctrl-C to the parent, other cores to the others; load the readers before a clock runs."""
    import cv2

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(1)
