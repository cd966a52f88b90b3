"""The benchmark guard for media: samples that show a copy of an evaluation set's file are kept out.

Copies are told by what they show, never by their names, which evaluation sets share with each other. The
fingerprints of a guard's files are kept beside the pool by the hash of the files' content.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import blake2b
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import numpy as np
import pyarrow as pa

from gdo.errors import MediaError, UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.media import MediaKind, read_frames
from gdo.pool.store import Pool
from gdo.selectors.candidates import Candidates, Hashes, Mask

STILLS = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"}
CLIPS = {
    *(".3gp", ".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4"),
    *(".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv"),
}

_SHOWING = "SELECT ordinal FROM sample WHERE list_has_any(media_ids, (SELECT list(media_id) FROM guarded))"

Told = Callable[[str, int, int], None]


@dataclass(frozen=True)
class MediaGuard:
    """What the media of evaluation sets keep out.

    Attributes:
        digest: Tells whether their content is the same as before; empty where there are none.
        files: Pictures and clips in them.
        unreadable: Those that no fingerprint could be taken of.
        media: The pool's media that are copies of one.
    """

    digest: str
    files: int
    unreadable: int
    media: Hashes

    def excluded(self, connection: duckdb.DuckDBPyConnection, candidates: Candidates) -> Mask:
        """Samples that show one of the media."""
        if not len(self.media):
            return np.zeros(len(candidates), np.bool_)
        connection.register("guarded", pa.table({"media_id": self.media}))
        found = connection.sql(_SHOWING).to_arrow_table()["ordinal"].to_numpy()
        connection.unregister("guarded")
        return np.isin(candidates.ordinal, found)


NO_MEDIA = MediaGuard("", 0, 0, np.empty(0, np.uint64))
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
    rows, digests = list[tuple[int, bool, bytes]](), set[str]()
    for number, file in enumerate(files):
        digest, packed = _fingerprint(file, cache)
        digests.add(digest)
        if packed:
            rows.append((number, file.suffix.lower() in STILLS, packed))
        if told:
            told("reading the guard's media", number + 1, len(files))
    describe(pool.path, [Fingerprint.name])
    with TemporaryDirectory(dir=cache) as folder:
        with pool.read() as connection:
            prints = read_prints(connection, Path(folder) / "pool.bin")
        media = prints.media[copies(prints, write_prints(rows, Path(folder) / "files.bin"))]
    whole = blake2b("".join(sorted(digests)).encode(), digest_size=16).hexdigest()
    return MediaGuard(whole, len(files), len(files) - len(rows), media)


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


def _fingerprint(file: Path, cache: Path) -> tuple[str, bytes]:
    """Hash of a file's content, and its packed fingerprint; empty where none can be taken."""
    from gdo.descriptors.fingerprint import Fingerprint

    with file.open("rb") as stream:
        digest = blake2b(digest_size=16)
        while some := stream.read(1 << 20):
            digest.update(some)
    kept = cache / f"{digest.hexdigest()}-v{Fingerprint.version}"
    if not kept.exists():
        kind: MediaKind = "image" if file.suffix.lower() in STILLS else "video"
        try:
            packed = Fingerprint().compute([read_frames(kind, [file], Fingerprint.frames)])["spectra"][0]
        except MediaError:
            return digest.hexdigest(), b""
        write_aside(kept, partial(Path.write_bytes, data=packed))
    return digest.hexdigest(), kept.read_bytes()
