"""Where an export lands: filled beside its place, then renamed, and only ever over an earlier export."""

import os
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from glob import escape
from pathlib import Path

from gdo.errors import UsageError
from gdo.export.manifest import exported_names
from gdo.pool.store import locked, remove_unless_locked

MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class Target:
    """The folder or file that an export becomes."""

    path: Path
    is_file: bool

    @property
    def manifest(self) -> Path:
        """In the folder, or beside the file: `train.jsonl.manifest.json`."""
        return self.path.with_name(f"{self.path.name}.{MANIFEST}") if self.is_file else self.path / MANIFEST

    def check_free(self) -> None:
        """Make sure that nothing but an earlier export would be lost.

        Raises:
            UsageError: Something else is there.
        """
        known = exported_names(self.manifest)
        extra = sorted(_names(self.path) - known - ({MANIFEST} if known else set()))
        if extra:
            raise UsageError(
                f"{self.path} is there and not an earlier export ({extra[0]} is not from one); "
                "give another place, or remove it"
            )

    @contextmanager
    def staged(self) -> Iterator[Path]:
        """An empty folder to fill, with a manifest; in its place at the end of the block, or gone."""
        staging = self.path.with_name(f".{self.path.name}.{os.getpid()}.part")
        old = self.path.with_name(f".{self.path.name}.{os.getpid()}.old")
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with locked(self.path.parent), ExitStack() as held:
            self._remove_remains()
            staging.mkdir()
            held.enter_context(locked(staging))
            kept = held.pop_all()
        try:
            yield staging
            with locked(self.path.parent):
                self._put_in_place(staging, old)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)
            kept.close()

    def _put_in_place(self, staging: Path, old: Path) -> None:
        """The manifest of a file goes first: killed between the two, the file is still known as ours."""
        if self.is_file:
            (staging / MANIFEST).replace(self.manifest)
            (staging / self.path.name).replace(self.path)
            return
        if self.path.exists():
            self.path.replace(old)
        try:
            staging.replace(self.path)
        except OSError:
            if old.exists():
                old.replace(self.path)
            raise

    def _remove_remains(self) -> None:
        """Remove what killed exports to this place left half written, and put back what they had put away."""
        name = escape(self.path.name)
        for staging in self.path.parent.glob(f".{name}.*.part"):
            remove_unless_locked(staging)
        for old in self.path.parent.glob(f".{name}.*.old"):
            if self.path.exists():
                shutil.rmtree(old, ignore_errors=True)
            else:
                old.replace(self.path)


def _names(path: Path) -> set[str]:
    """The names of the files at a place: those in a folder, or its own."""
    if path.is_dir():
        return {item.name for item in path.iterdir()}
    return {path.name} if path.exists() else set()
