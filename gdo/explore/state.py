"""What a running explorer holds: the pool, its copy, and what was decoded."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import RLock, Thread
from typing import Any, Self

from gdo.descriptors.engine.work import medium_of
from gdo.errors import UsageError
from gdo.explore.explained import Explained
from gdo.explore.frames import FrameCache, Strip, Wanted
from gdo.explore.snapshot import Snapshot, take_snapshot
from gdo.explore.strangers import Strangers
from gdo.pool.store import Pool
from gdo.selectors.explain import Explanation, explain_by

FRAMES = range(1, 17)
SIDES = (240, 480, 960)
VIDEO_TYPES = {
    ".mp4": "video/mp4",
    ".m4v": "video/mp4",
    ".mov": "video/quicktime",
    ".webm": "video/webm",
    ".mkv": "video/x-matroska",
    ".avi": "video/x-msvideo",
    ".mpg": "video/mpeg",
    ".mpeg": "video/mpeg",
    ".ogv": "video/ogg",
    ".ts": "video/mp2t",
    ".flv": "video/x-flv",
    ".wmv": "video/x-ms-wmv",
    ".3gp": "video/3gpp",
}
"""Other files are not handed out, whatever the pool calls them."""

_NEWEST_FIRST = "SELECT subset FROM subset ORDER BY created DESC, subset"
_MEDIUM = "SELECT media_id, kind, root, paths FROM media WHERE media_id = ?"


class Explorer:
    """A pool that is looked through.

    Attributes:
        pool: The pool.
        writes: Whether subsets may be saved.
        opening: Held by whoever opens the pool: DuckDB lets one process open a file in one way at a time.
        frames: Frames that were decoded.
    """

    def __init__(self, pool: Path | str, *, writes: bool = False, home: Path | None = None) -> None:
        self.pool, self.writes = Pool(pool), writes
        self.opening = RLock()
        self.frames = FrameCache()
        self._home = home
        self._strangers = Strangers()
        try:
            self._snapshot = take_snapshot(self.pool, self._strangers, home)
        except BaseException:
            self._end_processes()
            raise
        self._explained = Explained(self.pool, self._snapshot.folder.path)
        self._preparing: Thread | None = None
        self._is_closing = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._is_closing = True
        self._explained.close()
        if self._preparing:
            self._preparing.join()
        self._snapshot.close()
        self._end_processes()

    @property
    def snapshot(self) -> Snapshot:
        """The copy as it is now."""
        return self._snapshot

    def refresh(self) -> None:
        """Copy the pool anew: it was written to."""
        with self.opening:
            old, self._snapshot = self._snapshot, take_snapshot(self.pool, self._strangers, self._home)
            before, self._explained = self._explained, Explained(self.pool, self._snapshot.folder.path)
        before.close()
        old.discard()
        if self._preparing:
            self.warm()

    def warm(self) -> None:
        """Begin in the background what takes a moment, before somebody waits for it; again when refreshed."""
        self._preparing = Thread(target=self._prepare, args=[self._snapshot, self._explained], daemon=True)
        self._preparing.start()

    def _prepare(self, snapshot: Snapshot, explained: Explained) -> None:
        """Begin with what is soon done; whoever asks for what fails here is told why."""
        with suppress(Exception):
            subsets = [row["subset"] for row in snapshot.ask(_NEWEST_FIRST)]
            numbers = [column.name for column in snapshot.columns if column.value]
            with ThreadPoolExecutor(1) as beside:
                beside.submit(self._strangers.start, snapshot.file)
                snapshot.arrays.prepare(numbers, subsets)
            if not self._is_closing:
                explained.prepare(subsets)

    def explain(self, subset: str, qa_uid: str) -> Explanation:
        """Why a sample was taken into a subset, or what kept it out.

        Who asks before the subset's selection was worked out again waits for it, seconds on a million.

        Raises:
            UsageError: No such subset or sample, or the subset was not selected.
            GdoError: The pool has changed since the subset was chosen.
        """
        worked = self._explained.get(subset)
        with self.opening:
            return explain_by(worked, self.pool.path, subset, qa_uid)

    def strip(self, media_id: int, frames: int, side: int) -> Strip:
        """Frames of a medium.

        Args:
            media_id: The medium.
            frames: How many, from FRAMES.
            side: About the length of a side in pixels, one of SIDES.

        Raises:
            UsageError: The pool has no such medium, or so many or such large frames are not to be had.
        """
        if frames not in FRAMES or side not in SIDES:
            raise UsageError(f"give 1 to {FRAMES[-1]} frames, and a side of {', '.join(map(str, SIDES))}")
        medium = self._medium(media_id)
        files = tuple(str(file) for file in medium.files)
        return self.frames.get(Wanted(medium.kind, files, frames, side * side))

    def video(self, media_id: int) -> tuple[Path, str]:
        """The file of a video, and its type.

        Raises:
            UsageError: The pool has no such video, it is no file, or of no known kind.
        """
        medium = self._medium(media_id)
        if medium.kind != "video":
            raise UsageError(f"medium {media_id} is no video file")
        file = medium.files[0]
        if file.suffix.lower() not in VIDEO_TYPES or not file.is_file():
            raise UsageError(f"{file} is no video file that can be played")
        return file, VIDEO_TYPES[file.suffix.lower()]

    def _medium(self, media_id: int) -> Any:
        found = self._snapshot.ask(_MEDIUM, [media_id]) if 0 <= media_id < 2**64 else []
        if not found:
            raise UsageError(f"the pool has no medium {media_id}")
        return medium_of(found[0], self.pool.path.parent)

    def _end_processes(self) -> None:
        self._strangers.close()
        self.frames.close()
