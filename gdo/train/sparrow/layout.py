"""Where each word of a part stands in its picture: plain data, computed apart from drawing."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from gdo.train.sparrow.trouble import NotShownError
from gdo.train.sparrow.words import Word, clusters, joined

RIGHT_TO_LEFT = re.compile(
    "[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefe\U00010800-\U00010fff\U0001e800-\U0001efff]"
)


@dataclass(frozen=True, slots=True)
class Style:
    """How a picture of text looks; all in pixels (spec/sparrow.md, 3).

    Attributes:
        side: Width and height of the picture.
        size: Of the letters.
        margin: Left and right.
        least: Letters are not made smaller than this; a part that does not fit then becomes two pictures.
    """

    side: int = 448
    size: int = 20
    margin: int = 20
    least: int = 8


class Box(Protocol):
    """The room that a word takes; no ink of it lies outside."""

    @property
    def width(self) -> int:
        """Columns."""

    @property
    def above(self) -> int:
        """Rows above the baseline."""

    @property
    def below(self) -> int:
        """Rows below the baseline."""


class Metrics(NamedTuple):
    """Room above and below the baseline of a line, and width of a space."""

    ascent: int
    descent: int
    space: int


class Ruler(Protocol):
    """Measures words; the pen is one."""

    def word(self, text: str, size: int) -> Box:
        """The room of a word in letters of this size."""

    def metrics(self, size: int) -> Metrics:
        """The room of a line in letters of this size."""


class Placed(NamedTuple):
    """A word, or a piece of a broken one, with the beginning of its baseline."""

    word: Word
    x: int
    y: int


class Layout(NamedTuple):
    """One picture: the size of its letters, and its words in the order of reading."""

    size: int
    placed: list[Placed]

    def text(self) -> str:
        """The words as they are read."""
        return joined([place.word for place in self.placed])


_Item = tuple[Word, Box]


def lay_out(words: Sequence[Word], ruler: Ruler, style: Style) -> list[Layout]:
    """The picture of a part, in the largest letters with which it fits, or several where none fits.

    Raises:
        NotShownError: A single character is larger than the picture, or cannot be shown at all.
    """
    for size in range(style.size, style.least - 1, -1):
        fitted = _fitted(words, ruler, style, size)
        if fitted:
            return [fitted]
    if len(words) == 1:
        raise NotShownError("does not fit into a picture", words[0].text)
    middle = len(words) // 2
    return lay_out(words[:middle], ruler, style) + lay_out(words[middle:], ruler, style)


def _fitted(words: Sequence[Word], ruler: Ruler, style: Style, size: int) -> Layout | None:
    """The words in letters of this size, centred from top to bottom; None where they do not fit."""
    ascent, descent, space = ruler.metrics(size)
    width = style.side - 2 * style.margin
    lines = list(_wrapped(words, ruler, width, size, space))
    rooms = [
        (max(ascent, *(box.above for _, box in line)), max(descent, *(box.below for _, box in line)))
        for line in lines
    ]
    height = sum(above + below for above, below in rooms)
    if height > style.side or any(box.width > width for line in lines for _, box in line):
        return None
    base = _direction(words)
    placed, top = list[Placed](), (style.side - height) // 2
    for line, (above, below) in zip(lines, rooms, strict=True):
        columns = _columns(line, space, style, base)
        placed += [Placed(word, x, top + above) for (word, _), x in zip(line, columns, strict=True)]
        top += above + below
    return Layout(size, placed)


def _wrapped(words: Sequence[Word], ruler: Ruler, width: int, size: int, space: int) -> Iterator[list[_Item]]:
    """Lines, each with as many words as fit; what is wider than a line is broken."""
    line, used = list[_Item](), 0
    measure = ruler.word
    for word in words:
        box = measure(word.text, size)
        pieces = [(word, box)] if box.width <= width else _broken(word, ruler, width, size)
        for piece in pieces:
            gap = space if piece[0].spaced else 0
            if line and used + gap + piece[1].width > width:
                yield line
                line, used = [], 0
            used += (gap if line else 0) + piece[1].width
            line.append(piece)
    if line:
        yield line


def _broken(word: Word, ruler: Ruler, width: int, size: int) -> list[_Item]:
    """A word in pieces that fit into a line each."""
    pieces, text = list[str](), ""
    for cluster in clusters(word.text):
        if text and ruler.word(text + cluster, size).width > width:
            pieces.append(text)
            text = ""
        text += cluster
    words = [Word(piece, word.spaced and place == 0) for place, piece in enumerate([*pieces, text])]
    return [(piece, ruler.word(piece.text, size)) for piece in words]


def _direction(words: Sequence[Word]) -> str:
    """L or R, as the first word of a text runs that has a direction; empty where nothing runs to the left."""
    if not any(RIGHT_TO_LEFT.search(word.text) for word in words):
        return ""
    return next((side for side in map(_side, words) if side), "L")


def _columns(line: list[_Item], space: int, style: Style, base: str) -> list[int]:
    """Where each word of a line begins: from left to right, or as its script runs."""
    order = _visual_order([word for word, _ in line], base) if base else range(len(line))
    columns = [0] * len(line)
    x = style.margin
    for place, before in zip(order, [None, *order], strict=False):
        if before is not None:
            # The space belongs to whichever of the two neighbours is read later.
            x += space if line[max(place, before)][0].spaced else 0
        columns[place] = x
        x += line[place][1].width
    shift = style.side - style.margin - x if base == "R" else 0
    return [column + shift for column in columns]


def _visual_order(words: Sequence[Word], base: str) -> list[int]:
    """The words of a line from left to right, in a text that runs to `base`.

    Whole words are put in order as Unicode's bidirectional algorithm does with runs (UAX 9, L2); letters
    within a word are raqm's.
    """
    sides = [_side(word) for word in words]
    runs = list[tuple[str, list[int]]]()
    for place, side in enumerate(sides):
        following = next((later for later in sides[place:] if later), base)
        # What has no direction goes with its neighbours where they agree, else with the text.
        taken = side or (following if runs and runs[-1][0] == following else base)
        if runs and runs[-1][0] == taken:
            runs[-1][1].append(place)
        else:
            runs.append((taken, [place]))
    ordered = runs if base == "L" else runs[::-1]
    return [place for side, run in ordered for place in (run if side == "L" else run[::-1])]


def _side(word: Word) -> str:
    """L or R by the first letter that has a direction; empty without one."""
    kinds = map(unicodedata.bidirectional, word.text)
    return next(("L" if kind == "L" else "R" for kind in kinds if kind in {"L", "R", "AL"}), "")
