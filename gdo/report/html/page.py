"""Sections as one HTML file: everything is in it, and nothing in it can run but our two scripts.

A pool's texts are not trusted. They are escaped where they stand in the page, figures are JSON that is read
and never run, and the page's own policy forbids every other script and every request.
"""

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from importlib import resources
from typing import Any

import orjson
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from gdo.report.html.blocks import Chart, Map, Section
from gdo.report.html.pictures import Pictures

_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def render(title: str, sections: Sequence[Section], pictures: Pictures, *, made: datetime, gdo: str) -> str:
    """The page.

    Args:
        title: What it is of.
        sections: In their order.
        pictures: Of their cards.
        made: When, in UTC.
        gdo: Version that made it.
    """
    from plotly.offline import get_plotlyjs

    environment = Environment(
        loader=PackageLoader("gdo.report.html"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: _clean(value) if isinstance(value, str) else value,
    )
    environment.filters["cell"] = cell
    numbers = _numbered(sections)
    scripts = [Markup(_no_returns(text)) for text in (get_plotlyjs(), _resource("page.js"))]
    return environment.get_template("page.html").render(
        title=title,
        sections=sections,
        pictures=pictures,
        number=lambda block: numbers[id(block)],
        data=Markup(_data(sections, numbers, pictures)),
        style=Markup(_resource("style.css")),
        scripts=scripts,
        policy=_policy(scripts),
        made=made.strftime("%Y-%m-%d %H:%M"),
        gdo=gdo,
    )


def cell(value: Any) -> str:
    """A value as a table shows it."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value + 0.0:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _numbered(sections: Sequence[Section]) -> dict[int, int]:
    drawn = [block for section in sections for block in section.blocks if isinstance(block, Chart | Map)]
    return {id(block): number for number, block in enumerate(drawn)}


def _data(sections: Sequence[Section], numbers: dict[int, int], pictures: Pictures) -> str:
    """Charts, maps and pictures as JSON that can stand in a script element."""
    blocks = [block for section in sections for block in section.blocks]
    data = {
        "charts": {str(numbers[id(b)]): b.figure for b in blocks if isinstance(b, Chart)},
        "maps": {str(numbers[id(b)]): b for b in blocks if isinstance(b, Map)},
        "pictures": {str(key): uri for key, uri in pictures.shown.items()},
    }
    return orjson.dumps(data).decode().replace("<", "\\u003c").replace("&", "\\u0026")


def _policy(scripts: Sequence[str]) -> str:
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
    allowed = " ".join(f"'sha256-{digest}'" for digest in digests)
    return f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data: blob:"


def _resource(name: str) -> str:
    return (resources.files("gdo.report.html") / "templates" / name).read_text("utf-8")


def _no_returns(text: str) -> str:
    """The text as browsers read it, which its digest is taken of."""
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _clean(text: str) -> str:
    """A text of the pool without what HTML cannot hold; our own is as it is."""
    return text if isinstance(text, Markup) else _CONTROL.sub("\ufffd", text)
