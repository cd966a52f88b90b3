"""Many texts at once, as one run of bytes: their tokens counted and their white space found by numpy.

Only ASCII texts are told from their bytes; the others are named by `wide` and told one by one.
"""

from collections.abc import Iterator

import numpy as np
import polars as pl
from numpy.typing import NDArray

from gdo.pool.text import tokens_of

Indices = NDArray[np.int64]

_AT_A_TIME = 1 << 17
"""Bytes looked at together: what is made of them stays in the processor's cache."""
_SPACE, _OTHER_SPACE, _WIDE = 1, 2, 3
_CLASSES = bytearray(256)
"""What each byte is: one of the above, the byte in lower case where it belongs to a token, else 0."""
_CLASSES[32], _CLASSES[9:14], _CLASSES[28:32] = _SPACE, bytes([_OTHER_SPACE] * 5), bytes([_OTHER_SPACE] * 4)
_CLASSES[128:] = bytes([_WIDE] * 128)
for _byte in b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_":
    _CLASSES[_byte] = ord(chr(_byte).lower())
_STEP = np.uint64(0x9E3779B97F4A7C15)
"""Any large odd number will do."""
_MASKS = np.array([(1 << 8 * count) - 1 for count in range(9)], np.uint64)
"""The first so many bytes of eight."""


class ByteTexts:
    """What the bytes of texts tell.

    Attributes:
        tokens: Tokens of each text (spec/selection.md, section 1).
        distinct: Distinct ones among them; not meant to be read where not asked for.
        wide: Texts that are not ASCII.
        uneven: Texts that may hold white space other than single spaces.
    """

    def __init__(self, texts: pl.Series, *, distinct: bool = False) -> None:
        array = texts.to_arrow(compat_level=pl.CompatLevel.oldest())
        _, offsets, data = array.buffers()
        begins = np.frombuffer(offsets, np.int64)[array.offset : array.offset + len(array) + 1]
        bytes_ = np.frombuffer(data or b"", np.uint8)
        seen = [_look(bytes_, begins[first : last + 1], distinct) for first, last in _slices(begins)]
        columns = zip(*seen, strict=True) if seen else [[np.zeros(0, np.int64)]] * 4
        self.tokens, self.distinct, *flags = (np.concatenate(column) for column in columns)
        self.wide, self.uneven = (np.flatnonzero(flag) for flag in flags)
        for number, text in zip(self.wide.tolist(), texts.gather(self.wide).to_list(), strict=True):
            tokens = tokens_of(text)
            self.tokens[number], self.distinct[number] = len(tokens), len(set(tokens))


def _slices(begins: Indices) -> Iterator[tuple[int, int]]:
    """Ranges of texts of some bytes each; at least one text, fewer than 65,536."""
    first, total = 0, len(begins) - 1
    while first < total:
        end = int(np.searchsorted(begins, begins[first] + _AT_A_TIME, side="right")) - 1
        last = min(max(end, first + 1), first + 0xFFFF, total)
        yield first, last
        first = last


def _look(data: NDArray[np.uint8], begins: Indices, distinct: bool) -> tuple[Indices, ...]:
    """Of each text: tokens, distinct ones, whether it is wide, whether it is uneven."""
    text = data[begins[0] : begins[-1]].tobytes().translate(_CLASSES)
    classes, begins = np.frombuffer(text, np.uint8), begins - begins[0]
    word = classes > _WIDE
    goes_on = np.zeros(len(text) + 1, bool)  # a byte of a token that began before it
    np.logical_and(word[1:], word[:-1], out=goes_on[1:-1])
    goes_on[begins] = False
    starts = np.flatnonzero(word > goes_on[:-1])
    counts = np.diff(np.searchsorted(starts, begins))
    different = counts
    if distinct:
        ends = np.flatnonzero(word > goes_on[1:]) + 1
        different = _distinct(text, starts, ends, counts)
    space = classes == _SPACE
    uneven = classes == _OTHER_SPACE
    uneven[1:] |= space[1:] & space[:-1]
    marked = (_holds(flag, begins) for flag in (classes == _WIDE, uneven))
    return counts, different, *marked


def _holds(marked: NDArray[np.bool_], begins: Indices) -> NDArray[np.bool_]:
    """Which texts hold a marked byte."""
    owners = np.searchsorted(begins, np.flatnonzero(marked), side="right") - 1
    return np.bincount(owners, minlength=len(begins) - 1) > 0


def _distinct(data: bytes, starts: Indices, ends: Indices, counts: Indices) -> Indices:
    """Distinct tokens of each text, which are told apart by 48 bits of a hash of their bytes.

    Among a hundred tokens of one text two are taken for the same once in 5e10 texts.
    """
    tokens = _hashes(data, starts, ends - starts) >> np.uint64(16)
    tokens |= np.repeat(np.arange(len(counts), dtype=np.uint64), counts) << np.uint64(48)
    tokens.sort()
    first = np.ones(len(tokens), bool)
    np.not_equal(tokens[1:], tokens[:-1], out=first[1:])
    owners = (tokens[first] >> np.uint64(48)).astype(np.int64)
    return np.bincount(owners, minlength=len(counts))


def _hashes(data: bytes, starts: Indices, lengths: Indices) -> NDArray[np.uint64]:
    """A hash of each token, of eight bytes at a time; none of them is zero, so that shorter ones differ."""
    eights = np.ndarray(len(data), "<u8", data + bytes(8), strides=(1,))
    hashes = eights[starts] & _MASKS[np.minimum(lengths, 8)]
    hashes *= _STEP
    longer = np.flatnonzero(lengths > 8)
    for place in range(8, int(lengths.max(initial=0)), 8):
        longer = longer[lengths[longer] > place]
        more = eights[starts[longer] + place] & _MASKS[np.minimum(lengths[longer] - place, 8)]
        hashes[longer] = (hashes[longer] ^ hashes[longer] >> np.uint64(29) ^ more) * _STEP
    return hashes
