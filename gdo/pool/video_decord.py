"""The second way to decode: decord, believed only where it agrees with what the packets tell."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from gdo.errors import MediaError
from gdo.pool.frames import TIME_TOLERANCE, Deadline, Picture

if TYPE_CHECKING:
    import decord


# Conversions of the same picture to RGB differ by less; neighbouring frames seldom do.
SAME_PICTURE = 4.0


def decode_with_decord(
    path: Path, indices: list[int], times: list[float] | None, first: Picture, deadline: Deadline
) -> Iterator[Picture]:
    """Yield the full-size pictures of the frames `indices`, decoded by decord.

    decord takes the stream it likes best and trusts headers: on some good files it gives frames of another
    stream, at other times, stretched, or too many. Its count, times and first picture must be those given.

    Args:
        path: The video file.
        indices: Frame numbers in presentation order, the first 0.
        times: Seconds of every frame of the file since its first.
        first: The upright first frame.
        deadline: When to give up.

    Raises:
        MediaError: decord cannot read the file, or sees another video in it, or the time is over.
    """
    if times is None:
        raise MediaError("decord cannot read a video without time stamps; use pyav")
    import decord

    decord.logging.set_level(decord.logging.QUIET)
    try:
        reader = decord.VideoReader(str(path), ctx=decord.cpu(0))
        if len(reader) != len(times):
            raise MediaError(f"decord sees {len(reader)} frames where there are {len(times)}; use pyav")
        starts = np.asarray(reader.get_frame_timestamp(list(range(len(times)))), dtype=np.float64)[:, 0]
        if not np.allclose(starts - starts[0], times, rtol=0, atol=TIME_TOLERANCE):
            raise MediaError("decord sees the frames at other times than the file tells; use pyav")
        for number, picture in enumerate(_exact_frames(reader, indices, deadline)):
            if picture.shape != first.shape or (not number and not _alike(picture, first)):
                raise MediaError("decord gives other pictures than the file holds; use pyav")
            yield picture
    except (decord.DECORDError, RuntimeError, IndexError, ValueError) as error:
        raise MediaError("decord cannot read the file; use pyav") from error


def _alike(a: Picture, b: Picture) -> bool:
    return float(np.abs(a.astype(np.int16) - b).mean()) < SAME_PICTURE


def _exact_frames(reader: "decord.VideoReader", indices: list[int], deadline: Deadline) -> Iterator[Picture]:
    """Yield the frames `indices` (ascending) by stepping through all frames from the first.

    decord2 3.4.0 offers no exact short cut. get_batch and seek_accurate skip frames against a spin count: on
    a busy machine they give up and return another frame with no more than a line on stderr. seek lands beside
    the key frame asked for where the rate varies, in HEVC, FLV and transport streams.
    """
    wanted = set(indices)
    for index in range(indices[-1] + 1):
        deadline.check()
        picture = reader.next()
        if index in wanted:
            yield np.ascontiguousarray(picture.asnumpy())
