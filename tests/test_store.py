"""The pool's file under many hands: locks, schema, killed writers, and two ingests at once."""

import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import duckdb
import psutil
import pytest
from containers import lines, ten_rows

from gdo.errors import GdoError, UsageError
from gdo.pool import store
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool, scalar

HOLD = """
import sys, duckdb
connection = duckdb.connect("p.duckdb", read_only=sys.argv[1] == "read")
print("held", flush=True)
sys.stdin.read()
"""
INGEST = """
import sys
import gdo.pool.ingest as module
real = module.commit_parts
def commit(*arguments):
    print("commit", flush=True)
    report = real(*arguments)
    print("done", flush=True)
    return report
module.commit_parts = commit
module.SMALL_FILE = 0
print("start", flush=True)
module.ingest("p.duckdb", sys.argv[1:], workers=2)
"""


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def start(script: str, *arguments: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )


def wait_for(process: "subprocess.Popen[str]", word: str) -> None:
    assert process.stdout
    for line in process.stdout:
        if line.strip() == word:
            return
    raise AssertionError(f"the process ended before it said {word}")


def write(name: str, prefix: str, count: int = 10, text: str = "") -> Path:
    row = ten_rows("paper image")[0]
    turns = [*row["messages"][:-1], {"role": "assistant", "content": f"yes {text}"}]
    rows = [
        row | {"id": f"{prefix}{n}", "images": [f"{n % 999}.jpg"], "messages": turns} for n in range(count)
    ]
    Path(name).write_bytes(lines(rows))
    return Path(name)


def content() -> dict[str, tuple[int, int]]:
    """How many rows each table has, and a hash of them without times."""
    columns = {"source": "* EXCLUDE (ingested)", "run": "command, arguments", "migration": "number"}
    with Pool("p.duckdb").read() as connection:
        names = connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()
        hashed = "SELECT count(*), sum(hash(t)) FROM (SELECT {} FROM {}) AS t"
        return {
            name: connection.execute(hashed.format(columns.get(name, "*"), name)).fetchall()[0]
            for (name,) in names
        }


def test_a_pool_is_made_whole_and_a_missing_one_is_told() -> None:
    with pytest.raises(UsageError, match=r"there is no pool at .*gdo ingest p.duckdb FILE"):
        Pool("p.duckdb")
    with Pool("p.duckdb", create=True).write() as connection:
        assert scalar(connection, "SELECT count(*) FROM candidate") == 0
    with Pool("p.duckdb").read() as connection:
        assert scalar(connection, "SELECT max(number) FROM migration") == store._migrations()[-1][0]
        assert scalar(connection, "SELECT current_setting('enable_progress_bar')") is False
        with pytest.raises(duckdb.Error):
            connection.execute("DELETE FROM sample")
    assert sorted(path.name for path in Path().iterdir()) == ["p.duckdb", "p.duckdb.d"]


def test_a_write_that_fails_leaves_nothing() -> None:
    pool = Pool("p.duckdb", create=True)
    with pytest.raises(ZeroDivisionError), pool.write() as connection:
        connection.execute("INSERT INTO subset (subset) VALUES ('half')")
        raise ZeroDivisionError
    with pool.read() as connection:
        assert scalar(connection, "SELECT count(*) FROM subset") == 0


def test_the_remains_of_a_deleted_pool_do_no_harm() -> None:
    ingest("p.duckdb", [write("a.jsonl", "a")])
    Path("p.duckdb.wal").write_bytes(b"of another pool")
    Path("p.duckdb").unlink()
    ingest("p.duckdb", ["a.jsonl"])
    assert content()["sample"][0] == 10


def test_files_that_are_no_pools_are_refused() -> None:
    with duckdb.connect("other.duckdb") as connection:
        connection.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(UsageError, match="not a pool"), Pool("other.duckdb").read():
        pass
    with pytest.raises(UsageError, match="other tables, not a pool"), Pool("other.duckdb").write():
        pass
    Path("blocks").mkdir()
    rows = write("rows.jsonl", "a").read_bytes()
    for name, data in (("blocks/text.duckdb", b"hello" * 999), ("empty.duckdb", b""), ("rows.jsonl", rows)):
        Path(name).write_bytes(data)
        with pytest.raises(GdoError, match="cannot be opened as a pool"), Pool(name).read():
            pass
        with pytest.raises(GdoError, match="cannot be opened as a pool"):
            ingest(name, [write("a.jsonl", "a")])
        assert Path(name).read_bytes() == data


def test_versions_of_the_schema_are_told_and_migrated(monkeypatch: pytest.MonkeyPatch) -> None:
    pool = Pool("p.duckdb", create=True)
    ingest(pool.path, [write("a.jsonl", "a")])
    real = store._migrations()
    have = real[-1][0]
    later = [*real, (have + 1, "CREATE TABLE added (a INTEGER)")]
    monkeypatch.setattr(store, "_migrations", lambda: later)
    told = rf"has schema {have}, this gdo reads {have + 1}; any writing command"
    with pytest.raises(UsageError, match=told), pool.read():
        pass
    with pool.write() as connection:
        assert scalar(connection, "SELECT count(*) FROM added") == 0
    with pool.read() as connection:
        assert scalar(connection, "SELECT list(number ORDER BY number) FROM migration") == [
            *range(1, have + 2)
        ]
        assert scalar(connection, "SELECT count(*) FROM candidate") == 10
    monkeypatch.setattr(store, "_migrations", lambda: real)
    with pytest.raises(UsageError, match=rf"made by a newer gdo \(schema {have + 1}\)"), pool.write():
        pass


@pytest.mark.parametrize("mode", ["read", "write"])
def test_a_writer_waits_for_who_holds_the_pool(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    ingest("p.duckdb", [write("a.jsonl", "a")])
    with start(HOLD, mode) as holder:
        wait_for(holder, "held")
        monkeypatch.setattr(store, "LOCK_WAIT", 0.2)
        with pytest.raises(GdoError, match=rf"p.duckdb is held by .*PID {holder.pid}.* not free within 0 s"):
            ingest("p.duckdb", [write("b.jsonl", "b")])
        monkeypatch.setattr(store, "LOCK_WAIT", 60.0)
        assert holder.stdin
        release = threading.Timer(0.5, holder.stdin.close)
        release.start()
        (report,) = ingest("p.duckdb", ["b.jsonl"])
        release.join()
    assert (report.source_id, report.samples) == (2, 10)


def test_readers_do_not_shut_each_other_out() -> None:
    ingest("p.duckdb", [write("a.jsonl", "a")])
    with start(HOLD, "read") as holder:
        wait_for(holder, "held")
        assert content()["sample"][0] == 10
        holder.communicate()


def test_two_ingests_at_once_both_land() -> None:
    write("a.jsonl", "a", 300)
    write("b.jsonl", "b", 300)
    processes = [start(INGEST, name) for name in ("a.jsonl", "b.jsonl", "a.jsonl", "b.jsonl")]
    for process in processes:
        process.communicate()
    assert [process.returncode for process in processes] == [0] * 4
    tables = content()
    assert {name: tables[name][0] for name in ("source", "sample", "bad_row", "run")} == {
        "source": 2,
        "sample": 600,
        "bad_row": 0,
        "run": 2,
    }
    with Pool("p.duckdb").read() as connection:
        assert connection.execute("SELECT DISTINCT source_id FROM sample ORDER BY 1").fetchall() == [
            (1,),
            (2,),
        ]
    assert list(Path("p.duckdb.d").iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("first", "moments"),
    [
        (True, [("start", 0.4), ("commit", 0.05)]),
        (False, [("start", 0.8), ("commit", 0.0), ("commit", 0.15), ("done", 0.02)]),
    ],
)
def test_an_ingest_killed_at_any_moment_leaves_the_pool_as_it_was_or_complete(
    first: bool, moments: list[tuple[str, float]]
) -> None:
    big = write("big.jsonl", "b", 40_000)
    big.write_bytes(big.read_bytes() + b"{\n")
    write("a.jsonl", "a")
    if not first:
        ingest("p.duckdb", ["a.jsonl"])
    before = None if first else content()
    states = list[str]()
    chance = random.Random(7)
    for word, delay in moments:
        with start(INGEST, "big.jsonl") as process:
            wait_for(process, word)
            threading.Event().wait(delay * chance.uniform(0.7, 1.3))
            crew = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            process.communicate()
        _, alive = psutil.wait_procs(crew, timeout=30)
        assert alive == []
        if not Path("p.duckdb").exists():
            states.append("none")
            continue
        now = content()
        if now["source"][0] == (0 if first else 1):
            assert now == (before or now)
            assert now["sample"][0] == now["media"][0] == (0 if first else 10)
            states.append("as before")
        else:
            states.append("complete")
            break
    assert states[0] != "complete"
    (report,) = ingest("p.duckdb", ["big.jsonl"])
    assert report.unchanged == ("complete" in states)
    broken = content()
    Path("p.duckdb").unlink()
    ingest("p.duckdb", ["big.jsonl"] if first else ["a.jsonl", "big.jsonl"])
    assert broken == content()
    assert list(Path("p.duckdb.d").glob("ingest-*")) == []
