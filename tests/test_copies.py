"""Copies of pools: whole, with room to spill, and done without where there is no room for one."""

import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from selection_pools import image_row, make

from gdo.errors import GdoError
from gdo.pool import copies
from gdo.pool.copies import read_copy
from gdo.pool.store import Pool, scalar

SPILLING = "SELECT count(*) FROM (SELECT DISTINCT md5(i::VARCHAR) FROM range(1000000) AS t(i))"
KILLED = """
import duckdb, os, sys
connection = duckdb.connect(sys.argv[1])
connection.execute("DELETE FROM sample WHERE line = 1")
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def pool(tmp_path: Path) -> Pool:
    return Pool(make(tmp_path / "made", [image_row(n, ("What?", "That.")) for n in range(3)]).pool)


def left(pool: Pool) -> list[Path]:
    return list(pool.folder.glob("gdo-copy-*"))


def test_others_may_write_meanwhile(pool: Pool) -> None:
    with read_copy(pool) as connection:
        assert len(left(pool)) == 1
        with duckdb.connect(pool.path) as writer:
            writer.execute("DELETE FROM sample")
        assert scalar(connection, "SELECT count(*) FROM sample") == 3
    assert not left(pool)


def test_what_a_killed_writer_committed_is_in_it(pool: Pool) -> None:
    subprocess.run([sys.executable, "-c", KILLED, pool.path], check=False)
    assert pool.log.exists()
    with read_copy(pool) as connection:
        assert scalar(connection, "SELECT count(*) FROM sample") == 2


def test_large_queries_spill_beside_it(pool: Pool) -> None:
    with read_copy(pool) as connection:
        connection.execute("SET memory_limit = '40MB'")
        connection.execute("SET threads = 1")
        assert scalar(connection, SPILLING) == 1_000_000


def test_without_room_the_pool_itself_is_read(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(source: Path, target: Path) -> None:
        target.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(copies.shutil, "copyfile", full)
    with read_copy(pool) as connection:
        assert not left(pool)
        assert scalar(connection, "SELECT count(*) FROM sample") == 3


def test_beside_a_read_only_folder_the_pool_itself_is_read(pool: Pool) -> None:
    shutil.rmtree(pool.folder)  # as good as one that cannot be written
    with read_copy(pool) as connection:
        assert scalar(connection, "SELECT count(*) FROM sample") == 3


def test_what_is_no_pool_is_told(tmp_path: Path) -> None:
    (tmp_path / "pool.duckdb").write_text("no database")
    (tmp_path / "pool.duckdb.d").mkdir()
    pool = Pool(tmp_path / "pool.duckdb")
    with pytest.raises(GdoError, match="cannot be opened as a pool"), read_copy(pool):
        pass
    assert not left(pool)
