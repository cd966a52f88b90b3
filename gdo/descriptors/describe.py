"""The engine: computes what a pool lacks of a descriptor, and survives whatever happens on the way.

The work list is made once, in a short read of the pool; finished batches are kept as parts on disk and
committed now and then. Killed anywhere, the next call goes on with what is missing. Rows depend neither on
the number of workers nor on how the work was cut.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from gdo.descriptors.base import ProbedDescriptor
from gdo.descriptors.catalog import (
    COVERAGE,
    backend_of,
    can_ask_models,
    can_cluster,
    find_descriptors,
    usual_names,
)
from gdo.descriptors.coverage.clusters import Coverage
from gdo.descriptors.coverage.run import PROBE, CoverChoice, cover, find_embedder
from gdo.descriptors.engine.engines import open_engine
from gdo.descriptors.engine.local import usable_cores
from gdo.descriptors.engine.machine import LocalEngine
from gdo.descriptors.engine.models import Models, ProbeChoice, Say
from gdo.descriptors.engine.one import describe_one, media_of
from gdo.descriptors.engine.parts import Command
from gdo.descriptors.engine.probing import ask, choose
from gdo.descriptors.engine.run import (
    Callback,
    DescriptorReport,
    Options,
    Progress,
    Work,
    work_off,
)
from gdo.descriptors.engine.stored import HeaderParts
from gdo.errors import GdoError, UsageError
from gdo.pool.hints import NO_FILE, missing_media_hint
from gdo.pool.store import Pool, utc_now

__all__ = ["DescribeReport", "DescriptorReport", "Progress", "describe", "probe_media_headers"]


@dataclass(frozen=True, slots=True)
class DescribeReport:
    """What one call of `describe` did, descriptor by descriptor."""

    descriptors: list[DescriptorReport]
    hints: list[str] = field(default_factory=list)
    """What to do about media that were not found."""


def describe(
    pool: Path | str,
    names: Sequence[str] | None = None,
    *,
    probe: str | None = None,
    device: str = "auto",
    context: bool = False,
    frames: int | None = None,
    max_pixels: int | None = None,
    frames_as: Literal["images", "video"] | None = None,
    proxy_minutes: float | None = None,
    embed: str = PROBE,
    clusters: int | None = None,
    workers: int | None = None,
    engine: str = "local",
    address: str | None = None,
    storage: str | None = None,
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
        frames_as: Frames of a clip stand in the prompt as single `images` (as released, the default) or as
            one `video`; the self-proxy takes a video.
        proxy_minutes: Time to train the self-proxy for, where there is none.
        embed: Whose vectors `coverage` goes by: the states of the `probe`, or `open_clip:MODEL/WEIGHTS`.
        clusters: How many clusters `coverage` finds; default as many as it found before, if they were asked
            for, else the number of samples, at most 4,096.
        workers: Processes that read media; default all cores, 0 reads in this process.
        engine: `local`: this machine; `ray`: a cluster, with the same rows.
        address: Of a Ray cluster: `auto`, `HOST:PORT` or `ray://HOST:PORT`; None starts one here for the run.
        storage: A folder or fsspec URL that all nodes of the cluster see, where they put what they computed;
            default the pool's side folder.
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
    choice = ProbeChoice(probe, device, context, frames, max_pixels, frames_as, proxy_minutes)
    cover_by = CoverChoice(embed, clusters)
    target = Pool(pool)
    with open_engine(engine, address, storage, target, workers) as its:
        options = Options(its, _count_workers(workers), time_limit, progress, limit, retry_errors)
        return _describe(target, names, choice, cover_by, options, say or (lambda _: None), models)


def _describe(
    pool: Pool,
    names: Sequence[str] | None,
    choice: ProbeChoice,
    cover_by: CoverChoice,
    options: Options,
    say: Say,
    models: Models | None,
) -> DescribeReport:
    """First what needs no model, then what one is asked about samples, about questions, then coverage."""
    if names is None:
        names = usual_names()
        say(_left_out())
    descriptors = find_descriptors(names, choice.probe)
    probed = [each for each in descriptors if isinstance(each, ProbedDescriptor)]
    covered = COVERAGE in descriptors
    if covered and not can_cluster():
        raise UsageError("coverage needs FAISS: pip install 'gdo[cpu]' or, for NVIDIA GPUs, 'gdo[gpu]'")
    ask_model = probed or (covered and cover_by.embed == PROBE)
    chosen = choose(pool, choice, models, options, say) if ask_model else None
    pool.upgrade()
    gpus = options.engine.gpus(choice.device)
    reports: dict[str, DescriptorReport] = {}
    for each in descriptors:
        if not isinstance(each, ProbedDescriptor | Coverage):
            backend, devices = backend_of(pool, each, gpus)
            reports[each.name] = describe_one(pool, backend, options, devices=devices)
    for asks in ({"losses", "stability"}, {"time"}):
        some = [each for each in probed if each.asks in asks]
        if chosen and some:
            reports |= ask(pool, some, chosen, options)
    told = {each.name: [each.name] for each in descriptors}
    if covered:
        devices = chosen.devices if chosen else options.engine.devices(choice.device)
        embedder = find_embedder(cover_by.embed, chosen)
        made = cover(pool, embedder, devices, cover_by.clusters, options, say)
        told[COVERAGE.name] = list(made)
        reports |= made
    made_reports = [reports[name] for each in descriptors for name in told[each.name]]
    return DescribeReport(made_reports, _hints(pool, made_reports))


def _left_out() -> str:
    """What is not computed where no names are given."""
    dear = (
        "stability (is a sampled answer the same again?) is left out unless it is named; "
        "--estimate tells its price"
    )
    if can_ask_models():
        return dear
    return f"{dear}; dependency needs a model: pip install 'gdo[train]'"


def _hints(pool: Pool, reports: Sequence[DescriptorReport]) -> list[str]:
    """Where the media may be, if most were not found."""
    if not any(NO_FILE in reason for report in reports for reason in report.reasons):
        return []
    hint = None
    with suppress(GdoError), pool.read() as connection:  # the work is done, whoever has the pool now
        hint = missing_media_hint(connection, pool.path)
    return [hint] if hint else []


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
    options = Options(LocalEngine(), _count_workers(workers), time_limit, progress)
    target = Pool(pool)
    target.upgrade()
    parts, report = HeaderParts(target), DescriptorReport("headers", 1, "")
    command = Command("probe media", {"time_limit": time_limit}, utc_now())
    work_off([parts], {"headers": report}, options, command, partial(_see_headers, parts, report, options))
    report.hints = _hints(target, [report])
    return report


def _count_workers(workers: int | None) -> int:
    return usable_cores() if workers is None else workers


def _see_headers(parts: HeaderParts, report: DescriptorReport, options: Options) -> Work:
    plan = parts.plan(options.limit, retry_errors=options.retry_errors)
    report.already = plan.already
    steps = options.engine.describe(None, media_of(plan, parts), plan.todo, parts, [], options)
    return Work(plan.todo, steps, [plan.path])
