"""Frames of media as small JPEGs, decoded when first looked at and kept in a bounded memory.

Strangers' files are decoded in processes of their own: one that hangs or crashes a decoder costs its picture.
"""

from collections import OrderedDict
from concurrent.futures import Future, TimeoutError
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from threading import Lock

from pebble import ProcessExpired, ProcessPool

from gdo.errors import MediaError
from gdo.pool.child import end_with_parent
from gdo.pool.frames import FrameBudget, MediaKind
from gdo.pool.media import read_frames

KEPT_BYTES = 128 << 20
PROCESSES = 2
TASKS_PER_PROCESS = 500
TIME_LIMIT = 20.0
"""Seconds for one medium."""
_QUALITY = 82


@dataclass(frozen=True, slots=True)
class Wanted:
    """Some frames of a medium.

    Attributes:
        kind: What the files are.
        files: One path, or the frames' in order.
        frames: How many, spread evenly over it; fewer where it has fewer.
        pixels: Most pixels (width x height) of one.
    """

    kind: MediaKind
    files: tuple[str, ...]
    frames: int
    pixels: int


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames that were read.

    Attributes:
        pictures: JPEG files, in order.
        indices: Each one's number among all frames of the medium.
        times: Seconds of each since the first frame; None where the medium has no time stamps.
        error: What is damaged, or why there is no picture; None where all is well.
    """

    pictures: list[bytes]
    indices: list[int]
    times: list[float] | None
    error: str | None


class FrameCache:
    """Strips by what was wanted; the longest unused ones go. Its processes start when first needed."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._kept_bytes = kept_bytes
        self._strips: OrderedDict[Wanted, Strip] = OrderedDict()
        self._size = 0
        self._running: dict[Wanted, Future[Strip]] = {}
        self._lock = Lock()
        self._pool = ProcessPool(
            PROCESSES, TASKS_PER_PROCESS, initializer=end_with_parent, context=get_context("spawn")
        )

    def get(self, wanted: Wanted) -> Strip:
        """The frames; those who want the same at the same time wait for one reading of it."""
        with self._lock:
            if wanted in self._strips:
                self._strips.move_to_end(wanted)
                return self._strips[wanted]
            future = self._running.get(wanted)
            if future is None:
                future = self._pool.schedule(draw_strip, [wanted], timeout=TIME_LIMIT + 5)
                self._running[wanted] = future
        strip = _result(future)
        with self._lock:
            self._running.pop(wanted, None)
            if wanted not in self._strips:
                self._strips[wanted] = strip
                self._size += _size(strip)
            while self._size > self._kept_bytes:
                self._size -= _size(self._strips.popitem(last=False)[1])
        return strip

    def close(self) -> None:
        """End the processes."""
        self._pool.stop()  # type: ignore[no-untyped-call]
        self._pool.join()


def draw_strip(wanted: Wanted) -> Strip:
    """Read frames and write them as JPEG."""
    import cv2

    cv2.setNumThreads(1)
    budget = FrameBudget(frames=wanted.frames, max_pixels=wanted.pixels)
    try:
        read = read_frames(wanted.kind, list(map(Path, wanted.files)), budget, time_limit=TIME_LIMIT)
    except MediaError as error:
        return Strip([], [], None, str(error))
    pictures = [
        cv2.imencode(".jpg", image[:, :, ::-1], [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
        for image in read.images
    ]
    return Strip(pictures, read.indices, read.times, read.info.error)


def _result(future: "Future[Strip]") -> Strip:
    try:
        return future.result()
    except TimeoutError:
        return Strip([], [], None, f"it could not be decoded within {TIME_LIMIT:g} s")
    except ProcessExpired as error:
        return Strip([], [], None, f"its decoder crashed ({error})")
    except Exception as error:  # decoders let any error of a broken file through
        return Strip([], [], None, f"it could not be decoded ({error or type(error).__name__})")


def _size(strip: Strip) -> int:
    return 200 + sum(map(len, strip.pictures))
