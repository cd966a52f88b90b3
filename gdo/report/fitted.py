"""Tables for the terminal that lose nothing: users' text stands as it is, and no number is cut off."""

from collections.abc import Iterator
from itertools import chain

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

FOLDED = 24
"""Cells of the terminal below which no column of text is folded to make room."""

_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160)))
"""All control characters but tab and newline: a terminal would obey them."""


class Fitted(Table):
    """A plain table; where its columns do not fit beside each other, it has a line for each value."""

    def __init__(self, title: str = "") -> None:
        super().__init__(
            title=plain(title, "bold"), title_justify="left", header_style="bold", box=None, pad_edge=False
        )

    def add(self, name: str, *, number: bool) -> None:
        """Add a column: numbers stand to the right and are never folded, text is where it is too long."""
        self.add_column(plain(name), justify="right" if number else "left", overflow="fold", no_wrap=number)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Beside each other where that fits, else below each other."""
        if self._least_width() <= options.max_width:
            yield from super().__rich_console__(console, options)
        else:
            yield from self._upright().__rich_console__(console, options)

    def _least_width(self) -> int:
        """Cells that the columns need beside each other, text being folded."""
        widths = [
            max(
                map(cell_len, chain.from_iterable(str(text).split("\n") for text in (one.header, *one.cells)))
            )
            for one in self.columns
        ]
        least = [
            wide if one.no_wrap else min(wide, FOLDED) for wide, one in zip(widths, self.columns, strict=True)
        ]
        return sum(least) + 2 * (len(least) - 1)

    def _upright(self) -> Table:
        """The same with a line for each value, after the name of its column."""
        shown = Table(title=self.title, title_justify="left", box=None, pad_edge=False, show_header=False)
        shown.add_column(style="bold", overflow="fold")
        shown.add_column(overflow="fold")
        for name, value in self._lines():
            shown.add_row(name, value)
        return shown

    def _lines(self) -> Iterator[tuple[RenderableType, RenderableType]]:
        names = [one.header for one in self.columns]
        if not self.rows:
            yield from ((name, "") for name in names)
        for number, row in enumerate(zip(*(one.cells for one in self.columns), strict=True), 1):
            yield Text(f"row {number}", style="not bold dim"), ""
            yield from zip(names, row, strict=True)


def plain(text: str, style: str = "") -> Text:
    """Text to be printed as it stands: no markup in it counts, and nothing in it steers the terminal."""
    return Text(text.translate(_CONTROLS).expandtabs(), style=style)
