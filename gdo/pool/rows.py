"""From one raw row, of whatever shape, to its id, its media and its question-answer pairs.

The rules are those of the released selection (arXiv 2603.12478; spec section 1): which roles count, how
turns pair up, what happens to media tags and to white space.
"""

import re
from dataclasses import dataclass, field
from typing import Any

from gdo.errors import UsageError

MAX_TEXT = 1_000_000
"""Characters of one message; more is an accident, not a question."""
MAX_MEDIA = 100_000
"""Media entries or frames of one row."""
MAX_TURNS = 4096
"""Pairs of one row; the order of ingestion has 12 bits for the turn."""

_TAG = re.compile(r"<(?:image|video|audio)>")
_USER = frozenset({"user", "human"})
_ASSISTANT = frozenset({"assistant", "gpt"})


@dataclass(frozen=True, slots=True)
class Shape:
    """Which keys of a row hold its messages and media."""

    messages: tuple[str, ...]
    images: tuple[str, ...]
    videos: tuple[str, ...]


SHAPES = {
    "auto": Shape(("messages", "conversations"), ("images", "image"), ("videos", "video")),
    "llava": Shape(("conversations", "messages"), ("image", "images"), ("video", "videos")),
    "swift": Shape(("messages",), ("images",), ("videos",)),
    "sharegpt": Shape(("conversations", "messages"), ("images",), ("videos",)),
}


class BadRowError(Exception):
    """A row that gives no sample: `reason` to count by, `detail` to look at."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail[:200]


@dataclass(frozen=True, slots=True)
class Blob:
    """A medium that stands inside its container, as bytes, with the name it had there."""

    data: bytes
    name: str


Entry = str | Blob


@dataclass(slots=True)
class Row:
    """A usable row: at least one medium and one pair."""

    id: str | None
    video_id: str | None
    data_source: str | None
    images: list[Entry]
    videos: list[list[Entry]]
    """One list per video: a single file, or frames in time order where `frame_lists` says so."""
    frame_lists: list[bool]
    pairs: list[tuple[str, str]] = field(default_factory=list)
    """Question and answer, without media tags, line breaks kept."""
    placeholders: dict[str, int] = field(default_factory=dict)


def shape_of(name: str) -> Shape:
    """The shape of that name; containers such as parquet hold rows of any shape."""
    if name in SHAPES:
        return SHAPES[name]
    if name in {"parquet", "hf", "webdataset"}:
        return SHAPES["auto"]
    known = ", ".join([*SHAPES, "parquet", "hf", "webdataset"])
    raise UsageError(f"unknown format {name!r}; known are {known}")


def parse_row(raw: Any, shape: Shape) -> Row:
    """Read one raw row.

    Raises:
        BadRowError: The row has a wrong type somewhere, no media, no pair, or an absurd size.
    """
    if not isinstance(raw, dict):
        raise BadRowError("not an object", repr(raw))
    row = Row(
        id=_text_id(raw, "id"),
        video_id=_text_id(raw, "video_id"),
        data_source=None if raw.get("data_source") is None else str(raw["data_source"]),
        images=_entries(_first(raw, shape.images), "images"),
        videos=[],
        frame_lists=[],
    )
    for video in _listed(_first(raw, shape.videos)):
        frames = isinstance(video, list | tuple)
        row.videos.append(_entries(video, "videos"))
        row.frame_lists.append(frames)
        if not row.videos[-1]:
            raise BadRowError("no media", "an empty list of frames")
    if not row.images and not row.videos:
        raise BadRowError("no media")
    row.pairs, row.placeholders = _pair_up(_first(raw, shape.messages))
    return row


def has_video(raw: Any, shape: Shape) -> bool:
    """Whether a row marks its file as a video file: it has a `video_id` or a video."""
    return isinstance(raw, dict) and (raw.get("video_id") is not None or bool(_first(raw, shape.videos)))


def _text_id(raw: dict[str, Any], key: str) -> str | None:
    value = raw.get(key)
    if value is None or value == "":
        return None
    if isinstance(value, dict | list | bool):
        raise BadRowError(f"wrong type: {key}", repr(value))
    return str(value)


def _first(raw: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """The value under the first of these keys that has one."""
    for key in keys:
        value = raw.get(key)
        if value is not None and value != "":
            return value
    return None


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return value if isinstance(value, list) else [value]


def _entries(value: Any, key: str) -> list[Entry]:
    items = _listed(value)
    if len(items) > MAX_MEDIA:
        raise BadRowError("too large", f"{len(items)} media in one row")
    entries: list[Entry] = []
    for item in items:
        if type(item) is str and item:
            entries.append(item.removeprefix("file://"))
        elif isinstance(item, dict):
            entries.append(_embedded(item, key))
        elif item is None or item == "":
            raise BadRowError("no media", f"an empty entry in {key}")
        else:
            raise BadRowError(f"wrong type: {key}", repr(item))
    return entries


def _embedded(item: dict[str, Any], key: str) -> Entry:
    """A medium as Hugging Face datasets and ms-swift write it: {path, bytes}."""
    data, path = item.get("bytes"), item.get("path") or item.get("image") or item.get("video")
    if isinstance(data, bytes) and data:
        return Blob(data, path if isinstance(path, str) else "")
    if isinstance(path, str) and path:
        return path
    raise BadRowError(f"wrong type: {key}", repr(item))


def pairs_of(raw: dict[str, Any], shape: Shape) -> list[tuple[str, str]]:
    """The question-answer pairs of a row.

    Raises:
        BadRowError: The messages are no list of messages, or hold no pair.
    """
    return _pair_up(_first(raw, shape.messages))[0]


def _pair_up(messages: Any) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The pairs of a conversation, and how many placeholders of each kind its user turns have."""
    if not isinstance(messages, list):
        raise BadRowError("messages are not a list", repr(messages))
    pairs = list[tuple[str, str]]()
    waiting: str | None = None
    images = videos = 0
    for message in messages:
        if not isinstance(message, dict):
            raise BadRowError("wrong type: message", repr(message))
        role = message.get("role") or message.get("from")
        if role in _USER:
            waiting = _text(message)
            if "<" in waiting:
                images += waiting.count("<image>")
                videos += waiting.count("<video>")
                waiting = _TAG.sub(" ", waiting)
            waiting = waiting.strip()
        elif role in _ASSISTANT:
            answer = _text(message).strip()
            if waiting and answer:
                pairs.append((waiting, answer))
            waiting = None
    if not pairs:
        raise BadRowError("no question-answer pair")
    if len(pairs) > MAX_TURNS:
        raise BadRowError("too large", f"{len(pairs)} pairs in one row")
    return pairs, {"image": images, "video": videos}


def _text(message: dict[str, Any]) -> str:
    """The text of a turn; a list of typed parts gives its text parts."""
    content = message.get("content")
    if content is None:
        content = message.get("value")
    if isinstance(content, list):
        parts = [part.get("text") for part in content if isinstance(part, dict)]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if content is None:
        return ""
    if not isinstance(content, str):
        raise BadRowError("wrong type: content", repr(content))
    if len(content) > MAX_TEXT:
        raise BadRowError("too large", f"a message of {len(content)} characters")
    return content


def placeholder_trouble(row: Row) -> str | None:
    """How the row's placeholders differ in number from its media; None where they agree or there are none."""
    images, videos = row.placeholders["image"], row.placeholders["video"]
    if images == 0 and videos == 0:
        return None
    listed, clips = len(row.images), len(row.videos)
    as_clip = listed > 0 and clips == 0 and images == 0 and videos == 1
    if as_clip or (images == listed and videos == clips):
        return None
    return f"{images} <image> and {videos} <video> for {listed} images and {clips} videos"
