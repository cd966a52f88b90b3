"""The same files give the same rows, ids and bytes, however many threads and processes, and however cut."""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import pytest
import states
from nursery import Nursery
from selection_pools import image_rows, video_rows
from starts import media_pool, write

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kills")]


@dataclass(frozen=True)
class Way:
    """One way to compute.

    Attributes:
        threads: Of DuckDB, polars, FAISS and numpy.
        workers: Processes that parse and that read media; 0 is none but the command's own.
        small: Whether all that is cut is cut small: blocks, parts, batches, shards.
        engine: Of describe.
    """

    threads: int
    workers: int
    small: bool = False
    engine: str = "local"


WAYS = [
    pytest.param(Way(4, 0), id="threads"),
    pytest.param(Way(1, 2), id="processes"),
    pytest.param(Way(1, 0, small=True), id="small batches"),
    pytest.param(Way(4, 3, small=True), id="all of it"),
    pytest.param(Way(1, 1, small=True, engine="ray"), id="ray", marks=pytest.mark.ray),
]


def go(folder: str, threads: int, workers: int, small: bool, engine: str) -> None:
    """In a child: from files to an exported subset."""
    from fake_probe import FakeModels

    from gdo.descriptors.describe import describe
    from gdo.export.run import export
    from gdo.pool.ingest import ingest
    from gdo.selectors.select import select

    _use_threads(threads)
    if small:
        _cut_small()
    home = Path(folder)
    pool = home / "pool.duckdb"
    files = [home / "rows.jsonl", home / "images.jsonl", home / "videos.jsonl"]
    ingest(pool, files, workers=max(workers, 1))
    names, models = ["motion", "temporal", "dependency", "coverage"], FakeModels()
    describe(pool, names, device="cpu", workers=workers, engine=engine, clusters=5, models=models)
    for preset in ("temp", "diverse"):
        select(pool, preset, settings=["count=16", "max_qa_per_video=2", "unreadable_media=keep"])
        export(pool, preset, home / preset)


def _use_threads(count: int) -> None:
    from gdo.pool.store import Pool

    connect = Pool._connect

    def connecting(pool: Pool, *, read_only: bool) -> object:
        connection = connect(pool, read_only=read_only)
        connection.execute(f"SET threads = {count}")
        return connection

    Pool._connect = connecting  # type: ignore[method-assign, assignment]


def _cut_small() -> None:
    from gdo.descriptors.coverage import run
    from gdo.descriptors.engine import asking, one, ray_engine
    from gdo.export import rows
    from gdo.pool import ingest, readers, samples

    ingest.SMALL_FILE = 0
    readers.BLOCK_BYTES = 700
    samples.PART_PAIRS = 7
    one.SAMPLES_PER_BATCH, one.MEDIA_PER_READ = 5, 3
    asking.QUESTIONS_PER_BATCH, asking.BATCH_TOKENS = 3, {"cpu": 1, "cuda": 1}
    run.TEXTS_PER_BATCH = 3
    rows.BATCH_ROWS = 3
    ray_engine.IMAGES_PER_SHARD = 2 * ray_engine.VIDEO_IN_IMAGES
    ray_engine.GROUPS_PER_SHARD, ray_engine.QUESTIONS_PER_BATCH = 2, 3


class Made:
    """Runs in one place, since rows hold paths."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.origin, self.place = folder, folder / "origin", folder / "work"
        self.origin.mkdir()
        media_pool(self.origin)
        for path in [self.origin / "pool.duckdb", self.origin / "pool.duckdb.d"]:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        write(self.origin / "images.jsonl", [*image_rows(12), 7])
        write(self.origin / "videos.jsonl", video_rows(8))
        self.base = self.by(Way(1, 0))

    def by(self, way: Way) -> states.State:
        shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.origin, self.place)
        with Nursery(self.folder / "log.txt", threads=way.threads) as nursery:
            nursery.did("test_determinism:go", self.place, *asdict(way).values())
        state = states.of_pool(self.place / "pool.duckdb")
        del state["run"]
        state["files"].pop("describe/mark", None)  # what tells this pool from others, drawn at random
        for preset in ("temp", "diverse"):
            state[preset] = states.of_files(self.place / preset)
            del state[preset]["manifest.json"]
        return state


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    yield Made(tmp_path_factory.mktemp("ways"))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_gives_the_same(way: Way, made: Made) -> None:
    assert len(made.base["subset_sample"]) > 16
    assert made.by(way) == made.base
