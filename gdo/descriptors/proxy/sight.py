"""What the proxy is shown: media read by worker processes, at the few pixels that it takes."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial

from gdo.descriptors.engine.local import run_tasks
from gdo.descriptors.engine.work import Medium
from gdo.pool.frames import FrameBudget, Frames
from gdo.pool.media import read_frames

TIME_LIMIT = 60.0
"""Seconds for one medium."""
STILLS_PER_TASK = 32

Read = list[tuple[int, Frames | None]]
"""Media by id; None where one cannot be read."""


def read_media(
    media: Mapping[int, Medium], budget: FrameBudget, workers: int, progress: Callable[[int], None]
) -> dict[int, Frames]:
    """Read the frames of media; those that cannot be read are left out.

    Args:
        media: What to read, by id.
        budget: Frames and pixels.
        workers: Processes; 0 reads in this one.
        progress: Told how many media were read or given up.
    """
    frames: dict[int, Frames | None] = {}
    tasks = list(_tasks(media.values()))
    for read in run_tasks(
        partial(_read, budget), tasks, _give_up, workers=min(workers, len(tasks)), time_limit=TIME_LIMIT
    ):
        frames.update(read)
        progress(len(frames))
    return {key: frames[key] for key in media if frames[key] is not None}  # type: ignore[misc]


def _tasks(media: Collection[Medium]) -> Iterator[list[Medium]]:
    stills = [medium for medium in media if medium.kind == "image"]
    yield from (stills[i : i + STILLS_PER_TASK] for i in range(0, len(stills), STILLS_PER_TASK))
    yield from ([medium] for medium in media if medium.kind != "image")


def _read(budget: FrameBudget, media: Sequence[Medium]) -> Read:
    return [(medium.media_id, _frames(medium, budget)) for medium in media]


def _frames(medium: Medium, budget: FrameBudget) -> Frames | None:
    try:
        return read_frames(medium.kind, medium.files, budget, time_limit=TIME_LIMIT)
    except Exception:  # decoders raise whatever they like
        return None


def _give_up(medium: Medium, reason: str) -> Read:
    return [(medium.media_id, None)]
