"""What a chat row says, as turns of text and media: the one form that all data of a run is brought into."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from gdo.errors import GdoError
from gdo.pool.frames import MediaKind
from gdo.pool.text import hash64

Kind = Literal["text", "image", "video"]
_TAG = re.compile(r"<(image|video)>")
_ROLES = ("system", "user", "assistant")


@dataclass(frozen=True, slots=True)
class Medium:
    """One picture, frame list or video file, by absolute paths."""

    kind: MediaKind
    paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Turn:
    """What one side says: texts and media in order."""

    role: str
    parts: tuple[str | Medium, ...]

    @property
    def media(self) -> tuple[Medium, ...]:
        """The media alone."""
        return tuple(part for part in self.parts if isinstance(part, Medium))

    @property
    def text(self) -> str:
        """The texts alone."""
        return "".join(part for part in self.parts if isinstance(part, str))


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample to train on.

    Attributes:
        qa_uid: Its key.
        source: `subset`, or the name of what was mixed in.
        turns: Of the conversation; every assistant turn is learned.
    """

    qa_uid: str
    source: str
    turns: tuple[Turn, ...]

    @property
    def media(self) -> tuple[Medium, ...]:
        """All media in order."""
        return tuple(medium for turn in self.turns for medium in turn.media)

    @property
    def kind(self) -> Kind:
        """What batches are mixed by: video where any medium has frames, else image, else text."""
        kinds = {medium.kind for medium in self.media}
        if not kinds:
            return "text"
        return "image" if kinds == {"image"} else "video"


def parse_row(row: Mapping[str, Any]) -> Sample:
    """Read a row in the form of the swift export, with paths made absolute and a `source`.

    Each `<image>` and `<video>` of a user's text stands for the next entry of `images` or `videos`; entries
    without a placeholder stand in front of the first question. A list in `videos` is a list of frames.

    Raises:
        GdoError: The row has no answer, an unknown role, media of a form not known, or too few of them.
    """
    uid = str(row["id"])
    images = [_medium(entry, "image", uid) for entry in row.get("images") or ()]
    videos = [_medium(entry, "video", uid) for entry in row.get("videos") or ()]
    left = {"image": images, "video": videos}
    turns: list[Turn] = []
    for message in row.get("messages") or ():
        role, content = message.get("role"), message.get("content")
        if role not in _ROLES or not isinstance(content, str):
            raise GdoError(f"sample {uid}: a message has role {role!r} and content of another form than text")
        turns.append(Turn(role, tuple(_parts(content, left, uid)) if role == "user" else (content,)))
    if not turns or turns[-1].role != "assistant":
        raise GdoError(f"sample {uid}: its last message is not the assistant's, there is nothing to learn")
    return Sample(uid, str(row["source"]), tuple(_with_front(turns, (*images, *videos), uid)))


def _medium(entry: Any, kind: Literal["image", "video"], uid: str) -> Medium:
    if isinstance(entry, str):
        return Medium(kind, (entry,))
    if kind == "video" and isinstance(entry, list) and entry and all(isinstance(p, str) for p in entry):
        return Medium("frames", tuple(entry))
    raise GdoError(f"sample {uid}: an entry of `{kind}s` is {entry!r}, not a path")


def _parts(content: str, left: dict[str, list[Medium]], uid: str) -> list[str | Medium]:
    """Texts and media of one user turn; takes the media out of `left`."""
    parts: list[str | Medium] = []
    at = 0
    for tag in _TAG.finditer(content):
        if not left[tag[1]]:
            raise GdoError(f"sample {uid}: more placeholders {tag[0]} than entries in `{tag[1]}s`")
        parts += [content[at : tag.start()], left[tag[1]].pop(0)]
        at = tag.end()
    return [part for part in (*parts, content[at:]) if part != ""]


def _with_front(turns: list[Turn], media: tuple[Medium, ...], uid: str) -> list[Turn]:
    """The turns with `media` in front of the first question."""
    if not media:
        return turns
    for number, turn in enumerate(turns):
        if turn.role == "user":
            return [*turns[:number], replace(turn, parts=(*media, *turn.parts)), *turns[number + 1 :]]
    raise GdoError(f"sample {uid}: it shows media, but no message of the user")


def placed(sample: Sample, place: Literal["in_place", "front", "mixed"], seed: int) -> Sample:
    """The sample with its media where the recipe wants them; `mixed` tosses a coin by seed and key."""
    coin = hash64(f"{seed}/{sample.qa_uid}") % 2
    if place == "in_place" or (place == "mixed" and coin == 0):
        return sample
    bare = [
        replace(turn, parts=tuple(part for part in turn.parts if isinstance(part, str)))
        for turn in sample.turns
    ]
    return replace(sample, turns=tuple(_with_front(bare, sample.media, sample.qa_uid)))


def absolute_paths(row: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """The row with the paths of its media made absolute."""

    def full(entry: Any) -> Any:
        if isinstance(entry, list):
            return [full(path) for path in entry]
        return str(root / entry) if isinstance(entry, str) else entry

    return {**row, **{key: [full(e) for e in row.get(key) or ()] for key in ("images", "videos")}}
