"""What a worker does: read media or take columns of samples, compute a descriptor, tell why where it cannot.

The result is an Arrow table with the key, the descriptor's columns and `error`; for media also `info`, what
was learned of the file itself. A row with an error has no values.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa

from gdo.descriptors.base import Column, DeviceDescriptor, MediaDescriptor, SampleDescriptor
from gdo.errors import GdoError, MediaError
from gdo.pool.media import FrameBudget, Frames, MediaInfo, MediaKind, probe_media, read_frames

_ARROW_TYPES = {
    "DOUBLE": pa.float64(),
    "FLOAT": pa.float32(),
    "BIGINT": pa.int64(),
    "INTEGER": pa.int32(),
    "BOOLEAN": pa.bool_(),
    "VARCHAR": pa.string(),
    "BLOB": pa.binary(),
}

_INFO_TYPE = pa.struct(
    {
        "bytes": pa.int64(),
        "width": pa.int32(),
        "height": pa.int32(),
        "fps": pa.float64(),
        "frames": pa.int32(),
        "duration": pa.float64(),
        "error": pa.string(),
    }
)


@dataclass(frozen=True, slots=True)
class Medium:
    """One image, frame list or video, as the pool names it.

    Attributes:
        media_id: Its key.
        kind: What `paths` are.
        root: The absolute folder that relative paths start from.
        paths: One path, or the frames' in time order.
    """

    media_id: int
    kind: MediaKind
    root: str
    paths: Sequence[str]

    @property
    def files(self) -> list[Path]:
        """The paths on this machine."""
        return [Path(self.root, path) for path in self.paths]


def medium_of(row: Mapping[str, Any], home: Path) -> Medium:
    """A row of table `media`; roots start from the pool's folder."""
    return Medium(row["media_id"], row["kind"], str(home / (row["root"] or "")), row["paths"])


def describe_media(
    descriptor: MediaDescriptor | None, time_limit: float, media: Sequence[Medium]
) -> pa.Table:
    """Read media one by one and compute a descriptor of each.

    Args:
        descriptor: What to compute; None reads the headers and computes nothing.
        time_limit: Seconds for each medium.
        media: The media.
    """
    rows = [_describe_medium(descriptor, medium, time_limit) for medium in media]
    return media_table(descriptor.columns if descriptor else {}, rows)


def failed_media(descriptor: MediaDescriptor | None, medium: Medium, reason: str) -> pa.Table:
    """The row of a medium whose reader had to be given up."""
    columns = descriptor.columns if descriptor else {}
    return media_table(columns, [unseen_medium(medium, reason).row])


def describe_samples(descriptor: SampleDescriptor, batch: pa.Table) -> pa.Table:
    """Compute a descriptor of samples; where a batch fails, halves of it are tried down to the bad ones.

    Args:
        descriptor: What to compute.
        batch: `qa_uid` and the descriptor's inputs.
    """
    uids = batch["qa_uid"].to_pylist()
    try:
        values = descriptor.compute(batch)
        rows = [
            dict(zip(("qa_uid", *descriptor.columns), row, strict=True))
            for row in zip(uids, *(values[name] for name in descriptor.columns), strict=True)
        ]
    except Exception as error:
        if len(uids) > 1:
            half = len(uids) // 2
            halves = (batch.slice(0, half), batch.slice(half))
            return pa.concat_tables([describe_samples(descriptor, part) for part in halves])
        rows = [{"qa_uid": uids[0], "error": reason_of(error)}]
    return samples_table(descriptor.columns, rows)


@dataclass(frozen=True, slots=True)
class Seen:
    """A medium as a worker read it.

    Attributes:
        frames: What was read; None where nothing could be.
        row: What is to be told of the medium: `media_id`, `info`, and `error` where there are no frames.
    """

    frames: Frames | None
    row: dict[str, Any]


def see_medium(budget: FrameBudget, time_limit: float, medium: Medium) -> Seen:
    """Read the frames of a medium; never raises.

    Args:
        budget: Which frames.
        time_limit: Seconds.
        medium: The medium.
    """
    return _see(
        medium, lambda: read_frames(medium.kind, medium.files, budget, time_limit=time_limit), time_limit
    )


def unseen_medium(medium: Medium, reason: str) -> Seen:
    """A medium whose reader had to be given up."""
    info = asdict(MediaInfo(medium.kind, error=reason))
    return Seen(None, {"media_id": medium.media_id, "error": reason, "info": info})


@dataclass(frozen=True, slots=True)
class Prepared:
    """A medium as a reader prepared it for a device.

    Attributes:
        value: What the device half takes; None where there is nothing to compute.
        row: What is to be told of the medium: `media_id`, `info`, and `error` where there is no value.
    """

    value: Any
    row: dict[str, Any]


def prepare_medium(descriptor: DeviceDescriptor, time_limit: float, medium: Medium) -> Prepared:
    """Read a medium and do the first half of a descriptor; never raises.

    Args:
        descriptor: What to compute.
        time_limit: Seconds for the medium.
        medium: The medium.
    """
    seen = _see(medium, lambda: _read(descriptor, medium, time_limit), time_limit)
    if seen.frames is None:
        return Prepared(None, seen.row)
    try:
        return Prepared(descriptor.prepare(seen.frames), seen.row)
    except Exception as error:
        return Prepared(None, seen.row | {"error": reason_of(error)})


def media_table(columns: Mapping[str, Column], rows: list[dict[str, Any]]) -> pa.Table:
    """Values of media: `media_id`, the columns, `error`, and what was learned of the files."""
    return _table("media_id", pa.uint64(), columns, rows, with_info=True)


def headers_table(rows: list[dict[str, Any]]) -> pa.Table:
    """What was learned of media, from the rows of `Seen`."""
    return media_table({}, rows)


def samples_table(columns: Mapping[str, Column], rows: list[dict[str, Any]]) -> pa.Table:
    """Values of samples: `qa_uid`, the columns and `error`."""
    return _table("qa_uid", pa.string(), columns, rows, with_info=False)


def _see(medium: Medium, read: Callable[[], Frames], time_limit: float) -> Seen:
    row: dict[str, Any] = {"media_id": medium.media_id}
    frames = None
    try:
        frames = read()
        info = replace(frames.info, error=_without_folders(medium, frames.info.error))
    except Exception as error:
        row["error"] = _without_folders(medium, reason_of(error))
        # Whatever its header claims, no frame of it can be had.
        probed = probe_media(medium.kind, medium.files, time_limit=time_limit)
        info = replace(probed, frames=0, error=row["error"])
    row["info"] = asdict(info) | {"bytes": _bytes(medium)}
    return Seen(frames, row)


def _describe_medium(descriptor: MediaDescriptor | None, medium: Medium, time_limit: float) -> dict[str, Any]:
    """The row of one medium; never raises."""
    seen = _see(medium, lambda: _read(descriptor, medium, time_limit), time_limit)
    if descriptor is None:
        return seen.row | {"error": seen.row["info"]["error"]}
    if seen.frames is None:
        return seen.row
    try:
        values = descriptor.compute([seen.frames])
        return seen.row | {name: values[name][0] for name in descriptor.columns}
    except Exception as error:
        return seen.row | {"error": reason_of(error)}


def _read(descriptor: MediaDescriptor | DeviceDescriptor | None, medium: Medium, time_limit: float) -> Frames:
    """The frames that a descriptor needs; without any, what the header tells.

    Raises:
        MediaError: They cannot be had.
    """
    if descriptor is None:
        return Frames([], [], None, probe_media(medium.kind, medium.files, time_limit=time_limit))
    if medium.kind == "image" and not descriptor.needs_stills:
        info = probe_media(medium.kind, medium.files, time_limit=time_limit)
        if info.error:
            raise MediaError(info.error)
        return Frames([], [], None, info)
    return read_frames(medium.kind, medium.files, descriptor.frames, time_limit=time_limit)


def _table(
    key: str,
    key_type: pa.DataType,
    columns: Mapping[str, Column],
    rows: list[dict[str, Any]],
    *,
    with_info: bool,
) -> pa.Table:
    """Rows as a table of the declared types; what a row lacks is NULL."""
    types = {key: key_type} | {name: _arrow_type(column.type) for name, column in columns.items()}
    types |= {"error": pa.string()} | ({"info": _INFO_TYPE} if with_info else {})
    return pa.Table.from_pylist(rows, schema=pa.schema(types))


def _arrow_type(declared: str) -> pa.DataType:
    """The Arrow type of a column as it is declared in SQL; `FLOAT[64]` is a vector of 64 numbers."""
    kind, bracket, length = declared.partition("[")
    return pa.list_(_ARROW_TYPES[kind], int(length[:-1])) if bracket else _ARROW_TYPES[kind]


def _bytes(medium: Medium) -> int | None:
    """Size of all files of a medium; None where one cannot be asked."""
    try:
        return sum(file.stat().st_size for file in medium.files)
    except OSError:
        return None


def reason_of(error: BaseException) -> str:
    """An exception as one line for people."""
    if isinstance(error, GdoError):
        return str(error)
    lines = str(error).splitlines()
    return f"{type(error).__name__} ({lines[0] if lines else 'without a message'})"


def _without_folders(medium: Medium, reason: str | None) -> str | None:
    """A reader's reason as the pool keeps it: without this machine's folders, a frame's file at the end."""
    if reason is None:
        return None
    for file, path in zip(medium.files, medium.paths, strict=True):
        if f"{file}: " in reason:
            told = reason.replace(f"{file}: ", "")
            return told if len(medium.paths) == 1 else f"{told} ({path})"
    return reason
