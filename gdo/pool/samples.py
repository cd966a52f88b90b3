"""From parsed rows to the columns of `sample`, `media` and `bad_row`, written as Parquet parts.

This runs in worker processes, a block of a file at a time; nothing here knows the database.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from gdo.pool.atomic import write_aside
from gdo.pool.readers import Block
from gdo.pool.rows import BadRowError, Blob, Entry, Row, Shape, has_video, parse_row, placeholder_trouble
from gdo.pool.text import hash64, normalise, source_group, text_hash

PART_PAIRS = 50_000
"""Pairs collected before a part is written."""

_TEMPORAL = (
    r"(?i)\b(?:before|after|then|while|during|first|next|finally|sequence|later|earlier|transition|happen)\b"
)
_CHOICES = r"(?i)\bchoices?\b"
_OPTION_LINE = r"\n\s*A[.)]"
_TOKEN = r"[a-z0-9_]+"

_SAMPLE_SCHEMA = {
    "qa_uid": pl.String,
    "line": pl.Int64,
    "id": pl.String,
    "turn": pl.Int32,
    "video_uid": pl.String,
    "data_source": pl.String,
    "source_group": pl.String,
    "question": pl.String,
    "answer": pl.String,
    "listed_frames": pl.Int32,
    "uid_hash": pl.UInt64,
    "text_hash": pl.UInt64,
    "question_hash": pl.UInt64,
    "normal_question": pl.String,
    "normal_answer": pl.String,
}
_MEDIA_SCHEMA = {"media_id": pl.UInt64, "line": pl.Int64, "kind": pl.String, "root": pl.String}
_BAD_SCHEMA = {"line": pl.Int64, "reason": pl.String, "detail": pl.String, "kept": pl.Boolean}


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
    batch = _Batch(settings)
    for line, raw in block.rows():
        result.rows += 1
        if settings.kind == "image" and not settings.forced and has_video(raw, settings.shape):
            result.saw_video = True
            return result
        try:
            if isinstance(raw, BadRowError):
                raise raw
            batch.add(line, parse_row(raw, settings.shape))
        except BadRowError as error:
            batch.refuse(line, error)
        if len(batch.samples["qa_uid"]) >= PART_PAIRS:
            batch.write(target, result)
            batch = _Batch(settings)
    batch.write(target, result)
    return result


class _Batch:
    """Columns being filled, for one part."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.samples: dict[str, list[Any]] = {name: [] for name in _SAMPLE_SCHEMA}
        self.media_ids: list[list[int]] = []
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
        video = self.settings.kind == "video"
        row_id = row.id or f"{'video' if video else 'onevision'}-{line}"
        source = row.data_source
        if source is None:
            source = "llava_video" if video else "onevision"
        media, listed = self._media(line, row)
        video_uid = (row.video_id or self.name + row_id) if video else ""
        group, stem, columns = source_group(source), f"{self.prefix}{row_id}::t", self.samples
        for turn, (question, answer) in enumerate(row.pairs):
            normal_question, normal_answer = normalise(question), normalise(answer)
            uid = f"{stem}{turn}"
            values = (
                uid, line, row_id, turn, video_uid, source, group, question, answer, listed,
                hash64(uid), text_hash(normal_question, normal_answer), hash64(normal_question),
                normal_question, normal_answer,
            )  # fmt: skip
            for column, value in zip(columns.values(), values, strict=True):
                column.append(value)
            self.media_ids.append(media)

    def _media(self, line: int, row: Row) -> tuple[list[int], int | None]:
        """Ids of the row's media in order, and how many frames or images it lists."""
        ids, listed = list[int](), 0
        if self.settings.kind == "video" and row.images and not row.videos:
            ids.append(self._medium(line, "frames", row.images))
            return ids, len(row.images)
        images = row.images[:1] if self.settings.first_image_only else row.images
        ids += [self._medium(line, "image", [image]) for image in images]
        listed += len(images)
        known = True
        for video, frame_list in zip(row.videos, row.frame_lists, strict=True):
            ids.append(self._medium(line, "frames" if frame_list else "video", video))
            listed += len(video)
            known = known and frame_list
        return ids, listed if known else None

    def _medium(self, line: int, kind: str, entries: list[Entry]) -> int:
        root = self.settings.root
        if any(isinstance(entry, Blob) for entry in entries):
            root = self.settings.blob_root
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

    def _sample_frame(self) -> pl.DataFrame:
        frame = pl.DataFrame(self.samples, _SAMPLE_SCHEMA)
        return frame.with_columns(_lists(self.media_ids, pa.uint64()).alias("media_ids"))

    def write(self, target: Path, result: BlockResult) -> None:
        """Write what was collected as Parquet parts and note them in the result."""
        stem = f"{target.name}-{len(result.parts):03d}"
        result.pairs += len(self.samples["qa_uid"])
        media = self.media
        tables: list[tuple[str, Callable[[], pl.DataFrame]]] = []
        if self.samples["qa_uid"]:
            tables.append(("sample", lambda: _with_features(self._sample_frame())))
            tables.append(("media", lambda: _media_frame(media)))
        if self.bad:
            tables.append(("bad", lambda: pl.DataFrame(self.bad, _BAD_SCHEMA, orient="row")))
        for name, table in tables:
            path = target.with_name(f"{stem}.{name}.parquet")
            table().write_parquet(path, compression="lz4", statistics=False)
            result.parts.append(path)


def _media_frame(media: dict[int, tuple[int, str, str, list[str]]]) -> pl.DataFrame:
    columns = list(zip(*media.values(), strict=True))
    return pl.DataFrame(
        {"media_id": list(media), "line": columns[0], "kind": columns[1], "root": columns[2]}, _MEDIA_SCHEMA
    ).with_columns(_lists(columns[3], pa.string()).alias("paths"))


def _lists(values: Sequence[Any], item: pa.DataType) -> pl.Series:
    """A column of lists; pyarrow builds it a hundred times faster from Python lists than polars does."""
    return pl.Series(pl.from_arrow(pa.array(values, pa.list_(item))))


def _with_features(frame: pl.DataFrame) -> pl.DataFrame:
    """The text features of spec section 2, in place of the normalised texts."""
    question, answer = pl.col("normal_question"), pl.col("normal_answer")
    lower_answer = answer.str.to_lowercase()
    choices = question.str.contains(_CHOICES)
    return frame.with_columns(
        question_tokens=question.str.to_lowercase().str.count_matches(_TOKEN).cast(pl.Int32),
        answer_tokens=lower_answer.str.count_matches(_TOKEN).cast(pl.Int32),
        answer_distinct=lower_answer.str.extract_all(_TOKEN).list.n_unique().cast(pl.Int32),
        temporal_words=question.str.contains(_TEMPORAL),
        mcq=choices,
        mcq_raw=choices | pl.col("question").str.contains(_OPTION_LINE),
    ).drop("normal_question", "normal_answer")


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
