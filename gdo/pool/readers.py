"""Readers: from a file of any container to blocks of raw rows.

A reader runs in the main process and cuts its file into blocks, cheaply and in order; a block is small,
can be sent to a worker process, and there yields `(line, row)`: the raw row, or a `BadRowError` that says
why there is none. A reader never raises on a bad row. To add a container: write a function from a path to
blocks, and name it in `READERS` with a rule in `detect`.
"""

import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

from gdo.errors import UsageError
from gdo.pool.compressed import TextBytes
from gdo.pool.rows import BadRowError, load_row
from gdo.pool.shards import SHARD_LINES, TarShard

BLOCK_BYTES = 4 << 20
"""Bytes of text in one block."""
MAX_LINE = 64 << 20
"""Bytes of one line; a longer one is skipped and told, not buffered."""
TABLE_ROWS = 2048
"""Rows of a table decoded at a time,"""
TABLE_BYTES = 32 << 20
"""or so many as have these bytes, for they may hold pictures."""

_TARS = (".tar", ".tar.gz", ".tgz", ".tar.zst")
_IN_FOLDERS = {"hf": (".arrow",), "parquet": (".parquet",), "webdataset": _TARS}
_TEXTS = tuple(name + end for name in (".jsonl", ".json") for end in ("", ".gz", ".zst"))
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_TO_BRACKET = re.compile(rb'(?:[^][{}"]++|' + _STRING + rb")*+[][{}]", re.DOTALL)
_TO_COMMA = re.compile(rb'(?:[^][{}",]++|' + _STRING + rb")*+[][{},]", re.DOTALL)


class Block(Protocol):
    """A stretch of a file that a worker can turn into raw rows."""

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Yield line numbers (from 1) with raw rows or `BadRowError`s, in order."""


@dataclass(frozen=True, slots=True)
class Lines:
    """Whole lines of JSON, of which the first is line `start`; `oversized` are lines left out before it."""

    start: int
    data: bytes
    oversized: tuple[int, ...] = ()

    def rows(self, done: Container[int] = ()) -> Iterator[tuple[int, Any]]:
        """Parse each line that is neither blank nor `done`."""
        too_large = BadRowError("too large", f"a line of more than {MAX_LINE >> 20} MB")
        for number in self.oversized:
            yield number, too_large
        for number, line in enumerate(self.data.split(b"\n"), self.start):
            if not line or number in done or line.isspace():
                continue
            if len(line) > MAX_LINE:
                yield number, too_large
                continue
            try:
                yield number, load_row(line)
            except BadRowError as error:
                yield number, error


@dataclass(frozen=True, slots=True)
class Broken:
    """The place where a file stops being readable."""

    line: int
    reason: str
    detail: str

    def rows(self) -> Iterator[tuple[int, Any]]:
        """The one bad row."""
        yield self.line, BadRowError(self.reason, self.detail)


@dataclass(frozen=True, slots=True)
class TableSlice:
    """A row group of a Parquet file, or a record batch of an Arrow file."""

    path: str
    start: int
    part: int
    arrow: bool = False

    def rows(self) -> Iterator[tuple[int, Any]]:
        """Decode the slice a few rows at a time."""
        import pyarrow as pa

        line = self.start
        try:
            for batch in self._batches():
                step = _rows_at_a_time(batch.nbytes, batch.num_rows)
                for first in range(0, batch.num_rows, step):
                    for raw in _decode(batch.slice(first, step)):
                        yield line, raw
                        line += 1
        except (pa.ArrowException, OSError) as error:
            yield line, BadRowError("broken file", f"{Path(self.path).name}: {error}")

    def _batches(self) -> Iterator[Any]:
        import pyarrow.parquet as pq

        if self.arrow:
            yield from islice(_arrow_batches(self.path), self.part, self.part + 1)
            return
        with pq.ParquetFile(self.path) as file:
            group = file.metadata.row_group(self.part)
            step = _rows_at_a_time(group.total_byte_size, group.num_rows)
            yield from file.iter_batches(step, row_groups=[self.part])


def _rows_at_a_time(size: int, rows: int) -> int:
    """How many rows to decode at a time, where so many rows have `size` bytes."""
    return max(1, min(TABLE_ROWS, TABLE_BYTES * rows // max(1, size)))


def _decode(batch: Any) -> list[Any]:
    """The rows of a record batch; one that is damaged, or that Python cannot hold, is a `BadRowError`."""
    try:
        batch.validate(full=True)  # else damaged offsets lead beyond the memory
        return list(batch.to_pylist())
    except (ValueError, OverflowError) as error:  # Arrow's own are ValueErrors
        if batch.num_rows == 1:
            return [BadRowError("not UTF-8" if "UTF8" in str(error) else "bad value", str(error))]
        return [row for number in range(batch.num_rows) for row in _decode(batch.slice(number, 1))]


def read_lines(path: Path) -> Iterator[Block]:
    """Cut a file of lines, compressed or not, into blocks of whole lines."""
    start, rest, oversized, skipping = 1, b"", list[int](), False
    with TextBytes(path) as file:
        while chunk := file.read(BLOCK_BYTES):
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
    if oversized or (rest and not file.trouble):
        yield Lines(start, b"" if file.trouble else rest, tuple(oversized))
    if file.trouble:
        yield Broken(start + skipping, "broken file", f"the rest of the file is lost: {file.trouble}")


def read_array(path: Path) -> Iterator[Block]:
    """Cut one JSON array into blocks of elements; lines are element numbers."""
    start, lines, size, broken = 1, list[bytes](), 0, None
    with TextBytes(path) as file:
        try:
            for element in _elements(file):
                lines.append(element)
                size += len(element)
                if size > BLOCK_BYTES:
                    yield Lines(start, b"\n".join(lines))
                    start, lines, size = start + len(lines), [], 0
        except BadRowError as error:
            told = f"the rest of the array is lost: {error.detail}"
            broken = Broken(start + len(lines), error.reason, told)
    if lines:
        yield Lines(start, b"\n".join(lines))
    if broken:
        yield broken


def _elements(file: TextBytes) -> Iterator[bytes]:
    """The texts of an array's elements, each as one line; an empty one is a comma.

    Raises:
        BadRowError: The array does not end, or something stands behind its end.
    """
    text, begin, end, depth = b"", 0, 0, 0
    while True:
        match = (_TO_COMMA if depth == 1 else _TO_BRACKET).match(text, end)
        if not match:
            chunk = file.read(BLOCK_BYTES) if len(text) - begin <= MAX_LINE else b""
            if not chunk:
                raise _unended(file, len(text) - begin)
            text, begin, end = text[begin:] + chunk, 0, end - begin
            continue
        end = match.end()
        sign = text[end - 1 : end]
        depth += (sign in b"[{") - (sign in b"]}")
        if depth == 0 or (depth == 1 and sign == b","):
            element = text[begin : end - 1].strip().replace(b"\n", b"\r")
            if element or depth:
                yield element or sign
            begin = end
        elif depth == 1 and sign == b"[" and not begin:
            begin = end
        if depth == 0:
            break
    rest = text[end:]
    while not rest.strip() and (chunk := file.read(BLOCK_BYTES)):
        rest = chunk
    if rest.strip():
        raise BadRowError("not JSON", "there is more behind its end")
    if file.trouble:
        raise _unended(file, 0)


def _unended(file: TextBytes, size: int) -> BadRowError:
    if file.trouble:
        return BadRowError("broken file", file.trouble)
    if size > MAX_LINE:
        return BadRowError("too large", f"an element of more than {MAX_LINE >> 20} MB, or a quote left open")
    return BadRowError("not JSON", "the file ends within it")


def read_parquet(path: Path) -> Iterator[Block]:
    """Cut Parquet files into row groups."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    start = 1
    for file in _files(path, ".parquet"):
        try:
            metadata = pq.read_metadata(file)
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
            for number, batch in enumerate(_arrow_batches(str(file))):
                yield TableSlice(str(file), start, number, arrow=True)
                start += batch.num_rows
        except (pa.ArrowException, OSError) as error:
            yield Broken(start, "broken file", f"{file.name}: {error}")
            start += 1


def _arrow_batches(path: str) -> Iterator[Any]:
    """The record batches of an Arrow stream or file, memory-mapped, none longer than what it holds."""
    for batch in _mapped_batches(path):
        batch.validate()
        yield batch


def _mapped_batches(path: str) -> Iterator[Any]:
    import pyarrow as pa

    with pa.memory_map(path) as source:
        try:
            stream = pa.ipc.open_stream(source)
        except pa.ArrowInvalid:
            source.seek(0)
            file = pa.ipc.open_file(source)
            yield from (file.get_batch(number) for number in range(file.num_record_batches))
            return
        yield from stream


def read_webdataset(path: Path) -> Iterator[Block]:
    """One block per tar shard; each shard has a range of line numbers to itself."""
    for number, file in enumerate(_files(path, *_TARS)):
        yield TarShard(str(file), number * SHARD_LINES + 1)


READERS: dict[str, Callable[[Path], Iterator[Block]]] = {
    "jsonl": read_lines,
    "json": read_array,
    "parquet": read_parquet,
    "hf": read_hf,
    "webdataset": read_webdataset,
}


def detect(path: Path, asked: str | None = None) -> str:
    """The container of a file or folder, told from its content where none is asked for.

    Raises:
        UsageError: There is no such file, nothing in it is known, or a folder holds files of several kinds.
    """
    if not path.exists():
        raise UsageError(f"there is no file or folder {path}")
    if asked:
        return asked
    if path.is_dir():
        return _detect_folder(path)
    try:
        with TextBytes(path) as file:
            head = file.read(4096)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error}") from error
    if head[:4] == b"PAR1":
        return "parquet"
    if head[257:262] == b"ustar":
        return "webdataset"
    if head[:6] == b"ARROW1" or head[:4] == b"\xff\xff\xff\xff":
        return "hf"
    if not head.strip():
        raise UsageError(f"{path} cannot be read: {file.trouble}" if file.trouble else f"{path} is empty")
    return "json" if head.lstrip()[:1] == b"[" else "jsonl"


def _detect_folder(path: Path) -> str:
    """The container of a folder's files; JSON beside them may be about them, but not lines or an array."""
    found = {name: _files(path, *suffixes) for name, suffixes in _IN_FOLDERS.items()}
    texts = [file for file in _files(path, *_TEXTS) if ".jsonl" in file.name or _is_array(file)]
    held = [name for name, files in found.items() if files]
    if len(held) == 1 and not texts:
        return held[0]
    if not held and not texts:
        raise UsageError(f"the folder {path} holds no .arrow, .parquet or .tar files")
    first = [f"{len(files)} of {name}" for name, files in found.items() if files]
    told = ", ".join(first + [f"{len(texts)} of JSON"] * bool(texts))
    raise UsageError(
        f"the folder {path} holds files that are not read as one ({told}, such as "
        f"{texts[0] if texts else found[held[0]][0]}); name the files"
        + (f" (gdo ingest --format {held[0]} takes those alone)" if held else "")
    )


def _is_array(file: Path) -> bool:
    try:
        return detect(file) == "json"
    except UsageError:
        return False


def _files(path: Path, *suffixes: str) -> list[Path]:
    """The file itself, or all of a folder's files with these suffixes, in order of their names."""
    if path.is_file():
        return [path]
    found = sorted(file for file in path.rglob("*") if file.name.endswith(suffixes) and file.is_file())
    return [file for file in found if not file.name.startswith("cache-")]
