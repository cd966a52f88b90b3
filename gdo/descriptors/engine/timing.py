"""Timing a few of many: how long one takes, and what all of them would cost."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from gdo.descriptors.engine.local import run_in_order, usable_cores
from gdo.descriptors.engine.models import Say
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.engine.work import Medium, medium_of
from gdo.pool.store import Pool

SECONDS = 20.0
"""After so long, no more of a kind is timed."""

MEDIA = 24
"""Media of each kind that are timed."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Rate:
    """Seconds for one subject, as timed on so many."""

    seconds: float = 0.0
    timed: int = 0


@dataclass(frozen=True, slots=True)
class Estimate:
    """What computing one descriptor would cost.

    Attributes:
        name: The descriptor.
        probe: The model or rule that makes the values; empty where there is none.
        missing: Media or samples without values.
        timed: How many were timed.
        seconds: How long the missing ones would take.
        hours: How many hours of GPUs, or of cores, that is.
        unit: `GPU` or `core`.
    """

    name: str
    probe: str
    missing: int
    timed: int
    seconds: float
    hours: float
    unit: str


@dataclass(frozen=True, slots=True)
class Watch:
    """The pool, and how its media are read."""

    pool: Pool
    workers: int
    time_limit: float
    say: Say

    def time(
        self,
        work: Callable[[Medium], Result],
        give_up: Callable[[Medium, str], Result],
        media: Sequence[Medium],
    ) -> tuple[Rate, list[Result]]:
        """Do a task for each medium one after the other, and the first one once before."""
        runs = run_in_order(
            partial(_timed, work),
            [*media[:1], *media],
            lambda medium, reason: (self.time_limit, give_up(medium, reason)),
            workers=min(1, self.workers),
            time_limit=self.time_limit,
            ahead=1,
        )
        next(runs, None)
        seconds, results = 0.0, []
        for took, result in runs:
            seconds += took
            results.append(result)
            if seconds > SECONDS:
                break
        return Rate(seconds / max(1, len(results)), len(results)), results

    def of_cores(self, name: str, probe: str, rates: Iterable[tuple[int, Rate]]) -> Estimate:
        """The estimate of what the readers do alone, from counts and rates."""
        rates = list(rates)
        seconds = sum(count * rate.seconds for count, rate in rates)
        return Estimate(
            name,
            probe,
            sum(count for count, _ in rates),
            sum(rate.timed for _, rate in rates),
            seconds / max(1, self.workers),
            seconds / 3600,
            "core",
        )


def price(
    watch: Watch,
    parts: DescriptorParts,
    devices: Sequence[str],
    *,
    missing: int,
    timed: int,
    reading: float,
    computing: float,
) -> Estimate:
    """Time on these devices, from the seconds that one reader and one device would take."""
    reading /= max(1, watch.workers)
    label = parts.descriptor.probe
    if devices[0] == "cpu":
        seconds = reading + computing
        return Estimate(parts.name, label, missing, timed, seconds, seconds * usable_cores() / 3600, "core")
    seconds = max(reading, computing / len(devices))
    return Estimate(parts.name, label, missing, timed, seconds, seconds * len(devices) / 3600, "GPU")


def some_media(pool: Pool, parts: DescriptorParts) -> list[tuple[int, list[Medium]]]:
    """The media that lack a descriptor, kind by kind: how many there are, and a few of them."""
    with pool.read() as connection:
        query, _ = parts.missing(connection, None, retry_errors=False)
        counts = dict(connection.execute(f"SELECT kind, count(*) FROM ({query}) GROUP BY kind").fetchall())
        some = connection.sql(
            f"FROM ({query}) QUALIFY row_number() OVER (PARTITION BY kind ORDER BY hash(media_id)) <= {MEDIA}"
        )
        rows = some.to_arrow_table().to_pylist()
    home = pool.path.parent
    return [
        (count, [medium_of(row, home) for row in rows if row["kind"] == kind])
        for kind, count in sorted(counts.items())
    ]


def time_call(call: Callable[[], Result]) -> tuple[float, Result]:
    """How many seconds a call took, and what it gave."""
    begun = time.perf_counter()
    result = call()
    return time.perf_counter() - begun, result


def _timed(work: Callable[[Medium], Result], medium: Medium) -> tuple[float, Result]:
    return time_call(partial(work, medium))
