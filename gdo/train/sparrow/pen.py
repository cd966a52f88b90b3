"""Words as pictures, each drawn once: what makes a page cheap is that texts repeat their words."""

import re
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import features

from gdo.train.sparrow.face import Face, Stroke
from gdo.train.sparrow.glyphs import Font, Fonts, bundled
from gdo.train.sparrow.layout import RIGHT_TO_LEFT, Metrics
from gdo.train.sparrow.trouble import NotShownError

LEVELS = 16
"""Shades from black to white; 4 bits a pixel are enough for text, and quick to write."""
KEPT_WORDS = 1 << 16
"""Drawn words kept in memory; with as many, all are forgotten."""

_SHAPED = re.compile(
    "[\u0300-\u036f\u0590-\u109f\u1100-\u11ff\u1700-\u18af\u1900-\u1cff\u1dc0-\u1dff\u200c\u200d\u20d0-\u20ff"
    "\ua800-\uabff\ufb1d-\ufdff\ufe20-\ufe2f\ufe70-\ufefe\U00010800-\U00011fff\U0001e000-\U0001efff]"
)
"""Characters whose form or place depends on their neighbours."""


class Ink(NamedTuple):
    """A drawn word: its box as the layout needs it, and its pixels.

    Attributes:
        width: Pixels from where the word begins to where the next may; no ink lies outside.
        above: Pixels of ink above the baseline.
        below: Pixels of ink below the baseline.
        left: Pixels from where the word begins to its mask.
        mask: uint8 [above + below, columns]: 0 black to 15 white.
    """

    width: int
    above: int
    below: int
    left: int
    mask: npt.NDArray[np.uint8]


class Pen:
    """Draws and measures words, and remembers them.

    Combining and right-to-left scripts are shaped by raqm, which Pillow brings; other words are drawn letter
    by letter, with kerning.
    """

    def __init__(self, fonts: Sequence[Path] = ()) -> None:
        self.fonts = Fonts(fonts)
        self._main = Font(fonts[0] if fonts else bundled())
        self._faces: dict[tuple[Font, int, bool], Face] = {}
        self._drawn: dict[tuple[str, int], Ink] = {}

    def word(self, text: str, size: int) -> Ink:
        """A word in letters of so many pixels.

        Raises:
            NotShownError: No font has one of its characters, or its script needs raqm and Pillow has none.
        """
        ink = self._drawn.get((text, size))
        if ink is None:
            if len(self._drawn) >= KEPT_WORDS:
                self._drawn.clear()
            ink = self._drawn[text, size] = self._draw(text, size)
        return ink

    def metrics(self, size: int) -> Metrics:
        """What a line of text in letters of this size needs."""
        face = self._face(self._main, size, shaped=False)
        return Metrics(face.ascent, face.descent, face.space)

    def _draw(self, text: str, size: int) -> Ink:
        shaped = bool(_SHAPED.search(text))
        if shaped and not features.check("raqm"):
            told = f"{text}: install libfribidi, or a Pillow with raqm"
            raise NotShownError("its script needs Pillow with raqm", told)
        runs = self.fonts.runs(text)
        strokes, start = list[Stroke](), 0.0
        for font, piece in reversed(runs) if RIGHT_TO_LEFT.search(text) else runs:
            found, width = self._face(font, size, shaped=shaped).strokes(piece)
            strokes += (
                [Stroke(left + round(start), top, mask) for left, top, mask in found] if start else found
            )
            start += width
        return _joined([stroke for stroke in strokes if stroke.mask.size], ceil(start))

    def _face(self, font: Font, size: int, *, shaped: bool) -> Face:
        face = self._faces.get((font, size, shaped))
        if face is None:
            face = self._faces[font, size, shaped] = Face(font, size, shaped=shaped)
        return face


def _joined(strokes: list[Stroke], advance: int) -> Ink:
    """Strokes on one baseline as one picture."""
    first = min((left for left, _, _ in strokes), default=0)
    last = max((left + mask.shape[1] for left, _, mask in strokes), default=0)
    top = min((top for _, top, _ in strokes), default=0)
    bottom = max((top + len(mask) for _, top, mask in strokes), default=0)
    above, below = max(-top, 0), max(bottom, 0)
    whole = np.zeros((above + below, last - first), np.uint8)
    for left, row, mask in strokes:
        place = whole[row + above : row + above + len(mask), left - first : left - first + mask.shape[1]]
        np.maximum(place, mask, out=place)
    begin = min(first, 0)
    shades = np.uint8(LEVELS - 1) - (whole >> np.uint8(4))
    return Ink(max(advance, last) - begin, above, below, first - begin, shades)
