"""Near-duplicates as tables, and the picture of a sweep of thresholds."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont
from rich.console import Group, RenderableType
from rich.text import Text

from gdo.errors import MediaError, UsageError
from gdo.pool.atomic import write_output
from gdo.pool.frames import FrameBudget
from gdo.pool.media import MediaKind, read_frames
from gdo.report.tables import table

if TYPE_CHECKING:
    from gdo.descriptors.duplicates.find import DuplicateReport, Example, Found, Sweep

WIDTH, CHART, THUMB, GAP = 1000, 300, 150, 14
MOST_SHOWN = 12
"""Pairs in the picture."""
_IMAGES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"}
_INK, _PALE = (40, 40, 48), (205, 205, 212)
_LINES = (
    ("media_groups", "groups of media", (38, 110, 190)),
    ("samples_removed", "samples removed", (200, 70, 50)),
)


def duplicate_tables(report: "DuplicateReport") -> RenderableType:
    """What a search found and stored."""
    found = report.found
    rows = [
        ("least similarity", found.threshold),
        ("media compared", found.media),
        ("media without a fingerprint", found.media_unseen),
        ("groups of media", found.media_groups),
        ("media in them", found.media_in_groups),
        ("of these joined by a close look", found.media_by_close_look),
        ("of these proposed by the embedding", found.media_by_embedding),
        *([("likely copies nobody looked at", found.not_looked_at)] if found.not_looked_at else []),
        ("groups of samples", found.sample_groups),
        ("samples in them", found.samples_in_groups),
        ("kept out by --set dedup=near", found.samples_removed),
        ("seconds", report.seconds),
    ]
    return table("Near-duplicates (tables media_duplicate, sample_duplicate)", ["", "count>"], rows)


def sweep_tables(sweep: "Sweep", picture: Path | None) -> RenderableType:
    """What each threshold would give, and examples."""
    rows = [
        (f"{row.threshold:g}", row.media_groups, row.media_in_groups, row.sample_groups, row.samples_removed)
        for row in sweep.rows
    ]
    columns = ["threshold>", "media groups>", "media in them>", "sample groups>", "samples removed>"]
    parts: list[RenderableType] = [table("Nothing was stored; a threshold would give", columns, rows)]
    if sweep.examples:
        shown = [(f"{one.similarity:.4f}", one.first[0], one.second[0]) for one in sweep.examples]
        parts += [
            Text(),
            table("Pairs, the least alike of each band", ["similarity>", "one", "other"], shown),
        ]
    if picture:
        parts.append(Text(f"\nPicture: {picture}"))
    return Group(*parts)


def check_picture(path: Path) -> None:
    """See that a sweep can be drawn to this path.

    Raises:
        UsageError: It does not end in .png, or its folder is not there.
    """
    if path.suffix != ".png":
        raise UsageError(f"{path} must end in .png")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder {path.absolute().parent} does not exist; make it first")


def draw_sweep(sweep: "Sweep", path: Path) -> None:
    """Draw a sweep as a PNG: groups and removed samples by threshold, and pairs of pictures."""
    examples = sweep.examples[:MOST_SHOWN]
    across = WIDTH // (2 * THUMB + 2 * GAP)
    lines = -(-len(examples) // across)
    canvas = Image.new("RGB", (WIDTH, CHART + lines * (THUMB + 2 * GAP) + 2 * GAP), "white")
    _draw_chart(canvas, sweep.rows)
    for number, example in enumerate(examples):
        line, column = divmod(number, across)
        corner = (GAP + column * (2 * THUMB + 2 * GAP), CHART + line * (THUMB + 2 * GAP))
        _draw_pair(canvas, example, corner)
    write_output(path, lambda aside: canvas.save(aside, "PNG"))


def _draw_chart(canvas: Image.Image, rows: Sequence["Found"]) -> None:
    """One line for groups and one for removed samples, each from 0 up; thresholds at even steps."""
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    left, top, right, bottom = 60, 56, WIDTH - 40, CHART - 50
    draw.line([(left, bottom), (right, bottom)], _PALE)
    step = (right - left) / max(1, len(rows) - 1)
    highest = max([1, *(getattr(row, name) for row in rows for name, _, _ in _LINES)])
    for number, row in enumerate(rows):
        draw.text((left + number * step, bottom + 6), f"{row.threshold:g}", _INK, font, anchor="ma")
    draw.text(((left + right) / 2, bottom + 26), "least similarity of media", _INK, font, anchor="ma")
    for place, (name, title, ink) in enumerate(_LINES):
        values = [getattr(row, name) for row in rows]
        points = [
            (left + i * step, bottom - value / highest * (bottom - top)) for i, value in enumerate(values)
        ]
        draw.line(points, ink, 2)
        for (x, y), value in zip(points, values, strict=True):
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], ink)
            draw.text((x, y - 6), f"{value:,}", ink, font, anchor="mb")
        draw.text((left + place * 180, 10), title, ink, font)


def _draw_pair(canvas: Image.Image, example: "Example", corner: tuple[int, int]) -> None:
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    draw.text(corner, f"{example.similarity:.4f}", _INK, font)
    for place, files in enumerate((example.first, example.second)):
        thumb = _thumb(files)
        canvas.paste(thumb, (corner[0] + place * (THUMB + 4), corner[1] + GAP + 4))


def _thumb(files: Sequence[str]) -> Image.Image:
    """The middle picture of a medium, within THUMB x THUMB - GAP; grey where it cannot be read."""
    kind: MediaKind = "frames" if len(files) > 1 else "image"
    if len(files) == 1 and Path(files[0]).suffix.lower() not in _IMAGES:
        kind = "video"
    try:
        images = read_frames(kind, files, FrameBudget(frames=3, max_pixels=4 * THUMB * THUMB)).images
        picture = Image.fromarray(images[len(images) // 2])
    except MediaError:
        picture = Image.new("RGB", (THUMB, THUMB), _PALE)
    picture.thumbnail((THUMB, THUMB - GAP))
    return picture
