"""Decodes the chosen frames of a video: only what they need where the file allows it, else all of it."""

import math
from bisect import bisect_right
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream

from gdo.errors import MediaError
from gdo.pool.frames import Deadline, Picture, fit_size, resize
from gdo.pool.video_scan import PacketHead, Scan, open_video, read_packets

# Undamaged files decode to the same pictures on any number of threads; more than this gains little, and on
# two cores it still beats two.
THREADS = 4


class Darkroom:
    """Turns decoded frames into upright RGB pictures, all of the first one's size.

    Attributes:
        full_size: Upright (width, height) of the first frame; None before it.
    """

    def __init__(self, max_pixels: int | None) -> None:
        self.full_size: tuple[int, int] | None = None
        self._max_pixels = max_pixels
        self._reformatter = VideoReformatter()

    def develop(self, frame: VideoFrame) -> Picture:
        """Return the frame as uint8 [height, width, 3]."""
        rgb = self._reformatter.reformat(frame, format="rgb24", threads=1)
        picture = np.asarray(rgb.to_ndarray(), dtype=np.uint8)
        picture = np.ascontiguousarray(np.rot90(picture, quarter_turns(frame)))
        if self.full_size is None:
            self.full_size = picture.shape[1], picture.shape[0]
        return resize(picture, fit_size(*self.full_size, self._max_pixels))


def quarter_turns(frame: VideoFrame) -> int:
    """Return how many quarter turns against the clock set the frame upright."""
    return round(frame.rotation / 90) % 4


def upright_size(frame: VideoFrame) -> tuple[int, int]:
    """Return (width, height) after rotation."""
    return (frame.height, frame.width) if quarter_turns(frame) % 2 else (frame.width, frame.height)


class Run(NamedTuple):
    """Packets `start` to `stop` (exclusive) in file order, the first a key frame, to decode in one go."""

    start: int
    stop: int


def plan_runs(scan: Scan, indices: Iterable[int]) -> list[Run] | None:
    """Choose the packets to decode for the frames `indices` (ascending, in presentation order).

    A frame needs its own packet and those before it from the last key frame presented no later than it; a
    key frame presented later does not stand alone for the frames that lead up to it. The file's start
    serves any frame, as it does when all is decoded.

    Returns:
        Runs in file order that do not overlap; None where time stamps or packets are missing and only
        decoding everything tells.
    """
    if scan.order is None or scan.torn:
        return None
    keys = [0] + [i for i, head in enumerate(scan.heads) if i and head.key and head.shown]
    times = [-math.inf] + [scan.heads[i].pts or 0 for i in keys[1:]]
    if times != sorted(times):
        return None
    runs: list[Run] = []
    for position in (scan.order[i] for i in indices):
        start = keys[bisect_right(times, scan.heads[position].pts or 0) - 1]
        if start > position:
            return None
        if runs and start <= runs[-1].stop:
            runs[-1] = Run(runs[-1].start, max(runs[-1].stop, position + 1))
        else:
            runs.append(Run(start, position + 1))
    return runs


def decode_chosen(
    path: Path, scan: Scan, indices: list[int], darkroom: Darkroom, deadline: Deadline
) -> list[Picture] | None:
    """Decode the frames `indices` and no more than they need.

    Returns:
        Their pictures; None unless every run gives exactly the frames its packets announce, without an
        error, from a true key frame on. The container's word is then not to be trusted.

    Raises:
        MediaError: The file cannot be opened, or the time is over.
    """
    runs = plan_runs(scan, indices)
    if runs is None:
        return None
    pts = scan.pts()
    wanted = {pts[i] for i in indices}
    pictures: list[Picture] = []
    with open_video(path, deadline, THREADS) as (container, stream):
        packets = enumerate(read_packets(container, stream, deadline))
        try:
            for run in runs:
                for frame in _announced_frames(run, scan.heads, _decode_run(run, packets, stream)):
                    if frame.pts in wanted:
                        pictures.append(darkroom.develop(frame))
        except (av.FFmpegError, _NotAsAnnouncedError):
            deadline.check()
            return None
    return pictures


class _NotAsAnnouncedError(Exception):
    """The decoder gave other frames than the container's packets announce."""


def _decode_run(
    run: Run, packets: Iterator[tuple[int, "Packet[VideoStream]"]], stream: VideoStream
) -> Iterator[VideoFrame]:
    """Decode the run's packets, drain the decoder and ready it for another run."""
    for position, packet in packets:
        if position >= run.start:
            yield from stream.codec_context.decode(packet)
        if position + 1 == run.stop:
            break
    yield from stream.codec_context.decode(None)
    stream.codec_context.flush_buffers()


def _announced_frames(
    run: Run, heads: list[PacketHead], frames: Iterator[VideoFrame]
) -> Iterator[VideoFrame]:
    """Pass on the frames from the run's key frame on; raise unless they are those of its packets."""
    first = heads[run.start].pts if run.start else None
    due = sorted(
        head.pts
        for head in heads[run.start : run.stop]
        if head.shown and head.pts is not None and (first is None or head.pts >= first)
    )
    count = 0
    for frame in frames:
        if first is not None and frame.pts is not None and frame.pts < first:
            continue  # leads up to the key frame and refers to pictures before it
        if frame.is_corrupt or count == len(due) or frame.pts != due[count]:
            raise _NotAsAnnouncedError
        if first is not None and count == 0 and not frame.key_frame:
            raise _NotAsAnnouncedError
        count += 1
        yield frame
    if count < len(due):
        raise _NotAsAnnouncedError


@dataclass(slots=True)
class Tally:
    """What decoding a whole file came to.

    Attributes:
        packets: Packets given to the decoder.
        failed: Packets that it refused.
        frames: Frames that came out.
        marred: Frames among them that the decoder calls damaged.
    """

    packets: int = 0
    failed: int = 0
    frames: int = 0
    marred: int = 0

    def damage(self) -> str | None:
        """Say what is damaged; None where nothing is.

        Raises:
            MediaError: No sound picture came out, or fewer pictures than refused packets.
        """
        if self.frames == self.marred or self.failed > self.frames:
            raise MediaError(
                f"cannot be decoded: {self.failed} of its {self.packets} packets are damaged or encrypted",
                frames=0,
            )
        if self.failed:
            return f"damaged packets: {self.failed} of {self.packets}; {self.frames} frames can be decoded"
        return f"damaged frames: {self.marred} of {self.frames}" if self.marred else None


def decode_all(path: Path, deadline: Deadline, tally: Tally) -> Generator[VideoFrame]:
    """Decode every frame in presentation order, passing over packets that cannot be decoded.

    On one thread, for what a decoder makes of damage can depend on their number.

    Raises:
        MediaError: The file cannot be opened, or the time is over.
    """
    with open_video(path, deadline) as (container, stream):
        packets = _while_readable(read_packets(container, stream, deadline), tally)
        for packet in chain(packets, [None]):
            tally.packets += packet is not None
            try:
                frames = stream.codec_context.decode(packet)
            except av.FFmpegError:
                tally.failed += 1
                continue
            for frame in frames:
                tally.frames += 1
                tally.marred += frame.is_corrupt
                yield frame


def _while_readable(
    packets: Iterator["Packet[VideoStream]"], tally: Tally
) -> Iterator["Packet[VideoStream]"]:
    """Pass the packets on; one that cannot be read counts as failed and ends them."""
    try:
        yield from packets
    except av.FFmpegError:
        tally.packets += 1
        tally.failed += 1


def first_frame(path: Path, deadline: Deadline) -> VideoFrame:
    """Decode the first frame only.

    Raises:
        MediaError: The file cannot be opened, or it does not begin with a sound picture.
    """
    tally = Tally()
    with closing(decode_all(path, deadline, tally)) as frames:
        frame = next(frames, None)
    if frame is None or tally.failed or tally.marred:
        raise MediaError("does not begin with a picture that can be decoded; damaged or encrypted")
    return frame
