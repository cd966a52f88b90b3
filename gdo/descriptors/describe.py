"""The engine: computes what a pool lacks of a descriptor, and survives whatever happens on the way.

The work list is made once, in a short read of the pool; finished batches are kept as parts on disk and
committed now and then. Killed anywhere, the next call goes on with what is missing. Rows depend neither on
the number of workers nor on how the work was cut.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pyarrow as pa

from gdo.descriptors.base import Descriptor, MediaDescriptor, ProbedDescriptor
from gdo.descriptors.catalog import can_ask_models, find_descriptors, usual_names
from gdo.descriptors.engine.local import run_tasks, usable_cores
from gdo.descriptors.engine.models import Models, ProbeChoice, Say
from gdo.descriptors.engine.parts import Command, Parts, Plan
from gdo.descriptors.engine.probing import ask, choose
from gdo.descriptors.engine.run import (
    Callback,
    DescriptorReport,
    Options,
    Progress,
    Work,
    describe_command,
    kept,
    work_off,
)
from gdo.descriptors.engine.stored import DescriptorParts, HeaderParts
from gdo.descriptors.engine.work import Medium, describe_media, describe_samples, failed_media, medium_of
from gdo.pool.store import Pool, utc_now

__all__ = ["DescribeReport", "DescriptorReport", "Progress", "describe", "probe_media_headers"]

IMAGES_PER_TASK = 64
"""Still images in one task of a worker; they take little time each."""
SAMPLES_PER_BATCH = 50_000
MEDIA_PER_READ = 1024
"""Rows of the work list in memory at a time."""


@dataclass(frozen=True, slots=True)
class DescribeReport:
    """What one call of `describe` did, descriptor by descriptor."""

    descriptors: list[DescriptorReport]


def describe(
    pool: Path | str,
    names: Sequence[str] | None = None,
    *,
    probe: str | None = None,
    device: str = "auto",
    context: bool = False,
    frames: int | None = None,
    max_pixels: int | None = None,
    proxy_minutes: float | None = None,
    workers: int | None = None,
    limit: int | None = None,
    retry_errors: bool = False,
    time_limit: float = 60.0,
    progress: Callback | None = None,
    say: Say | None = None,
    models: Models | None = None,
) -> DescribeReport:
    """Compute descriptors for every medium or sample of a pool that lacks them.

    Processes are spawned, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Args:
        pool: Path of the pool's database file.
        names: Names of descriptors; default all that can be computed here but for `stability`.
        probe: The model that is asked: `self` (trained on the pool, the default where one is needed), a
            folder, or a name at the hub. `words` and `text` are rules by which `temporal` needs none.
        device: Where the model computes: `auto`, `cpu`, `cuda`, `cuda:N`, or several with commas between.
        context: Earlier turns of a sample's row come before its question.
        frames: Most frames of a medium that the model is shown; default 32, or the self-proxy's own.
        max_pixels: Most pixels of a frame; default 50,176, or the self-proxy's own.
        proxy_minutes: Time to train the self-proxy for, where there is none.
        workers: Processes that read media; default all cores, 0 reads in this process.
        limit: At most so many media or samples of each descriptor.
        retry_errors: Compute those again that gave an error before.
        time_limit: Seconds for one medium; one that takes longer gets an error. Needs workers.
        progress: Called after every batch.
        say: Called with what a person should know: which model is asked, what is left out.
        models: Where models come from, if not from transformers.

    Raises:
        UsageError: There is no pool, a name is unknown, a number is out of range, or a model is needed and
            the packages for it are not installed.
        GdoError: The database stayed locked, another process computes the same, or a device failed; finished
            work is kept.
    """
    options = Options(_count_workers(workers), time_limit, progress, limit, retry_errors)
    choice = ProbeChoice(probe, device, context, frames, max_pixels, proxy_minutes)
    return _describe(Pool(pool), names, choice, options, say or (lambda _: None), models)


def _describe(
    pool: Pool,
    names: Sequence[str] | None,
    choice: ProbeChoice,
    options: Options,
    say: Say,
    models: Models | None,
) -> DescribeReport:
    """First what needs no model, then what the model is asked about samples, then about questions."""
    if names is None:
        names = usual_names()
        say(_left_out())
    descriptors = find_descriptors(names, choice.probe)
    probed = [each for each in descriptors if isinstance(each, ProbedDescriptor)]
    chosen = choose(pool, choice, models, options, say) if probed else None
    pool.upgrade()
    reports: dict[str, DescriptorReport] = {}
    for each in descriptors:
        if not isinstance(each, ProbedDescriptor):
            reports[each.name] = _describe_one(pool, each, options)
    for asks in ({"losses", "stability"}, {"time"}):
        some = [each for each in probed if each.asks in asks]
        if chosen and some:
            reports |= ask(pool, some, chosen, options)
    return DescribeReport([reports[each.name] for each in descriptors])


def _left_out() -> str:
    """What is not computed where no names are given."""
    dear = (
        "stability (is a sampled answer the same again?) is left out unless it is named; "
        "--estimate tells its price"
    )
    if can_ask_models():
        return dear
    return f"{dear}; dependency needs a model: pip install 'gdo[train]'"


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
    options = Options(_count_workers(workers), time_limit, progress)
    target = Pool(pool)
    target.upgrade()
    parts, report = HeaderParts(target), DescriptorReport("headers", 1, "")
    command = Command("probe media", {"time_limit": time_limit}, utc_now())
    work_off([parts], {"headers": report}, options, command, partial(_see_headers, parts, report, options))
    return report


def _count_workers(workers: int | None) -> int:
    return usable_cores() if workers is None else workers


def _see_headers(parts: HeaderParts, report: DescriptorReport, options: Options) -> Work:
    plan = parts.plan(options.limit, retry_errors=options.retry_errors)
    report.already = plan.already
    return Work(plan.todo, kept(parts, _describe_media(None, plan, options, parts)), [plan.path])


def _describe_one(pool: Pool, descriptor: Descriptor, options: Options) -> DescriptorReport:
    """Compute a descriptor that needs no model."""
    parts = DescriptorParts(pool, descriptor)
    report = DescriptorReport(descriptor.name, descriptor.version, descriptor.probe)

    def start() -> Work:
        plan = parts.plan(options.limit, retry_errors=options.retry_errors)
        report.already = plan.already
        if descriptor.subject == "media":
            tables = _describe_media(descriptor, plan, options, parts)
        else:
            tables = (describe_samples(descriptor, batch) for batch in plan.batches(SAMPLES_PER_BATCH))
        return Work(plan.todo, kept(parts, tables), [plan.path])

    work_off(
        [parts], {report.name: report}, options, describe_command({"name": descriptor.name}, options), start
    )
    return report


def _describe_media(
    descriptor: MediaDescriptor | None, plan: Plan, options: Options, parts: Parts
) -> Iterator[pa.Table]:
    """Read and describe media in worker processes, in tasks that take a worker seconds at most."""
    home = parts.pool.path.parent
    media = (medium_of(row, home) for batch in plan.batches(MEDIA_PER_READ) for row in batch.to_pylist())
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
