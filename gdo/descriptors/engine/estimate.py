"""What describing would cost: a small sample is timed, and nothing is stored.

Media differ in cost by their kind, so each kind is timed by itself and weighed by how much of it there is.
The first of each kind is not counted: it also pays for what is loaded once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

from gdo.descriptors.base import DeviceDescriptor, MediaDescriptor, ProbedDescriptor, SampleDescriptor
from gdo.descriptors.catalog import COVERAGE, backend_of, can_ask_models, find_descriptors, usual_names
from gdo.descriptors.coverage.clusters import Coverage
from gdo.descriptors.coverage.estimate import estimate_coverage
from gdo.descriptors.coverage.run import PROBE, CoverChoice, find_embedder
from gdo.descriptors.engine.asking import probe_errors
from gdo.descriptors.engine.devices import find_devices, find_gpus
from gdo.descriptors.engine.estimate_device import estimate_on_device
from gdo.descriptors.engine.estimate_probe import estimate_probed, probe_card
from gdo.descriptors.engine.local import usable_cores
from gdo.descriptors.engine.models import (
    LocalModels,
    Models,
    ProbeChoice,
    Say,
    refuse_misspelt,
    require_packages,
)
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.engine.timing import Estimate, Rate, Watch, some_media, time_call
from gdo.descriptors.engine.work import Medium, describe_media, describe_samples
from gdo.pool.store import Pool, scalar

ROWS = 2000
"""Samples that are timed where no model is asked."""


@dataclass(frozen=True, slots=True)
class EstimateReport:
    """What describing would cost.

    Attributes:
        descriptors: Each by itself; `dependency` and `stability` share work when they are computed together.
        training: Seconds that the self-proxy is trained for first; 0 where that is done, or another is asked.
        devices: Where a model would compute.
        workers: Processes that would read media.
    """

    descriptors: list[Estimate]
    training: float
    devices: list[str]
    workers: int


def estimate(
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
    time_limit: float = 60.0,
    say: Say | None = None,
    models: Models | None = None,
) -> EstimateReport:
    """Time a small sample of what a pool lacks, and tell what all of it would take; nothing is stored.

    Args:
        pool: Path of the pool's database file.
        names: Names of descriptors; default all that can be computed here.
        probe: See `describe`, as all that follow.
        device: Where the model computes.
        context: Earlier turns of a sample's row come before its question.
        frames: Most frames of a medium that the model is shown.
        max_pixels: Most pixels of a frame.
        frames_as: See `describe`.
        proxy_minutes: Time to train the self-proxy for, where there is none.
        embed: Whose vectors `coverage` goes by.
        clusters: How many clusters it finds.
        workers: Processes that read media; default all cores, 0 reads in this process.
        time_limit: Seconds for one medium. Needs workers.
        say: Called with what is being timed.
        models: Where models come from, if not from transformers.

    Raises:
        UsageError: As `describe`.
        GdoError: The database stayed locked, or the model cannot be loaded.
    """
    choice = ProbeChoice(probe, device, context, frames, max_pixels, frames_as, proxy_minutes)
    target = Pool(pool)
    if names is None:
        names = [*usual_names(), *(["stability"] if can_ask_models() else [])]
    gpus = find_gpus(device)
    descriptors = find_descriptors(names, probe)
    watch = Watch(target, usable_cores() if workers is None else workers, time_limit, say or (lambda _: None))
    probed = [each for each in descriptors if isinstance(each, ProbedDescriptor)]
    found: list[Estimate] = []
    training, devices = 0.0, list[str]()
    cover_by, asked = CoverChoice(embed, clusters), models or LocalModels()
    covered = COVERAGE in descriptors
    if (probed or (covered and embed == PROBE)) and models is None:
        require_packages()
        refuse_misspelt(choice)
    if probed or covered:
        devices = find_devices(device)
    if probed:
        with probe_errors(devices[0]):
            found, training = estimate_probed(watch, probed, choice, devices, asked)
    for each in descriptors:
        if isinstance(each, ProbedDescriptor):
            continue
        watch.say(f"timing {each.name}")
        if isinstance(each, Coverage):
            found.append(_estimate_coverage(watch, cover_by, choice, devices, asked))
            continue
        backend, on = backend_of(target, each, gpus)
        if isinstance(backend, DeviceDescriptor):
            found.append(estimate_on_device(watch, backend, on))
        elif backend.subject == "media":
            found.append(_estimate_media(watch, backend))
        else:
            found.append(_estimate_rows(watch, backend))
    found.sort(key=lambda one: names.index(one.name))
    return EstimateReport(found, training, devices, watch.workers)


def _estimate_coverage(
    watch: Watch, cover_by: CoverChoice, choice: ProbeChoice, devices: list[str], models: Models
) -> Estimate:
    if cover_by.embed != PROBE:
        return estimate_coverage(watch, find_embedder(cover_by.embed, None), devices, cover_by.clusters)
    with TemporaryDirectory() as folder:
        card, label, _ = probe_card(watch, choice, devices[0], models, Path(folder))
        estimate = estimate_coverage(watch, models.embedder(card), devices, cover_by.clusters)
        return replace(estimate, probe=label)


def _estimate_media(watch: Watch, descriptor: MediaDescriptor) -> Estimate:
    work = partial(_describe_one, descriptor, watch.time_limit)
    rates = [
        (count, watch.time(work, lambda *_: None, media)[0])
        for count, media in some_media(watch.pool, DescriptorParts(watch.pool, descriptor))
    ]
    return watch.of_cores(descriptor.name, descriptor.probe, rates)


def _describe_one(descriptor: MediaDescriptor, time_limit: float, medium: Medium) -> None:
    describe_media(descriptor, time_limit, [medium])


def _estimate_rows(watch: Watch, descriptor: SampleDescriptor) -> Estimate:
    with watch.pool.read() as connection:
        query, _ = DescriptorParts(watch.pool, descriptor).missing(connection, None, retry_errors=False)
        missing = scalar(connection, f"SELECT count(*) FROM ({query})")
        some = connection.sql(f"FROM ({query}) ORDER BY hash(qa_uid) LIMIT {ROWS}").to_arrow_table()
    describe_samples(descriptor, some.slice(0, 1))
    seconds, _ = time_call(partial(describe_samples, descriptor, some))
    rate = Rate(seconds / max(1, some.num_rows), some.num_rows)
    estimate = watch.of_cores(descriptor.name, descriptor.probe, [(missing, rate)])
    return replace(estimate, seconds=estimate.hours * 3600)  # one process does it
