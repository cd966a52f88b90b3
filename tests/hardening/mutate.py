"""Seeded damage: to rows, to the bytes of a line, to the bytes of a file."""

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

JUNK: list[Any] = [
    None,
    True,
    0,
    -1,
    10**30,
    0.5,
    float("nan"),
    float("inf"),
    "",
    " ",
    "\0",
    "\n\r\t",
    "\ud83d",
    "\u202e\u0301ä",
    "x" * 3000,
    "../../etc/passwd",
    "<image>" * 9,
    "a.jpg",
    "user",
    "gpt",
    [],
    {},
    [[]],
    [None],
    {"bytes": None, "path": "a.jpg"},
    {"bytes": "aGk=", "path": None},
    [{"role": "user", "content": "q"}],
    [{"from": "human", "value": [{"type": "text", "text": "q"}]}],
]
KEYS = ["id", "images", "image", "videos", "video", "video_id", "messages", "conversations", "role", "from"]
KEYS += ["content", "value", "data_source", "bucket", "bytes", "path", "", "\0", "ID"]
BYTES = [b"", b"\0", b"\xff", b"\n", b"\r", b'"', b"\\", b"\\u", b"{", b"}", b"[", b"]", b",", b":", b"1e999"]


class Mutator:
    """Damage that is the same for the same seed."""

    def __init__(self, seed: object) -> None:
        self.chance = random.Random(str(seed))

    def row(self, row: Any) -> Any:
        """A copy of a row with one to four changes anywhere in it."""
        held = [copy.deepcopy(row)]
        for _ in range(self.chance.randint(1, 4)):
            self._change(held)
        return held[0]

    def like(self, value: Any) -> Any:
        """Another value of the same type, for columns that have one: or none at all."""
        if self.chance.random() < 0.1:
            return None
        if isinstance(value, str):
            texts = [junk for junk in JUNK if isinstance(junk, str) and "\ud83d" not in junk]
            return self.chance.choice([value, value, value[: len(value) // 2], self.chance.choice(texts)])
        if isinstance(value, list):
            kept = [self.like(item) for item in value if self.chance.random() < 0.9]
            return kept * self.chance.choice([1, 1, 1, 2])
        if isinstance(value, dict):
            return {key: self.like(item) for key, item in value.items()}
        return value

    def line(self, line: bytes) -> bytes:
        """A line with one to six bytes changed, inserted or left out, or without its end."""
        return self.data(line, 6)

    def data(self, data: bytes, most: int) -> bytes:
        """Bytes with some damage in up to `most` places."""
        found = bytearray(data)
        for _ in range(self.chance.randint(1, most)):
            at = self.chance.randrange(len(found) + 1)
            self.chance.choice(DAMAGES)(self.chance, found, at)
        return bytes(found)

    def _change(self, held: list[Any]) -> None:
        """Change one place of the tree, found by walking down from its root."""
        parent: Any = held
        key: Any = 0
        while isinstance(parent[key], list | dict) and parent[key] and self.chance.random() < 0.8:
            parent = parent[key]
            keys = list(parent) if isinstance(parent, dict) else range(len(parent))
            key = self.chance.choice(keys)
        what = self.chance.randrange(5)
        if what == 0 and parent is not held:
            del parent[key]
        elif what == 1 and isinstance(parent, dict):
            parent[self.chance.choice(KEYS)] = parent.pop(key)
        elif what == 2 and isinstance(parent, list) and parent is not held:
            parent.insert(key, copy.deepcopy(parent[key]))
        elif what == 3:
            parent[key] = [parent[key]] if self.chance.random() < 0.5 else {"value": parent[key]}
        else:
            parent[key] = copy.deepcopy(self.chance.choice(JUNK))


def _flip(chance: random.Random, data: bytearray, at: int) -> None:
    if at < len(data):
        data[at] ^= 1 << chance.randrange(8)


def _insert(chance: random.Random, data: bytearray, at: int) -> None:
    data[at:at] = chance.choice(BYTES)


def _replace(chance: random.Random, data: bytearray, at: int) -> None:
    data[at : at + chance.randint(1, 8)] = chance.randbytes(chance.randint(0, 8))


def _cut(chance: random.Random, data: bytearray, at: int) -> None:
    del data[at : at + chance.randint(1, max(len(data) // 8, 1))]


def _end(chance: random.Random, data: bytearray, at: int) -> None:
    if chance.random() < 0.2:
        del data[at:]


def _move(chance: random.Random, data: bytearray, at: int) -> None:
    """Copy a stretch to another place."""
    size, to = chance.randint(1, max(len(data) // 16, 1)), chance.randrange(len(data) + 1)
    data[to : to + size] = data[at : at + size]


def _blank(chance: random.Random, data: bytearray, at: int) -> None:
    size = min(chance.randint(1, max(len(data) // 16, 1)), len(data) - at)
    data[at : at + size] = bytes([chance.choice([0, 255])]) * size


Damage = Callable[[random.Random, bytearray, int], None]
DAMAGES: Sequence[Damage] = (_flip, _flip, _insert, _replace, _cut, _end, _move, _blank)
