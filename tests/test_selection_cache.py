"""The cache of candidates: used while nothing was written to the pool, never after."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from selection_pools import POOLS, Made, image_row, make, members

from gdo.errors import GdoError
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.selectors import cache
from gdo.selectors import select as selecting
from gdo.selectors.cache import cache_folder
from gdo.selectors.preset import load_preset
from gdo.selectors.select import select


@pytest.fixture
def made(tmp_path: Path) -> Made:
    """A pool of which `temp` was chosen once."""
    made = make(tmp_path, *POOLS["rows without a sample"])
    select(made.pool, "temp", count=12)
    return made


@pytest.fixture
def queries(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Grows by one whenever the candidates are asked of the database."""
    asked = list[str]()
    ask = cache.load_candidates

    def counted(*arguments):  # type: ignore[no-untyped-def]
        asked.append("query")
        return ask(*arguments)

    monkeypatch.setattr(cache, "load_candidates", counted)
    return asked


def chosen(pool: Path, preset: str = "temp", **options: int) -> tuple[object, ...]:
    """What a selection gives and stores."""
    done = select(pool, preset, name="again", **options)
    return done.fingerprint, done.report, members(pool, "again"), members(pool, "again", "uniform")


def anew(pool: Path, preset: str = "temp", **options: int) -> tuple[object, ...]:
    """The same, with nothing cached."""
    shutil.rmtree(cache_folder(Pool(pool)))
    return chosen(pool, preset, **options)


def test_another_preset_asks_no_query_and_gives_the_same(made: Made, queries: list[str]) -> None:
    found = [chosen(made.pool, preset, count=12) for preset in ("temp", "minloss", "diverse")]
    assert not queries
    assert found == [anew(made.pool, preset, count=12) for preset in ("temp", "minloss", "diverse")]
    assert len(queries) == 3


def test_what_is_cached_is_not_asked_of_the_pool(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is it worked out again: a digest and a spread that are not the pool's come through."""
    index = cache_folder(Pool(made.pool)) / "index.json"
    before = chosen(made.pool, count=12)
    with monkeypatch.context() as patched:
        patched.setattr(Pool, "read", None)
        done = select(made.pool, "temp", name="again", count=12)
    assert (done.fingerprint, done.report) == before[:2]
    entry = json.loads(index.read_bytes())
    entry["spread"]["loss_video"] = [0.0, 100.0]
    index.write_text(json.dumps(entry | {"digest": "another"}))
    told, *others = chosen(made.pool, count=12)
    assert told == "another"
    assert tuple(others) != before[1:]


def test_media_that_cannot_be_read_are_cached_too(made: Made, queries: list[str]) -> None:
    with duckdb.connect(made.pool) as connection:
        connection.execute(
            "UPDATE media SET error = 'broken' WHERE media_id IN (FROM (SELECT min(media_id) FROM media))"
        )
    want = chosen(made.pool, count=12)
    assert chosen(made.pool, count=12) == want == anew(made.pool, count=12)
    assert len(queries) == 2
    done = select(made.pool, "temp", name="again", count=12)
    assert done.report["excluded_unreadable_media"] > 0
    kept = select(made.pool, "temp", name="again", count=12, settings=["unreadable_media=keep"])
    assert kept.fingerprint != done.fingerprint


@pytest.mark.parametrize(
    "change", ["UPDATE sample SET text_hash = text_hash + 1", "DELETE FROM sample WHERE turn = 0"]
)
def test_samples_that_are_gone_when_their_subset_is_stored(
    change: str, made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Pool.write

    def written_to(self: Pool, **arguments):  # type: ignore[no-untyped-def]
        with duckdb.connect(self.path) as connection:
            connection.execute(change)
        return stored(self, **arguments)

    monkeypatch.setattr(Pool, "write", written_to)
    with pytest.raises(GdoError, match="the pool was changed while the subset was being chosen"):
        chosen(made.pool, count=12)


def test_a_write_by_another_client_makes_it_void(made: Made, queries: list[str]) -> None:
    before = chosen(made.pool, count=12)
    with duckdb.connect(made.pool) as connection:
        connection.execute("UPDATE imported SET loss_video = 10 - loss_video")
    after = chosen(made.pool, count=12)
    assert len(queries) == 1
    assert after[0] != before[0]
    assert after == anew(made.pool, count=12)


KILLED = """
import os, signal, sys, duckdb
connection = duckdb.connect(sys.argv[1])
connection.execute("UPDATE imported SET loss_video = 10 - loss_video")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_committed_makes_it_void(made: Made, queries: list[str]) -> None:
    before = chosen(made.pool, count=12)
    time = made.pool.stat().st_mtime_ns
    killed = subprocess.run([sys.executable, "-c", KILLED, made.pool], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert made.pool.stat().st_mtime_ns == time  # it stands in the log beside the file
    after = chosen(made.pool, count=12)
    assert len(queries) == 1
    assert after[0] != before[0]


def test_a_write_between_reading_and_storing_is_not_revalidated(
    made: Made, queries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = Pool.write

    def written_to(self: Pool, **arguments):  # type: ignore[no-untyped-def]
        with duckdb.connect(self.path) as connection:
            connection.execute("UPDATE imported SET loss_video = 10 - loss_video")
        return stored(self, **arguments)

    with monkeypatch.context() as patched:
        patched.setattr(Pool, "write", written_to)
        late = chosen(made.pool, count=12)
    assert not queries
    after = chosen(made.pool, count=12)
    assert len(queries) == 1
    assert after[0] != late[0]


def test_more_samples_and_other_rules_are_read_anew(made: Made, queries: list[str], tmp_path: Path) -> None:
    select(made.pool, "temp", count=12, settings=["target_frames=3"])
    select(made.pool, "temp", count=12, settings=["question_form=raw"])
    assert len(queries) == 2
    select(made.pool, "minloss", count=12, settings=["question_form=raw"])
    assert len(queries) == 2
    rows = make(tmp_path / "more", [image_row(900 + n, (f"which {n}", "this")) for n in range(9)])
    assert rows.images
    ingest(made.pool, [rows.images])
    found = select(made.pool, "minloss", count=12, settings=["question_form=raw"])
    assert len(queries) == 3
    assert found.report["uniform_count"] == 120


@pytest.mark.parametrize("harm", ["cut", "empty", "gone", "no index", "half an index", "another index"])
def test_what_is_damaged_is_read_anew(harm: str, made: Made, queries: list[str]) -> None:
    home = cache_folder(Pool(made.pool))
    (column,) = home.glob("*/text_hash.npy")
    if harm == "cut":
        os.truncate(column, column.stat().st_size - 8)
    elif harm == "empty":
        os.truncate(column, 0)
    elif harm == "gone":
        shutil.rmtree(column.parent)
    elif harm == "no index":
        (home / "index.json").unlink()
    elif harm == "another index":
        (home / "index.json").write_text("{}")
    else:
        os.truncate(home / "index.json", 20)
    found = chosen(made.pool, count=12)
    assert len(queries) == 1
    assert chosen(made.pool, count=12) == found
    assert len(queries) == 1


def test_where_nothing_can_be_cached_selection_goes_on(made: Made, queries: list[str]) -> None:
    home = cache_folder(Pool(made.pool))
    shutil.rmtree(home)
    home.write_text("a file where the folder should be")
    assert chosen(made.pool, count=12) == chosen(made.pool, count=12)
    assert len(queries) == 2


def test_a_full_disk_is_left_as_it_was(
    made: Made, queries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, save = cache_folder(Pool(made.pool)), cache.np.save
    shutil.rmtree(home)

    def full(path: Path, array: object) -> None:
        save(path, array)
        if path.name == "text_hash.npy":
            raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(cache.np, "save", full)
        chosen(made.pool, count=12)
    assert not list(home.iterdir())
    chosen(made.pool, count=12)
    assert len(queries) == 2


def test_what_was_read_stays_as_it_was(made: Made) -> None:
    """Entries are files that are mapped, so another one never takes their place."""
    pool, rules = Pool(made.pool), [load_preset("temp", settings=[f"target_frames={n}"]) for n in (3, 32)]
    with pool.read() as connection:
        cache.read_base(pool, connection, rules[0])
        first = cache.read_base(pool, connection, rules[0]).candidates
        before = first.fields["duration_bucket"].codes.tolist()
        cache.read_base(pool, connection, rules[1])
    assert first.fields["duration_bucket"].codes.tolist() == before


def test_a_checkpoint_that_fails_fails_no_selection(made: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    """The subset is committed by then."""

    def fail(pool: Pool, before: object, after: object) -> None:
        raise duckdb.TransactionException("Cannot CHECKPOINT: there are other write transactions active")

    monkeypatch.setattr(selecting, "revalidate", fail)
    assert chosen(made.pool, count=12)[2]


def test_a_clock_of_whole_seconds_is_not_relied_on(
    made: Made, queries: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = Pool.stamp
    monkeypatch.setattr(Pool, "stamp", lambda self: (10**18, *stamp(self)[1:]))
    assert chosen(made.pool, count=12) == chosen(made.pool, count=12)
    assert len(queries) == 2


def test_only_the_newest_entry_stays(made: Made) -> None:
    with duckdb.connect(made.pool) as connection:
        connection.execute("UPDATE imported SET loss_video = 10 - loss_video")
    chosen(made.pool, count=12)
    folders = [item for item in cache_folder(Pool(made.pool)).iterdir() if item.is_dir()]
    assert len(folders) == 1
