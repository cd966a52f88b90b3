"""The engine of one machine: its processes read, its devices compute."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial

import pyarrow as pa

from gdo.descriptors.base import DeviceDescriptor, MediaDescriptor
from gdo.descriptors.engine.asking import Share, Step, work_share
from gdo.descriptors.engine.devices import find_devices, find_gpus, work_shares
from gdo.descriptors.engine.local import Crew, run_tasks
from gdo.descriptors.engine.on_device import describe_on_devices
from gdo.descriptors.engine.parts import Parts
from gdo.descriptors.engine.run import Options, Steps, kept
from gdo.descriptors.engine.work import Medium, describe_media, failed_media
from gdo.descriptors.probe.contract import Probe

IMAGES_PER_TASK = 64
"""Still images in one task of a worker; they take little time each."""


class LocalEngine:
    """Works off lists with the processes and devices of this machine."""

    def devices(self, device: str) -> list[str]:
        """The devices that are meant by a name; see `find_devices`."""
        return find_devices(device)

    def gpus(self, device: str) -> list[str]:
        """The GPUs among them; see `find_gpus`."""
        return find_gpus(device)

    def here(self, devices: Sequence[str]) -> list[str]:
        """The same devices."""
        return list(devices)

    def describe(
        self,
        descriptor: MediaDescriptor | DeviceDescriptor | None,
        media: Iterator[Medium],
        todo: int,
        parts: Parts,
        devices: Sequence[str],
        options: Options,
    ) -> Steps:
        """Read media and compute a descriptor of them; see `Engine`."""
        workers = min(options.workers, todo)
        if not isinstance(descriptor, DeviceDescriptor):
            return kept(parts, read_media(descriptor, media, workers, options.time_limit))
        return kept(
            parts,
            describe_on_devices(descriptor, media, devices, workers=workers, time_limit=options.time_limit),
        )

    def ask(self, share: Share, devices: Sequence[str], load: Callable[[], Probe]) -> Iterator[Step]:
        """Ask a probe: in this process on one device, else in a process for each."""
        if len(devices) == 1:
            return work_share(share, load)
        of = len(devices)
        workers = share.workers and max(1, share.workers // of)
        return work_shares(
            [
                replace(share, device=device, workers=workers, number=number, of=of)
                for number, device in enumerate(devices)
            ]
        )


def read_media(
    descriptor: MediaDescriptor | None, media: Iterable[Medium], workers: int | Crew, time_limit: float
) -> Iterator[pa.Table]:
    """Read and describe media in worker processes, in tasks that take a worker seconds at most.

    Without a descriptor only their headers are read.
    """
    return run_tasks(
        partial(describe_media, descriptor, time_limit),
        _cut(media),
        partial(failed_media, descriptor),
        workers=workers,
        time_limit=time_limit,
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
