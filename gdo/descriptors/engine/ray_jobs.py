"""What a worker of a cluster does with a shard of a work list, whichever list it is of.

A job travels to the worker, starts there once, and is then handed shard after shard.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from threading import Lock
from typing import Any, Protocol

import pyarrow as pa

from gdo.descriptors.base import DeviceDescriptor, MediaDescriptor, ProbedDescriptor, Values
from gdo.descriptors.engine.asking import Answers, answer_groups, answer_questions, probe_errors
from gdo.descriptors.engine.groups import Task
from gdo.descriptors.engine.local import Crew
from gdo.descriptors.engine.machine import read_media
from gdo.descriptors.engine.models import Models
from gdo.descriptors.engine.on_device import describe_on_devices
from gdo.descriptors.engine.parts import Parts
from gdo.descriptors.engine.work import Medium, headers_table
from gdo.descriptors.probe.contract import Group, Probe, ProbeCard, Scored


@dataclass(frozen=True, slots=True)
class Shard:
    """A piece of a work list: about half a minute of work, none of which is kept before all of it is done.

    Attributes:
        number: Its place in the list.
        tasks: Media, groups of samples, or keys and questions.
        roots: Folders of its media that the driver sees, so that a node that does not is found out.
    """

    number: int
    tasks: Sequence[Any]
    roots: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a shard.

    Attributes:
        done: Subjects worked off.
        tables: Their values, and whose parts they are.
        card: The probe's card as it came with the weights.
    """

    done: int
    tables: Sequence[tuple[Parts, pa.Table]]
    card: ProbeCard | None = None


DoShard = Callable[[Sequence[Any], Crew], Done]


class Job(Protocol):
    """What is done with shards. It can be pickled, and loads nothing before it starts."""

    def start(self) -> DoShard:
        """Load what it takes; gives what works off a shard, with a crew that reads media.

        Two shards may be worked off at a time, each in a thread and with a crew of its own.

        Raises:
            GdoError: Something cannot be loaded.
        """


@dataclass(frozen=True, slots=True)
class MediaJob:
    """Compute a descriptor of media."""

    descriptor: MediaDescriptor | None
    parts: Parts
    time_limit: float

    def start(self) -> DoShard:
        """Nothing has to be loaded."""

        def work(media: Sequence[Medium], crew: Crew) -> Done:
            tables = read_media(self.descriptor, media, crew, self.time_limit)
            return Done(len(media), [(self.parts, pa.concat_tables(tables))])

        return work


@dataclass(frozen=True, slots=True)
class DeviceJob:
    """Compute a descriptor of media with a device half."""

    descriptor: DeviceDescriptor
    parts: Parts
    device: str
    time_limit: float

    def start(self) -> DoShard:
        """Load the device half."""
        half, lock = self.descriptor.load(self.device), Lock()

        def compute(batch: Sequence[Any]) -> Values:
            with lock:
                return half(batch)

        def work(media: Sequence[Medium], crew: Crew) -> Done:
            tables = describe_on_devices(
                self.descriptor,
                iter(media),
                [self.device],
                workers=crew,
                time_limit=self.time_limit,
                load=lambda _: compute,
            )
            return Done(len(media), [(self.parts, pa.concat_tables(tables))])

        return work


@dataclass(frozen=True, slots=True)
class AskJob:
    """Ask a probe about groups of samples, or about questions alone.

    Attributes:
        descriptors: What is computed, with the probe's label.
        parts: Where the values of each are kept.
        media: Where it is kept what is learned of media.
        card: The probe.
        models: Where it is loaded from.
        device: Where to.
        time_limit: Seconds for one medium.
    """

    descriptors: Sequence[ProbedDescriptor[Any]]
    parts: Sequence[Parts]
    media: Parts
    card: ProbeCard
    models: Models
    device: str
    time_limit: float

    def start(self) -> DoShard:
        """Load the probe."""
        with probe_errors(self.device):
            probe: Probe = _InTurn(self.models.load(self.card, device=self.device))

        def work(tasks: Sequence[Any], crew: Crew) -> Done:
            return self._done(list(self._answers(probe, tasks, crew)), probe.card)

        return work

    def _answers(self, probe: Probe, tasks: Sequence[Any], crew: Crew) -> Iterator[Answers]:
        if isinstance(tasks[0], Task):
            return answer_groups(
                self.descriptors, probe, iter(tasks), self.device, workers=crew, time_limit=self.time_limit
            )
        (descriptor,) = self.descriptors
        return iter([answer_questions(descriptor, probe, tasks, self.device)])

    def _done(self, answers: Sequence[Answers], card: ProbeCard) -> Done:
        """All answers of a shard, put together."""
        tables: list[tuple[Parts, pa.Table]] = []
        if rows := list(chain.from_iterable(each.media for each in answers)):
            tables.append((self.media, headers_table(rows)))
        for descriptor, parts in zip(self.descriptors, self.parts, strict=True):
            its = [each.tables[descriptor.asks] for each in answers if descriptor.asks in each.tables]
            if its:
                tables.append((parts, pa.concat_tables(its)))
        return Done(sum(each.done for each in answers), tables, card)


class _InTurn:
    """A probe that two threads ask: while one of them asks, the other reads media."""

    def __init__(self, probe: Probe) -> None:
        self.card = probe.card
        self._probe = probe
        self._lock = Lock()

    def cost(self, group: Group) -> int:
        return self._probe.cost(group)

    def score(self, groups: Sequence[Group], *, losses: bool, stability: bool) -> list[list[Scored]]:
        with self._lock:
            return self._probe.score(groups, losses=losses, stability=stability)

    def temporal_need(self, questions: Sequence[str]) -> list[float | None]:
        with self._lock:
            return self._probe.temporal_need(questions)
