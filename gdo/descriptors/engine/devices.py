"""One process per device: each does its share of a plan, and the parent hears how far they are."""

import os
import re
import signal
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from gdo.descriptors.engine.asking import Share, Step, work_share
from gdo.descriptors.engine.local import how_ended, usable_cores
from gdo.descriptors.engine.work import reason_of
from gdo.errors import GdoError, UsageError
from gdo.pool.child import end_with_parent

_DEVICE = re.compile(r"cpu|cuda(:\d+)?")
_DRIVER = Path("/proc/driver/nvidia")


def find_devices(device: str) -> list[str]:
    """The devices that are meant by a name or by several names with commas between.

    Args:
        device: `cpu`, `cuda`, `cuda:N`, or `auto`: all GPUs there are, else the CPU.

    Raises:
        UsageError: That is no device, is not there, or the devices are of two kinds.
    """
    names = [name.strip() for name in device.split(",")]
    if names == ["auto"]:
        return [f"cuda:{number}" for number in range(_count_gpus())] or ["cpu"]
    if wrong := [name for name in names if not _DEVICE.fullmatch(name)]:
        raise UsageError(f"device {wrong[0]!r} is none of auto, cpu, cuda, cuda:N")
    if len({name.partition(":")[0] for name in names}) > 1:
        raise UsageError(
            f"{device}: a CPU and a GPU differ in precision and their values do not mix; name one kind"
        )
    if names[0] != "cpu":
        if len({name.partition(":")[2] or "0" for name in names}) < len(names):
            raise UsageError(f"{device} names a GPU twice")
        there = _count_gpus()
        for name in names:
            if int(name.partition(":")[2] or 0) >= there:
                raise UsageError(f"there is no device {name}; torch sees {there} CUDA GPUs here")
    return names


def find_gpus(device: str) -> list[str]:
    """The GPUs that are meant by a name; none where a CPU is. torch is loaded only where one may be there.

    Raises:
        UsageError: As `find_devices`.
    """
    if device == "auto" and not (_DRIVER.exists() and find_spec("torch")):
        return []
    return [name for name in find_devices(device) if name != "cpu"]


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


def work_shares(shares: Sequence[Share]) -> Iterator[Step]:
    """Work off shares at the same time, each in a process of its own.

    Raises:
        GdoError: A process died or failed; the others have finished then.
    """
    crew = {_start(share, len(shares)): share.device for share in shares}
    links = {worker.link: worker for worker in crew}
    failed: list[str] = []
    try:
        while links:
            for link in wait(list(links)):
                assert isinstance(link, Connection)
                worker = links[link]
                try:
                    told = link.recv()
                except EOFError:
                    worker.process.join()
                    told = f"its process ended ({how_ended(worker.process.exitcode)})"
                if isinstance(told, Step):
                    yield told
                    continue
                del links[link]
                if told:
                    failed.append(f"{crew[worker]}: {told}")
    finally:
        for worker in crew:
            worker.process.terminate()
            worker.process.join()
    if failed:
        raise GdoError("; ".join(failed))


@dataclass(frozen=True, eq=False, slots=True)
class _Worker:
    """A process, and where it tells what it did: steps, at last None or why it failed."""

    process: SpawnProcess
    link: Connection


def _start(share: Share, of: int) -> _Worker:
    context = get_context("spawn")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=_work, args=(share, theirs, max(1, usable_cores() // of)))
    process.start()
    theirs.close()
    return _Worker(process, ours)


def _work(share: Share, link: Connection, threads: int) -> None:
    """Work off a share in this process."""
    end_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    try:
        for step in work_share(share, partial(share.models.load, share.card, device=share.device)):
            link.send(step)
        link.send(None)
    except Exception as error:
        link.send(reason_of(error))
