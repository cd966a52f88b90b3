"""Which font shows which characters: the bundled one, those given, then those found on the machine.

A font's own table of characters (cmap, OpenType specification) decides, so that no box is ever drawn.
"""

import os
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources
from pathlib import Path

import numpy as np

from gdo.errors import UsageError
from gdo.train.sparrow.trouble import NotShownError
from gdo.train.sparrow.words import clusters

_ENDINGS = {".ttf", ".otf", ".ttc"}
_OTHER_FACES = ("bold", "italic", "oblique", "mono", "serif", "condensed", "light", "thin", "emoji")
_INVISIBLE = "\u200c\u200d"


@dataclass(frozen=True)
class Font:
    """A font file, of a collection its first font."""

    path: Path

    @cached_property
    def characters(self) -> frozenset[int]:
        """The code points that it has a glyph for; none where the file is no font that can be read."""
        try:
            return frozenset(_characters(self.path.read_bytes()))
        except (OSError, struct.error, ValueError, IndexError):
            return frozenset()

    def has(self, text: str) -> bool:
        """Whether it shows every character of a text."""
        return all(ord(sign) in self.characters for sign in text if sign not in _INVISIBLE)


class Fonts:
    """Fonts in order of preference; those of the machine are looked at when the others lack something."""

    def __init__(self, given: Sequence[Path] = ()) -> None:
        self._first = [Font(path) for path in (*given, bundled())]

    def runs(self, text: str) -> list[tuple[Font, str]]:
        """Cut a word where another font is needed.

        Raises:
            NotShownError: No font has a character.
        """
        first = self._first[0]
        if first.has(text):
            return [(first, text)]
        runs = list[tuple[Font, str]]()
        missing = list[str]()
        for cluster in clusters(text):
            font = self._font_of(cluster)
            if font is None:
                missing += [sign for sign in cluster if self._font_of(sign) is None] or [cluster[0]]
            elif runs and runs[-1][0] == font:
                runs[-1] = (font, runs[-1][1] + cluster)
            else:
                runs.append((font, cluster))
        if missing:
            told = ", ".join(f"{sign} (U+{ord(sign):04X})" for sign in dict.fromkeys(missing))
            raise NotShownError("no font has its characters", told)
        return runs

    def _font_of(self, cluster: str) -> Font | None:
        return next((font for font in self._all() if font.has(cluster)), None)

    def _all(self) -> Iterator[Font]:
        yield from self._first
        yield from _machine_fonts()


def bundled() -> Path:
    """DejaVu Sans, which comes with gdo."""
    return Path(str(resources.files("gdo.train.sparrow") / "fonts" / "DejaVuSans.ttf"))


def check_fonts(paths: Sequence[Path]) -> None:
    """Make sure that files are fonts.

    Raises:
        UsageError: One is not.
    """
    for path in paths:
        if not Font(path).characters:
            raise UsageError(f"{path} is not a TrueType or OpenType font that can be read")


@lru_cache(maxsize=1)
def _machine_fonts() -> tuple[Font, ...]:
    """The fonts of this machine, plain sans-serifs first, then by path."""
    home = Path.home()
    data = os.environ.get("XDG_DATA_DIRS") or "/usr/local/share:/usr/share"
    folders = [
        *(Path(part) / "fonts" for part in data.split(":")),
        home / ".local/share/fonts",
        home / ".fonts",
    ]
    folders += [Path("/Library/Fonts"), Path("/System/Library/Fonts")]
    files = {file for folder in folders for file in folder.rglob("*") if file.suffix.lower() in _ENDINGS}
    return tuple(Font(file) for file in sorted(files, key=lambda file: (*_oddness(file.name), str(file))))


def _oddness(name: str) -> tuple[int, bool]:
    plain = name.lower().replace("sansserif", "sans")
    return sum(face in plain for face in _OTHER_FACES), "sans" not in plain


def _characters(data: bytes) -> Iterator[int]:
    """Code points of the best Unicode table of a font file (OpenType: cmap, formats 4 and 12)."""
    start = struct.unpack(">I", data[12:16])[0] if data[:4] == b"ttcf" else 0
    (count,) = struct.unpack_from(">H", data, start + 4)
    records = [struct.unpack_from(">4sIII", data, start + 12 + 16 * number) for number in range(count)]
    tables_at = {tag: offset for tag, _, offset, _ in records}
    if b"cmap" not in tables_at or not _OUTLINES & set(tables_at):
        raise ValueError("no table of characters, or no outlines that can be scaled")
    cmap = tables_at[b"cmap"]
    (count,) = struct.unpack_from(">H", data, cmap + 2)
    tables = [struct.unpack_from(">HHI", data, cmap + 4 + 8 * number) for number in range(count)]
    offsets = [
        cmap + offset for platform, kind, offset in tables if platform == 0 or (platform, kind) in _UNICODE
    ]
    formats = {struct.unpack_from(">H", data, offset)[0]: offset for offset in offsets}
    if 12 in formats:
        yield from _format_12(data, formats[12])
    elif 4 in formats:
        yield from _format_4(data, formats[4])


_UNICODE = {(3, 1), (3, 10)}
_OUTLINES = {b"glyf", b"CFF ", b"CFF2"}


def _format_12(data: bytes, offset: int) -> Iterator[int]:
    (count,) = struct.unpack_from(">I", data, offset + 12)
    groups = np.frombuffer(data, ">u4", 3 * count, offset + 16).reshape(count, 3)
    for first, last, glyph in groups.tolist():
        yield from range(first + (glyph == 0), last + 1)


def _format_4(data: bytes, offset: int) -> Iterator[int]:
    (double,) = struct.unpack_from(">H", data, offset + 6)
    count = double // 2
    ends = np.frombuffer(data, ">u2", count, offset + 14).tolist()
    starts, deltas, places = (
        np.frombuffer(data, ">u2", count, offset + 16 + double * part).tolist() for part in (1, 2, 3)
    )
    here = offset + 16 + 3 * double
    for number, (first, last) in enumerate(zip(starts, ends, strict=True)):
        for code in range(first, min(last, 0xFFFE) + 1):
            glyph = code
            if places[number]:
                (glyph,) = struct.unpack_from(
                    ">H", data, here + 2 * number + places[number] + 2 * (code - first)
                )
            if glyph and (glyph + deltas[number]) & 0xFFFF:
                yield code
