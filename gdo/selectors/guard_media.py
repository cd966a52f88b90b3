"""The benchmark guard for media: samples that show a copy of an evaluation set's file are kept out.

Copies are told by what they show, never by their names, which evaluation sets share with each other. The
fingerprints of a guard's files are kept beside the pool by the hash of the files' content. A folder of
numbered pictures may hold the frames of a clip: those that can be read count as one, and each by itself.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import duckdb
import numpy as np
import pyarrow as pa

from gdo.errors import GdoError, MediaError, UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.columns import numbers, values_of
from gdo.pool.store import Pool, scalar
from gdo.selectors.candidates import Candidates, Hashes, Mask

if TYPE_CHECKING:
    from gdo.pool.media import MediaKind

STILLS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
CLIPS = {
    *(".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"),
}

FRAMES = 8
"""Pictures that are numbered alike, at least, to be taken for the frames of a clip."""
FILES_PER_WORKER = 64
"""So many files are worth a process more; the first reads even one, which may crash it."""
TIME_LIMIT = 60
"""Seconds after which a file is given up."""

_SHOWING = "SELECT ordinal FROM sample WHERE list_has_any(media_ids, (SELECT list(media_id) FROM guarded))"

_NUMBER = re.compile(r"\d+$")

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class _Shown:
    """A medium of an evaluation set: its files, and where its fingerprint is kept."""

    kind: "MediaKind"
    files: tuple[Path, ...]
    kept: Path


@dataclass(frozen=True)
class MediaGuard:
    """What the media of evaluation sets keep out.

    Attributes:
        digest: Tells whether their content is the same as before; empty where there are none.
        files: Pictures and clips in them.
        unreadable: Those that no fingerprint could be taken of.
        media: The pool's media that are copies of one.
        compared: All media of the pool when they were looked for.
    """

    digest: str
    files: int
    unreadable: int
    media: Hashes
    compared: Hashes

    def excluded(self, connection: duckdb.DuckDBPyConnection, candidates: Candidates) -> Mask:
        """Samples that show one of the media.

        Raises:
            GdoError: The pool has media that were not compared.
        """
        if not self.files:
            return np.zeros(len(candidates), np.bool_)
        connection.register("compared", pa.table({"media_id": numbers(self.compared)}))
        if new := scalar(connection, "SELECT count(*) FROM media ANTI JOIN compared USING (media_id)"):
            raise GdoError(f"{new:,} media were ingested while the guard compared the others; select again")
        connection.unregister("compared")
        connection.register("guarded", pa.table({"media_id": numbers(self.media)}))
        found = values_of(connection.sql(_SHOWING).to_arrow_table()["ordinal"], np.int64)
        connection.unregister("guarded")
        return np.isin(candidates.ordinal, found)


NO_MEDIA = MediaGuard("", 0, 0, np.empty(0, np.uint64), np.empty(0, np.uint64))
"""The guard of a selection that has none."""


def load_media_guard(pool: Pool, folders: Sequence[Path | str], told: Told | None = None) -> MediaGuard:
    """Find the media of a pool that are copies of files in these folders.

    Fingerprints of the pool's media that are missing are computed first.

    Args:
        pool: The pool.
        folders: Where the evaluation sets' files are, at any depth.
        told: Called with what is done, how much of it, and of how much.

    Raises:
        UsageError: A folder is missing, or holds neither pictures nor clips.
    """
    if not folders:
        return NO_MEDIA
    # What describes media takes half a second to load.
    from gdo.descriptors.describe import describe
    from gdo.descriptors.duplicates.media import copies
    from gdo.descriptors.duplicates.prints import read_prints, write_prints
    from gdo.descriptors.fingerprint import Fingerprint

    files = [file for folder in folders for file in _files(Path(folder))]
    cache = pool.folder / "guard"
    cache.mkdir(parents=True, exist_ok=True)
    digests = {}
    for number, file in enumerate(files):
        digests[file] = _digest(file)
        if told:
            told("reading the guard's files", number + 1, len(files))
    shown = [
        _Shown("image" if file.suffix.lower() in STILLS else "video", (file,), _kept(cache, [digest]))
        for file, digest in digests.items()
    ]
    _take_fingerprints(shown, told)
    readable = [one.files[0] for one in shown if one.kept.exists()]
    clips = [
        _Shown("frames", frames, _kept(cache, [digests[frame] for frame in frames]))
        for frames in _numbered(readable)
    ]
    _take_fingerprints(clips, told)
    rows = [
        (number, one.kind == "image", one.kept.read_bytes())
        for number, one in enumerate([*shown, *clips])
        if one.kept.exists()
    ]
    rows = [row for row in rows if row[2]]
    unreadable = len(shown) - sum(number < len(shown) for number, _, _ in rows)
    describe(pool.path, [Fingerprint.name])
    with TemporaryDirectory(dir=cache) as folder:
        with pool.read() as connection:
            compared = values_of(connection.sql("SELECT media_id FROM media").to_arrow_table()[0], np.uint64)
            prints = read_prints(connection, Path(folder) / "pool.bin")
        media = prints.media[copies(prints, write_prints(rows, Path(folder) / "files.bin"))]
    told_apart = sorted({*digests.values(), *(clip.kept.name for clip in clips)})
    whole = blake2b("".join(told_apart).encode(), digest_size=16).hexdigest()
    return MediaGuard(whole, len(files), unreadable, media, compared)


def _files(folder: Path) -> Iterator[Path]:
    """The pictures and clips of a folder, in order."""
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder} to guard against")
    found = [
        file for file in sorted(folder.rglob("*")) if file.suffix.lower() in STILLS | CLIPS and file.is_file()
    ]
    if not found:
        raise UsageError(f"{folder} holds neither pictures nor clips to guard against")
    yield from found


def _numbered(files: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Pictures of one folder whose names are the same but for a number, in its order."""
    frames: dict[tuple[Path, str], list[tuple[int, Path]]] = defaultdict(list)
    for file in files:
        number = _NUMBER.search(file.stem)
        if number and file.suffix.lower() in STILLS:
            name = file.stem[: number.start()] + file.suffix
            frames[file.parent, name].append((int(number[0]), file))
    return [tuple(file for _, file in sorted(some)) for some in frames.values() if len(some) >= FRAMES]


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        digest = blake2b(digest_size=16)
        while some := stream.read(1 << 20):
            digest.update(some)
    return digest.hexdigest()


def _kept(cache: Path, digests: Sequence[str]) -> Path:
    """Where the fingerprint of a file stands, or of several that are one clip."""
    from gdo.descriptors.fingerprint import Fingerprint

    name = digests[0]
    if len(digests) > 1:
        name = blake2b("".join(digests).encode(), digest_size=16).hexdigest()
    return cache / f"{name}-v{Fingerprint.version}"


def _take_fingerprints(shown: Sequence[_Shown], told: Told | None) -> None:
    """Take those that are not kept yet, in other processes: a file may crash its reader."""
    from gdo.descriptors.engine.local import run_in_order, usable_cores

    missing = list({one.kept: one for one in shown if not one.kept.exists()}.values())
    workers = min(usable_cores(), -(-len(missing) // FILES_PER_WORKER))
    done = run_in_order(
        _take,
        missing,
        lambda one, reason: None,
        workers=workers,
        time_limit=TIME_LIMIT,
        ahead=4 * workers + 1,
    )
    for number, _ in enumerate(done):
        if told:
            told("taking fingerprints of the guard's media", number + 1, len(missing))


def _take(one: _Shown) -> None:
    """Keep the fingerprint of what can be read; a file that shows nothing but one colour has an empty one."""
    from gdo.descriptors.fingerprint import Fingerprint
    from gdo.pool.media import read_frames

    try:
        frames = read_frames(one.kind, one.files, Fingerprint.frames)
    except MediaError:
        return
    packed = Fingerprint().compute([frames])["spectra"][0]
    write_aside(one.kept, partial(Path.write_bytes, data=packed))
