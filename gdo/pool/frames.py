"""What every reader of media agrees on: how many frames, which ones, how large, and for how long to try."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gdo.errors import MediaError, UsageError

MediaKind = Literal["image", "frames", "video"]
Picture = NDArray[np.uint8]

# Containers store times in ticks as coarse as 1 ms, so a frame due at 66.7 ms may be told as 67 ms.
TIME_TOLERANCE = 0.002


@dataclass(frozen=True, slots=True)
class FrameBudget:
    """How much of a video or frame list to read.

    Attributes:
        frames: At most so many frames, spread evenly by `uniform_indices`; None for no limit.
        fps: So many frames per second of video, first of all; `frames` then thins them. Media without
            time stamps (frame lists, raw streams) have no seconds: `frames` alone holds for them.
        max_pixels: Pictures with more pixels (width x height) are shrunk, aspect kept; None for no limit.

    Raises:
        UsageError: A limit is not positive.
    """

    frames: int | None = 32
    fps: float | None = None
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        for name in ("frames", "max_pixels"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or value < 1):
                raise UsageError(f"{name} must be a whole number from 1 up, or none; it is {value!r}")
        if self.fps is not None and not 0 < self.fps < math.inf:
            raise UsageError(f"fps must be a number above 0, or none; it is {self.fps!r}")


@dataclass(frozen=True, slots=True)
class MediaInfo:
    """What is known of one image, frame list or video; None is unknown.

    Attributes:
        kind: One image file, an ordered list of image files, or one video file.
        width: Pixels, after rotation.
        height: Pixels, after rotation.
        fps: Mean frames per second.
        frames: Number of frames in presentation order, before any sampling.
        duration: Seconds from the first frame to the end of the last.
        error: Why the media cannot be read, or what part of it is damaged; None where it is sound.
    """

    kind: MediaKind
    width: int | None = None
    height: int | None = None
    fps: float | None = None
    frames: int | None = None
    duration: float | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Frames:
    """Frames read from one media, in presentation order.

    Attributes:
        images: RGB pictures, uint8 [height, width, 3], all of one size.
        indices: Each picture's number among all frames of the media, from 0.
        times: Each picture's seconds since the media's first frame; None where it has no time stamps.
        info: The media itself, at its full size.
    """

    images: list[Picture]
    indices: list[int]
    times: list[float] | None
    info: MediaInfo


class Deadline:
    """The moment a reader gives up on a file."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def check(self) -> None:
        """Raise MediaError once the time is over."""
        if time.monotonic() >= self._end:
            raise MediaError(f"not read within the time limit of {self.seconds:g} s")


def uniform_indices(n: int, count: int) -> list[int]:
    """Spread `count` picks over `n` frames, first and last included; all of them where n <= count.

    Index i is round(i (n - 1) / (count - 1)) with Python's round, half to even; one pick is frame 0.

    Source: the released GDO code, spec/selection.md section 1.
    """
    if n <= count:
        return list(range(n))
    if count == 1:
        return [0]
    return [round(i * (n - 1) / (count - 1)) for i in range(count)]


def choose_indices(
    budget: FrameBudget, n: int, times: Sequence[float] | None = None, duration: float | None = None
) -> list[int]:
    """Return the numbers of the frames that `budget` asks for among `n`, ascending, each once.

    Args:
        budget: The limits.
        n: Number of frames there are.
        times: Seconds of each frame since the first, ascending; None ignores `budget.fps`.
        duration: Seconds from the first frame to the end of the last.
    """
    chosen = list(range(n))
    if budget.fps is not None and times:
        ends = [*times[1:], max(duration or 0.0, times[-1] + 2 * TIME_TOLERANCE)]
        chosen = [i for i in chosen if _on_screen_at_a_tick(times[i], ends[i], budget.fps)]
    if budget.frames is not None:
        chosen = [chosen[i] for i in uniform_indices(len(chosen), budget.frames)]
    return chosen


def _on_screen_at_a_tick(start: float, end: float, fps: float) -> bool:
    """Whether a multiple of 1 / fps lies in [start, end)."""
    tick = max(0, math.ceil((start - TIME_TOLERANCE) * fps))
    return tick / fps < end - TIME_TOLERANCE


def fit_size(width: int, height: int, max_pixels: int | None) -> tuple[int, int]:
    """Return the largest (width, height) of about the same aspect with at most `max_pixels` pixels."""
    if max_pixels is None or width * height <= max_pixels:
        return width, height
    scale = math.sqrt(max_pixels / (width * height))
    new_height = min(max(1, int(height * scale)), max_pixels)
    new_width = min(max(1, int(width * scale)), max_pixels // new_height)
    return new_width, new_height


def resize(picture: Picture, size: tuple[int, int]) -> Picture:
    """Resize an RGB picture to `size` = (width, height): by area where it shrinks, else bilinear."""
    import cv2

    height, width = picture.shape[:2]
    if (width, height) == size:
        return picture
    shrinks = size[0] <= width and size[1] <= height
    resized = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    return np.asarray(resized, dtype=np.uint8)
