"""A full disk and a read-only one: the error says so, the pool stays whole, and the same command goes on."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import states
from nursery import Nursery
from starts import start

from gdo.pool.query import run_sql

SIZE = 64 << 20
"""Bytes of the disk."""
ROOMS = (0, 20_000, 300_000)
"""Bytes left free; the first is too few for any command."""
JOBS = ("ingest", "describe", "select", "export", "sparrow")

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kills")]


def mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no right to mount a small disk: {done.stderr.strip()}")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, in memory."""
    if os.geteuid():
        pytest.skip("only root may mount a small disk")
    place = tmp_path / "disk"
    place.mkdir()
    mount("-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(place))
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    log = tmp_path_factory.mktemp("nursery") / "log.txt"
    modules = ("gdo.pool.ingest", "gdo.descriptors.describe", "gdo.selectors.select", "gdo.cli.main")
    with Nursery(log, "duckdb", "polars", *modules, "gdo.export.run", "gdo.train.sparrow.run") as process:
        yield process


@contextmanager
def full(disk: Path, room: int) -> Iterator[None]:
    """Fill the disk but for so many bytes."""
    ballast = disk / "ballast"
    with ballast.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - room)
    yield
    ballast.unlink()


def state(job: str, work: Path) -> states.State:
    files = {name: digest for name, digest in states.of_files(work).items() if "pool" not in name}
    return files if job == "sparrow" else {"files": files, **states.of_pool(work / "pool.duckdb")}


@pytest.mark.parametrize("job", JOBS)
def test_a_full_disk(job: str, disk: Path, nursery: Nursery, tmp_path: Path) -> None:
    work, origin, said = disk / "work", tmp_path / "origin", tmp_path / "said.txt"
    start(job, work)
    shutil.copytree(work, origin)
    nursery.did("jobs:work", job, work)
    unbroken = state(job, work)
    for room in ROOMS:
        shutil.rmtree(work)
        shutil.copytree(origin, work)
        with full(disk, room):
            code, _ = nursery.run("jobs:say", job, work, said)
            told = said.read_text()
            assert code in {0, 1}, nursery.log.read_text()[-3000:]
            assert code == 1 or room
            if code:
                assert told.startswith("error: ")
                assert "No space left on device" in told, told
                assert "Traceback" not in told
            states.check_whole(work)
        nursery.did("jobs:work", job, work)
        assert state(job, work) == unbroken


@pytest.mark.parametrize("job", JOBS)
def test_a_read_only_disk(job: str, disk: Path, nursery: Nursery, tmp_path: Path) -> None:
    work, said = disk / "work", tmp_path / "said.txt"
    start(job, work)
    before = states.of_files(work)
    mount("-o", "remount,ro", str(disk))
    code, _ = nursery.run("jobs:say", job, work, said)
    told = said.read_text()
    assert code in {1, 2}, nursery.log.read_text()[-3000:]
    assert told.startswith("error: ")
    assert "read-only" in told.lower(), told
    assert states.of_files(work) == before
    if job == "select":
        assert run_sql(work / "pool.duckdb", "SELECT count(*) FROM candidate").rows == [(100,)]
