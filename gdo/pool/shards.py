"""WebDataset shards: tar files in which the members of one key are one row."""

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gdo.pool.compressed import UNREADABLE, open_compressed
from gdo.pool.rows import BadRowError, load_row

SHARD_LINES = 100_000
"""Line numbers of one shard, whose rows are not counted before they are read."""

_DAMAGE = (tarfile.InvalidHeaderError, tarfile.TruncatedHeaderError)  # type: ignore[attr-defined]
_STILLS = {"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm"}
_CLIPS = {"mp4", "webm", "mkv", "avi", "mov", "m4v", "mpg", "mpeg"}


@dataclass(frozen=True, slots=True)
class TarShard:
    """One shard, whose first row is line `start`."""

    path: str
    start: int

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Read the shard once, front to back; a row that a break cuts is given up."""
        line, key, members = self.start, "", dict[str, bytes]()
        try:
            for this, suffix, data in _members(Path(self.path)):
                if key and this != key:
                    yield line, _row(key, members)
                    line, members = line + 1, {}
                    if line - self.start >= SHARD_LINES - 1:
                        raise tarfile.ReadError(f"more than {SHARD_LINES - 1} rows in one shard; cut it")
                key = this
                members[suffix] = data
        except (tarfile.TarError, *UNREADABLE) as error:
            yield line, BadRowError("broken file", f"{Path(self.path).name}: the rest is lost: {error}")
            return
        if key:
            yield line, _row(key, members)


class _Header(tarfile.TarInfo):
    """A member's header that tells damage within the archive, where `tarfile` takes it for the end."""

    @classmethod
    def fromtarfile(cls, archive: tarfile.TarFile) -> "_Header":
        try:
            return super().fromtarfile(archive)
        except _DAMAGE as error:
            raise tarfile.ReadError(str(error)) from error


def _members(path: Path) -> Iterator[tuple[str, str, bytes]]:
    """Key, lower-case suffix and content of every member that has a key."""
    with (
        open_compressed(path) as file,
        tarfile.open(fileobj=file, mode="r|", tarinfo=_Header, errors="replace") as archive,
    ):
        for member in archive:
            name = PurePosixPath(member.name)
            stem, dot, suffix = name.name.partition(".")
            handle = archive.extractfile(member) if stem and dot else None
            if handle:
                yield str(name.parent / stem), suffix.lower(), handle.read()


def _row(key: str, members: dict[str, bytes]) -> Any:
    """The row of one key: its JSON, with the media beside it in place of those it names."""
    if "json" not in members:
        return BadRowError(
            "no question-answer pair", f"{key} has no .json, only {', '.join(sorted(members))}"
        )
    try:
        row = load_row(members["json"])
    except BadRowError as error:
        return BadRowError(error.reason, f"{key}.json: {error.detail}")
    if not isinstance(row, dict):
        return BadRowError("not an object", f"{key}.json")
    stills, clips = _media(key, members, _STILLS), _media(key, members, _CLIPS)
    if clips:
        row["videos"] = clips
    if stills and _holds_frames(row):
        row["videos"], row["images"] = [stills], None
    elif stills:
        row["images"] = stills
    if stills or clips:
        row["image"] = row["video"] = None
    row.setdefault("id", key)
    return row


def _media(key: str, members: dict[str, bytes], kinds: set[str]) -> list[dict[str, Any]]:
    """The members of these kinds; numbers in their names count as numbers, so 10 stands after 9."""
    names = [suffix for suffix in members if suffix.rpartition(".")[2] in kinds]
    names.sort(key=lambda suffix: (re.sub(r"\d+", lambda run: run[0].zfill(20), suffix), suffix))
    return [{"bytes": members[suffix], "path": f"{key}.{suffix}"} for suffix in names]


def _holds_frames(row: dict[str, Any]) -> bool:
    """Whether a shard's row calls its pictures the frames of one video."""
    videos = row.get("videos")
    return isinstance(videos, list) and len(videos) == 1 and isinstance(videos[0], list)
