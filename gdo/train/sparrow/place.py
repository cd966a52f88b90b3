"""The folder of a run: claimed by its settings first, described by its manifest last."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import orjson
from PIL import features

from gdo import __version__
from gdo.errors import UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.store import locked
from gdo.train.sparrow.pages import PICTURES

ROWS = "sparrow.jsonl"
LEFT_OUT = "left_out.jsonl"
SETTINGS = "settings.json"
MANIFEST = "manifest.json"
MADE_BY = "gdo sparrow"


@contextmanager
def claimed(folder: Path, settings: Mapping[str, Any]) -> Iterator[None]:
    """Hold a folder for a run with these settings; what a killed run of the same left half done is removed.

    Raises:
        UsageError: The folder holds something else, or another process is at work in it.
    """
    card = folder / SETTINGS
    wanted = orjson.dumps(settings, default=_plain, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS) + b"\n"
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder, wait=False) as free:
        if not free:
            raise UsageError(f"another `gdo sparrow` is writing to {folder}")
        if card.exists():
            _check_same(card, wanted, folder)
        elif taken := [name for name in (ROWS, LEFT_OUT, MANIFEST, PICTURES) if (folder / name).exists()]:
            raise UsageError(
                f"{folder / taken[0]} is in the way and not from `gdo sparrow`; give another folder"
            )
        else:
            write_aside(card, lambda aside: aside.write_bytes(wanted))
        for stale in folder.glob(f"{PICTURES}/*/.*.part"):
            shutil.rmtree(stale, ignore_errors=True)
        for stale in folder.glob(".*.part"):
            stale.unlink()
        yield


def _check_same(card: Path, wanted: bytes, folder: Path) -> None:
    try:
        had, want = orjson.loads(card.read_bytes()), orjson.loads(wanted)
    except ValueError as error:
        raise UsageError(f"{card} is not from `gdo sparrow`; give another folder") from error
    if had != want:
        keys = [key for key in want if not isinstance(had, dict) or had.get(key) != want[key]]
        raise UsageError(
            f"{folder} holds a run with other settings ({', '.join(keys) or 'more of them'}; see {card}); "
            "give another folder, or remove it"
        )


def _plain(value: Any) -> Any:
    return str(value)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file_path in sorted(item for item in path.rglob("*") if item.is_file()):
        digest.update(f"{file_path.relative_to(path).as_posix()}\0{digest_of(file_path)}\n".encode())
    return digest.hexdigest()


def write_manifest(folder: Path, content: Mapping[str, Any]) -> None:
    """Describe a finished run: its settings, its counts, its files with their digests."""
    files = [
        {"name": name, "bytes": (folder / name).stat().st_size, "sha256": digest_of(folder / name)}
        for name in (ROWS, LEFT_OUT)
    ]
    made_with = {"gdo": __version__, "pillow": version("pillow")} | {
        name: features.version(name) for name in ("freetype2", "raqm")
    }
    manifest = {"made_by": MADE_BY, "made_with": made_with, **content, "files": files}
    option = orjson.OPT_INDENT_2
    write_aside(
        folder / MANIFEST,
        lambda aside: aside.write_bytes(orjson.dumps(manifest, default=_plain, option=option) + b"\n"),
    )


def left_out_line(item: Any) -> bytes:
    """One line of `left_out.jsonl`."""
    return orjson.dumps(asdict(item), option=orjson.OPT_APPEND_NEWLINE)
