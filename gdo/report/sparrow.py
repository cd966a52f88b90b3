"""Sparrow's figures as tables, and the map of instructions before and after mixing.

It is handed plain mappings: a report knows nothing of training. What was measured of instructions is kept
beside the pool for `gdo report`, which would take minutes to measure it anew.
"""

import json
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from rich.console import Group, RenderableType
from rich.text import Text

from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import write_output
from gdo.pool.store import Pool
from gdo.report.tables import table

PANEL, GAP, LEGEND = 460, 24, 22
MOST_SOURCES = 10
"""Sources with a colour of their own on the map; the others share one."""
_COLOURS = (
    *("#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd"),
    *("#8c564b", "#e377c2", "#bcbd22", "#17becf", "#393b79"),
)
_OTHERS, _INK, _FRAME = "#aaaaaa", "#28282f", "#cdcdd4"
_KEPT = "diversity.json"
_ENDINGS = {".png", ".jpg", ".jpeg", ".webp"}


def sparrow_tables(report: Mapping[str, Any]) -> RenderableType:
    """What a run of Sparrow made, and what it left out."""
    rate = report["drawn"] / report["seconds"] if report["seconds"] else 0.0
    rows = [
        ("rows read", report["rows_read"]),
        ("bad rows", report["rows_bad"]),
        ("questions", report["questions"]),
        ("samples", report["samples"]),
        ("texts", report["texts"]),
        ("pictures", report["pictures"]),
        ("drawn now", report["drawn"]),
        ("pictures a second", rate),
        ("megabytes of pictures", report["picture_bytes"] / 1e6),
        ("tokens of a picture", report["frame_tokens"]),
    ]
    parts: list[RenderableType] = [Text(f"Wrote {report['path']}", style="bold")]
    parts.append(table("", ["", "count>"], rows))
    if report["left_out"]:
        parts += [
            Text(),
            table("Left out (left_out.jsonl)", ["reason", "times>"], report["left_out"].items()),
        ]
    parts.append(Text(f"Tokens of text: {report['text_tokens']}", style="dim"))
    return Group(*parts)


def diversity_tables(report: Mapping[str, Any]) -> RenderableType:
    """How far the instructions of each source stand apart, and of all before and after mixing."""
    overall = [report["before"], report["after"]] if report["after"] else [report["before"]]
    columns = ["source", "", "instructions>", "measured>", "nearest neighbour>", "Vendi score>"]

    def rows(spreads: Sequence[Mapping[str, Any]]) -> list[tuple[Any, ...]]:
        return [
            (
                spread["source"],
                "mixed in" if spread["mixed_in"] else "",
                *(spread[name] for name in ("instructions", "measured", "neighbour", "vendi")),
            )
            for spread in spreads
        ]

    return Group(
        table("Instructions by source", columns, rows(report["sources"])),
        Text(),
        table(
            "All instructions, equally many of each",
            [columns[0], *columns[2:]],
            [(row[0], *row[2:]) for row in rows(overall)],
        ),
        Text(f"Embedding: {report['embedding']}; distances are cosine distances", style="dim"),
    )


def keep_diversity(report: Mapping[str, Any], pool: Path | str) -> None:
    """Keep what was measured beside the pool, for `gdo report`; nothing where its folder is read-only."""
    folder = Pool(pool).folder
    if not os.access(folder if folder.exists() else folder.parent, os.W_OK):
        return
    folder.mkdir(exist_ok=True)
    write_output(folder / _KEPT, lambda aside: aside.write_text(json.dumps(report), encoding="utf-8"))


def kept_diversity(pool: Path | str) -> Mapping[str, Any] | None:
    """What was last measured of a pool's instructions, if it was.

    Raises:
        GdoError: The file is damaged.
    """
    path = Pool(pool).folder / _KEPT
    if not path.exists():
        return None
    try:
        kept: Mapping[str, Any] = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise GdoError(f"{path} is damaged ({error}); `gdo diversity {pool}` writes it anew") from error
    return kept


def check_picture(path: Path) -> None:
    """Raise UsageError where a path does not end as a picture's does."""
    if path.suffix.lower() not in _ENDINGS:
        raise UsageError(
            f"{path} ends in none of {', '.join(sorted(_ENDINGS))}; the ending says what to write"
        )


def write_map(report: Mapping[str, Any], path: Path) -> None:
    """Draw the instructions as dots, one panel before and, where something is mixed in, one after."""
    check_picture(path)
    image = draw_map(report)
    path.parent.mkdir(parents=True, exist_ok=True)
    format = Image.registered_extensions()[path.suffix.lower()]
    write_output(path, partial(image.save, format=format))


def draw_map(report: Mapping[str, Any]) -> Image.Image:
    """The map as a picture."""
    points = report["points"]
    panels = [
        (f"{side} mixing", [point for point in points if point[side]])
        for side in ("before", "after")
        if report[side]
    ]
    colours = _colours(report["sources"])
    width = GAP + len(panels) * (PANEL + GAP)
    image = Image.new("RGB", (width, 2 * GAP + PANEL + GAP + LEGEND * len(colours)), "white")
    pen = ImageDraw.Draw(image)
    font = ImageFont.load_default(14)
    low_x, high_x = _range([point["x"] for point in points])
    low_y, high_y = _range([point["y"] for point in points])
    for number, (title, shown) in enumerate(panels):
        left, top = GAP + number * (PANEL + GAP), 2 * GAP
        pen.text((left, GAP // 2), f"{title}: {len(shown):,} instructions", _INK, font)
        pen.rectangle((left, top, left + PANEL, top + PANEL), outline=_FRAME)
        for point in shown:
            x = left + 6 + (PANEL - 12) * (point["x"] - low_x) / (high_x - low_x)
            y = top + PANEL - 6 - (PANEL - 12) * (point["y"] - low_y) / (high_y - low_y)
            pen.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colours.get(point["source"], _OTHERS))
    for number, (source, colour) in enumerate(colours.items()):
        y = 2 * GAP + PANEL + GAP // 2 + number * LEGEND
        pen.rectangle((GAP, y + 4, GAP + 10, y + 14), fill=colour)
        pen.text((GAP + 18, y), source, _INK, font)
    return image


def _colours(sources: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A colour for each of the largest sources, and one for all others together."""
    largest = sorted(sources, key=lambda spread: (-spread["instructions"], spread["source"]))
    names = list(dict.fromkeys(spread["source"] for spread in largest))
    colours = dict(zip(names[:MOST_SOURCES], _COLOURS, strict=False))
    return colours | ({f"{len(names) - MOST_SOURCES} others": _OTHERS} if len(names) > MOST_SOURCES else {})


def _range(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 1, high + 1)
