"""What the proxy learns from, as token trees that are made just as the probe makes them when it asks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

import torch

from gdo.descriptors.probe.chat import Chat
from gdo.descriptors.probe.contract import Asked, Group
from gdo.descriptors.probe.packing import Tree
from gdo.descriptors.probe.questions import STATIC, TEMPORAL, ask_temporal
from gdo.descriptors.proxy.sample import Row
from gdo.pool.frames import Frames

LONGEST = 4000
"""Most characters of a question and its answer."""
_PIXELS = ("pixel_values", "pixel_values_videos")


@dataclass(slots=True)
class Lessons:
    """Samples as trees.

    Attributes:
        rows: The samples; a branch's number is an index into them.
        shown: Trees with media, of several samples each.
        blind: Tree of each sample without its media, by its number.
        temporal: Tree that asks whether the question needs time, by the sample's number.
    """

    rows: Sequence[Row]
    shown: list[Tree] = field(default_factory=list)
    blind: dict[int, Tree] = field(default_factory=dict)
    temporal: dict[int, Tree] = field(default_factory=dict)


def make_lessons(chat: Chat, rows: Sequence[Row], frames: Mapping[int, Frames]) -> Lessons:
    """Make trees of the samples whose media could all be read, and are not refused by the processor.

    Very long texts are left out: they would cost more to learn from than all the others.
    """
    lessons = Lessons(rows)
    numbers = [
        n
        for n, row in enumerate(rows)
        if all(key in frames for key in row.media) and len(row.question) + len(row.answer) <= LONGEST
    ]
    numbers.sort(key=lambda n: rows[n].media)
    for media, members in groupby(numbers, key=lambda n: rows[n].media):
        samples = list(members)
        asked = [Asked(rows[n].qa_uid, rows[n].question, rows[n].answer) for n in samples]
        group = Group(tuple(frames[key] for key in media), tuple(asked))
        try:
            trees = chat.media_trees(group, samples, answer=True) if media else []
        except Exception:  # processors raise whatever they like
            continue
        lessons.shown += [_as_bytes(tree) for tree in trees]
        for one, n in zip(asked, samples, strict=True):
            lessons.blind[n] = chat.blind_tree(one, n)
            word = TEMPORAL if rows[n].temporal else STATIC
            lessons.temporal[n] = chat.blind_tree(Asked("", ask_temporal(one.question), word), n)
    return lessons


def _as_bytes(tree: Tree) -> Tree:
    """The tree with its pixels as bytes: from -1 to 1 in steps of 1 / 127.5, as the processor makes them."""
    media = {
        name: (value * 127.5 + 127.5).round().to(torch.uint8) if name in _PIXELS else value
        for name, value in tree.media.items()
    }
    return replace(tree, media=media)


def to_pixels(media: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Media with pixels as the model takes them."""
    return {
        name: (value.float() - 127.5) / 127.5 if name in _PIXELS else value for name, value in media.items()
    }
