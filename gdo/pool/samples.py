"""From parsed rows to the columns of `sample`, `media` and `bad_row`, written as Parquet parts.

This runs in worker processes, a block of a file at a time; nothing here knows the database.
"""

import gc
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gdo.pool.atomic import write_aside
from gdo.pool.readers import Block
from gdo.pool.rows import (
    BadRowError,
    Blob,
    Entry,
    Row,
    Shape,
    address_of,
    has_video,
    parse_row,
    placeholder_trouble,
)
from gdo.pool.text import has_options, hash64, normalise, source_group, text_hash, tokens_of, words_of

STRAY_PICTURES = "pictures in a video file"
"""Why a row is told whose pictures are taken for the frames of a clip: its file has videos elsewhere."""
ADDRESS = "media at an address"
"""Why a row is told whose media are no files: they must be downloaded first."""
PART_PAIRS = 50_000
"""Pairs collected before a part is written."""

_ROW_SCHEMA = pa.schema(
    {
        "line": pa.int64(),
        "id": pa.string(),
        "video_uid": pa.string(),
        "data_source": pa.string(),
        "source_group": pa.string(),
        "bucket": pa.string(),
        "listed_frames": pa.int32(),
        "media_ids": pa.list_(pa.uint64()),
    }
)
_PAIR_SCHEMA = pa.schema(
    {
        "qa_uid": pa.string(),
        "turn": pa.int32(),
        "question": pa.string(),
        "answer": pa.string(),
        "question_tokens": pa.int32(),
        "answer_tokens": pa.int32(),
        "answer_distinct": pa.int32(),
        "temporal_words": pa.bool_(),
        "mcq": pa.bool_(),
        "mcq_raw": pa.bool_(),
        "uid_hash": pa.uint64(),
        "text_hash": pa.uint64(),
        "question_hash": pa.uint64(),
    }
)
_MEDIA_SCHEMA = pa.schema(
    {
        "media_id": pa.uint64(),
        "line": pa.int64(),
        "kind": pa.string(),
        "root": pa.string(),
        "paths": pa.list_(pa.string()),
    }
)
_BAD_SCHEMA = pa.schema(
    {"line": pa.int64(), "reason": pa.string(), "detail": pa.string(), "kept": pa.bool_()}
)


@dataclass(frozen=True, slots=True)
class Settings:
    """What decides how a file's rows become samples."""

    shape: Shape
    kind: str
    """image or video: the file's."""
    forced: bool
    """The kind was given, so a video in an image file is no reason to think again."""
    root: str
    """Folder of the media, as the pool stores it."""
    blob_root: str
    blob_folder: Path
    """Where media that stand inside their container are written, and that folder as the pool stores it."""
    name: str | None = None
    first_image_only: bool = False
    strict: bool = False


@dataclass(slots=True)
class BlockResult:
    """What a worker found in a block."""

    rows: int = 0
    pairs: int = 0
    saw_video: bool = False
    parts: list[Path] = field(default_factory=list)


def parse_block(block: Block, settings: Settings, target: Path) -> BlockResult:
    """Write a block's samples, media and bad rows as parts named `target` plus a number and what they hold.

    Stops early, with nothing to keep, where the block shows a video and the file was taken for images.
    """
    result = BlockResult()
    with without_garbage_collection():
        parse_items(block.rows(), settings, target, result)
    return result


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """Rows hold no cycles, and there are so many of them that looking for some takes a third of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def parse_items(
    items: Iterable[tuple[int, Any]], settings: Settings, target: Path, result: BlockResult
) -> None:
    """Parse rows one by one, and add what they give to the result and its parts."""
    batch = _Batch(settings)
    for line, raw in items:
        result.rows += 1
        if settings.kind == "image" and not settings.forced and has_video(raw, settings.shape):
            result.saw_video = True
            return
        try:
            if isinstance(raw, BadRowError):
                raise raw
            batch.add(line, parse_row(raw, settings.shape))
        except BadRowError as error:
            batch.refuse(line, error)
        if len(batch.pairs) >= PART_PAIRS:
            batch.write(target, result)
            batch = _Batch(settings)
    batch.write(target, result)


class _Batch:
    """Rows being collected, for one part."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.rows: list[tuple[Any, ...]] = []
        self.pairs: list[tuple[Any, ...]] = []
        self.pairs_per_row: list[int] = []
        self.media: dict[int, tuple[int, str, str, list[str]]] = {}
        self.bad: list[tuple[int, str, str, bool]] = []
        prefix = "vv::" if settings.kind == "video" else "ov::"
        self.name = f"{settings.name}:" if settings.name else ""
        self.prefix = prefix + self.name

    def refuse(self, line: int, error: BadRowError, *, kept: bool = False) -> None:
        """Note a row that gave no sample, or a flaw in one that did."""
        self.bad.append((line, error.reason, error.detail, kept))

    def add(self, line: int, row: Row) -> None:
        """Take a row's pairs."""
        trouble = placeholder_trouble(row)
        if trouble:
            error = BadRowError("placeholders differ from media", trouble)
            if self.settings.strict:
                raise error
            self.refuse(line, error, kept=True)
        if address := address_of(row):
            self.refuse(line, BadRowError(ADDRESS, address), kept=True)
        video = self.settings.kind == "video"
        if video and not self.settings.forced and _is_stray(row):
            told = f"taken for frames of a clip: {len(row.images)}"
            self.refuse(line, BadRowError(STRAY_PICTURES, told), kept=True)
        row_id = row.id or f"{'video' if video else 'onevision'}-{line}"
        source = row.data_source
        if source is None:
            source = "llava_video" if video else "onevision"
        media, listed = self._media(line, row)
        video_uid = (row.video_id or self.name + row_id) if video else ""
        self.rows.append((line, row_id, video_uid, source, source_group(source), row.bucket, listed, media))
        self.pairs_per_row.append(len(row.pairs))
        for turn, (question, answer) in enumerate(row.pairs):
            self.pairs.append(_pair(f"{self.prefix}{row_id}::t{turn}", turn, question, answer))

    def _media(self, line: int, row: Row) -> tuple[list[int], int | None]:
        """Ids of the row's media, videos first, and how many frames or images it lists.

        The first medium gives a sample its duration and motion, and that is the video where there is one.
        """
        ids, listed = list[int](), 0
        if self.settings.kind == "video" and row.images and not row.videos:
            ids.append(self._medium(line, "frames", row.images))
            return ids, len(row.images)
        known = True
        for video, frame_list in zip(row.videos, row.frame_lists, strict=True):
            ids.append(self._medium(line, "frames" if frame_list else "video", video))
            listed += len(video)
            known = known and frame_list
        images = row.images[:1] if self.settings.first_image_only else row.images
        ids += [self._medium(line, "image", [image]) for image in images]
        return ids, listed + len(images) if known else None

    def _medium(self, line: int, kind: str, entries: list[Entry]) -> int:
        embedded = isinstance(entries[0], Blob)
        root = self.settings.blob_root if embedded else self.settings.root
        paths = [self._save(entry) if isinstance(entry, Blob) else entry for entry in entries]
        media_id = hash64("\0".join([kind, root, *paths]))
        self.media.setdefault(media_id, (line, kind, root, paths))
        return media_id

    def _save(self, blob: Blob) -> str:
        """Write an embedded medium under the hash of its content; the same bytes are written once."""
        digest = blake2b(blob.data, digest_size=16).hexdigest()
        name = f"{digest[:2]}/{digest}{_suffix(blob)}"
        path = self.settings.blob_folder / name
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_aside(path, lambda aside: aside.write_bytes(blob.data))
        return name

    def write(self, target: Path, result: BlockResult) -> None:
        """Write what was collected as Parquet parts and note them in the result."""
        stem = f"{target.name}-{len(result.parts):03d}"
        result.pairs += len(self.pairs)
        tables: list[tuple[str, Callable[[], pa.Table]]] = []
        if self.pairs:
            media = [(media_id, *rest) for media_id, rest in self.media.items()]
            tables.append(("sample", self._samples))
            tables.append(("media", lambda: _table(media, _MEDIA_SCHEMA)))
        if self.bad:
            tables.append(("bad", lambda: _table(self.bad, _BAD_SCHEMA)))
        for name, table in tables:
            path = target.with_name(f"{stem}.{name}.parquet")
            pq.write_table(table(), path, compression="lz4", use_dictionary=False, write_statistics=False)
            result.parts.append(path)

    def _samples(self) -> pa.Table:
        """One row per pair: what its row has, then its own."""
        owners = np.repeat(np.arange(len(self.rows)), self.pairs_per_row)
        rows, pairs = _table(self.rows, _ROW_SCHEMA).take(owners), _table(self.pairs, _PAIR_SCHEMA)
        return pa.Table.from_arrays(
            [*rows.columns, *pairs.columns], names=[*rows.column_names, *pairs.column_names]
        )


def _is_stray(row: Row) -> bool:
    """Whether nothing but the file's kind makes frames of a row's pictures."""
    return not (row.videos or row.video_id or row.bucket)


def _pair(qa_uid: str, turn: int, question: str, answer: str) -> tuple[Any, ...]:
    """One pair in the order of `_PAIR_SCHEMA`: its texts, and their features by spec section 2."""
    normal_question, normal_answer = normalise(question), normalise(answer)
    question_tokens, answer_tokens = tokens_of(normal_question), tokens_of(normal_answer)
    temporal, choice = words_of(normal_question, question_tokens)
    return (
        qa_uid,
        turn,
        question,
        answer,
        len(question_tokens),
        len(answer_tokens),
        len(set(answer_tokens)),
        temporal,
        choice,
        choice or has_options(question),
        hash64(qa_uid),
        text_hash(normal_question, normal_answer),
        hash64(normal_question),
    )


def _table(rows: Sequence[tuple[Any, ...]], schema: pa.Schema) -> pa.Table:
    """Rows as an Arrow table."""
    columns = [
        pa.array(column, kind) for column, kind in zip(zip(*rows, strict=True), schema.types, strict=True)
    ]
    return pa.Table.from_arrays(columns, schema=schema)


_MAGIC = (
    (0, b"\xff\xd8", ".jpg"),
    (0, b"\x89PNG", ".png"),
    (0, b"GIF8", ".gif"),
    (8, b"WEBP", ".webp"),
    (4, b"ftyp", ".mp4"),
    (0, b"\x1aE\xdf\xa3", ".mkv"),
)


def _suffix(blob: Blob) -> str:
    """The file suffix of an embedded medium, from its bytes, else from its name."""
    for offset, magic, suffix in _MAGIC:
        if blob.data[offset : offset + len(magic)] == magic:
            return suffix
    match = re.search(r"\.\w{1,5}$", blob.name)
    return match.group().lower() if match else ""
