"""Texts as the selection sees them: normalised, cut into tokens, searched for words, hashed, grouped.

All of it follows Python's own understanding of case, white space and words, as the reference does.
"""

import re
from functools import lru_cache

from xxhash import xxh3_64_intdigest

TEMPORAL_WORDS = frozenset(
    b"before after then while during first next finally sequence later earlier transition happen".split()
)
"""The released list (spec section 2)."""
CHOICE_WORDS = frozenset(b"choice choices".split())

_TOKEN_BYTES = b"abcdefghijklmnopqrstuvwxyz0123456789_"
_SPACED = bytes(c if c in _TOKEN_BYTES else ord(" ") for c in (bytes([b]).lower()[0] for b in range(256)))
_OPTION_LINE = re.compile(r"\n\s*A[.)]")


def word_pattern(words: frozenset[bytes]) -> str:
    """A regular expression of whole words, to be matched in any case."""
    return rf"\b(?:{'|'.join(sorted(word.decode() for word in words))})\b"


_TEMPORAL = re.compile(word_pattern(TEMPORAL_WORDS), re.IGNORECASE)
_CHOICE = re.compile(word_pattern(CHOICE_WORDS), re.IGNORECASE)


def normalise(text: str) -> str:
    """White space runs become one space, ends are trimmed (spec section 1)."""
    # The one white space that is printable is the space; most texts are normal already.
    if text.isprintable() and "  " not in text:
        return text.strip(" ")
    return " ".join(text.split())


def tokens_of(text: str) -> list[bytes]:
    """The matches of `[A-Za-z0-9_]+` in the lower-cased text (spec section 1)."""
    if not text.isascii():
        text = text.lower()
    return text.encode(errors="replace").translate(_SPACED).split()


def words_of(question: str, tokens: list[bytes]) -> tuple[bool, bool]:
    """Whether a question has a temporal word, and whether it has the word choice or choices.

    Both stand between word boundaries, in any case; in ASCII text those are the token's boundaries.
    """
    if question.isascii():
        return not TEMPORAL_WORDS.isdisjoint(tokens), not CHOICE_WORDS.isdisjoint(tokens)
    return bool(_TEMPORAL.search(question)), bool(_CHOICE.search(question))


def has_options(question: str) -> bool:
    """Whether a question with its line breaks lists options: a new line followed by `A.` or `A)`."""
    return "\n" in question and bool(_OPTION_LINE.search(question))


def hash64(text: str) -> int:
    """64 bits of XXH3, the same on every machine."""
    return xxh3_64_intdigest(text.encode(errors="surrogatepass"))


def text_hash(question: str, answer: str) -> int:
    """What makes two normalised pairs exact duplicates of each other."""
    return hash64(f"{question}|||{answer}")


@lru_cache(maxsize=65536)
def source_group(data_source: str) -> str:
    """The stratum field of that name (spec section 2)."""
    head, bracket, _ = data_source.partition("(")
    parts = data_source.split("_")
    if bracket:
        group = head.strip()
    elif len(parts) >= 4:
        group = "_".join(parts[:4])
    else:
        group = data_source.strip()
    return group or "unknown"
