"""Where the workers of a cluster put parts: a folder that all nodes see, and the way to the pool's.

Without a choice it is the pool's own side folder, and nothing has to be fetched. Any other is noted beside
the pool, so that the next run of whichever engine finds the parts that a killed run has left there.
"""

import uuid
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.store import Pool

MARK = "mark"
"""The file that says whose parts stand in a folder."""
NOTE = "storages"
"""The file beside the pool that names the folders where parts of it may stand, one per line."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A folder for parts.

    Attributes:
        url: A path, or a URL that fsspec knows.
        mark: What tells the pool from others.
    """

    url: str
    mark: str

    def check(self, where: str) -> None:
        """See that this is the folder that the driver means.

        Args:
            where: The node that looks.

        Raises:
            GdoError: It is not.
        """
        files, root = open_storage(self.url)
        path = f"{root}/{MARK}"
        if not files.exists(path) or files.cat_file(path).decode() != self.mark:
            raise GdoError(
                f"{where} does not see {self.url}; mount it there too, or name a folder that all nodes "
                "see by --storage"
            )

    def save(self, folder: str, name: str, table: pa.Table) -> None:
        """Keep a table as a file of this name, written aside first: a second attempt takes its place.

        Raises:
            GdoError: It cannot be written.
        """
        files, root = open_storage(self.url)
        path = f"{root}/{folder}/{name}"
        aside = f"{root}/{folder}/.{name}.{uuid.uuid4().hex}.part"
        content = pa.BufferOutputStream()
        pq.write_table(table, content)
        try:
            files.makedirs(f"{root}/{folder}", exist_ok=True)
            files.pipe_file(aside, content.getvalue().to_pybytes())
            _rename(files, aside, path)
        except Exception as error:  # stores have errors of their own
            raise GdoError(f"cannot write to {self.url}: {error}") from error

    def attempt(self, folder: str, name: str, most: int) -> str:
        """Note that a part is begun; gives what `settle` takes back.

        Raises:
            GdoError: It was begun `most` times, and whoever did so died.
        """
        files, root = open_storage(self.url)
        notes = [f"{root}/{folder}/.{name}.{number}.part" for number in range(most)]
        for note in notes:
            if not files.exists(note):
                files.makedirs(f"{root}/{folder}", exist_ok=True)
                files.pipe_file(note, b"")
                return note
        raise GdoError(
            f"workers died {most} times at the same piece of work: it may be too much for their memory"
        )

    def settle(self, note: str) -> None:
        """Take the note back: whatever came of it, nobody died."""
        open_storage(self.url)[0].rm_file(note)

    def fetch(self, folder: Path, name: str) -> None:
        """Bring a part into the pool's folder, if it is not there already."""
        files, root = open_storage(self.url)
        if not _is_here(files, root, folder):
            _bring(files, f"{root}/{folder.name}/{name}", folder)


def claim(pool: Pool, url: str | None) -> Storage:
    """The folder for a pool's parts, marked as its own; None for the pool's side folder.

    Raises:
        UsageError: It cannot be written, holds the parts of another pool, or a package for it is missing.
    """
    home = pool.folder / "describe"
    home.mkdir(parents=True, exist_ok=True)
    if not (home / MARK).exists():
        write_aside(home / MARK, lambda aside: aside.write_text(uuid.uuid4().hex))
    mark = (home / MARK).read_text()
    if url is None:
        return Storage(str(home), mark)
    files, root = open_storage(url)
    try:
        files.makedirs(root, exist_ok=True)
        known = files.cat_file(f"{root}/{MARK}").decode() if files.exists(f"{root}/{MARK}") else mark
        if known == mark:
            files.pipe_file(f"{root}/{MARK}", mark.encode())
    except Exception as error:  # stores have errors of their own
        raise UsageError(f"cannot write to {url}: {error}") from error
    if known != mark:
        raise UsageError(f"{url} holds parts of another pool; name a folder for {pool.path.name} alone")
    noted = _noted(home)
    full = str(files.unstrip_protocol(root))
    if full not in noted:
        write_aside(
            home / NOTE, lambda aside: aside.write_text("".join(f"{one}\n" for one in [*noted, full]))
        )
    return Storage(full, mark)


def gather(folder: Path) -> None:
    """Bring the parts that stand in noted folders into the pool's folder of the same name.

    Raises:
        GdoError: A noted folder cannot be read.
    """
    for url in _noted(folder.parent):
        try:
            files, root = open_storage(url)
            if _is_here(files, root, folder) or not files.exists(f"{root}/{folder.name}"):
                continue
            for path in files.ls(f"{root}/{folder.name}", detail=False):
                if PurePosixPath(path).match("part-*.parquet"):
                    _bring(files, path, folder)
                elif PurePosixPath(path).match(".*.part"):  # of a worker that was killed
                    files.rm_file(path)
        except Exception as error:
            raise GdoError(
                f"parts of an earlier run may wait in {url}, which cannot be read ({error}); bring it back "
                f"or delete {folder.parent / NOTE} to do without them"
            ) from error


def open_storage(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises:
        UsageError: There is none, or its package is not installed.
    """
    try:
        from fsspec.core import url_to_fs

        files, root = url_to_fs(url, use_listings_cache=False)
    except (ImportError, ValueError) as error:
        raise UsageError(f"storage {url}: {error}") from error
    if files.protocol == "memory":
        raise UsageError(f"storage {url} is seen by one process alone; name a folder that all nodes see")
    return files, root.rstrip("/")


def _noted(home: Path) -> list[str]:
    note = home / NOTE
    return note.read_text().splitlines() if note.exists() else []


def _is_here(files: Any, root: str, folder: Path) -> bool:
    """Whether a storage's folder is the pool's own."""
    return "file" in files.protocol and Path(root).resolve() == folder.parent.resolve()


def _rename(files: Any, old: str, new: str) -> None:
    """Give a file another name; stores that can only copy take what `mv` is given for a pattern."""
    from fsspec import AbstractFileSystem

    if type(files).mv is AbstractFileSystem.mv:
        files.cp_file(old, new)
        files.rm_file(old)
    else:
        files.mv(old, new)


def _bring(files: Any, path: str, folder: Path) -> None:
    """Move a part into the pool's folder."""
    write_aside(folder / PurePosixPath(path).name, lambda aside: files.get_file(path, str(aside)))
    files.rm_file(path)
