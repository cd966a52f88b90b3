"""Small pictures of media for a page, as data URIs: an image, or four frames of a video or frame list."""

import base64
import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from gdo.errors import MediaError
from gdo.pool.frames import FrameBudget, Frames, MediaKind
from gdo.pool.media import read_frames
from gdo.report.html.source import Source

WIDTH, HEIGHT = 300, 225
"""Pixels of a picture, at most."""
FRAMES = 4
TIME_LIMIT = 10.0
"""Seconds for one medium."""
_QUALITY, _GAP = 70, 4


@dataclass(frozen=True, slots=True)
class Medium:
    """A row of table `media` with its files on this machine."""

    media_id: int
    kind: MediaKind
    files: list[Path]


@dataclass(slots=True)
class Pictures:
    """Data URIs by media_id, and why others have none."""

    shown: dict[int, str] = field(default_factory=dict)
    missing: dict[int, str] = field(default_factory=dict)


def find_media(source: Source, keys: Sequence[int]) -> list[Medium]:
    """The media of these keys, in their order; unknown ones are left out."""
    rows = source.rows(
        "SELECT media_id, kind, root, paths FROM media WHERE list_contains(?, media_id)", [list(keys)]
    )
    of = {
        key: Medium(key, cast(MediaKind, kind), [source.home / (root or "") / path for path in paths])
        for key, kind, root, paths in rows
    }
    return [of[key] for key in keys if key in of]


def draw_pictures(
    media: Sequence[Medium], room: int, progress: Callable[[int, int], None] | None = None
) -> Pictures:
    """Read media and draw them small; a bad file is told, never raised.

    Args:
        media: What to draw.
        room: Most letters of all data URIs together; the rest of the media are left out.
        progress: Called with how many are done, of how many.
    """
    pictures, used = Pictures(), 0
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
        for number, (medium, drawn) in enumerate(zip(media, threads.map(_draw, media), strict=True), 1):
            if isinstance(drawn, MediaError):
                pictures.missing[medium.media_id] = str(drawn)
            elif used + len(drawn) > room:
                pictures.missing[medium.media_id] = "left out to keep the page small"
            else:
                pictures.shown[medium.media_id] = drawn
                used += len(drawn)
            if progress:
                progress(number, len(media))
    return pictures


def _draw(medium: Medium) -> str | MediaError:
    try:
        budget = FrameBudget(frames=FRAMES, max_pixels=4 * WIDTH * HEIGHT)
        frames = read_frames(medium.kind, medium.files, budget, time_limit=TIME_LIMIT)
    except MediaError as error:
        return error
    file = io.BytesIO()
    _tile(frames).save(file, "JPEG", quality=_QUALITY)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()


def _tile(frames: Frames) -> Image.Image:
    """One picture, or up to four in reading order."""
    pictures = [Image.fromarray(np.ascontiguousarray(picture)) for picture in frames.images]
    across = 1 if len(pictures) == 1 else 2
    down = -(-len(pictures) // across)
    for picture in pictures:
        picture.thumbnail((WIDTH // across, HEIGHT // down))
    width, height = pictures[0].size
    size = (across * (width + _GAP) - _GAP, down * (height + _GAP) - _GAP)
    sheet = Image.new("RGB", size, (128, 128, 128))
    for number, picture in enumerate(pictures):
        sheet.paste(picture, (number % across * (width + _GAP), number // across * (height + _GAP)))
    return sheet
