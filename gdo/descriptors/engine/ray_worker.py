"""The actor: it works off shards on its node and puts the parts where all nodes see them.

Only tallies travel to the driver. A shard that is worked off twice, because its node died at the wrong
moment, gives the same part under the same name.
"""

import pickle
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from threading import Lock

import pyarrow as pa

from gdo import __version__
from gdo.descriptors.engine.asking import Step
from gdo.descriptors.engine.local import Crew
from gdo.descriptors.engine.parts import count
from gdo.descriptors.engine.ray_jobs import DoShard, Job, Shard
from gdo.descriptors.engine.ray_storage import Storage
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.engine.work import reason_of
from gdo.errors import GdoError


@dataclass(frozen=True, slots=True)
class Order:
    """What the workers of a run have to do.

    Attributes:
        run: Name of the run.
        folder: Name of the first folder for parts.
        job: What is done with a shard.
        storage: Where the parts are put.
        version: The driver's version of gdo.
        readers: Processes that read media for one shard.
        at_once: Shards that a worker has at hand at a time.
        most_tries: Times that a shard is begun, if workers die of it.
    """

    run: str
    folder: str
    job: Job
    storage: Storage
    version: str
    readers: int
    at_once: int
    most_tries: int

    def part(self, number: int) -> str:
        """The name of the file that holds a shard's values."""
        return f"part-{self.run}-{number:06d}.parquet"


@dataclass(frozen=True, slots=True)
class Told:
    """What a worker tells of a shard.

    Attributes:
        number: The shard.
        step: What was done; None where the worker failed.
        folders: Names of the folders that have a part of it.
        failed: Why the worker failed.
    """

    number: int
    step: Step | None = None
    folders: tuple[str, ...] = ()
    failed: str = ""


class ShardWorker:
    """What Ray calls with one shard after the other."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._node = socket.gethostname()
        self._lock = Lock()
        self._work: DoShard | None = None
        self._crews: Queue[Crew] = Queue()
        # Readers start from the program of their parent; Ray's own would only cost them time and memory.
        vars(sys.modules["__main__"]).pop("__file__", None)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Work off the shards of a batch: column `shard`, pickled; tells column `told`, pickled."""
        shards = [pickle.loads(cell) for cell in batch["shard"].to_pylist()]
        return pa.table({"told": [pickle.dumps(self._tell(shard)) for shard in shards]})

    def _tell(self, shard: Shard) -> Told:
        try:
            return self._do(shard, self._started())
        except Exception as error:
            return Told(shard.number, failed=f"{self._node}: {reason_of(error)}")

    def _do(self, shard: Shard, work: DoShard) -> Told:
        if unseen := sorted(root for root in shard.roots if not Path(root).is_dir()):
            raise GdoError(f"the media's folder {unseen[0]} is not there; mount it as it is on the driver")
        storage, name = self._order.storage, self._order.part(shard.number)
        crew = self._crews.get()
        note = storage.attempt(self._order.folder, name, self._order.most_tries)
        try:
            done = work(shard.tasks, crew)
        finally:
            self._crews.put(crew)
            storage.settle(note)
        for parts, table in done.tables:
            storage.save(parts.folder.name, name, table)
        tallies = [count(its.name, table) for its, table in done.tables if isinstance(its, DescriptorParts)]
        folders = tuple(parts.folder.name for parts, _ in done.tables)
        return Told(shard.number, Step(done.done, tuple(tallies), done.card), folders)

    def _started(self) -> DoShard:
        """What works off a shard; what it takes is loaded with the first one."""
        with self._lock:
            if self._work is None:
                if self._order.version != __version__:
                    raise GdoError(f"gdo is {__version__} here and {self._order.version} on the driver")
                self._order.storage.check("this node")
                self._work = self._order.job.start()
                for _ in range(self._order.at_once):
                    self._crews.put(Crew(self._order.readers))
            return self._work
