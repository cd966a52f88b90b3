"""How fast does the explorer answer on a large pool?

    python benchmarks/explore.py [--pairs 1000000] [--rounds 20] [--json FILE] [--folder DIR]

The pool is that of benchmarks/selection.py (texts, frame lists, ten imported values), with a vector of 128
numbers for each sample and two presets' subsets. `gdo explore` runs as people run it; each address is asked
over HTTP, one request after another, each round with other filters, orders, pages or samples. Told are the
median and the 95th percentile of milliseconds from request to answer, the processor time that the server and
its processes spent on an answer (which other programs of the machine do not lengthen), and the first answer.
Why a sample was taken is asked when the server has worked the selections out again, which it does in the
background from its start on; told is when that was done.
"""

import argparse
import http.client
import itertools
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import numpy as np
import psutil
import pyarrow as pa
from make_pool import make_pool
from measure import machine, write_json
from rich.console import Console
from rich.table import Table

from gdo.descriptors.importing import import_descriptors
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.selectors.select import select

SIZE = 128
AT_ONCE = 50_000
Ask = Callable[[str, Any], Any]


def make(folder: Path, pairs: int) -> Path:
    """The pool; one that is there is used again."""
    pool = folder / "pool.duckdb"
    if (folder / "explorable").exists():
        return pool
    made = make_pool(folder / "files", pairs)
    ingest(pool, [made.images, made.videos])
    import_descriptors(pool, made.metrics)
    add_vectors(pool)
    for preset in ("temp", "diverse"):
        select(pool, preset)
    (folder / "explorable").touch()
    return pool


def add_vectors(pool: Path) -> None:
    """Vectors around two thousand centres, as `coverage` leaves them."""
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((2000, SIZE), dtype=np.float32)
    with Pool(pool).write() as connection:
        uids = connection.sql("SELECT qa_uid FROM sample ORDER BY ordinal").to_arrow_table()["qa_uid"]
        connection.execute(
            "CREATE TABLE embedding "
            f"(qa_uid VARCHAR, version INTEGER, probe VARCHAR, embedding FLOAT[{SIZE}], error VARCHAR)"
        )
        for start in range(0, len(uids), AT_ONCE):
            some = uids.slice(start, AT_ONCE).combine_chunks()
            vectors = centres[rng.integers(0, len(centres), len(some))]
            vectors = vectors + rng.standard_normal(vectors.shape, dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            columns = {
                "qa_uid": some,
                "embedding": pa.FixedSizeListArray.from_arrays(vectors.ravel(), SIZE),
            }
            connection.register("rows", pa.table(columns))
            connection.execute(
                f"INSERT INTO embedding SELECT qa_uid, 1, 'made', embedding::FLOAT[{SIZE}], NULL FROM rows"
            )
            connection.unregister("rows")
        connection.execute("INSERT INTO descriptor VALUES ('embedding', 'sample', 1, 'made', '{}')")


@contextmanager
def serving(pool: Path) -> Iterator[tuple[str, psutil.Process]]:
    """`gdo explore`, and the address that it prints."""
    command = [sys.executable, "-u", "-m", "gdo.cli.main", "explore", str(pool)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout
        found = re.search(r"http://\S+", server.stdout.readline())
        try:
            assert found, "the server did not start"
            yield found.group(0), psutil.Process(server.pid)
        finally:
            server.terminate()


def asker(address: str) -> Ask:
    """A function that asks the server over one connection."""
    parts = urlsplit(address)
    connection = http.client.HTTPConnection(parts.netloc)
    connection.request("GET", f"/?{parts.query}")
    response = connection.getresponse()
    response.read()
    cookie = response.headers["set-cookie"].partition(";")[0]
    headers = {"Cookie": cookie, "Origin": f"http://{parts.netloc}", "Content-Type": "application/json"}

    def ask(where: str, body: Any) -> Any:
        if body is None:
            connection.request("GET", where, headers=headers)
        else:
            connection.request("POST", where, json.dumps(body), headers)
        answer = connection.getresponse()
        content = answer.read()
        assert answer.status == 200, content
        return json.loads(content)

    return ask


def filters(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Facets as people click them, each round others."""
    lengths = ["q_tiny", "q_short", "q_medium", "q_long"]
    while True:
        facets = {"q_len_bucket": rng.sample(lengths, rng.randint(1, 3))}
        if rng.random() < 0.7:
            facets["bucket"] = [rng.choice(["image_qa", "short_video"])]
        yield {"facets": facets}


def questions(ask: Ask, rounds: int) -> dict[str, Iterator[tuple[str, Any]]]:
    """What is asked, by the name of the figure."""
    rng = random.Random(1)
    facets, numbers = filters(rng), itertools.cycle(["vds", "ppl", "amm", "loss_blind", "quality_score"])
    pages = [ask("/api/page", {"order": {"by": "vds"}, "after": 40_000 * n}) for n in range(rounds)]
    uids = [sample["qa_uid"] for page in pages for sample in page["samples"]]
    rng.shuffle(uids)
    names = itertools.cycle(uids)
    both = {"first": {"subset": "temp"}, "second": {"subset": "diverse", "role": "uniform"}}
    conditions = (f"amm > {n / 10:.2f} AND question ILIKE '%door%'" for n in itertools.count())
    deep = itertools.cycle(range(0, 40_000 * rounds, 40_000))

    def repeated(make: Callable[[], tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
        while True:
            yield make()

    def sample(path: str, **more: str) -> Iterator[tuple[str, Any]]:
        return repeated(lambda: (f"{path}?{urlencode({'uid': next(names), **more})}", None))

    def page(**asked: Any) -> tuple[str, Any]:
        return "/api/page", asked

    return {
        "pool": repeated(lambda: ("/api/pool", None)),
        "page": repeated(lambda: page(after=next(deep))),
        "page, sorted": repeated(lambda: page(order={"by": next(numbers)}, after=next(deep))),
        "page, facets, sorted": repeated(lambda: page(filter=next(facets), order={"by": next(numbers)})),
        "page, in a subset": repeated(
            lambda: page(filter={"subsets": [{"subset": "temp"}]}, order={"by": next(numbers)})
        ),
        "page, new WHERE": repeated(lambda: page(filter={"where": next(conditions)})),
        "page, same WHERE": repeated(lambda: page(filter={"where": "amm > 2"}, order={"by": next(numbers)})),
        "counts": repeated(lambda: ("/api/facets", {})),
        "counts, facets": repeated(lambda: ("/api/facets", next(facets))),
        "sample": sample("/api/sample"),
        "neighbours": sample("/api/neighbours"),
        "compare": repeated(lambda: ("/api/compare", both)),
        "explain": sample("/api/explain", subset="temp"),
    }


def is_explaining(process: psutil.Process) -> bool:
    """Whether it works a selection out in the background."""
    try:
        return "multiprocessing.spawn" in " ".join(process.cmdline())
    except psutil.NoSuchProcess:  # it has just left
        return False


def cpu(server: psutil.Process) -> float:
    """Seconds of processor time of the server and the processes that answer for it."""
    processes = [server, *(child for child in server.children() if not is_explaining(child))]
    times = [process.cpu_times() for process in processes]
    return float(sum(t.user + t.system for t in times))


def timed(ask: Ask, question: tuple[str, Any]) -> float:
    """Seconds until it is answered."""
    started = time.perf_counter()
    ask(*question)
    return time.perf_counter() - started


def wait_for_explained(ask: Ask, server: psutil.Process) -> None:
    """Until none of the server's processes has worked a selection out for a second."""
    idle = time.perf_counter()
    while time.perf_counter() < idle + 1:
        time.sleep(0.2)
        ask("/api/pool", None)  # the server hangs up on who is silent for long
        if any(map(is_explaining, server.children())):
            idle = time.perf_counter()


def measure(ask: Ask, server: psutil.Process, rounds: int) -> tuple[list[dict[str, Any]], float]:
    """The figures, one row for each thing that is asked, and the seconds until all could be explained."""
    figures, told, explained = [], time.perf_counter(), 0.0
    for name, asked in questions(ask, rounds).items():
        if name == "explain":
            wait_for_explained(ask, server)
            explained = time.perf_counter() - told
        fresh = cpu(server)
        first = timed(ask, next(asked))
        before = cpu(server)
        seconds = [timed(ask, question) for question in itertools.islice(asked, rounds)]
        figures.append(
            {
                "asked": name,
                "p50_ms": 1000 * statistics.median(seconds),
                "p95_ms": 1000 * float(np.quantile(seconds, 0.95)),
                "processor_ms": 1000 * (cpu(server) - before) / rounds,
                "first_ms": 1000 * first,
                "first_processor_ms": 1000 * (before - fresh),
            }
        )
    return figures, explained


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pairs", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument(
        "--folder", type=Path, help="where to keep the pool; default a folder that is removed"
    )
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as aside:
        pool = make(arguments.folder or Path(aside), arguments.pairs)
        started = time.perf_counter()
        with serving(pool) as (address, server):
            start = time.perf_counter() - started
            figures, explained = measure(asker(address), server, arguments.rounds)
            memory = sum(p.memory_info().rss for p in (server, *server.children(recursive=True))) / 1e6
    told = {"pairs": arguments.pairs, "start_s": start, "explained_s": explained, "memory_mb": memory}
    columns = ("p50_ms", "p95_ms", "processor_ms", "first_ms", "first_processor_ms")
    table = Table("asked", *(name.replace("_", " ") for name in columns))
    for row in figures:
        table.add_row(row["asked"], *(f"{row[name]:,.0f}" for name in columns))
    Console().print(table)
    print(f"{arguments.pairs:,} pairs: copied in {start:.1f} s, all explained {explained:.1f} s later")
    print(f"{memory:,.0f} MB; {machine()}")
    write_json(arguments.json, told | {"asked": figures, **machine()})


if __name__ == "__main__":
    main()
