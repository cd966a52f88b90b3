"""The engine: computes what a pool lacks of a descriptor, and survives whatever happens on the way.

The work list is made once, in a short read of the pool; finished batches are kept as parts on disk and
committed now and then. Killed anywhere, the next call goes on with what is missing. Rows depend neither on
the number of workers nor on how the work was cut.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pyarrow as pa

from gdo.descriptors.base import Descriptor, MediaDescriptor
from gdo.descriptors.catalog import find_descriptors
from gdo.descriptors.local import run_tasks, usable_cores
from gdo.descriptors.parts import Command, DescriptorParts, HeaderParts, Parts, Plan
from gdo.descriptors.work import Medium, describe_media, describe_samples, failed_media
from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool, utc_now

COMMIT_EVERY = 10.0
"""Seconds between commits of finished parts, where the database is free."""
IMAGES_PER_TASK = 64
"""Still images in one task of a worker; they take little time each."""
SAMPLES_PER_BATCH = 50_000
MEDIA_PER_READ = 1024
"""Rows of the work list in memory at a time."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a descriptor is.

    Attributes:
        name: The descriptor.
        done: Subjects done in this run.
        total: Subjects this run has to do.
        errors: Subjects without values so far.
        rate: Subjects per second.
        seconds_left: At this rate.
    """

    name: str
    done: int
    total: int
    errors: int
    rate: float
    seconds_left: float


@dataclass(slots=True)
class DescriptorReport:
    """What one run did for one descriptor.

    Attributes:
        name: The descriptor.
        version: Its version.
        probe: The model that made the values; empty where there is none.
        already: Subjects that had what they need before.
        computed: Subjects that got values.
        errors: Subjects that got a reason instead.
        seconds: Time taken.
        reasons: How often each reason was given.
    """

    name: str
    version: int
    probe: str
    already: int = 0
    computed: int = 0
    errors: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class DescribeReport:
    """What one call of `describe` did, descriptor by descriptor."""

    descriptors: list[DescriptorReport]


Callback = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class _Options:
    """How to compute, whatever is computed."""

    workers: int
    time_limit: float
    progress: Callback | None
    limit: int | None = None
    retry_errors: bool = False

    def __post_init__(self) -> None:
        if self.workers < 0:
            raise UsageError(f"workers must be 0 or more; it is {self.workers}")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"limit must be 1 or more; it is {self.limit}")
        if not self.time_limit > 0:
            raise UsageError(f"the time limit must be more than 0 seconds; it is {self.time_limit}")


def describe(
    pool: Path | str,
    names: Sequence[str],
    *,
    workers: int | None = None,
    limit: int | None = None,
    retry_errors: bool = False,
    time_limit: float = 60.0,
    progress: Callback | None = None,
) -> DescribeReport:
    """Compute descriptors for every medium or sample of a pool that lacks them.

    Worker processes are spawned, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Args:
        pool: Path of the pool's database file.
        names: Names of descriptors.
        workers: Processes that read media; default all cores, 0 reads in this process.
        limit: At most so many media or samples of each descriptor.
        retry_errors: Compute those again that gave an error before.
        time_limit: Seconds for one medium; one that takes longer gets an error. Needs workers.
        progress: Called after every batch.

    Raises:
        UsageError: There is no pool, a name is unknown, or a number is out of range.
        GdoError: The database stayed locked, or another process computes the same; finished work is kept.
    """
    descriptors = find_descriptors(names)
    options = _Options(_count_workers(workers), time_limit, progress, limit, retry_errors)
    target = Pool(pool)
    return DescribeReport([_describe_one(target, descriptor, options) for descriptor in descriptors])


def probe_media_headers(
    pool: Path | str,
    *,
    workers: int | None = None,
    time_limit: float = 60.0,
    progress: Callback | None = None,
) -> DescriptorReport:
    """Read the headers of all media that were never read: size, frames, duration, or why not.

    Args:
        pool: Path of the pool's database file.
        workers: Processes that read media; default all cores, 0 reads in this process.
        time_limit: Seconds for one medium. Needs workers.
        progress: Called after every batch.

    Raises:
        UsageError: There is no pool, or a number is out of range.
        GdoError: The database stayed locked, or another process does the same; finished work is kept.
    """
    options = _Options(_count_workers(workers), time_limit, progress)
    parts, report = HeaderParts(Pool(pool)), DescriptorReport("headers", 1, "")
    command = Command("probe media", {"time_limit": time_limit}, utc_now())
    return _work_off(
        parts, options, report, command, lambda plan: _describe_media(None, plan, options, parts)
    )


def _count_workers(workers: int | None) -> int:
    return usable_cores() if workers is None else workers


def _describe_one(pool: Pool, descriptor: Descriptor, options: _Options) -> DescriptorReport:
    parts = DescriptorParts(pool, descriptor)
    report = DescriptorReport(descriptor.name, descriptor.version, descriptor.probe)
    arguments = {name: getattr(options, name) for name in ("limit", "retry_errors", "time_limit")}
    command = Command("describe", {"name": descriptor.name} | arguments, utc_now())

    def compute(plan: Plan) -> Iterator[pa.Table]:
        if descriptor.subject == "media":
            return _describe_media(descriptor, plan, options, parts)
        return (describe_samples(descriptor, batch) for batch in plan.batches(SAMPLES_PER_BATCH))

    return _work_off(parts, options, report, command, compute)


def _work_off(
    parts: Parts,
    options: _Options,
    report: DescriptorReport,
    command: Command,
    compute: Callable[[Plan], Iterator[pa.Table]],
) -> DescriptorReport:
    """Compute what is missing, keep every batch as a part, and commit: now and then, and at the end."""
    clock = time.monotonic()
    with parts.locked():
        if parts.files():
            parts.try_commit(command)
        plan = parts.plan(options.limit, retry_errors=options.retry_errors)
        report.already = plan.already
        computing = committed = time.monotonic()
        for table in compute(plan):
            parts.save(table)
            _count(report, table)
            now = time.monotonic()
            if options.progress:
                options.progress(_progress(report, plan.todo, now - computing))
            if now - committed > COMMIT_EVERY:
                parts.try_commit(command)
                committed = time.monotonic()
        plan.path.unlink()
        _commit_at_last(parts, command)
    report.seconds = time.monotonic() - clock
    return report


def _describe_media(
    descriptor: MediaDescriptor | None, plan: Plan, options: _Options, parts: Parts
) -> Iterator[pa.Table]:
    """Read and describe media in worker processes, in tasks that take a worker seconds at most."""
    home = parts.pool.path.parent
    media = (
        Medium(row["media_id"], row["kind"], str(home / (row["root"] or "")), row["paths"])
        for batch in plan.batches(MEDIA_PER_READ)
        for row in batch.to_pylist()
    )
    return run_tasks(
        partial(describe_media, descriptor, options.time_limit),
        _cut(media),
        partial(failed_media, descriptor),
        workers=min(options.workers, plan.todo),
        time_limit=options.time_limit,
    )


def _cut(media: Iterable[Medium]) -> Iterator[list[Medium]]:
    """Tasks: still images by the batch, everything else one by one."""
    images: list[Medium] = []
    for medium in media:
        if medium.kind != "image":
            yield [medium]
            continue
        images.append(medium)
        if len(images) == IMAGES_PER_TASK:
            yield images
            images = []
    if images:
        yield images


def _count(report: DescriptorReport, table: pa.Table) -> None:
    """Add a part to the report; reasons are told apart by what stands before their details in brackets."""
    reasons = [error.partition(" (")[0] for error in table["error"].to_pylist() if error is not None]
    report.reasons.update(reasons)
    report.errors += len(reasons)
    report.computed += table.num_rows - len(reasons)


def _progress(report: DescriptorReport, total: int, seconds: float) -> Progress:
    done = report.computed + report.errors
    rate = done / max(seconds, 1e-9)
    return Progress(report.name, done, total, report.errors, rate, (total - done) / rate)


def _commit_at_last(parts: Parts, command: Command) -> None:
    try:
        parts.commit(command)
    except GdoError as error:
        raise GdoError(
            f"{error}; what was computed is kept in {parts.folder} for the next run of the same command"
        ) from error
