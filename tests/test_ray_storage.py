"""The folder that a cluster's nodes share: whose it is, what is written there, how parts come to the pool."""

from pathlib import Path, PurePosixPath

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from gdo.descriptors.describe import describe
from gdo.descriptors.engine import ray_storage
from gdo.descriptors.engine.ray_storage import NOTE, claim, gather
from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool


def make(folder: Path) -> Pool:
    folder.mkdir()
    pool = Pool(folder / "pool.duckdb", create=True)
    with pool.write():
        return pool


def table(*keys: int) -> pa.Table:
    return pa.table({"media_id": list(keys)})


def test_parts_of_another_folder_come_to_the_pool(tmp_path: Path) -> None:
    pool = make(tmp_path / "pool")
    storage = claim(pool, f"file://{tmp_path}/it's [1]* shared")
    storage.check("here")
    its = pool.folder / "describe" / "motion-v1-a%2Fb"
    its.mkdir()
    for attempt in (1, 2):
        storage.save(its.name, "part-1.parquet", table(attempt))
    storage.save(its.name, "part-2.parquet", table(3))
    (tmp_path / "it's [1]* shared" / its.name / ".part-4.0.part").touch()
    storage.save("temporal-v1", "part-3.parquet", table(4))
    storage.fetch(its, "part-2.parquet")
    assert [file.name for file in its.iterdir()] == ["part-2.parquet"]
    gather(its)
    kept = {file.name: pq.read_table(file)["media_id"].to_pylist() for file in its.iterdir()}
    assert kept == {"part-1.parquet": [2], "part-2.parquet": [3]}
    left = [path.name for path in (tmp_path / "it's [1]* shared").rglob("*") if path.is_file()]
    assert sorted(left) == ["mark", "part-3.parquet"]


def test_a_store_that_can_only_copy_takes_names_for_what_they_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files, root = MemoryFileSystem(), f"{tmp_path}/it's [1]* parts"
    monkeypatch.setattr(ray_storage, "open_storage", lambda url: (files, root))
    pool = make(tmp_path / "pool")
    storage = claim(pool, "store://bucket")
    storage.save("motion-v1", "part-1.parquet", table(1))
    its = pool.folder / "describe" / "motion-v1"
    its.mkdir()
    gather(its)
    assert [file.name for file in its.iterdir()] == ["part-1.parquet"]
    assert [PurePosixPath(path).name for path in files.find(root)] == ["mark"]


def test_errors_of_a_store_are_told_with_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(MemoryFileSystem):
        def makedirs(self, path: str, exist_ok: bool = False) -> None:
            raise RuntimeError("no credentials")

    monkeypatch.setattr(ray_storage, "open_storage", lambda url: (Closed(), str(tmp_path)))
    pool = make(tmp_path / "pool")
    with pytest.raises(UsageError, match="cannot write to store://bucket: no credentials"):
        claim(pool, "store://bucket")
    with pytest.raises(GdoError, match="cannot write to store://bucket: no credentials"):
        ray_storage.Storage("store://bucket", "").save("motion-v1", "part-1.parquet", table(1))


def test_the_pools_own_folder_needs_no_fetching(tmp_path: Path) -> None:
    pool = make(tmp_path / "pool")
    storage = claim(pool, None)
    its = pool.folder / "describe" / "motion-v1"
    storage.save(its.name, "part-1.parquet", table(1))
    storage.fetch(its, "part-1.parquet")
    claim(pool, str(pool.folder / "describe"))
    gather(its)
    assert [file.name for file in its.iterdir()] == ["part-1.parquet"]


def test_a_folder_is_of_one_pool_alone(tmp_path: Path) -> None:
    shared = str(tmp_path / "shared")
    one, two = make(tmp_path / "one"), make(tmp_path / "two")
    claim(one, shared)
    claim(one, shared)
    assert (one.folder / "describe" / NOTE).read_text() == f"file://{shared}\n"
    with pytest.raises(UsageError, match="holds parts of another pool"):
        claim(two, shared)
    with pytest.raises(UsageError, match="cannot write to"):
        claim(two, str(tmp_path / "one/pool.duckdb"))


def test_a_node_without_the_folder_is_found_out(tmp_path: Path) -> None:
    storage = claim(make(tmp_path / "pool"), str(tmp_path / "shared"))
    (tmp_path / "shared").rename(tmp_path / "gone")
    with pytest.raises(GdoError, match=r"node 7 does not see .*mount it there"):
        storage.check("node 7")


def test_a_piece_of_work_is_begun_a_few_times_only(tmp_path: Path) -> None:
    storage = claim(make(tmp_path / "pool"), None)
    for _ in range(3):
        storage.settle(storage.attempt("motion-v1", "part-1", 2))
    storage.attempt("motion-v1", "part-1", 2)
    storage.attempt("motion-v1", "part-1", 2)
    with pytest.raises(GdoError, match="workers died 2 times"):
        storage.attempt("motion-v1", "part-1", 2)


def test_a_noted_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    pool = make(tmp_path / "pool")
    claim(pool, None)
    note = pool.folder / "describe" / NOTE
    note.write_text("nowhere://bucket/parts\n")
    with pytest.raises(GdoError, match=r"nowhere://bucket/parts, which cannot be read.*delete .*storages"):
        describe(pool.path, ["motion"], workers=0)
    note.unlink()
    describe(pool.path, ["motion"], workers=0)


def test_without_ray_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make(tmp_path / "pool")
    monkeypatch.setattr("gdo.descriptors.engine.ray_cluster.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'gdo\[ray\]'"):
        describe(pool.path, ["motion"], engine="ray")
