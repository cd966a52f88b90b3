"""What a descriptor with a device half would cost: reading and computing are timed apart, kind by kind."""

from collections.abc import Sequence
from functools import partial

from gdo.descriptors.base import DeviceDescriptor
from gdo.descriptors.engine.on_device import MEDIA_PER_BATCH
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.engine.timing import Estimate, Rate, Watch, price, some_media, time_call
from gdo.descriptors.engine.work import Medium, Prepared, prepare_medium, unseen_medium


def estimate_on_device(watch: Watch, descriptor: DeviceDescriptor, devices: Sequence[str]) -> Estimate:
    """What computing the missing values would take.

    Args:
        watch: The pool, and how its media are read.
        descriptor: What is computed.
        devices: Where.
    """
    parts = DescriptorParts(watch.pool, descriptor)
    lacking = some_media(watch.pool, parts)
    if not lacking:
        return price(watch, parts, devices, missing=0, timed=0, reading=0.0, computing=0.0)
    compute = descriptor.load(devices[0])
    reading = computing = 0.0
    missing = timed = 0
    for count, media in lacking:
        rate, prepared = watch.time(partial(prepare_medium, descriptor, watch.time_limit), _give_up, media)
        values = [each.value for each in prepared if each.value is not None]
        spent = Rate()
        if values:
            compute(values[:1])
            batches = [values[at : at + MEDIA_PER_BATCH] for at in range(0, len(values), MEDIA_PER_BATCH)]
            seconds = sum(time_call(partial(compute, batch))[0] for batch in batches)
            spent = Rate(seconds / len(values), len(values))
        missing, timed = missing + count, timed + rate.timed
        reading += count * rate.seconds
        computing += count * spent.seconds
    return price(watch, parts, devices, missing=missing, timed=timed, reading=reading, computing=computing)


def _give_up(medium: Medium, reason: str) -> Prepared:
    return Prepared(None, unseen_medium(medium, reason).row)
