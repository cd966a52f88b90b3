"""Asking a probe what is missing: media read ahead of it, batches in a fixed order, answers kept as parts.

A share is what one device does. Shares know the pool's folder of parts, never its database.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from gdo.descriptors.base import ProbedDescriptor
from gdo.descriptors.engine.groups import GroupPlan, QuestionPlan, Task
from gdo.descriptors.engine.local import Crew, run_in_order
from gdo.descriptors.engine.models import Models
from gdo.descriptors.engine.parts import Tally
from gdo.descriptors.engine.stored import DescriptorParts, HeaderParts
from gdo.descriptors.engine.work import (
    Medium,
    Seen,
    headers_table,
    reason_of,
    samples_table,
    see_medium,
    unseen_medium,
)
from gdo.descriptors.probe.contract import Group, Probe, ProbeCard, Scored
from gdo.errors import GdoError
from gdo.pool.frames import FrameBudget
from gdo.pool.store import Pool

MEDIA_AHEAD = 96
"""Media read ahead of the model; 32 frames of 224 x 224 are 5 MB."""
BATCH_TOKENS = {"cpu": 16_384, "cuda": 131_072}
"""Token positions of the groups that a probe is given at once, about; it cuts them further as it needs."""
QUESTIONS_PER_BATCH = 512
NO_MEDIA = "no media"


@dataclass(frozen=True, slots=True)
class Share:
    """What one device does of a plan: every `of`-th group, from `number` on.

    Attributes:
        pool: Path of the pool's database file.
        descriptors: What is computed, with the probe's label; of samples, or one of questions.
        card: The probe.
        models: Where it is loaded from.
        device: Where to.
        plan: The work lists.
        workers: Processes that read media.
        time_limit: Seconds for one medium.
        number: Which share, from 0.
        of: How many shares there are.
    """

    pool: Path
    descriptors: tuple[ProbedDescriptor[Any], ...]
    card: ProbeCard
    models: Models
    device: str
    plan: GroupPlan | QuestionPlan
    workers: int
    time_limit: float
    number: int = 0
    of: int = 1


@dataclass(frozen=True, slots=True)
class Step:
    """What a share did in one go.

    Attributes:
        done: Samples worked off.
        tallies: The parts that were kept.
        card: The probe's card as it came with the weights; with the first step only.
    """

    done: int
    tallies: tuple[Tally, ...] = ()
    card: ProbeCard | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """A group as it was read.

    Attributes:
        task: What has to be asked.
        group: The same with its frames.
        seen: What is to be told of its media.
    """

    task: Task
    group: Group
    seen: tuple[dict[str, Any], ...]


def media_parts(pool: Pool, descriptors: Sequence[ProbedDescriptor[Any]]) -> HeaderParts:
    """Where a run keeps what it learns of media."""
    return HeaderParts(pool, f"{DescriptorParts(pool, descriptors[0]).folder.name}-media")


def work_share(share: Share, load: Callable[[], Probe]) -> Iterator[Step]:
    """Ask the probe for a share of the plan, and keep what it says as parts.

    Args:
        share: What to ask.
        load: Gives the loaded probe.

    Raises:
        GdoError: The probe cannot be loaded, or fails for other reasons than a sample.
    """
    with probe_errors(share.device):
        probe = load()
    yield Step(0, card=probe.card)
    if isinstance(share.plan, GroupPlan):
        yield from _ask_groups(share, share.plan, probe)
    else:
        yield from _ask_questions(share, share.plan, probe)


def _ask_groups(share: Share, plan: GroupPlan, probe: Probe) -> Iterator[Step]:
    pool = Pool(share.pool)
    parts: dict[str, DescriptorParts] = {each.asks: DescriptorParts(pool, each) for each in share.descriptors}
    headers = media_parts(pool, share.descriptors)
    tasks = islice(plan.tasks(), share.number, None, share.of)
    for answers in answer_groups(
        share.descriptors, probe, tasks, share.device, workers=share.workers, time_limit=share.time_limit
    ):
        if answers.media:  # first: a sample that has its values is not asked again, nor its media read
            headers.save(headers_table(answers.media))
        tallies = [parts[asks].save(table) for asks, table in answers.tables.items()]
        yield Step(answers.done, tuple(tallies))


def _ask_questions(share: Share, plan: QuestionPlan, probe: Probe) -> Iterator[Step]:
    (descriptor,) = share.descriptors
    parts = DescriptorParts(Pool(share.pool), descriptor)
    for batch in islice(plan.batches(QUESTIONS_PER_BATCH), share.number, None, share.of):
        answers = answer_questions(descriptor, probe, batch, share.device)
        yield Step(answers.done, tuple(parts.save(table) for table in answers.tables.values()))


@dataclass(frozen=True, slots=True)
class Answers:
    """What a probe said of some samples.

    Attributes:
        done: Samples worked off.
        tables: Their values, by what was asked for.
        media: What was learned of their media; rows of `Seen`.
    """

    done: int
    tables: Mapping[str, pa.Table]
    media: list[dict[str, Any]]


def answer_groups(
    descriptors: Sequence[ProbedDescriptor[Any]],
    probe: Probe,
    tasks: Iterator[Task],
    device: str,
    *,
    workers: int | Crew,
    time_limit: float,
) -> Iterator[Answers]:
    """Ask a probe about groups, batch by batch.

    Args:
        descriptors: What is computed.
        probe: The loaded probe.
        tasks: The groups.
        device: Where the probe computes.
        workers: Processes that read media, or a crew; 0 reads in this one.
        time_limit: Seconds for one medium.

    Raises:
        GdoError: The probe fails for other reasons than a sample.
    """
    looks = look_at(tasks, probe.card.settings.budget, workers, time_limit)
    for batch in cut_batches(looks, probe.cost, BATCH_TOKENS[device.partition(":")[0]]):
        said = score(probe, batch, device)
        wanted = {"losses": batch[0].task.losses, "stability": batch[0].task.stability}
        tables: dict[str, pa.Table] = {
            each.asks: _table(each, said) for each in descriptors if wanted[each.asks]
        }
        yield Answers(len(said), tables, [row for look in batch for row in look.seen])


def answer_questions(
    descriptor: ProbedDescriptor[Any], probe: Probe, batch: Sequence[tuple[str, str]], device: str
) -> Answers:
    """Ask a probe about questions alone, each once; `batch` holds keys of samples and their questions.

    Raises:
        GdoError: The probe fails.
    """
    questions = list(dict.fromkeys(question for _, question in batch))
    with probe_errors(device):
        said = dict(zip(questions, probe.temporal_need(questions), strict=True))
    table = _table(descriptor, {uid: said[question] for uid, question in batch})
    return Answers(len(batch), {descriptor.asks: table}, [])


def score(probe: Probe, batch: Sequence[Look], device: str) -> dict[str, Scored]:
    """What a probe says of each sample of a batch, by `qa_uid`."""
    task = batch[0].task
    groups = [look.group for look in batch]
    with probe_errors(device):
        scored = probe.score(groups, losses=task.losses, stability=task.stability)
    return {
        asked.qa_uid: said
        for group, its in zip(groups, scored, strict=True)
        for asked, said in zip(group.samples, its, strict=True)
    }


def look_at(
    tasks: Iterator[Task], budget: FrameBudget, workers: int | Crew, time_limit: float
) -> Iterator[Look]:
    """Read the media of groups ahead of whoever takes them; the groups keep their order.

    Args:
        tasks: The groups.
        budget: Frames of each medium.
        workers: Processes that read, or a crew; 0 reads in this one.
        time_limit: Seconds for one medium.
    """
    for shown, some in groupby(tasks, lambda task: bool(task.media)):
        if shown:
            yield from _read_ahead(some, budget, workers, time_limit)
        else:
            yield from (make_look(task, ()) for task in some)


def _read_ahead(
    tasks: Iterator[Task], budget: FrameBudget, workers: int | Crew, time_limit: float
) -> Iterator[Look]:
    waiting: deque[Task] = deque()

    def media() -> Iterator[Medium]:
        for task in tasks:
            waiting.append(task)
            yield from task.media

    read = run_in_order(
        partial(see_medium, budget, time_limit),
        media(),
        unseen_medium,
        workers=workers,
        time_limit=time_limit,
        ahead=MEDIA_AHEAD,
    )
    for first in read:
        task = waiting.popleft()
        yield make_look(task, [first, *islice(read, len(task.media) - 1)])


def make_look(task: Task, seen: Sequence[Seen]) -> Look:
    """A group and its media as they were read; one that cannot be read leaves it without any."""
    rows = tuple(each.row for each in seen)
    frames = tuple(each.frames for each in seen if each.frames)
    if frames and len(frames) == len(seen):
        return Look(task, Group(frames, task.samples), rows)
    return Look(task, Group((), task.samples, _why_blind(task, seen)), rows)


def _why_blind(task: Task, seen: Sequence[Seen]) -> str:
    """The first medium's reason, with its name where there are several."""
    for medium, each in zip(task.media, seen, strict=True):
        if each.frames is None:
            reason = str(each.row["error"])
            named = len(seen) == 1 or reason.endswith(")")
            return reason if named else f"{reason} ({medium.paths[0]})"
    return NO_MEDIA


def cut_batches(looks: Iterator[Look], cost: Callable[[Group], int], tokens: int) -> Iterator[list[Look]]:
    """Groups that lack the same values, gathered up to a number of token positions; at least one group."""
    for _, alike in groupby(looks, lambda look: (look.task.losses, look.task.stability)):
        batch: list[Look] = []
        filled = 0
        for look in alike:
            more = cost(look.group)
            if batch and filled + more > tokens:
                yield batch
                batch, filled = [], 0
            batch.append(look)
            filled += more
        yield batch


def _table(descriptor: ProbedDescriptor[Any], said: Mapping[str, Any]) -> pa.Table:
    rows = [{"qa_uid": uid, **descriptor.row(its)} for uid, its in said.items()]
    return samples_table(descriptor.columns, rows)


@contextmanager
def probe_errors(device: str) -> Iterator[None]:
    """Tell what a model raises, whatever that is, as the failure of its device."""
    try:
        yield
    except GdoError:
        raise
    except Exception as error:
        raise GdoError(f"the probe failed on {device}: {reason_of(error)}") from error
