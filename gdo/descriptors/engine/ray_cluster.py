"""A Ray cluster for the time of a run: one that is there, or one started on this machine."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from gdo.descriptors.engine.local import usable_cores
from gdo.descriptors.engine.work import reason_of
from gdo.errors import GdoError, UsageError

CPUS_PER_ACTOR = 0.5
"""What an actor asks for, whatever it uses: half of every node stays free for the actors of one that dies."""

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
}
"""Environment in which Ray neither reports to its makers nor tells this process's user of its own affairs."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What a cluster has.

    Attributes:
        nodes: Machines.
        cpus: Cores of all of them.
        gpus: GPUs of all of them.
    """

    nodes: int
    cpus: int
    gpus: int


@contextmanager
def connected(address: str | None) -> Iterator[Cluster]:
    """Connect to a cluster, if this process is not connected already.

    Args:
        address: `auto`, `HOST:PORT` or `ray://HOST:PORT`; None starts one here, which ends with the run.

    Raises:
        UsageError: Ray is not installed.
        GdoError: There is no cluster at the address.
    """
    if find_spec("ray") is None:
        raise UsageError("--engine ray needs Ray: pip install 'gdo[ray]'")
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    import ray  # reads the environment

    if ray.is_initialized():
        yield _cluster()
        return
    here: dict[str, Any] = {"num_cpus": usable_cores(), "include_dashboard": False} if address is None else {}
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level=logging.ERROR, **here)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise GdoError(
            f"no Ray cluster answers at {address or 'this machine'}: {reason_of(error)}; `ray start --head` "
            "starts one, and one that was started with a token wants RAY_AUTH_MODE=token"
        ) from error
    try:
        yield _cluster()
    finally:
        ray.shutdown()


def _cluster() -> Cluster:
    import ray

    has = ray.cluster_resources()  # type: ignore[no-untyped-call]
    nodes = ray.nodes()  # type: ignore[no-untyped-call]
    return Cluster(sum(node["Alive"] for node in nodes), int(has.get("CPU", 0)), int(has.get("GPU", 0)))


def run_pool(
    worker: type, order: Any, blocks: list[pa.Table], *, actors: int, gpus: int, at_once: int
) -> Iterator[bytes]:
    """Hand blocks of one row to a pool of actors, and yield column `told` of what they give, as it comes.

    Blocks whose actor or node dies are handed out again, to the same actor once it has started anew.

    Args:
        worker: The actor's class, from a table to a table.
        order: What it is made with.
        blocks: The work.
        actors: How many actors, at most.
        gpus: GPUs of each.
        at_once: Blocks that an actor works on at a time.

    Raises:
        GdoError: The cluster failed.
    """
    if not blocks:
        return
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    data = ray.data.from_blocks(blocks)
    data.context.enable_progress_bars = False
    pool = ray.data.ActorPoolStrategy(
        size=min(actors, len(blocks)),
        max_tasks_in_flight_per_actor=at_once + 1,
        max_concurrent_calls_per_actor=at_once,
        enable_true_multi_threading=at_once > 1,
    )
    told = data.map_batches(
        worker,
        fn_constructor_args=(order,),
        batch_size=None,
        batch_format="pyarrow",
        compute=pool,
        num_cpus=CPUS_PER_ACTOR,
        num_gpus=gpus,
    )
    try:
        for batch in told.iter_batches(batch_size=None, prefetch_batches=0, batch_format="pyarrow"):
            yield from batch["told"].to_pylist()
    except ray.exceptions.RayError as error:
        raise GdoError(f"the cluster failed: {reason_of(error)}") from error
