"""Reads a video file: what it is, and the frames asked for, exact or not at all."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Literal, NamedTuple

import av

from gdo.errors import MediaError
from gdo.pool.frames import (
    Deadline,
    FrameBudget,
    Frames,
    MediaInfo,
    Picture,
    choose_indices,
    fit_size,
    resize,
)
from gdo.pool.video_decode import (
    Darkroom,
    Tally,
    decode_all,
    decode_chosen,
    first_frame,
    upright_size,
)
from gdo.pool.video_decord import decode_with_decord
from gdo.pool.video_scan import Scan, Timeline, reason, scan_video, timeline

Backend = Literal["auto", "pyav", "decord"]


def probe_video(path: Path, exact: bool, deadline: Deadline) -> MediaInfo:
    """Tell what a video is: from its packets and first frame or, where `exact`, from all its frames.

    Never raises for a bad file: `error` of the info tells what is wrong, beside what is known.
    """
    info = MediaInfo("video")
    try:
        with _ffmpeg_errors():
            scan = scan_video(path, deadline)
            info = _info(scan, Survey(scan.timeline(), scan.size))
            if exact:
                return _info(scan, _survey(path, scan, deadline))
            return _info(scan, Survey(scan.timeline(), upright_size(first_frame(path, deadline))))
    except MediaError as error:
        frames = info.frames if error.frames is None else error.frames
        return replace(info, frames=frames, error=str(error))


def read_video(path: Path, budget: FrameBudget, backend: Backend, deadline: Deadline) -> Frames:
    """Read the frames that `budget` asks for.

    Only what those frames need is decoded, as long as each arrives just as the packets announce it. Else
    all is decoded, twice: once to see which frames there are, once to pick.

    Raises:
        MediaError: No frame can be had, or the time is over.
    """
    with _ffmpeg_errors():
        scan = scan_video(path, deadline)
        if backend == "decord":
            return _read_with_decord(path, scan, budget, deadline)
        return _read_chosen(path, scan, budget, deadline) or _read_all(path, scan, budget, deadline)


@contextmanager
def _ffmpeg_errors() -> Iterator[None]:
    """Turn what FFmpeg and the conversion of its pictures raise into MediaError."""
    try:
        yield
    except (av.FFmpegError, ValueError, MemoryError) as error:
        raise MediaError(f"cannot be decoded ({reason(error)})") from error


class Survey(NamedTuple):
    """What is known of a video's frames: when they are shown, upright (width, height), what is damaged."""

    timeline: Timeline
    size: tuple[int, int]
    damage: str | None = None


def _survey(path: Path, scan: Scan, deadline: Deadline) -> Survey:
    """Decode all frames to see what is really there."""
    tally = Tally()
    pts: list[int | None] = []
    size, last_ticks = scan.size, 0
    with closing(decode_all(path, deadline, tally)) as frames:
        for frame in frames:
            size = size if pts else upright_size(frame)
            pts.append(frame.pts)
            last_ticks = frame.duration or 0
    damage = tally.damage()
    return Survey(timeline(pts, last_ticks, scan.tick), size, damage)


def _info(scan: Scan, survey: Survey) -> MediaInfo:
    """Describe the video; a file cut off, or ending long before its announced end, is damaged too."""
    count, times, end = survey.timeline
    damage = survey.damage
    if damage is None and scan.torn:
        damage = f"torn packets: {scan.torn} of {len(scan.heads)}"
    if damage is None and end is not None and scan.announced is not None and _ends_early(end, scan.announced):
        damage = f"the pictures end after {end:.1f} s of the {scan.announced:.1f} s announced"
    fps = scan.rate or (count / end if end else None)
    return MediaInfo("video", *survey.size, fps if times else None, count, end, damage)


def _ends_early(end: float, announced: float) -> bool:
    """Whether more is missing than headers are wrong by: a second and a tenth of the whole."""
    return announced - end > max(1.0, 0.1 * announced)


def _read_chosen(path: Path, scan: Scan, budget: FrameBudget, deadline: Deadline) -> Frames | None:
    """Decode only what the chosen frames need; None where the packets do not tell the truth."""
    count, times, end = scan.timeline()
    indices = choose_indices(budget, count, times, end)
    darkroom = Darkroom(budget.max_pixels)
    pictures = decode_chosen(path, scan, indices, darkroom, deadline)
    if pictures is None or darkroom.full_size is None:
        return None
    return _frames(scan, Survey(scan.timeline(), darkroom.full_size), indices, pictures)


def _read_all(path: Path, scan: Scan, budget: FrameBudget, deadline: Deadline) -> Frames:
    """Decode everything and keep the chosen among the frames that are really there."""
    survey = _survey(path, scan, deadline)
    count, times, end = survey.timeline
    indices = choose_indices(budget, count, times, end)
    wanted = set(indices)
    darkroom = Darkroom(budget.max_pixels)
    with closing(decode_all(path, deadline, Tally())) as frames:
        upto_last = enumerate(islice(frames, indices[-1] + 1))
        pictures = [darkroom.develop(frame) for i, frame in upto_last if i in wanted]
    return _frames(scan, survey, indices, pictures)


def _read_with_decord(path: Path, scan: Scan, budget: FrameBudget, deadline: Deadline) -> Frames:
    """Let decord decode the frames that the packets announce."""
    count, times, end = scan.timeline()
    indices = choose_indices(budget, count, times, end)
    first = Darkroom(None).develop(first_frame(path, deadline))
    height, width = first.shape[:2]
    decoded = decode_with_decord(path, indices, times, first, deadline)
    target = fit_size(width, height, budget.max_pixels)
    pictures = [resize(picture, target) for picture in decoded]
    return _frames(scan, Survey(scan.timeline(), (width, height)), indices, pictures)


def _frames(scan: Scan, survey: Survey, indices: list[int], pictures: list[Picture]) -> Frames:
    times = survey.timeline.times
    return Frames(pictures, indices, [times[i] for i in indices] if times else None, _info(scan, survey))
