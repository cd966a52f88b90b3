"""What a page is made of: sections, and in them tiles, tables, charts, maps, notes and sheets of pictures.

Sections are filled from the pool by the modules beside this one; template.html draws them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

Figure = dict[str, Any]
"""A chart in the JSON of Plotly: `data` and `layout`."""


@dataclass(frozen=True, slots=True)
class Tiles:
    """Figures to see first: pairs of what and how much."""

    kind: ClassVar[str] = "tiles"
    items: Sequence[tuple[str, Any]]


@dataclass(frozen=True, slots=True)
class Heading:
    """A part of a section that the contents name; `text` is not trusted, `anchor` is ours."""

    kind: ClassVar[str] = "heading"
    text: str
    anchor: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Grid:
    """A table; columns that end in `>` are set to the right, as in gdo/report/tables.py."""

    kind: ClassVar[str] = "grid"
    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
    note: str = ""
    wide: bool = True


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart; `note` says what it is taken from where that is not all of the pool."""

    kind: ClassVar[str] = "chart"
    title: str
    figure: Figure
    note: str = ""
    wide: bool = False


@dataclass(frozen=True, slots=True)
class Colouring:
    """One way to colour a map.

    Attributes:
        name: What by.
        values: One per point: a number, or the place of its name in `names`; None is missing.
        names: Of categories; None for numbers.
        extra: Also show the points that stand in the map for this colouring's sake alone.
    """

    name: str
    values: Sequence[float | int | None]
    names: Sequence[str] | None = None
    extra: bool = False


@dataclass(frozen=True, slots=True)
class Map:
    """Points in the plane and the ways to colour them; the points from number `base` on are extra."""

    kind: ClassVar[str] = "map"
    title: str
    x: Sequence[float]
    y: Sequence[float]
    ids: Sequence[str]
    colourings: Sequence[Colouring]
    base: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """A sentence, and the command that makes what is missing."""

    kind: ClassVar[str] = "note"
    text: str
    command: str = ""


@dataclass(frozen=True, slots=True)
class Card:
    """One sample or medium as people look at it.

    Attributes:
        uid: Its id.
        picture: Key of its picture (media_id); None for none.
        value: The figure that it is shown for.
        question: Of a sample.
        answer: Of a sample.
        facts: Further words, such as its source.
    """

    uid: str
    picture: int | None
    value: str = ""
    question: str = ""
    answer: str = ""
    facts: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """Rows of cards, each with what they have in common; folded up unless `open`, `paired` in columns."""

    kind: ClassVar[str] = "sheet"
    title: str
    rows: Sequence[tuple[str, Sequence[Card]]]
    note: str = ""
    open: bool = False
    paired: bool = False


Block = Tiles | Heading | Grid | Chart | Map | Note | Sheet


@dataclass(frozen=True, slots=True)
class Section:
    """A part of the page that the contents name."""

    anchor: str
    title: str
    intro: str
    blocks: Sequence[Block] = field(default_factory=tuple)

    @property
    def headings(self) -> list[Heading]:
        """What the contents name below it."""
        return [block for block in self.blocks if isinstance(block, Heading)]

    @property
    def cards(self) -> list[Card]:
        """All its cards."""
        sheets = [block for block in self.blocks if isinstance(block, Sheet)]
        return [card for sheet in sheets for _, cards in sheet.rows for card in cards]


def share(counts: Mapping[str, int]) -> dict[str, float]:
    """Counts as shares of their sum, 0 where there are none."""
    total = sum(counts.values())
    return {name: count / total if total else 0.0 for name, count in counts.items()}
