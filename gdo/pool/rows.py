"""From one raw row, of whatever shape, to its id, its media and its question-answer pairs.

The rules are those of the released selection (arXiv 2603.12478; spec section 1): which roles count, how
turns pair up, what happens to media tags and to white space.
"""

import json
import math
import re
import reprlib
from base64 import b64decode
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, cast
from urllib.parse import unquote

import orjson

from gdo.errors import UsageError

MAX_TEXT = 1_000_000
"""Characters of one message; more is an accident, not a question."""
MAX_MEDIA = 100_000
"""Media entries or frames of one row."""
MAX_TURNS = 4096
"""Pairs of one row; the order of ingestion has 12 bits for the turn."""
MAX_NAME = 1000
"""Characters of an id or a data source."""
SYNTHETIC = "synthetic_text_video"
"""The bucket that a row may name for itself (spec/sparrow.md, 6); others follow from the file's kind."""

_TAG = re.compile(r"<(?:image|video|audio)>")
_USER = frozenset({"user", "human"})
_ASSISTANT = frozenset({"assistant", "gpt"})
_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


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
        self.detail = detail[:200].encode(errors="replace").decode()


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
    bucket: str | None
    """`SYNTHETIC` where the row says so."""
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


def load_row(data: bytes) -> Any:
    """Parse JSON as Python's own parser does, NaN and whole numbers of any size included, but fast.

    Raises:
        BadRowError: This is no JSON, no UTF-8, too deep, or has half of a surrogate pair.
    """
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        reason = f"{error}; {data[:80].decode(errors='replace')}"
    else:
        rounded = isinstance(value, dict) and float in (type(value.get("id")), type(value.get("video_id")))
        if not rounded:
            return value
        reason = "a number that is too long"
    try:
        value = json.loads(data.decode())
        json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError) as error:
        raise BadRowError("not JSON", reason) from error
    return value


def parse_row(raw: Any, shape: Shape) -> Row:
    """Read one raw row.

    Raises:
        BadRowError: The row has a wrong type somewhere, no media, no pair, or an absurd size.
    """
    if not isinstance(raw, dict):
        raise BadRowError("not an object", _shown(raw))
    row = Row(
        id=_name(raw, "id") or None,
        video_id=_name(raw, "video_id") or None,
        data_source=_name(raw, "data_source"),
        bucket=SYNTHETIC if raw.get("bucket") == SYNTHETIC else None,
        images=[],
        videos=[],
        frame_lists=[],
    )
    images, videos = _media(raw, shape)
    row.images = _entries(images, "images")
    for video in _listed(videos):
        row.videos.append(_entries(video, "videos"))
        row.frame_lists.append(isinstance(video, list))
        if not row.videos[-1]:
            raise BadRowError("no media", "an empty list of frames")
    if not row.images and not row.videos:
        looked = ", ".join((*shape.images, *shape.videos))
        raise BadRowError("no media", f"none in {looked} or the messages' parts; keys: {_shown(list(raw))}")
    row.pairs, row.placeholders = _pair_up(_first(raw, shape.messages))
    return row


def has_video(raw: Any, shape: Shape) -> bool:
    """Whether a row marks its file as a video file: it has a `video_id` or a video."""
    return isinstance(raw, dict) and (_given(raw.get("video_id")) or _media(raw, shape)[1] is not None)


def _media(raw: dict[str, Any], shape: Shape) -> tuple[Any, Any]:
    """Images and videos of a row, None for none: those under its keys, else those within its messages."""
    images, videos = _first(raw, shape.images), _first(raw, shape.videos)
    if images is None and videos is None:
        parts = _parts(_first(raw, shape.messages))
        images = [part[key] for part in parts for key in ("image", "image_url") if _given(part.get(key))]
        videos = [part[key] for part in parts for key in ("video", "video_url") if _given(part.get(key))]
        return images or None, videos or None
    return images, videos


def _parts(messages: Any) -> list[dict[str, Any]]:
    """The typed parts of messages, as OpenAI's chat has them: {type: image_url, image_url: {url}}."""
    turns = messages if isinstance(messages, list) else []
    contents = [turn.get("content") for turn in turns if isinstance(turn, dict)]
    parts = chain.from_iterable(content for content in contents if isinstance(content, list))
    return [part for part in parts if isinstance(part, dict)]


def _given(value: Any) -> bool:
    """Whether a value says something; tables write a missing one as null, NaN, "" or an empty list."""
    return not (value is None or value in ("", []) or (type(value) is float and math.isnan(value)))


def _name(raw: dict[str, Any], key: str) -> str | None:
    """An id or a data source as text, which may be empty; None where there is none."""
    value = raw.get(key)
    if type(value) is not str:
        if not _given(value):
            return None
        if isinstance(value, dict | list | bool | bytes):
            raise BadRowError(f"wrong type: {key}", _shown(value))
        value = str(value)
    if len(value) > MAX_NAME:
        raise BadRowError("too large", f"{key} has {len(value)} characters")
    return value


def _first(raw: dict[str, Any], keys: tuple[str, ...]) -> Any:
    """The value under the first of these keys that has one."""
    for key in keys:
        value = raw.get(key)
        if _given(value):
            return value
    return None


def _shown(value: Any) -> str:
    """A value cut to a few words, however large or deep it is."""
    return reprlib.repr(value)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    items = value if isinstance(value, list) else [value]
    if len(items) > MAX_MEDIA:
        raise BadRowError("too large", f"{len(items)} media in one row")
    return items


def _entries(value: Any, key: str) -> list[Entry]:
    items = _listed(value)
    if _plain_paths(items):
        return items
    entries, blobs = list[Entry](), 0
    for item in items:
        if type(item) is str and item and not item.isspace():
            entries.append(_path(item))
        elif isinstance(item, dict):
            entries.append(_embedded(item, key))
        elif item is None or type(item) is str:
            raise BadRowError("no media", f"an empty entry in {key}")
        else:
            raise BadRowError(f"wrong type: {key}", _shown(item))
        blobs += isinstance(entries[-1], Blob)
    if 0 < blobs < len(entries):
        raise BadRowError(
            f"wrong type: {key}", f"{blobs} of {len(entries)} are embedded, the others are paths"
        )
    return entries


def _plain_paths(items: list[Any]) -> bool:
    """Whether these are paths to be taken as they stand; said fast, for a row may list many frames."""
    if set(map(type, items)) != {str} or not all(map(str.strip, items)):
        return False
    joined = "".join(items)
    return "\0" not in joined and "://" not in joined and "data:" not in joined


def _path(text: str) -> Entry:
    """A path as the file system has it; a `data:` URI is the medium itself."""
    if text.startswith("data:") and ";base64," in text[:100]:
        try:
            return Blob(b64decode(text.partition(",")[2], validate=True), "")
        except ValueError as error:
            raise BadRowError("bad path", f"{error}: {_shown(text)}") from error
    if text.startswith("file://"):
        text = unquote(text.removeprefix("file://"))
    if not text or "\0" in text:
        raise BadRowError("bad path", _shown(text))
    return text


def _embedded(item: dict[str, Any], key: str) -> Entry:
    """A medium as Hugging Face datasets and ms-swift write it, {path, bytes}, or as OpenAI does, {url}."""
    data = item.get("bytes")
    path = item.get("path") or item.get("image") or item.get("video") or item.get("url")
    if isinstance(data, bytes) and data:
        return Blob(data, path if isinstance(path, str) else "")
    if isinstance(path, str) and path:
        return _path(path)
    raise BadRowError(f"wrong type: {key}", _shown(item))


def without_tags(text: str) -> str:
    """A question with its media tags made spaces (spec section 1)."""
    return _TAG.sub(" ", text)


def pairs_of(raw: dict[str, Any], shape: Shape) -> list[tuple[str, str]]:
    """The question-answer pairs of a row.

    Raises:
        BadRowError: The messages are no list of messages, or hold no pair.
    """
    return _pair_up(_first(raw, shape.messages))[0]


def _pair_up(messages: Any) -> tuple[list[tuple[str, str]], dict[str, int]]:
    """The pairs of a conversation, and how many placeholders of each kind its user turns have."""
    if messages is None:
        raise BadRowError("no question-answer pair", "no messages")
    if not isinstance(messages, list):
        raise BadRowError("messages are not a list", _shown(messages))
    pairs = list[tuple[str, str]]()
    waiting: str | None = None
    images = videos = 0
    for message in messages:
        if not isinstance(message, dict):
            raise BadRowError("wrong type: message", _shown(message))
        role = message.get("role") or message.get("from") or ""
        if not isinstance(role, str):
            raise BadRowError("wrong type: role", _shown(role))
        if role in _USER:
            waiting = _text(message)
            if "<" in waiting:
                images += waiting.count("<image>")
                videos += waiting.count("<video>")
                waiting = without_tags(waiting)
            waiting = waiting.strip()
        elif role in _ASSISTANT:
            answer = _text(message).strip()
            if waiting and answer:
                pairs.append((waiting, answer))
            waiting = None
    if not pairs:
        raise BadRowError("no question-answer pair", _unanswered(messages))
    if len(pairs) > MAX_TURNS:
        raise BadRowError("too large", f"{len(pairs)} pairs in one row")
    return pairs, {"image": images, "video": videos}


def _unanswered(messages: list[dict[str, Any]]) -> str:
    roles = [message.get("role") or message.get("from") for message in messages]
    return f"no text of user or human is answered by assistant or gpt; roles: {_shown(roles)}"


def _text(message: dict[str, Any]) -> str:
    """The text of a turn; a list of typed parts gives its text parts."""
    content = message.get("content")
    if content is None:
        content = message.get("value")
    if isinstance(content, list):
        parts = [part.get("text") if isinstance(part, dict) else part for part in content]
        content = "\n".join(part for part in parts if isinstance(part, str))
    if content is None:
        return ""
    if not isinstance(content, str):
        raise BadRowError("wrong type: content", _shown(content))
    if len(content) > MAX_TEXT:
        raise BadRowError("too large", f"a message of {len(content)} characters")
    return content


def placeholder_trouble(row: Row) -> str | None:
    """How the row's placeholders differ in number from its media; None where they agree or there are none.

    One `<video>` may stand for a list of frames, and `<image>` for a video, as LLaVA writes it.
    """
    images, videos = row.placeholders["image"], row.placeholders["video"]
    listed, clips = len(row.images), len(row.videos)
    one_clip = (images, videos, clips) == (0, 1, 0)
    clips_as_images = (images, videos, listed) == (clips, 0, 0)
    if images == videos == 0 or one_clip or clips_as_images or (images, videos) == (listed, clips):
        return None
    return f"{images} <image> and {videos} <video> for {listed} images and {clips} videos"


def address_of(row: Row) -> str | None:
    """The first of the row's media that is an address in a network, not a file; None where there is none."""
    for entries in (row.images, *row.videos):
        if entries and isinstance(entries[0], str):
            paths = cast("list[str]", entries)  # paths and contents never mix
            found = "://" in "".join(paths) and next(filter(_ADDRESS.match, paths), None)
            if found:
                return found
    return None
