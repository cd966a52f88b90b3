"""The one reader of media: picture files, frame lists and video files, all as upright RGB frames."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from gdo.errors import MediaError
from gdo.pool.frames import (
    Deadline,
    FrameBudget,
    Frames,
    MediaInfo,
    MediaKind,
    Picture,
    choose_indices,
    fit_size,
    resize,
    uniform_indices,
)

__all__ = ["FrameBudget", "Frames", "MediaInfo", "MediaKind", "probe_media", "read_frames", "uniform_indices"]


def probe_media(
    kind: MediaKind, paths: Sequence[Path | str], *, exact: bool = False, time_limit: float = 60
) -> MediaInfo:
    """Tell what a media is without decoding more than one frame; with `exact`, by decoding all of it.

    Args:
        kind: What `paths` are.
        paths: One image or video file, or the frames' files in order.
        exact: Count only frames that can really be decoded, and tell of any damage.
        time_limit: Seconds after which the file is given up.

    Returns:
        What is known. A bad file does not raise: `error` tells why it cannot be read.
    """
    deadline = Deadline(time_limit)
    try:
        files = _checked(kind, paths)
        if kind == "video":
            from gdo.pool.video import probe_video

            return probe_video(files[0], exact, deadline)
        return _probe_images(kind, files, exact, deadline)
    except MediaError as error:
        return MediaInfo(kind, error=str(error))


def read_frames(
    kind: MediaKind,
    paths: Sequence[Path | str],
    budget: FrameBudget,
    *,
    backend: Literal["auto", "pyav", "decord"] = "auto",
    time_limit: float = 60,
) -> Frames:
    """Read the frames of a media that `budget` asks for.

    Frames are exact: those of a video are chosen by presentation order and time, also where the rate
    varies, and each is the very frame or none. Damage that leaves frames is told in `info.error`.

    Args:
        kind: What `paths` are.
        paths: One image or video file, or the frames' files in order.
        budget: How many frames of which size.
        backend: What decodes videos. "auto" is "pyav", as fast as decord and right where decord is wrong
            (benchmarks/media.py). "decord" steps through the whole file and refuses one that it reads wrong.
        time_limit: Seconds after which the file is given up.

    Raises:
        MediaError: The media cannot be read; the message names the file and the reason.
    """
    deadline = Deadline(time_limit)
    files = _checked(kind, paths)
    if kind != "video":
        return _read_images(kind, files, budget, deadline)
    from gdo.pool.video import read_video

    try:
        return read_video(files[0], budget, backend, deadline)
    except MediaError as error:
        raise _named(files[0], error) from error


def _checked(kind: MediaKind, paths: Sequence[Path | str]) -> list[Path]:
    if not paths or (len(paths) > 1 and kind != "frames"):
        raise MediaError(f"media of kind {kind!r} cannot have {len(paths)} files", frames=0)
    return [Path(path) for path in paths]


def _named(path: Path, error: MediaError) -> MediaError:
    return MediaError(f"{path}: {error}", error.frames)


def _read_images(kind: MediaKind, files: list[Path], budget: FrameBudget, deadline: Deadline) -> Frames:
    """Read the chosen picture files; all take the first one's size."""
    indices = choose_indices(budget, len(files))
    first = _picture(files[indices[0]], deadline)
    height, width = first.shape[:2]
    size = fit_size(width, height, budget.max_pixels)
    pictures = [resize(first, size)]
    pictures += [resize(_picture(files[i], deadline), size) for i in indices[1:]]
    return Frames(pictures, indices, None, MediaInfo(kind, width, height, frames=len(files)))


def _picture(path: Path, deadline: Deadline) -> Picture:
    from gdo.pool.image import read_image

    try:
        deadline.check()
        return read_image(path)
    except MediaError as error:
        raise _named(path, error) from error


def _probe_images(kind: MediaKind, files: list[Path], exact: bool, deadline: Deadline) -> MediaInfo:
    """Read the first header and see that all files are there; with `exact`, decode them all."""
    from gdo.pool.image import image_size

    width, height = image_size(files[0])
    info = MediaInfo(kind, width, height, frames=len(files))
    try:
        for file in files:
            if exact:
                _picture(file, deadline)
            elif not file.is_file():
                raise MediaError(f"{file}: no such file")
    except MediaError as error:
        return replace(info, error=str(error))
    return info
