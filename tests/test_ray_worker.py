"""What one worker of a cluster does with shards, without a cluster: parts, tallies, refusals."""

import pickle
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gdo import __version__
from gdo.descriptors.engine.local import Crew
from gdo.descriptors.engine.ray_cluster import Cluster
from gdo.descriptors.engine.ray_engine import RayEngine
from gdo.descriptors.engine.ray_jobs import Done, DoShard, Shard
from gdo.descriptors.engine.ray_storage import claim
from gdo.descriptors.engine.ray_worker import Order, ShardWorker, Told
from gdo.descriptors.engine.stored import DescriptorParts, HeaderParts
from gdo.descriptors.motion import Motion
from gdo.errors import UsageError
from gdo.pool.store import Pool


class Doubles:
    """A job: a number's double, and trouble with nothing."""

    def __init__(self, pool: Pool) -> None:
        self.parts = DescriptorParts(pool, Motion())
        self.media = HeaderParts(pool)

    def start(self) -> DoShard:
        def work(tasks: Sequence[Any], crew: Crew) -> Done:
            errors = [None if task else "nothing (at all)" for task in tasks]
            table = pa.table({"media_id": [2 * task for task in tasks], "error": errors})
            return Done(len(tasks), [(self.media, table), (self.parts, table)])

        return work


@pytest.fixture
def order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Order]:
    monkeypatch.setitem(vars(sys.modules["__main__"]), "__file__", "kept")
    monkeypatch.setattr("gdo.descriptors.engine.ray_worker.Crew", lambda readers: None)
    pool = Pool(tmp_path / "pool.duckdb", create=True)
    with pool.write():
        pass
    yield Order("run", "motion-v1", Doubles(pool), claim(pool, None), __version__, 1, 1, 2)


def tell(worker: ShardWorker, *shards: Shard) -> list[Told]:
    told = worker(pa.table({"shard": [pickle.dumps(shard) for shard in shards]}))
    return [pickle.loads(cell) for cell in told["told"].to_pylist()]


def test_a_shard_becomes_a_part_and_only_its_tally_is_told(tmp_path: Path, order: Order) -> None:
    one, two = tell(ShardWorker(order), Shard(3, [1, 0]), Shard(4, [5], frozenset([str(tmp_path)])))
    assert (one.number, two.number) == (3, 4)
    assert one.folders == ("headers", "motion-v1")
    assert one.step is not None
    (tally,) = one.step.tallies
    assert (one.step.done, tally.name, tally.computed, tally.reasons) == (2, "motion", 1, {"nothing": 1})
    home = tmp_path / "pool.duckdb.d/describe"
    assert pq.read_table(home / "motion-v1/part-run-000003.parquet")["media_id"].to_pylist() == [2, 0]
    assert sorted(file.name for file in (home / "motion-v1").iterdir()) == [
        "part-run-000003.parquet",
        "part-run-000004.parquet",
    ]


def test_a_second_attempt_takes_the_first_ones_place(tmp_path: Path, order: Order) -> None:
    for _ in range(3):
        tell(ShardWorker(order), Shard(3, [1]))
    assert len(list((tmp_path / "pool.duckdb.d/describe/motion-v1").iterdir())) == 1


def test_a_node_that_lacks_the_media_or_another_gdo_is_refused(tmp_path: Path, order: Order) -> None:
    (unseen,) = tell(ShardWorker(order), Shard(0, [1], frozenset([str(tmp_path / "media")])))
    assert unseen.step is None
    assert f"the media's folder {tmp_path}/media is not there" in unseen.failed
    (other,) = tell(ShardWorker(replace(order, version="0.0.1")), Shard(0, [1]))
    assert f"gdo is {__version__} here and 0.0.1 on the driver" in other.failed
    (tmp_path / "pool.duckdb.d/describe/mark").unlink()
    (lost,) = tell(ShardWorker(order), Shard(0, [1]))
    assert "this node does not see" in lost.failed


def test_gpus_are_dealt_out_by_the_cluster(order: Order) -> None:
    big = RayEngine(Cluster(4, 512, 32), order.storage, None)
    assert big.devices("auto") == big.devices("cuda") == big.gpus("auto") == ["cuda"] * 32
    assert big.gpus("cpu") == []
    assert len(big.devices("cpu")) == 256
    small = RayEngine(Cluster(3, 3, 0), order.storage, None)
    assert small.devices("auto") == ["cpu"] * 3
    assert small.here(["cpu", "cpu"]) == ["cpu"]
    with pytest.raises(UsageError, match="the cluster has no GPUs"):
        small.devices("cuda")
