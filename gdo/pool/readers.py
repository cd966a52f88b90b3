"""Readers: from a file of any container to blocks of raw rows.

A reader runs in the main process and cuts its file into blocks, cheaply and in order; a block is small,
can be sent to a worker process, and there yields `(line, row)`: the raw row, or a `BadRowError` that says
why there is none. A reader never raises on a bad row. To add a container: write a function from a path to
blocks, and name it in `READERS` with a rule in `detect`.
"""

import gzip
import io
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol

import orjson
import zstandard

from gdo.errors import UsageError
from gdo.pool.rows import BadRowError

BLOCK_BYTES = 8 << 20
"""Bytes of text in one block."""
MAX_LINE = 64 << 20
"""Bytes of one line; a longer one is skipped and told, not buffered."""
TABLE_ROWS = 2048
"""Rows of a table decoded at a time; they may hold pictures."""

Item = tuple[int, Any]
_UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)


class Block(Protocol):
    """A stretch of a file that a worker can turn into raw rows."""

    def rows(self) -> Iterator[Item]:
        """Yield line numbers (from 1) with raw rows or `BadRowError`s, in order."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of JSON, of which the first is line `start`; `oversized` are lines left out."""

    start: int
    data: bytes
    oversized: tuple[int, ...] = ()

    def rows(self) -> Iterator[Item]:
        """Parse each line that is not blank."""
        for line in self.oversized:
            yield line, BadRowError("too large", f"a line of more than {MAX_LINE >> 20} MB")
        for number, line in enumerate(self.data.split(b"\n"), self.start):
            if not line or line.isspace():
                continue
            try:
                yield number, orjson.loads(line)
            except orjson.JSONDecodeError as error:
                yield number, BadRowError("not JSON", f"{error}; {line[:80].decode(errors='replace')}")


@dataclass(frozen=True, slots=True)
class Broken:
    """The place where a file stops being readable."""

    line: int
    reason: str
    detail: str

    def rows(self) -> Iterator[Item]:
        """The one bad row."""
        yield self.line, BadRowError(self.reason, self.detail)


@dataclass(frozen=True, slots=True)
class TableSlice:
    """A row group of a Parquet file, or a range of record batches of an Arrow file."""

    path: str
    start: int
    part: int
    arrow: bool = False

    def rows(self) -> Iterator[Item]:
        """Decode the slice a few rows at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        line = self.start
        try:
            if self.arrow:
                batches = iter([_open_arrow(self.path)[self.part]])
            else:
                batches = pq.ParquetFile(self.path).iter_batches(TABLE_ROWS, row_groups=[self.part])
            for batch in batches:
                for first in range(0, batch.num_rows, TABLE_ROWS):
                    for raw in batch.slice(first, TABLE_ROWS).to_pylist():
                        yield line, raw
                        line += 1
        except (pa.ArrowException, OSError) as error:
            yield line, BadRowError("broken file", f"{Path(self.path).name}: {error}")


@dataclass(frozen=True, slots=True)
class TarShard:
    """One WebDataset shard: members that share a key up to the first dot are one row."""

    path: str
    start: int

    def rows(self) -> Iterator[Item]:
        """Read the shard once, front to back."""
        line, key, members = self.start, None, dict[str, bytes]()
        try:
            with open_compressed(Path(self.path)) as file, tarfile.open(fileobj=file, mode="r|") as tar:
                for member in tar:
                    if not member.isfile():
                        continue
                    name = PurePosixPath(member.name)
                    stem, _, suffix = name.name.partition(".")
                    this = str(name.parent / stem)
                    if key is not None and this != key:
                        yield line, _tar_row(key, members)
                        line, members = line + 1, {}
                    key = this
                    handle = tar.extractfile(member)
                    members[suffix.lower()] = handle.read() if handle else b""
        except (tarfile.TarError, *_UNREADABLE) as error:
            yield line + 1, BadRowError("broken file", f"{Path(self.path).name}: {error}")
        if key is not None:
            yield line, _tar_row(key, members)


_STILLS = {"jpg", "jpeg", "png", "webp", "bmp", "gif", "tif", "tiff", "ppm"}
_CLIPS = {"mp4", "webm", "mkv", "avi", "mov", "m4v", "mpg", "mpeg"}


def _tar_row(key: str, members: dict[str, bytes]) -> Any:
    """The row of one key: its JSON, with the media beside it in place of those it names."""
    if "json" not in members:
        return BadRowError("no question-answer pair", f"{key} has no .json, only {', '.join(sorted(members))}")
    try:
        row = orjson.loads(members["json"])
    except orjson.JSONDecodeError as error:
        return BadRowError("not JSON", f"{key}.json: {error}")
    if not isinstance(row, dict):
        return BadRowError("not an object", f"{key}.json")
    stills = [(s, members[s]) for s in sorted(members) if s.rpartition(".")[2] in _STILLS]
    clips = [(s, members[s]) for s in sorted(members) if s.rpartition(".")[2] in _CLIPS]
    blobs = [{"bytes": data, "path": f"{key}.{suffix}"} for suffix, data in stills]
    if clips:
        row["videos"] = [{"bytes": data, "path": f"{key}.{suffix}"} for suffix, data in clips]
    if stills and _holds_frames(row):
        row["videos"] = [blobs]
        row["images"] = None
    elif stills:
        row["images"] = blobs
    row.setdefault("id", key)
    return row


def _holds_frames(row: dict[str, Any]) -> bool:
    """Whether a shard's row calls its pictures the frames of one video."""
    videos = row.get("videos")
    return isinstance(videos, list) and len(videos) == 1 and isinstance(videos[0], list)


def read_lines(path: Path) -> Iterator[Block]:
    """Cut a file of lines, compressed or not, into blocks of whole lines."""
    start, rest, oversized = 1, b"", list[int]()
    skipping = False
    with open_compressed(path) as handle:
        while True:
            try:
                chunk = handle.read(BLOCK_BYTES)
            except _UNREADABLE as error:
                yield Broken(start, "broken file", f"the compressed data ends in an error: {error}")
                return
            if not chunk:
                break
            if skipping:
                _, newline, chunk = chunk.partition(b"\n")
                if not newline:
                    continue
                skipping, start = False, start + 1
            head, newline, tail = chunk.rpartition(b"\n")
            if newline:
                data = rest + head
                yield Lines(start, data, tuple(oversized))
                start, rest, oversized = start + data.count(b"\n") + 1, tail, []
            else:
                rest += chunk
            if len(rest) > MAX_LINE:
                oversized.append(start)
                rest, skipping = b"", True
    if rest or oversized:
        yield Lines(start, rest, tuple(oversized))


def read_array(path: Path) -> Iterator[Block]:
    """Stream the elements of one JSON array; lines are element numbers."""
    import ijson

    start, number, lines, size = 1, 0, list[bytes](), 0
    with open_compressed(path) as handle:
        try:
            for element in ijson.items(handle, "item", use_float=True):
                number += 1
                lines.append(orjson.dumps(element))
                size += len(lines[-1])
                if size > BLOCK_BYTES:
                    yield Lines(start, b"\n".join(lines))
                    start, lines, size = number + 1, [], 0
        except (ijson.JSONError, *_UNREADABLE) as error:
            detail = " ".join(str(error).split())
            yield Lines(start, b"\n".join(lines))
            yield Broken(number + 1, "not JSON", f"the rest of the array is lost: {detail}")
            return
    yield Lines(start, b"\n".join(lines))


def read_parquet(path: Path) -> Iterator[Block]:
    """Cut Parquet files into row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = 1
    for file in _files(path, ".parquet"):
        try:
            metadata = pq.ParquetFile(file).metadata
        except (pa.ArrowException, OSError) as error:
            yield Broken(start, "broken file", f"{file.name}: {error}")
            start += 1
            continue
        for group in range(metadata.num_row_groups):
            yield TableSlice(str(file), start, group)
            start += metadata.row_group(group).num_rows


def read_hf(path: Path) -> Iterator[Block]:
    """Cut a dataset saved by Hugging Face `save_to_disk` into record batches."""
    import pyarrow as pa

    start = 1
    for file in _files(path, ".arrow"):
        try:
            batches = _open_arrow(str(file))
        except (pa.ArrowException, OSError) as error:
            yield Broken(start, "broken file", f"{file.name}: {error}")
            start += 1
            continue
        for number, batch in enumerate(batches):
            yield TableSlice(str(file), start, number, arrow=True)
            start += batch.num_rows


def read_webdataset(path: Path) -> Iterator[Block]:
    """One block per tar shard; shards have a million line numbers each."""
    for number, file in enumerate(_files(path, ".tar", ".tar.gz", ".tgz", ".tar.zst")):
        yield TarShard(str(file), number * 1_000_000 + 1)


READERS: dict[str, Callable[[Path], Iterator[Block]]] = {
    "jsonl": read_lines,
    "json": read_array,
    "parquet": read_parquet,
    "hf": read_hf,
    "webdataset": read_webdataset,
}


def detect(path: Path) -> str:
    """The container of a file or folder, told from its content.

    Raises:
        UsageError: There is no such file, or nothing in it is known.
    """
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}")
    if path.is_dir():
        for name, suffix in (("hf", ".arrow"), ("parquet", ".parquet"), ("webdataset", ".tar")):
            if any(path.rglob(f"*{suffix}")):
                return name
        raise UsageError(f"the folder {path} holds no .arrow, .parquet or .tar files")
    try:
        with open_compressed(path) as handle:
            head = handle.read(4096)
    except _UNREADABLE as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if head[:4] == b"PAR1":
        return "parquet"
    if head[257:262] == b"ustar":
        return "webdataset"
    if head[:6] == b"ARROW1" or head[:4] == b"\xff\xff\xff\xff":
        return "hf"
    if not head.strip():
        raise UsageError(f"{path} is empty")
    return "json" if head.lstrip()[:1] == b"[" else "jsonl"


def open_compressed(path: Path) -> IO[bytes]:
    """Open a file for reading, through gzip or Zstandard where its first bytes say so."""
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic[:2] == b"\x1f\x8b":
        return gzip.open(path, "rb")  # type: ignore[return-value]
    if magic == b"\x28\xb5\x2f\xfd":
        stream = zstandard.ZstdDecompressor().stream_reader(path.open("rb"), read_across_frames=True)
        return io.BufferedReader(stream, BLOCK_BYTES)
    return path.open("rb")


def _files(path: Path, *suffixes: str) -> list[Path]:
    """The file itself, or all of a folder's files with these suffixes, in order of their names."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.name.endswith(suffixes) and file.is_file())
    return [file for file in found if not file.name.startswith("cache-")]


def _open_arrow(path: str) -> list[Any]:
    """The record batches of an Arrow stream or file, memory-mapped."""
    import pyarrow as pa

    source = pa.memory_map(path)
    try:
        return list(pa.ipc.open_stream(source))
    except pa.ArrowInvalid:
        source.seek(0)
        reader = pa.ipc.open_file(source)
        return [reader.get_batch(number) for number in range(reader.num_record_batches)]
