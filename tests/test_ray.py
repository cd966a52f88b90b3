"""A cluster of two nodes on this machine gives the rows of the local engine, whoever is killed on the way."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from fake_probe import FakeModels
from slow_descriptors import Halves, Slow
from test_engine import CRASHES, HANGS, RAISES, TIME_LIMIT, Trouble, part_files, query
from test_engine import make_pool as make_pictures
from test_probe_engine import make_pool
from typer.testing import CliRunner

from gdo.cli.main import app
from gdo.descriptors import catalog
from gdo.descriptors.describe import DescribeReport, Progress, describe
from gdo.descriptors.engine import ray_cluster, ray_engine
from gdo.descriptors.engine.engines import open_engine
from gdo.descriptors.engine.one import describe_one
from gdo.descriptors.engine.run import Options
from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool

if find_spec("ray") is None:
    if os.environ.get("CI"):
        pytest.fail("CI needs ray: pip install 'gdo[ray]'")
    pytest.skip("ray is not installed", allow_module_level=True)

pytestmark = [
    pytest.mark.ray,
    pytest.mark.slow,
    pytest.mark.xdist_group("ray"),
    # Ray Data's own settings, as it makes them.
    pytest.mark.filterwarnings(r"ignore:.*`\w+`:DeprecationWarning:ray\.data\.context"),
    pytest.mark.filterwarnings(r"ignore:.*`\w+`:UserWarning:ray\.data\.context"),
]

QUICK = {
    "health_check_initial_delay_ms": 500,
    "health_check_period_ms": 500,
    "health_check_failure_threshold": 3,
}
"""A dead node is noticed after two seconds."""
STORE = 100 * 2**20
NODE = {"num_cpus": 1, "object_store_memory": STORE}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head and a second node, to which this process is connected."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ray_cluster.QUIET.items():
            patch.setenv(name, value)
        patch.setenv("PYTHONPATH", str(Path(__file__).parent))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_AUTH_MODE", "disabled")
        import ray
        from ray.cluster_utils import Cluster

        nodes = Cluster(
            initialize_head=True, head_node_args={**NODE, "include_dashboard": False, "_system_config": QUICK}
        )
        nodes.add_node(**NODE)
        ray.init(address=nodes.address, log_to_driver=False, logging_level="ERROR")
        yield nodes
        ray.shutdown()
        nodes.shutdown()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_engine, "IMAGES_PER_SHARD", 2 * ray_engine.VIDEO_IN_IMAGES)
    monkeypatch.setattr(ray_engine, "GROUPS_PER_SHARD", 2)
    monkeypatch.setattr(ray_engine, "QUESTIONS_PER_BATCH", 5)
    monkeypatch.setitem(catalog.DESCRIPTORS, "slow", Slow())


def on_cluster(pool: Path, names: Sequence[str], **options: Any) -> DescribeReport:
    return describe(pool, names, engine="ray", **{"device": "cpu", "models": FakeModels()} | options)


def on_one_machine(pool: Path, names: Sequence[str], **options: Any) -> DescribeReport:
    return describe(pool, names, **{"device": "cpu", "models": FakeModels(), "workers": 0} | options)


def rows(pool: Path, *tables: str) -> list[list[tuple[Any, ...]]]:
    return [query(pool, f"SELECT * FROM {table} ORDER BY ALL") for table in tables]


def counts(report: DescribeReport) -> list[tuple[str, int, int, int, dict[str, int]]]:
    return [
        (each.name, each.already, each.computed, each.errors, dict(each.reasons))
        for each in report.descriptors
    ]


def two_pools(folder: Path, videos: Sequence[Sequence[str]]) -> tuple[Path, Path]:
    return make_pool(folder / "one", videos), make_pool(folder / "many", videos)


def test_every_row_is_that_of_one_machine(tmp_path: Path, cluster: Any) -> None:
    one, many = two_pools(tmp_path, [[f"What is {name}?", "And why?", "nan"] for name in range(7)])
    for pool in (one, many):
        pool.with_name("002-1.png").write_bytes(b"not a picture")
        pool.with_name("004-0.png").unlink()
    told: list[Progress] = []
    all_but_one = ["motion", "temporal", "dependency", "stability", "coverage"]
    for names, probe in ((all_but_one, None), (["temporal"], "self")):
        expected = counts(on_one_machine(one, names, probe=probe, clusters=3))
        assert counts(on_cluster(many, names, probe=probe, clusters=3, progress=told.append)) == expected
    vectors = ("media_embedding", "embedding", "coverage")
    tables = ("motion", "temporal", "dependency", "stability", *vectors, "media", "candidate")
    assert [len(table) for table in rows(many, *tables)] == [7, 42, 21, 21, 7, 21, 21, 7, 21]
    for mine, its, table in zip(rows(one, *tables), rows(many, *tables), tables, strict=True):
        assert its == mine, table
    assert query(many, "SELECT label, details FROM probe") == query(one, "SELECT label, details FROM probe")
    assert part_files(many) == []
    done = [now.done for now in told if now.name == "dependency, stability"]
    assert done == sorted(done)
    assert (len(done), done[-1]) == (4, 21)
    again = on_cluster(many, ["motion", "dependency"])
    assert [(each.already, each.computed) for each in again.descriptors] == [(7, 0), (21, 0)]


def test_long_lists_are_handed_over_in_rounds(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "IMAGES_PER_SHARD", 1)
    monkeypatch.setattr(ray_engine, "SHARDS_AT_ONCE", 2)
    pool = make_pictures(tmp_path, [100, 110, 120])
    assert [each.computed for each in on_cluster(pool, ["motion"]).descriptors] == [3]


def test_bad_media_cost_themselves_alone(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(catalog.DESCRIPTORS, "brightness", Trouble())
    pools = []
    for name, run in (("one", on_one_machine), ("many", on_cluster)):
        folder = tmp_path / name
        folder.mkdir()
        pool = make_pictures(folder, [100, HANGS, 110, CRASHES, RAISES, 130])
        (folder / "005-1.png").rename(folder / "away.png")
        report = run(pool, ["brightness"], time_limit=TIME_LIMIT, workers=2)
        pools.append((counts(report), rows(pool, "brightness", "media")))
    assert pools[0] == pools[1]
    assert query(tmp_path / "many/pool.duckdb", "SELECT count(light), count(error) FROM brightness") == [
        (2, 4)
    ]


@pytest.mark.parametrize("name", ["slow", "dependency"])
def test_a_node_that_dies_costs_nothing(tmp_path: Path, cluster: Any, name: str) -> None:
    one, many = two_pools(tmp_path, [[f"What is {name}?"] for name in range(16)])
    expected = counts(on_one_machine(one, [name]))
    doomed = cluster.add_node(**NODE)
    killed: list[int] = []

    def kill(now: Progress) -> None:
        if not killed and now.rate:
            killed.append(now.done)
            cluster.remove_node(doomed, allow_graceful=False)

    report = on_cluster(many, [name], progress=kill, workers=3, models=FakeModels(seconds=0.2))
    assert 0 < killed[0] < 16
    assert counts(report) == expected
    assert rows(many, name) == rows(one, name)


DRIVER = """
import sys
from gdo.descriptors.describe import describe
from gdo.descriptors import catalog
from gdo.descriptors.engine import ray_engine
from slow_descriptors import Slow
catalog.DESCRIPTORS["slow"] = Slow()
ray_engine.IMAGES_PER_SHARD = 1
describe(sys.argv[1], ["slow"], engine="ray", address=sys.argv[2], storage=sys.argv[3])
"""


def test_a_killed_driver_loses_nothing_and_one_machine_goes_on(tmp_path: Path, cluster: Any) -> None:
    one, many = two_pools(tmp_path, [["What?"]] * 60)
    storage = tmp_path / "seen by all"
    driver = [sys.executable, "-c", DRIVER, str(many), cluster.address, str(storage)]
    with subprocess.Popen(driver, cwd=Path(__file__).parent) as process:
        seen: set[Path] = set()
        while process.poll() is None and len(seen) < 3:
            seen.update(part_files(many))
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
    files = [*storage.glob("slow-*/part-*.parquet"), *part_files(many)]
    kept = {uid for file in files for uid in pq.read_table(file)["media_id"].to_pylist()}
    (its,) = on_one_machine(many, ["slow"]).descriptors
    on_one_machine(one, ["slow"])
    assert max(3, len(kept)) <= its.already < 60
    assert its.computed == 60 - its.already
    assert rows(many, "slow", "media") == rows(one, "slow", "media")
    assert part_files(many) == []


def test_halves_are_computed_in_the_batches_of_one_machine(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "BATCHES_PER_SHARD", 1)
    one, many = two_pools(tmp_path, [["What?"]] * 40)
    many.with_name("002-0.png").write_bytes(b"not a picture")
    one.with_name("002-0.png").write_bytes(b"not a picture")
    for pool, name in ((one, "local"), (many, "ray")):
        with open_engine(name, None, None, Pool(pool), None) as engine:
            describe_one(Pool(pool), Halves(), Options(engine, 2, 60.0, None), devices=["cpu"])
    assert rows(many, "halves", "media") == rows(one, "halves", "media")
    assert query(many, "SELECT count(light), min(batch), max(batch) FROM halves") in (
        [(39, 7, 32)],
        [(39, 8, 31)],
    )


class Stop(Exception):
    pass


def test_a_cluster_goes_on_with_what_one_machine_began(tmp_path: Path, cluster: Any) -> None:
    one, many = two_pools(tmp_path, [["What?"]] * 6)

    def stop(now: Progress) -> None:
        if now.done == 3:
            raise Stop

    for name in ("000-0.png", "001-0.png"):
        many.with_name(name).rename(many.with_name(f"away-{name}"))
    with pytest.raises(Stop):
        on_one_machine(many, ["slow"], progress=stop)
    assert len(part_files(many)) == 3
    (report,) = on_cluster(many, ["slow"], limit=3).descriptors
    assert (report.already, report.computed + report.errors) == (3, 3)
    for name in ("000-0.png", "001-0.png"):
        many.with_name(f"away-{name}").rename(many.with_name(name))
    assert on_cluster(many, ["slow"]).descriptors[0].already == 6
    (report,) = on_cluster(many, ["slow"], retry_errors=True).descriptors
    assert (report.already, report.computed) == (4, 2)
    on_one_machine(one, ["slow"])
    assert rows(many, "slow", "media") == rows(one, "slow", "media")


def test_a_question_that_kills_every_worker_ends_the_run_and_the_rest_is_kept(
    tmp_path: Path, cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_engine, "MOST_TRIES", 2)
    monkeypatch.setattr(ray_engine, "GROUPS_PER_SHARD", 1)
    pool = make_pool(tmp_path, [["What?"], ["Why?"], ["die"], ["How?"]])
    with pytest.raises(GdoError, match=r"workers died 2 times at the same piece of work.*is kept"):
        on_cluster(pool, ["dependency"])
    ((kept,),) = query(pool, "SELECT count(vds) FROM dependency")
    assert 0 < kept < 4


def test_a_probe_that_fails_is_told_with_its_node(tmp_path: Path, cluster: Any) -> None:
    pool = make_pool(tmp_path, [["raise"]])
    with pytest.raises(GdoError, match=r"\S+: the probe failed on cpu: RuntimeError \(out of order\)"):
        on_cluster(pool, ["dependency"])


def test_the_command_describes_on_a_cluster(tmp_path: Path, cluster: Any) -> None:
    pool = make_pool(tmp_path, [["What happens next?"]] * 3)
    command = ["describe", str(pool), "motion", "--json", "--engine", "ray", "--address", "auto"]
    told = CliRunner().invoke(app, [*command, "--storage", str(tmp_path / "shared")])
    assert json.loads(told.stdout)["descriptors"][0]["computed"] == 3
    assert (tmp_path / "shared/motion-v1").is_dir()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"engine": "spark"}, "engine 'spark' is none of local, ray"),
        ({"address": "auto"}, "are for --engine ray"),
        ({"engine": "ray", "storage": "memory://x"}, "is seen by one process alone"),
        ({"engine": "ray", "storage": "nowhere://x"}, "storage nowhere://x: .*nowhere"),
        ({"engine": "ray", "workers": 0}, "a cluster needs workers"),
        ({"engine": "ray", "device": "cuda:1"}, "the cluster deals GPUs out"),
        ({"engine": "ray", "device": "cuda"}, "the cluster has no GPUs"),
    ],
)
def test_wrong_use_is_told(tmp_path: Path, cluster: Any, options: dict[str, Any], says: str) -> None:
    pool = make_pool(tmp_path, [["What?"]])
    with pytest.raises(UsageError, match=says):
        describe(pool, ["dependency"], models=FakeModels(), **options)
