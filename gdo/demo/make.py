"""Makes the example pool: plans it, draws the media in several processes, writes the files of text last."""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from gdo.demo.media import RECIPE, Medium, write_medium
from gdo.demo.plan import EXAMPLE, Mix, Plan, make_plan
from gdo.demo.truth import jsonl, truth_parquet
from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import remove_left, write_output
from gdo.pool.child import end_with_parent

KINDS = ("images", "videos")
"""Folders of media."""
_LEAST_SAMPLES = 20
_MEDIA_PER_TASK = 8


@dataclass(frozen=True)
class ExamplePool:
    """An example pool on disk.

    Attributes:
        folder: Where it stands.
        files: The JSONL files to ingest, in order.
        media_root: What the media paths in them are relative to.
        truth: The side table (Parquet) of what is true of each sample, keyed by `qa_uid`.
        samples: Number of question-answer pairs.
    """

    folder: Path
    files: list[Path]
    media_root: Path
    truth: Path
    samples: int


def make_example_pool(
    folder: Path,
    *,
    samples: int = 2000,
    seed: int = 42,
    mix: Mix = EXAMPLE,
    workers: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ExamplePool:
    """Write a pool of generated clips, stills and questions of known kind, and the truth about them.

    The same samples and seed give the same files, whatever the number of workers. A finished pool is
    reused, an unfinished one completed.

    Args:
        folder: Where to write; made if missing.
        samples: Number of question-answer pairs, at least 20.
        seed: Of everything random.
        mix: Shares of repeats, wrong answers and questions that need no look.
        workers: Processes that draw; one per core if None.
        progress: Called with (media done, media in all).

    Raises:
        UsageError: The numbers make no sense, or the folder holds something else.
        GdoError: The files cannot be written.
    """
    if samples < _LEAST_SAMPLES:
        raise UsageError(f"an example pool needs at least {_LEAST_SAMPLES} samples, not {samples}")
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1, not {workers}")
    files = [folder / "images.jsonl", folder / "videos.jsonl"]
    pool = ExamplePool(folder, files, folder, folder / "truth.parquet", samples)
    try:
        _claim(pool, seed, mix)
        if not pool.truth.exists():
            _write(pool, make_plan(samples, seed, mix), workers or os.cpu_count() or 1, progress)
    except BrokenProcessPool as error:
        raise GdoError(
            f"a process that draws media for {folder} was killed (out of memory?); "
            "run the command again, with fewer workers: what is done is kept"
        ) from error
    except OSError as error:
        raise GdoError(f"cannot write the example pool to {folder}: {error}") from error
    return pool


def _claim(pool: ExamplePool, seed: int, mix: Mix) -> None:
    """Make the folder this pool's own, or find that it is: its `pool.json` says what is made there."""
    card = pool.folder / "pool.json"
    wanted: dict[str, Any] = {"recipe": RECIPE, "samples": pool.samples, "seed": seed}
    wanted |= {} if mix == EXAMPLE else {"mix": asdict(mix)}
    if card.exists():
        if card.read_bytes() != _card(wanted):
            raise UsageError(
                f"{pool.folder} holds another example pool ({card} says which); "
                f"delete it or give another folder for {pool.samples} samples, seed {seed}"
            )
        return
    taken = [path for path in (*pool.files, pool.truth) if path.exists()]
    if taken:
        raise UsageError(f"{taken[0]} is in the way and was not made by gdo; give another folder")
    for kind in KINDS:
        (pool.folder / kind).mkdir(parents=True, exist_ok=True)
    _put(card, _card(wanted))


def _card(content: dict[str, Any]) -> bytes:
    return f"{json.dumps(content)}\n".encode()


def _write(pool: ExamplePool, plan: Plan, workers: int, progress: Callable[[int, int], None] | None) -> None:
    """Media, then rows, then the truth: its presence says that the pool is whole."""
    media = plan.media
    for kind in KINDS:
        remove_left(pool.folder / kind)
    for done, _ in enumerate(_draw(pool.folder, media, workers), 1):
        if progress:
            progress(done, len(media))
    for path, rows in zip(pool.files, (plan.images, plan.videos), strict=True):
        _put(path, jsonl(rows))
    _put(pool.truth, truth_parquet(plan))


def _put(path: Path, data: bytes) -> None:
    write_output(path, partial(Path.write_bytes, data=data))


def _draw(folder: Path, media: list[Medium], workers: int) -> Iterator[None]:
    """Write the media, yielding after each."""
    draw = partial(write_medium, folder)
    workers = min(workers, len(media) // _MEDIA_PER_TASK)
    if workers <= 1:
        yield from map(draw, media)
        return
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, _begin) as processes:
        yield from processes.map(draw, media, chunksize=_MEDIA_PER_TASK)


def _begin() -> None:
    end_with_parent()
    cv2.setNumThreads(1)
