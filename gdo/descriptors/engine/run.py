"""One run over what a pool lacks: every batch is kept as a part, parts are committed now and then."""

import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from gdo.descriptors.base import DeviceDescriptor, MediaDescriptor
from gdo.descriptors.engine.asking import Share, Step
from gdo.descriptors.engine.parts import Command, Parts, Tally, commit, try_commit
from gdo.descriptors.engine.work import Medium
from gdo.descriptors.probe.contract import Probe
from gdo.errors import GdoError, UsageError
from gdo.pool.store import utc_now

COMMIT_EVERY = 10.0
"""Seconds between commits of finished parts, where the database is free."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a descriptor is, or what has to be done before it.

    Attributes:
        name: What is done: the descriptor, or several that are computed together.
        done: Subjects done in this run.
        total: Subjects this run has to do; None where that is not known.
        errors: Subjects without values so far.
        rate: Subjects per second; None for what is no descriptor.
        seconds_left: At this rate.
        note: What else there is to say.
    """

    name: str
    done: int
    total: int | None
    errors: int = 0
    rate: float | None = None
    seconds_left: float = 0.0
    note: str = ""


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
        hints: What to do about them.
    """

    name: str
    version: int
    probe: str
    already: int = 0
    computed: int = 0
    errors: int = 0
    seconds: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    hints: list[str] = field(default_factory=list)

    def add(self, tally: Tally) -> None:
        """Count a part."""
        self.computed += tally.computed
        self.errors += tally.reasons.total()
        self.reasons.update(tally.reasons)


Callback = Callable[[Progress], None]
Steps = Generator[Step, None, None]


class Engine(Protocol):
    """Who works off the lists of a run: this machine or a cluster. Both keep the same rows as parts."""

    def devices(self, device: str) -> list[str]:
        """The devices that are meant by a name.

        Raises:
            UsageError: There are none of this name.
        """

    def gpus(self, device: str) -> list[str]:
        """The GPUs among them; see `find_gpus`."""

    def here(self, devices: Sequence[str]) -> list[str]:
        """Devices of this machine for what is not worth a cluster, where those are computed on."""

    def describe(
        self,
        descriptor: MediaDescriptor | DeviceDescriptor | None,
        media: Iterator[Medium],
        todo: int,
        parts: Parts,
        devices: Sequence[str],
        options: "Options",
    ) -> Steps:
        """Read media and compute a descriptor of them; None reads their headers alone.

        Args:
            descriptor: What to compute.
            media: The media, in the order of the work list.
            todo: Their number.
            parts: Where the values are kept.
            devices: Where a device half computes, if the descriptor has one.
            options: How.

        Raises:
            GdoError: Workers or devices failed.
        """

    def ask(self, share: Share, devices: Sequence[str], load: Callable[[], Probe]) -> Iterator[Step]:
        """Ask a probe.

        Args:
            share: All that is to be asked, on the first device.
            devices: Who may take their share of it.
            load: Gives the probe, where the first device alone is asked by this process.

        Raises:
            GdoError: Devices failed.
        """


@dataclass(frozen=True, slots=True)
class Options:
    """How to compute, whatever is computed."""

    engine: Engine
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


@dataclass(frozen=True, slots=True)
class Work:
    """What one run has to do: how many subjects, the steps that do it, and the work lists."""

    todo: int
    steps: Steps
    lists: Sequence[Path]


def describe_command(arguments: dict[str, Any], options: Options) -> Command:
    """What table `run` tells of a run."""
    told = {name: getattr(options, name) for name in ("limit", "retry_errors", "time_limit")}
    return Command("describe", arguments | told, utc_now())


def kept(parts: Parts, tables: Iterable[pa.Table]) -> Steps:
    """Keep tables as parts, as they come."""
    for table in tables:
        yield Step(table.num_rows, (parts.save(table),))


def work_off(
    parts: Sequence[Parts],
    reports: Mapping[str, DescriptorReport],
    options: Options,
    command: Command,
    start: Callable[[], Work],
) -> None:
    """Compute what is missing, keep every batch as a part, and commit: now and then, and at the end."""
    clock = time.monotonic()
    with ExitStack() as locks:
        for each in parts:
            locks.enter_context(each.locked())
        if any(each.files() for each in parts):
            try_commit(parts, command)
        for each in parts:
            each.stamp()
        work = start()
        try:
            _go(work, parts, reports, options, command)
        except GdoError as error:
            if not any(report.computed + report.errors for report in reports.values()):
                raise
            try_commit(parts, command)
            raise GdoError(f"{error}; what was computed is kept, the same command goes on") from error
        for path in work.lists:
            path.unlink()
        _commit_at_last(parts, command)
        for each in parts:
            each.sources.unlink(missing_ok=True)
    for report in reports.values():
        report.seconds = time.monotonic() - clock


def _go(
    work: Work,
    parts: Sequence[Parts],
    reports: Mapping[str, DescriptorReport],
    options: Options,
    command: Command,
) -> None:
    """Take the steps of a run."""
    done, begun = 0, time.monotonic()
    committed = begun
    with closing(work.steps) as steps:
        for step in steps:
            done += step.done
            for tally in step.tallies:
                reports[tally.name].add(tally)
            now = time.monotonic()
            if step.card:  # the model is loaded only now
                begun = now
            if options.progress and step.done:
                rate = done / max(now - begun, 1e-9)
                errors = max(report.errors for report in reports.values())
                left = (work.todo - done) / rate
                options.progress(Progress(", ".join(reports), done, work.todo, errors, rate, left))
            if now - committed > COMMIT_EVERY:
                try_commit(parts, command)
                committed = time.monotonic()


def _commit_at_last(parts: Sequence[Parts], command: Command) -> None:
    try:
        commit(parts, command, at_end=True)
    except GdoError as error:
        raise GdoError(
            f"{error}; what was computed is kept in {parts[0].folder} for the next run of the same command"
        ) from error
