"""Which engine works off a run, by its name."""

from collections.abc import Iterator
from contextlib import contextmanager

from gdo.descriptors.engine.machine import LocalEngine
from gdo.descriptors.engine.run import Engine
from gdo.errors import UsageError
from gdo.pool.store import Pool


@contextmanager
def open_engine(
    name: str, address: str | None, storage: str | None, pool: Pool, workers: int | None
) -> Iterator[Engine]:
    """An engine for the time of a run.

    Args:
        name: `local` or `ray`.
        address: Of a Ray cluster; None starts one on this machine.
        storage: A folder or fsspec URL that all nodes see; None for the pool's side folder.
        pool: What is described.
        workers: Processes that read media; None for as many as there are cores.

    Raises:
        UsageError: The name is unknown, an option is not for it, or Ray is not installed.
        GdoError: There is no cluster at the address.
    """
    if name == "ray":
        from gdo.descriptors.engine.ray_cluster import connected
        from gdo.descriptors.engine.ray_engine import RayEngine
        from gdo.descriptors.engine.ray_storage import claim

        its = claim(pool, storage)
        with connected(address) as cluster:
            yield RayEngine(cluster, its, workers)
        return
    if name != "local":
        raise UsageError(f"engine {name!r} is none of local, ray")
    if address is not None or storage is not None:
        raise UsageError("--address and --storage are for --engine ray")
    yield LocalEngine()
