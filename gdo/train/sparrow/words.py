"""From a text to its words, and from words to the parts that become pictures; nothing lost or reordered.

A word is what stands between white space. Where a script writes without spaces, each of its characters is a
word, and a stretch longer than any word is cut; such words say that no space stands before them.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

LONGEST = 40
"""Characters of a word; what is longer is cut, and its pieces count as words."""

_IDEOGRAPH = (
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3038-\u303b\u3040-\u30ff\u31f0-\u31ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f\U0001aff0-\U0001b16f\U00020000-\U0003ffff"
)
_CLOSING = "、。，．：；？！〉》」』】〕〗〙〟ー・…）］｝"
_OPENING = "〈《「『【〔〖〘〝（［｛"
_DENSE = re.compile(
    rf"[{_OPENING}]*[{_IDEOGRAPH}][\u3099\u309a]*[{_CLOSING}]*|[^{_IDEOGRAPH}{_OPENING}]+|[{_OPENING}]+"
)
_HAS_IDEOGRAPH = re.compile(f"[{_IDEOGRAPH}]")
_SENTENCE_END = re.compile(r"""[.!?。！？…]["'”’»)\]」』）]*$""")


class Word(NamedTuple):
    """A word, and whether a space stands before it."""

    text: str
    spaced: bool = True


def words_of(text: str) -> list[Word]:
    """The words of a text in order; joined again they are the text, white space and invisible signs apart.

    Accents are composed with their letters (Unicode's form C), and control characters, which no font can
    show, are left out.
    """
    words = list[Word]()
    for chunk in map(_visible, unicodedata.normalize("NFC", text).split()):
        if len(chunk) <= LONGEST and (chunk.isascii() or not _HAS_IDEOGRAPH.search(chunk)):
            words += [Word(chunk)] if chunk else []
            continue
        pieces = [piece for stretch in _DENSE.findall(chunk) for piece in _cut(stretch)]
        words += [Word(piece, spaced=place == 0) for place, piece in enumerate(pieces)]
    return words


def joined(words: Sequence[Word]) -> str:
    """The text of these words, one space between two where there was white space."""
    return "".join(" " * (spaced and place > 0) + text for place, (text, spaced) in enumerate(words))


def clusters(text: str) -> list[str]:
    """A text cut into what may stand apart: a character with the marks and joiners that belong to it."""
    found = list[str]()
    for sign in text:
        joins = bool(found) and (
            sign in "\u200c\u200d" or found[-1][-1] == "\u200d" or unicodedata.category(sign)[0] == "M"
        )
        if joins:
            found[-1] += sign
        else:
            found.append(sign)
    return found


def parts_of(words: Sequence[Word], most: int, *, whole_sentences: bool = False) -> Iterator[list[Word]]:
    """Cut words into parts of at most `most`, in order.

    Args:
        words: The words of a text.
        most: Words in a part, at least 1.
        whole_sentences: End a part where a sentence ends, unless the sentence is longer than a part.
    """
    start = 0
    while start < len(words):
        stop = min(start + most, len(words))
        if whole_sentences and stop < len(words):
            ends = range(stop, start, -1)
            stop = next((end for end in ends if _SENTENCE_END.search(words[end - 1].text)), stop)
        yield list(words[start:stop])
        start = stop


def _visible(chunk: str) -> str:
    """A chunk without the characters that neither show nor shape others: controls, variation selectors."""
    return chunk if chunk.isprintable() else "".join(filter(_is_visible, chunk))


def _is_visible(sign: str) -> bool:
    return sign in "\u200c\u200d" or unicodedata.category(sign) not in {"Cc", "Cf"}


def _cut(stretch: str) -> Iterator[str]:
    """A stretch in pieces of at most `LONGEST` characters, letters and their marks kept together."""
    if len(stretch) <= LONGEST:
        yield stretch
        return
    piece = ""
    for cluster in clusters(stretch):
        if piece and len(piece) + len(cluster) > LONGEST:
            yield piece
            piece = ""
        piece += cluster
    yield piece
