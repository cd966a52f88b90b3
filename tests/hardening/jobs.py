"""The commands that are killed, each on a small input in a folder of its own; run in a nursery's children."""

import contextlib
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

WRITES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "shutil.rmtree"}
EVENTS = "events.txt"


def ingest(folder: Path) -> None:
    from gdo.pool.ingest import ingest

    ingest(folder / "pool.duckdb", [folder / name for name in ("a.jsonl", "b.jsonl", "c.tar")], workers=1)


def describe(folder: Path) -> None:
    from gdo.descriptors.describe import describe
    from gdo.descriptors.engine import run

    run.COMMIT_EVERY = 0.05
    describe(folder / "pool.duckdb", ["motion", "temporal"], probe="text", device="cpu", workers=0)


def select(folder: Path) -> None:
    from gdo.selectors.select import select

    select(folder / "pool.duckdb", "temp", name="again", settings=["count=12", "max_qa_per_video=3"])


def export(folder: Path) -> None:
    from gdo.export.run import export

    export(folder / "pool.duckdb", "s", folder / "out")
    export(folder / "pool.duckdb", "s", folder / "shards", format="webdataset")
    export(folder / "pool.duckdb", "s", folder / "chosen.jsonl")


def sparrow(folder: Path) -> None:
    from gdo.train.sparrow.run import make_sparrow

    make_sparrow([folder / "texts.jsonl"], folder / "out", workers=1)


def train(folder: Path) -> None:
    from train_data import smoke

    smoke(folder / "rows" / "data.jsonl", folder / "run", folder / "model", "epochs=2")


JOBS: dict[str, Callable[[Path], None]] = {
    job.__name__: job for job in (ingest, describe, select, export, sparrow, train)
}


def work(job: str, folder: str, how: str = "", at: float = 0) -> None:
    """Do a job, and be killed on the way.

    Args:
        job: One of `JOBS`.
        folder: Where.
        how: `file`: before the `at`-th change of a file that Python makes; `commit`: so many seconds after a
            transaction begins to be committed. Else the changes are counted, for who wants to know.
        at: When.
    """
    os.chdir(folder)
    seen = [0]

    def watch(event: str, arguments: Any) -> None:
        if event in WRITES or (event == "open" and _writes(arguments)):
            seen[0] += 1
            if how == "file" and seen[0] == at:
                os.kill(os.getpid(), signal.SIGKILL)

    if how == "commit":
        _die_at_commit(at)
    sys.addaudithook(watch)
    JOBS[job](Path(folder))
    counted = seen[0]
    Path(folder).with_name(EVENTS).write_text(json.dumps(counted))


def say(job: str, folder: str, file: str) -> None:
    """Do a job as the command line does: its errors become a message, here in a file, and an exit code."""
    from gdo.cli import main

    with Path(file).open("w") as said, contextlib.redirect_stderr(said):
        main.app = lambda: JOBS[job](Path(folder))  # type: ignore[assignment]
        main.main()


def _writes(arguments: Any) -> bool:
    _, _, flags = arguments
    return isinstance(flags, int) and bool(flags & (os.O_WRONLY | os.O_RDWR))


def _die_at_commit(seconds: float) -> None:
    from gdo.pool.store import Pool

    connect = Pool._connect

    class Dying:
        def __init__(self, connection: Any) -> None:
            self._connection = connection

        def __getattr__(self, name: str) -> Any:
            return getattr(self._connection, name)

        def execute(self, query: str, *rest: Any) -> Any:
            if query == "COMMIT":
                threading.Thread(target=die, daemon=True).start()
            return self._connection.execute(query, *rest)

    def die() -> None:
        time.sleep(seconds)
        os.kill(os.getpid(), signal.SIGKILL)

    def connecting(pool: Pool, *, read_only: bool) -> Any:
        connection = connect(pool, read_only=read_only)
        return connection if read_only else Dying(connection)

    Pool._connect = connecting  # type: ignore[method-assign]
