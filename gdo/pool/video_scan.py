"""Opens a video file and lists its packets, so that frames can be chosen before any is decoded."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from gdo.errors import MediaError
from gdo.pool.frames import Deadline

# Formats of FFmpeg that read what other files hold.
PLAYLISTS = {"concat", "dash", "hls", "image2", "imf", "sdp", "webm_dash_manifest"}


@contextmanager
def open_video(
    path: Path, deadline: Deadline, threads: int = 1
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Open a local video file at its first video stream, cover art aside.

    Raises:
        MediaError: The file is missing, no video or a list of other files, or has no video stream with a
            known codec.
    """
    if not path.is_file():
        raise MediaError("is not a file" if path.exists() else "no such file", frames=0)
    try:
        container = av.open(
            f"file:{path}",
            container_options={"protocol_whitelist": "file"},
            metadata_errors="replace",
            timeout=(deadline.seconds, deadline.seconds),
        )
    except (av.FFmpegError, OSError, ValueError) as error:
        deadline.check()
        raise MediaError(f"not a video that can be opened ({reason(error)})", frames=0) from error
    with container:
        if container.format.name in PLAYLISTS:
            raise MediaError("is a list of other files, not a video", frames=0)
        streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
        if not streams:
            raise MediaError("has no video stream", frames=0)
        stream = streams[0]
        # PyAV types the context as always there; it is None for a codec FFmpeg does not know.
        if not getattr(stream, "codec_context", None):
            raise MediaError("its video stream has no codec known here", frames=0)
        stream.codec_context.thread_count = threads
        stream.thread_type = "AUTO"
        yield container, stream


def reason(error: Exception) -> str:
    """Return what an FFmpeg error says, without its number and path."""
    return getattr(error, "strerror", None) or str(error)


def read_packets(
    container: InputContainer, stream: VideoStream, deadline: Deadline
) -> Iterator["Packet[VideoStream]"]:
    """Yield the stream's packets in file order.

    Raises:
        MediaError: The time is over.
        av.FFmpegError: The file cannot be read further.
    """
    try:
        for packet in container.demux(stream):
            deadline.check()
            if packet.size:
                yield packet
    except av.FFmpegError:
        deadline.check()
        raise


class PacketHead(NamedTuple):
    """A packet without its data.

    Attributes:
        pts: Presentation time in ticks of the stream; None where the container tells none.
        ticks: How long the frame is shown; 0 if unknown.
        key: Whether the container calls it a key frame.
        shown: False where an edit list hides its frame.
    """

    pts: int | None
    ticks: int
    key: bool
    shown: bool


class Timeline(NamedTuple):
    """When the frames of a video are shown.

    Attributes:
        frames: Number of frames.
        times: Seconds of each since the first, ascending; None where time stamps are missing or go back.
        end: Seconds from the first frame to the end of the last; None without times.
    """

    frames: int
    times: list[float] | None = None
    end: float | None = None


def timeline(pts: Sequence[int | None], last_ticks: int, tick: Fraction) -> Timeline:
    """Turn presentation times in ticks of `tick` seconds, in order, into seconds.

    The last frame is shown for `last_ticks`, or where that is 0 for the mean of the others.
    """
    ticks = [t for t in pts if t is not None]
    if not ticks or len(ticks) < len(pts) or any(b <= a for a, b in pairwise(ticks)):
        return Timeline(len(pts))
    times = [(t - ticks[0]) * tick.numerator / tick.denominator for t in ticks]
    last = last_ticks * tick.numerator / tick.denominator or times[-1] / max(1, len(times) - 1)
    return Timeline(len(times), times, times[-1] + last)


@dataclass(frozen=True, slots=True)
class Scan:
    """A video stream as its container tells it, before decoding.

    Attributes:
        heads: The packets in file order.
        order: Positions in `heads` of the shown packets in presentation order; None where they have no
            presentation times of their own.
        tick: Seconds of one tick.
        size: Stored (width, height) by the header.
        rate: Frames per second by the header; None if it tells none.
        torn: How many packets the file does not hold whole; reading ends at one that cannot be read at all.
        announced: Seconds that the pictures last by the header; None where it does not tell.
    """

    heads: list[PacketHead]
    order: list[int] | None
    tick: Fraction
    size: tuple[int, int]
    rate: float | None
    torn: int
    announced: float | None

    def pts(self) -> list[int | None]:
        """Return the shown packets' presentation times, ascending, or None for each without order."""
        if self.order is None:
            return [None for head in self.heads if head.shown]
        return [self.heads[i].pts for i in self.order]

    def timeline(self) -> Timeline:
        """Return when the shown packets' frames are due."""
        last_ticks = self.heads[self.order[-1]].ticks if self.order else 0
        return timeline(self.pts(), last_ticks, self.tick)


def scan_video(path: Path, deadline: Deadline) -> Scan:
    """List the packets of the first video stream; none is decoded.

    Raises:
        MediaError: The file cannot be opened or has no picture, or the time is over.
    """
    with open_video(path, deadline) as (container, stream):
        heads, torn = [], 0
        try:
            for packet in read_packets(container, stream, deadline):
                shown = not packet.is_discard
                heads.append(PacketHead(packet.pts, packet.duration or 0, packet.is_keyframe, shown))
                torn += packet.is_corrupt
        except av.FFmpegError:
            torn += 1
        if not any(head.shown for head in heads):
            raise MediaError("its video stream is empty", frames=0)
        return Scan(
            heads=heads,
            order=_presentation_order(heads),
            tick=stream.time_base or Fraction(1),
            size=(stream.codec_context.width, stream.codec_context.height),
            rate=float(stream.average_rate) if stream.average_rate else None,
            torn=torn,
            announced=_announced(container, stream),
        )


def _announced(container: InputContainer, stream: VideoStream) -> float | None:
    """Return the seconds that the pictures last by the header, the file's own where they are all of it."""
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base)
    if container.duration and len(container.streams) == 1:
        return container.duration / av.time_base
    return None


def _presentation_order(heads: list[PacketHead]) -> list[int] | None:
    """Sort the shown packets by time; None where a time is missing or stands for two packets."""
    timed = [(head.pts, i) for i, head in enumerate(heads) if head.shown and head.pts is not None]
    if len({pts for pts, _ in timed}) < sum(head.shown for head in heads):
        return None
    return [i for _, i in sorted(timed)]
