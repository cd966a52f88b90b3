"""Descriptors that a model tells: which model, what it has to be asked, on how many devices."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gdo.descriptors.base import ProbedDescriptor
from gdo.descriptors.engine.asking import Share, Step, media_parts
from gdo.descriptors.engine.groups import GroupPlan, QuestionPlan, plan_groups, plan_questions
from gdo.descriptors.engine.models import (
    SELF,
    Chosen,
    LocalModels,
    Models,
    ProbeChoice,
    Say,
    refuse_misspelt,
    require_packages,
)
from gdo.descriptors.engine.parts import Parts
from gdo.descriptors.engine.run import (
    DescriptorReport,
    Options,
    Progress,
    Steps,
    Work,
    describe_command,
    work_off,
)
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.pool.store import Pool


def choose(pool: Pool, choice: ProbeChoice, models: Models | None, options: Options, say: Say) -> Chosen:
    """The model to be asked; one that was named is looked at before any work begins."""
    if models is None:
        require_packages()
        refuse_misspelt(choice)

    def told(what: str, done: int, total: int | None, note: str) -> None:
        if options.progress:
            options.progress(Progress(what, done, total, note=note))

    devices = options.engine.devices(choice.device)
    home = options.engine.here(devices)[0]
    chosen = Chosen(pool, choice, devices, home, models or LocalModels(), options.workers, told, say)
    if choice.model != SELF:
        _ = chosen.card
    return chosen


def ask(
    pool: Pool, probed: Sequence[ProbedDescriptor[Any]], chosen: Chosen, options: Options
) -> dict[str, DescriptorReport]:
    """Compute descriptors by asking the model: of samples and their media, or one of questions."""
    card = chosen.card
    labelled = tuple(type(each)(card.label) for each in probed)
    parts: dict[str, DescriptorParts] = {each.asks: DescriptorParts(pool, each, card) for each in labelled}
    media = media_parts(pool, labelled)
    reports = {each.name: DescriptorReport(each.name, each.version, each.probe) for each in labelled}

    def start() -> Work:
        plan = _plan(pool, parts, media.folder, chosen, options)
        for each in labelled:
            reports[each.name].already = plan.already[each.asks]
        steps: Iterator[Step] = iter(())
        if plan.todo:
            share = Share(
                pool.path,
                labelled,
                card,
                chosen.models,
                chosen.devices[0],
                plan,
                options.workers,
                options.time_limit,
            )
            steps = options.engine.ask(share, chosen.devices, lambda: chosen.loaded)
        return Work(plan.todo, _hear(steps, parts.values(), chosen), plan.lists)

    arguments = {"name": ", ".join(reports), "probe": card.label, "device": chosen.choice.device}
    together = [*parts.values(), media]
    work_off(together, reports, options, describe_command(arguments, options), start)
    return reports


def _plan(
    pool: Pool, parts: Mapping[str, Parts], folder: Path, chosen: Chosen, options: Options
) -> GroupPlan | QuestionPlan:
    if "time" in parts:
        return plan_questions(
            pool, parts["time"], folder, limit=options.limit, retry_errors=options.retry_errors
        )
    return plan_groups(
        pool,
        parts,
        folder,
        context=chosen.card.settings.context,
        limit=options.limit,
        retry_errors=options.retry_errors,
    )


def _hear(steps: Iterator[Step], parts: Iterable[DescriptorParts], chosen: Chosen) -> Steps:
    """The steps; what they tell of the model is kept."""
    for step in steps:
        if step.card:
            chosen.hear(step.card)
            for each in parts:
                each.card = chosen.card
        yield step
