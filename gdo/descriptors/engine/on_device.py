"""Descriptors whose second half a device computes: readers run ahead, each device has a thread.

Batches are cut before they are dealt out, so that rows depend neither on readers nor on devices.
"""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from gdo.descriptors.base import DeviceDescriptor, Values
from gdo.descriptors.engine.local import Crew, run_in_order
from gdo.descriptors.engine.work import (
    Medium,
    Prepared,
    media_table,
    prepare_medium,
    reason_of,
    unseen_medium,
)
from gdo.errors import GdoError

MEDIA_PER_BATCH = 32
MEDIA_AHEAD = 96
"""Media read and prepared ahead of the devices."""
BATCHES_PER_DEVICE = 2
"""Batches handed to a device's thread: one that it computes, and the next."""

Item = TypeVar("Item")
Result = TypeVar("Result")


def describe_on_devices(
    descriptor: DeviceDescriptor,
    media: Iterator[Medium],
    devices: Sequence[str],
    *,
    workers: int | Crew,
    time_limit: float,
    load: Callable[[str], Callable[[Sequence[Any]], Values]] | None = None,
) -> Iterator[pa.Table]:
    """Read media in worker processes, compute a descriptor of them on devices, and yield the values.

    Args:
        descriptor: What to compute.
        media: The media.
        devices: Where to.
        workers: Processes that read, or a crew; 0 reads in this one.
        time_limit: Seconds for one medium.
        load: Gives a device half that is loaded already; default the descriptor's own `load`.

    Raises:
        GdoError: A device half cannot be loaded.
    """
    prepared = run_in_order(
        partial(prepare_medium, descriptor, time_limit),
        media,
        lambda medium, reason: Prepared(None, unseen_medium(medium, reason).row),
        workers=workers,
        time_limit=time_limit,
        ahead=MEDIA_AHEAD,
    )
    batches = iter(lambda: list(islice(prepared, MEDIA_PER_BATCH)), [])

    def start(device: str) -> Callable[[list[Prepared]], pa.Table]:
        return partial(_describe_batch, descriptor, (load or descriptor.load)(device))

    return spread(start, batches, devices)


def spread(
    load: Callable[[str], Callable[[Item], Result]], items: Iterator[Item], devices: Sequence[str]
) -> Iterator[Result]:
    """Compute items on devices, one thread for each, and yield the results in the order of the items.

    Args:
        load: Called in a device's thread, with its name, once there is an item: gives what computes.
        items: Taken as they are needed.
        devices: Names of the devices.

    Raises:
        GdoError: A device could not be loaded, or computing failed.
    """
    crew = [ThreadPoolExecutor(1, thread_name_prefix=device) for device in devices]
    try:
        halves: dict[int, Future[Callable[[Item], Result]]] = {}
        running: deque[Future[Result]] = deque()
        for number, item in enumerate(items):
            if len(running) == BATCHES_PER_DEVICE * len(devices):
                yield _result(running.popleft())
            its = number % len(devices)
            if its not in halves:
                halves[its] = crew[its].submit(load, devices[its])
            running.append(crew[its].submit(lambda half, item: half.result()(item), halves[its], item))
        while running:
            yield _result(running.popleft())
    finally:
        for thread in crew:
            thread.shutdown(cancel_futures=True)


def _result(future: Future[Result]) -> Result:
    try:
        return future.result()
    except GdoError:
        raise
    except Exception as error:
        raise GdoError(f"the device failed: {reason_of(error)}") from error


def _describe_batch(
    descriptor: DeviceDescriptor, compute: Callable[[Sequence[Any]], Values], batch: list[Prepared]
) -> pa.Table:
    """The rows of a batch."""
    names = list(descriptor.columns)
    good = [each for each in batch if each.value is not None]
    told = iter(compute_rows(compute, names, [each.value for each in good]))
    rows = [each.row if each.value is None else each.row | next(told) for each in batch]
    return media_table(descriptor.columns, rows)


def compute_rows(
    compute: Callable[[Sequence[Item]], Values], names: Sequence[str], items: Sequence[Item]
) -> list[dict[str, Any]]:
    """Values of items as rows; where a batch fails, halves of it are tried, down to the items to blame."""
    if not items:
        return []
    try:
        values = compute(items)
        rows = [dict(zip(names, row, strict=True)) for row in zip(*(values[n] for n in names), strict=True)]
        if all(_is_finite(value) for row in rows for value in row.values()):
            return rows
        reason = "its values are no numbers"
    except Exception as error:  # models raise whatever they like
        if "CUDA error" in str(error):
            raise
        reason = reason_of(error)
    if len(items) == 1:
        return [{"error": reason}]
    half = len(items) // 2
    return [row for part in (items[:half], items[half:]) for row in compute_rows(compute, names, part)]


def _is_finite(value: Any) -> bool:
    return value is None or bool(np.isfinite(value).all())
