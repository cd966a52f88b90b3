"""What asking a model would cost: reading media and scoring are timed apart, kind by kind.

A CPU that scores cannot read meanwhile, so there the times add up; a GPU waits for the slower of the two.
"""

from collections.abc import Mapping, Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from gdo.descriptors.base import ProbedDescriptor
from gdo.descriptors.engine.asking import BATCH_TOKENS, Look, cut_batches, make_look
from gdo.descriptors.engine.groups import Task, plan_groups
from gdo.descriptors.engine.models import SELF, Models, ProbeChoice, read_card
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.engine.timing import SECONDS, Estimate, Rate, Watch, price, time_call
from gdo.descriptors.engine.work import see_medium, unseen_medium
from gdo.descriptors.probe.contract import Group, Probe, ProbeCard
from gdo.pool.store import scalar

GROUPS = 24
"""Groups of each kind of media that are timed."""
QUESTIONS = 256
"""Questions that are timed."""

Kinds = dict[str, list[Look]]


def estimate_probed(
    watch: Watch,
    probed: Sequence[ProbedDescriptor[Any]],
    choice: ProbeChoice,
    devices: list[str],
    models: Models,
) -> tuple[list[Estimate], float]:
    """What the descriptors cost that a model tells, and the seconds that the self-proxy trains for before.

    Args:
        watch: The pool, and how its media are read.
        probed: The descriptors.
        choice: The model.
        devices: Where it computes.
        models: Where it comes from.
    """
    with TemporaryDirectory() as folder:
        card, label, training = probe_card(watch, choice, devices[0], models, Path(folder))
        parts: dict[str, DescriptorParts] = {}
        found = []
        for each in probed:
            its = DescriptorParts(watch.pool, type(each)(label))
            if _lacks_some(its):
                parts[each.asks] = its
            else:
                found.append(price(watch, its, devices, missing=0, timed=0, reading=0.0, computing=0.0))
        if not parts:
            return found, training
        watch.say(f"loading {label} on {devices[0]}")
        probe = models.load(card, device=devices[0])
        shown = {asks: its for asks, its in parts.items() if asks != "time"}
        if shown:
            found += _estimate_groups(watch, shown, probe, devices, Path(folder))
        if "time" in parts:
            found.append(_estimate_questions(watch, parts["time"], probe, devices))
    return found, training


def _lacks_some(parts: DescriptorParts) -> bool:
    with parts.pool.read() as connection:
        query, _ = parts.missing(connection, None, retry_errors=False)
        return bool(scalar(connection, f"SELECT count(*) FROM ({query})"))


def probe_card(
    watch: Watch, choice: ProbeChoice, device: str, models: Models, folder: Path
) -> tuple[ProbeCard, str, float]:
    """The model's card, the label of its values, and the seconds of training before it can be asked."""
    if choice.model != SELF:
        card = read_card(models, choice.model, device, choice)
        return card, card.label, 0.0
    if proxy := models.find_proxy(watch.pool):
        card = read_card(models, str(proxy), device, choice)
        return card, card.label, 0.0
    watch.say("making a model of the self-proxy's shape")
    made, minutes = models.imitate_proxy(watch.pool, folder, device=device)
    seconds = 60 * (choice.proxy_minutes or minutes)
    return read_card(models, str(made), device, choice), SELF, seconds


def _estimate_groups(
    watch: Watch, parts: Mapping[str, DescriptorParts], probe: Probe, devices: list[str], folder: Path
) -> list[Estimate]:
    """Losses and stability: every kind of media by itself."""
    settings = probe.card.settings
    plan = plan_groups(watch.pool, parts, folder, context=settings.context, some=GROUPS)
    watch.say("timing the reading of media")
    reading, looks = _read(watch, list(plan.tasks()), probe)
    found = []
    for asks, its in parts.items():
        watch.say(f"timing {its.name}")
        counts = {kind: counts[asks] for kind, counts in plan.kinds.items()}
        rates = {kind: _score(probe, looks[kind], asks, devices[0]) for kind in counts}
        found.append(
            price(
                watch,
                its,
                devices,
                missing=sum(counts.values()),
                timed=sum(rate.timed for rate in rates.values()),
                reading=sum(count * reading[kind].seconds for kind, count in counts.items()),
                computing=sum(count * rates[kind].seconds for kind, count in counts.items()),
            )
        )
    return found


def _read(watch: Watch, tasks: list[Task], probe: Probe) -> tuple[dict[str, Rate], Kinds]:
    """Seconds of reading for one sample, and the groups as they were read; by the kind of media."""
    rates, looks = {}, Kinds()
    for kind, its in groupby(sorted(tasks, key=_kind), _kind):
        some = list(its)
        media = [medium for task in some for medium in task.media]
        work = partial(see_medium, probe.card.settings.budget, watch.time_limit)
        rate, seen = watch.time(work, unseen_medium, media)
        looks[kind] = []
        for task in some:
            if len(seen) < len(task.media):
                break
            looks[kind].append(make_look(task, seen[: len(task.media)]))
            seen = seen[len(task.media) :]
        shown = sum(len(look.task.media) for look in looks[kind])
        asked = sum(len(look.task.samples) for look in looks[kind])
        rates[kind] = Rate(rate.seconds * shown / max(1, asked), asked)
    return rates, looks


def _kind(task: Task) -> str:
    return task.media[0].kind if task.media else "none"


def _score(probe: Probe, looks: list[Look], asks: str, device: str) -> Rate:
    """Seconds of scoring for one sample."""
    wanted = {"losses": asks == "losses", "stability": asks == "stability"}

    def score(groups: Sequence[Group]) -> Any:
        return probe.score(groups, **wanted)

    score([look.group for look in looks[:1]])
    seconds, timed = 0.0, 0
    for batch in cut_batches(iter(looks), probe.cost, BATCH_TOKENS[device.partition(":")[0]] // 2):
        groups = [look.group for look in batch]
        seconds += time_call(partial(score, groups))[0]
        timed += sum(len(group.samples) for group in groups)
        if seconds > SECONDS:
            break
    return Rate(seconds / max(1, timed), timed)


def _estimate_questions(watch: Watch, parts: DescriptorParts, probe: Probe, devices: list[str]) -> Estimate:
    """Temporal need: equal questions are asked once."""
    watch.say(f"timing {parts.name}")
    with watch.pool.read() as connection:
        query, _ = parts.missing(connection, None, retry_errors=False)
        asked = f"FROM sample SEMI JOIN ({query}) USING (qa_uid)"
        missing = scalar(connection, f"SELECT count(*) {asked}")
        distinct = scalar(connection, f"SELECT count(DISTINCT question) {asked}")
        rows = connection.execute(
            f"SELECT DISTINCT question {asked} ORDER BY hash(question), question LIMIT {QUESTIONS}"
        ).fetchall()
    questions = [question for (question,) in rows]
    probe.temporal_need(questions[:16])
    seconds, _ = time_call(partial(probe.temporal_need, questions))
    scoring = distinct * seconds / max(1, len(questions))
    return price(watch, parts, devices, missing=missing, timed=len(questions), reading=0.0, computing=scoring)
