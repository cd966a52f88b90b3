"""No query gets out of the sandbox, and none outlives its time or its memory."""

import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from attacks import ENDED, ENDLESS, GREEDY, OUTSIDE, fill

from gdo.errors import GdoError, UsageError
from gdo.pool import sandbox as module
from gdo.pool.query import run_sql
from gdo.pool.sandbox import Sandbox
from gdo.pool.store import Pool


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox() as process:
        yield process


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sandbox") / "pool.duckdb"
    with Pool(path, create=True).write() as connection:
        connection.execute(
            "INSERT INTO sample (qa_uid, ordinal, bucket, question, answer) "
            "SELECT 'ov::' || range || '::t0', range, 'image_qa', 'What?', '/etc/passwd' FROM range(1000)"
        )
    return path


@pytest.mark.parametrize("attack", OUTSIDE)
def test_nothing_gets_out(attack: str, pool: Path, sandbox: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    before = pool.read_bytes(), sorted(pool.parent.rglob("*"))
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        query = fill(attack, pool, tmp_path, server.getsockname()[1])
        with pytest.raises(UsageError) as refused:
            run_sql(pool, query, time_limit=20, sandbox=sandbox)
        with pytest.raises(BlockingIOError):
            server.accept()
    assert "secret\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
    assert (pool.read_bytes(), sorted(pool.parent.rglob("*"))) == before


@pytest.mark.slow
@pytest.mark.parametrize("attack", [*ENDLESS, *GREEDY])
def test_time_and_memory_are_all_that_a_query_can_use_up(
    attack: str, pool: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "GRACE", 0.5)
    with pytest.raises(GdoError, match=ENDED):
        run_sql(pool, attack, time_limit=1, sandbox=sandbox)
    assert run_sql(pool, "SELECT count(*) FROM sample", sandbox=sandbox).rows == [(1000,)]
    assert not list(pool.parent.rglob("*.tmp"))


def test_the_process_has_so_much_memory_and_no_more(sandbox: Sandbox) -> None:
    assert sandbox.call(_memory, 60) == module.MEMORY
    with pytest.raises(MemoryError):
        sandbox.call(_hoard, 60)


def _memory(begun: module.Begun) -> int:
    begun()
    return resource.getrlimit(resource.RLIMIT_DATA)[1]


def _hoard(begun: module.Begun) -> int:
    begun()
    return len(bytearray(module.MEMORY))


def _sleep(begun: module.Begun) -> None:
    begun()
    time.sleep(600)


SLEEPER = """
import sys, threading
sys.path[:0] = {path!r}
from gdo.pool.sandbox import Sandbox
from test_sandbox import _sleep
box = Sandbox()
threading.Thread(target=box.call, args=[_sleep, 600], daemon=True).start()
while not box._process:
    pass
print(box._process.pid, flush=True)
sys.stdin.read()
"""


def test_the_process_ends_with_who_started_it() -> None:
    script = SLEEPER.format(path=[str(Path(__file__).parent), *sys.path])
    starter = subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert starter.stdout
    process = psutil.Process(int(starter.stdout.readline()))
    starter.kill()
    starter.communicate()
    _, alive = psutil.wait_procs([process], timeout=60)
    assert alive == []


@pytest.mark.parametrize(
    "attack", [OUTSIDE[0], OUTSIDE[3], "COPY sample TO '{dir}/x.csv'", "DROP TABLE sample"]
)
def test_the_command_is_in_the_sandbox(attack: str, pool: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.csv").write_text("a\nsecret\n")
    command = [sys.executable, "-m", "gdo.cli.main", "sql", str(pool), fill(attack, pool, tmp_path, 1)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert "refused" in done.stderr or "may not leave the pool" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["secret.csv"]
