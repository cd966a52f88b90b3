"""A small pool with all that the explorer shows, and a client that is allowed to ask it."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
from starlette.testclient import TestClient

from gdo.demo.make import make_example_pool
from gdo.descriptors.describe import describe
from gdo.descriptors.importing import import_descriptors
from gdo.explore.app import make_app
from gdo.explore.state import Explorer
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.selectors.select import select

TOKEN = "a-token-of-the-tests"
HOME = "http://127.0.0.1:8000"
BROKEN = "vv::broken::t0"
HOSTILE = "<img src=x onerror=\"document.title='run'\">'); DROP TABLE sample; --"
VECTORS = 16


def make_explored_pool(folder: Path) -> Path:
    """An example pool of 120 samples and one whose video is broken, with values, vectors and two subsets."""
    example = make_example_pool(folder / "files", samples=120, seed=5, workers=1)
    (example.media_root / "broken.mp4").write_bytes(b"not a video at all")
    (folder / "broken.jsonl").write_text(
        '{"id": "broken", "video": "broken.mp4", "conversations": ['
        '{"from": "human", "value": "<video>\\n' + HOSTILE.replace('"', '\\"') + '"},'
        '{"from": "gpt", "value": "No."}]}\n'
    )
    pool = folder / "pool.duckdb"
    ingest(pool, [*example.files, folder / "broken.jsonl"], media_root=example.media_root, workers=1)
    describe(pool, ["motion", "temporal"], workers=1)
    with Pool(pool).read() as connection:
        uids = [uid for (uid,) in connection.execute("SELECT qa_uid FROM sample ORDER BY ordinal").fetchall()]
    (folder / "values.jsonl").write_text(
        "".join(
            f'{{"qa_uid": "{uid}", "vds": {number % 7 / 7}, "cluster_id": {number % 5}}}\n'
            for number, uid in enumerate(uids)
            if number % 3
        )
    )
    import_descriptors(pool, folder / "values.jsonl")
    add_vectors(pool, uids[:-1])
    for preset in ("temp", "diverse"):
        select(pool, preset, count=20)
    return pool


def add_vectors(pool: Path, uids: list[str]) -> None:
    """Vectors as `coverage` leaves them, of chance."""
    vectors = np.random.default_rng(7).standard_normal((len(uids), VECTORS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    rows = pa.table({"qa_uid": uids, "embedding": list(vectors)})
    with Pool(pool).write() as connection:
        connection.execute(
            "CREATE TABLE embedding "
            f"(qa_uid VARCHAR, version INTEGER, probe VARCHAR, embedding FLOAT[{VECTORS}])"
        )
        connection.register("rows", rows)
        connection.execute(
            f"INSERT INTO embedding SELECT qa_uid, 1, 'chance', embedding::FLOAT[{VECTORS}] FROM rows"
        )
        connection.unregister("rows")
        connection.execute("INSERT INTO descriptor VALUES ('embedding', 'sample', 1, 'chance', '{}')")


@contextmanager
def client_of(pool: Path, folder: Path, *, writes: bool = False) -> Iterator[TestClient]:
    """A client with the token, as a page of the explorer has it."""
    with Explorer(pool, writes=writes, home=folder) as explorer:
        client = TestClient(make_app(explorer, TOKEN), base_url=HOME, headers={"Origin": HOME})
        assert client.get("/", params={"token": TOKEN}).status_code == 200
        yield client
