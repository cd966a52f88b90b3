"""One descriptor that asks no probe, for all media or samples that lack it."""

from collections.abc import Iterator, Sequence

from gdo.descriptors.base import Descriptor, DeviceDescriptor
from gdo.descriptors.engine.parts import Parts, Plan
from gdo.descriptors.engine.run import DescriptorReport, Options, Work, describe_command, kept, work_off
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.engine.work import Medium, describe_samples, medium_of
from gdo.descriptors.probe.contract import ModelCard
from gdo.pool.store import Pool

SAMPLES_PER_BATCH = 50_000
MEDIA_PER_READ = 1024
"""Rows of the work list in memory at a time."""


def describe_one(
    pool: Pool,
    descriptor: Descriptor | DeviceDescriptor,
    options: Options,
    *,
    devices: Sequence[str] = (),
    card: ModelCard | None = None,
) -> DescriptorReport:
    """Compute what lacks a descriptor.

    Args:
        pool: The pool.
        descriptor: What to compute.
        options: How.
        devices: Where the device half of a descriptor computes, if it has one.
        card: The model that makes the values, if one does.
    """
    parts = DescriptorParts(pool, descriptor, card)
    report = DescriptorReport(descriptor.name, descriptor.version, descriptor.probe)

    def start() -> Work:
        plan = parts.plan(options.limit, retry_errors=options.retry_errors)
        report.already = plan.already
        if descriptor.subject == "media":
            media = media_of(plan, parts)
            steps = options.engine.describe(descriptor, media, plan.todo, parts, devices, options)
        else:
            tables = (describe_samples(descriptor, batch) for batch in plan.batches(SAMPLES_PER_BATCH))
            steps = kept(parts, tables)
        return Work(plan.todo, steps, [plan.path])

    work_off(
        [parts], {report.name: report}, options, describe_command({"name": descriptor.name}, options), start
    )
    return report


def media_of(plan: Plan, parts: Parts) -> Iterator[Medium]:
    """The media of a work list."""
    home = parts.pool.path.parent
    return (medium_of(row, home) for batch in plan.batches(MEDIA_PER_READ) for row in batch.to_pylist())
