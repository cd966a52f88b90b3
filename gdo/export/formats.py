"""The formats by name. A new one is a function in a file of its own and a line here."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from gdo.export.ids import write_ids
from gdo.export.llamafactory import write_llamafactory
from gdo.export.llava import write_llava
from gdo.export.parquet import write_parquet
from gdo.export.plan import Plan
from gdo.export.rows import Row
from gdo.export.swift import write_swift
from gdo.export.webdataset import write_webdataset


@dataclass(frozen=True, slots=True)
class Format:
    """One way to write a subset.

    Attributes:
        write: Writes all rows into an empty folder; called once.
        suffix: Of the one file it writes; None where it fills a folder.
        frames_as_images: It has no videos given as frames: frame lists are images.
        typed_by_beginning: What reads it learns the columns' types from the file's beginning.
        packs_media: It reads the media files, by absolute paths.
        ids_only: It writes neither texts nor media.
    """

    write: Callable[[Iterable[Row], Plan, Path], None]
    suffix: str | None
    frames_as_images: bool = False
    typed_by_beginning: bool = False
    packs_media: bool = False
    ids_only: bool = False


FORMATS = {
    "swift": Format(write_swift, ".jsonl", typed_by_beginning=True),
    "llamafactory": Format(write_llamafactory, None),
    "llava": Format(write_llava, ".json", frames_as_images=True),
    "parquet": Format(write_parquet, ".parquet"),
    "webdataset": Format(write_webdataset, None, packs_media=True),
    "ids": Format(write_ids, ".txt", ids_only=True),
}
