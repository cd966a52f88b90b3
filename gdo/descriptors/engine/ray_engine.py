"""The engine of a cluster: the list of a run cut into shards, and a pool of actors that work them off.

The actors keep what they computed as parts; the driver hears how much it was and commits, as on one machine.
"""

import pickle
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa

from gdo import __version__
from gdo.descriptors.base import DeviceDescriptor, MediaDescriptor
from gdo.descriptors.engine.asking import QUESTIONS_PER_BATCH, Share, Step, media_parts
from gdo.descriptors.engine.devices import find_devices
from gdo.descriptors.engine.groups import GroupPlan
from gdo.descriptors.engine.on_device import MEDIA_PER_BATCH
from gdo.descriptors.engine.parts import Parts
from gdo.descriptors.engine.ray_cluster import Cluster, run_pool
from gdo.descriptors.engine.ray_jobs import AskJob, DeviceJob, Job, MediaJob, Shard
from gdo.descriptors.engine.ray_storage import Storage
from gdo.descriptors.engine.ray_worker import Order, ShardWorker, Told
from gdo.descriptors.engine.run import Options, Steps
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.engine.work import Medium
from gdo.descriptors.probe.contract import Probe
from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool

IMAGES_PER_SHARD = 256
VIDEO_IN_IMAGES = 8
"""Still images that take a worker as long as one video or frame list, about."""
BATCHES_PER_SHARD = 2
"""Batches of media for a device; whole ones, so that they are those of one machine."""
GROUPS_PER_SHARD = 64
SHARDS_AT_ONCE = 4096
"""Shards handed to the cluster together: what bounds the memory. Between them the actors start anew."""
NO_DEVICE = ""
"""What an actor has that reads and computes with its reader."""
MOST_TRIES = 4
"""Times that a shard is begun whose workers die: some file or question may be what kills them."""


class RayEngine:
    """Works off lists with the nodes of a Ray cluster.

    Args:
        cluster: What it has.
        storage: Where parts are put.
        workers: Processes that read media, on all nodes together; None for as many as there are cores.

    Raises:
        UsageError: There would be none.
    """

    def __init__(self, cluster: Cluster, storage: Storage, workers: int | None) -> None:
        if workers is not None and workers < 1:
            raise UsageError(f"a cluster needs workers; --workers is {workers}")
        self._cluster = cluster
        self._storage = storage
        self._workers = workers or max(1, cluster.cpus)

    def devices(self, device: str) -> list[str]:
        """All GPUs of the cluster, one actor each; without GPUs an actor for two cores.

        Raises:
            UsageError: That is no kind of device, or the cluster has none.
        """
        if device not in ("auto", "cpu", "cuda"):
            raise UsageError(
                f"device {device!r} is none of auto, cpu, cuda; with --engine ray the cluster deals GPUs out"
            )
        if device == "cpu" or (device == "auto" and not self._cluster.gpus):
            return ["cpu"] * max(self._cluster.nodes, self._cluster.cpus // 2)
        if not self._cluster.gpus:
            raise UsageError("the cluster has no GPUs; --device cpu computes without")
        return ["cuda"] * self._cluster.gpus

    def gpus(self, device: str) -> list[str]:
        """All GPUs of the cluster, if any are meant."""
        return [each for each in self.devices(device) if each != "cpu"]

    def here(self, devices: Sequence[str]) -> list[str]:
        """The driver's own GPUs where GPUs are meant and it has some, else its CPU."""
        return find_devices("auto") if "cuda" in devices else ["cpu"]

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
        if isinstance(descriptor, DeviceDescriptor):
            size = BATCHES_PER_SHARD * MEDIA_PER_BATCH
            shards = iter(lambda: list(islice(media, size)), [])
            its = DeviceJob(descriptor, parts, devices[0], options.time_limit)
            yield from self._work(its, shards, devices, [parts])
        else:
            job = MediaJob(descriptor, parts, options.time_limit)
            yield from self._work(job, _cut(media), [NO_DEVICE] * self._workers, [parts])

    def ask(self, share: Share, devices: Sequence[str], load: Callable[[], Probe]) -> Iterator[Step]:
        """Ask a probe; each actor loads it for itself."""
        pool = Pool(share.pool)
        parts = [DescriptorParts(pool, each) for each in share.descriptors]
        media = media_parts(pool, share.descriptors)
        job = AskJob(
            share.descriptors, parts, media, share.card, share.models, share.device, share.time_limit
        )
        shards: Iterator[Sequence[Any]]
        if isinstance(share.plan, GroupPlan):
            tasks = share.plan.tasks()
            shards = iter(lambda: list(islice(tasks, GROUPS_PER_SHARD)), [])
        else:
            shards = share.plan.batches(QUESTIONS_PER_BATCH)
        return self._work(job, shards, devices, [*parts, media])

    def _work(
        self, job: Job, lists: Iterable[Sequence[Any]], devices: Sequence[str], parts: Sequence[Parts]
    ) -> Steps:
        """Let actors do a job, one for each device; the readers are dealt out among them."""
        at_once = 1 if devices[0] == NO_DEVICE else 2
        readers = max(1, self._workers // (at_once * len(devices)))
        folders = {each.folder.name: each.folder for each in parts}
        order = Order(
            uuid.uuid4().hex,
            next(iter(folders)),
            job,
            self._storage,
            __version__,
            readers,
            at_once,
            MOST_TRIES,
        )
        card_told = False
        shards = iter(_Shards(lists))
        while some := list(islice(shards, SHARDS_AT_ONCE)):
            for cell in run_pool(
                ShardWorker,
                order,
                [pa.table({"shard": [pickle.dumps(shard)]}) for shard in some],
                actors=len(devices),
                gpus=int(devices[0] == "cuda"),
                at_once=at_once,
            ):
                told: Told = pickle.loads(cell)
                if told.step is None:
                    raise GdoError(told.failed)
                for name in told.folders:
                    self._storage.fetch(folders[name], order.part(told.number))
                if told.step.card and not card_told:
                    card_told = True
                    yield Step(0, card=told.step.card)
                yield Step(told.step.done, told.step.tallies)


class _Shards:
    """Numbered shards, with the folders of their media that are seen from here."""

    def __init__(self, lists: Iterable[Sequence[Any]]) -> None:
        self._lists = lists
        self._seen: dict[str, bool] = {}

    def __iter__(self) -> Iterator[Shard]:
        for number, tasks in enumerate(self._lists):
            roots = {medium.root for task in tasks for medium in _media_of(task)}
            yield Shard(number, tasks, frozenset(root for root in roots if self._sees(root)))

    def _sees(self, root: str) -> bool:
        if root not in self._seen:
            self._seen[root] = Path(root).is_dir()
        return self._seen[root]


def _media_of(task: Any) -> Sequence[Medium]:
    """The media of a task of whatever list."""
    return [task] if isinstance(task, Medium) else getattr(task, "media", ())


def _cut(media: Iterable[Medium]) -> Iterator[list[Medium]]:
    """Media that take one worker about as long as `IMAGES_PER_SHARD` still images."""
    shard: list[Medium] = []
    filled = 0
    for medium in media:
        shard.append(medium)
        filled += 1 if medium.kind == "image" else VIDEO_IN_IMAGES
        if filled >= IMAGES_PER_SHARD:
            yield shard
            shard, filled = [], 0
    if shard:
        yield shard
