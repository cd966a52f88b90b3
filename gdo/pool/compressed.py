"""Opening files, through gzip or Zstandard where they are compressed, and keeping what precedes a break."""

import gzip
import io
import zlib
from pathlib import Path
from typing import BinaryIO

import zstandard

UNREADABLE = (OSError, EOFError, zlib.error, zstandard.ZstdError)
"""What reading a damaged or vanished file raises."""

_BOM = b"\xef\xbb\xbf"


class TextBytes:
    """The bytes of a text file, without its byte order mark, some at a time.

    Attributes:
        trouble: Why the last `read` gave less than asked for, where that is not the file's end.
    """

    def __init__(self, path: Path) -> None:
        self.trouble = ""
        self._file = open_compressed(path)
        self._ahead = self._fill(len(_BOM)).removeprefix(_BOM)

    def __enter__(self) -> "TextBytes":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def read(self, size: int) -> bytes:
        """The next `size` bytes; fewer only at the end of the file or before a break, see `trouble`."""
        ahead, self._ahead = self._ahead, b""
        return ahead + self._fill(size - len(ahead))

    def _fill(self, size: int) -> bytes:
        pieces = []
        while size > 0 and not self.trouble:
            try:
                piece = self._file.read1(size)
            except UNREADABLE as error:
                self.trouble = str(error) or type(error).__name__
                break
            if not piece:
                break
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)


def open_compressed(path: Path) -> io.BufferedIOBase:
    """Open a file for reading, through gzip or Zstandard where its first bytes say so.

    Raises:
        OSError: The file cannot be opened; reading what it gives raises one of `UNREADABLE`.
    """
    with path.open("rb") as handle:
        magic = handle.read(4)
    if magic[:2] == b"\x1f\x8b":
        return gzip.GzipFile(path)
    if magic == b"\x28\xb5\x2f\xfd":
        return io.BufferedReader(_Frames(path.open("rb")), 1 << 16)
    return path.open("rb")


class _Frames(io.RawIOBase):
    """Zstandard frames one after the other; zstandard's own reader takes a cut file for a whole one."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._rest = b""
        self._ready = memoryview(b"")

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, target: memoryview) -> int:  # type: ignore[override]
        """Fill `target` as far as it goes without waiting for more than one piece of the file."""
        while not self._ready:
            data = self._rest or self._file.read(1 << 16)
            if not data and self._frame:
                raise zstandard.ZstdError("the file ends within a compressed frame")
            if not data:
                return 0
            frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
            self._ready = memoryview(frame.decompress(data))
            self._frame, self._rest = (None, frame.unused_data) if frame.eof else (frame, b"")
        count = min(len(target), len(self._ready))
        target[:count] = self._ready[:count]
        self._ready = self._ready[count:]
        return count

    def close(self) -> None:
        """Close the file underneath too."""
        self._file.close()
        super().close()
