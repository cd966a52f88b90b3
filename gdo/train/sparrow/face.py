"""A font in one size: letters are drawn once, and words put together from them as Pillow would."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import ImageFont

from gdo.train.sparrow.glyphs import Font

Mask = npt.NDArray[np.uint8]
"""Ink, uint8 [rows, columns]: 0 none to 255 black."""


class Stroke(NamedTuple):
    """Ink at its place: columns from where a word begins, rows below its baseline."""

    left: int
    top: int
    mask: Mask


class Face:
    """A font in letters of `size` pixels.

    Args:
        font: The font.
        size: Of the letters.
        shaped: Leave whole words to raqm, which knows how letters change beside others; otherwise letters
            stand side by side, kerned.

    Raises:
        OSError: FreeType cannot use the font.
    """

    def __init__(self, font: Font, size: int, *, shaped: bool) -> None:
        engine = ImageFont.Layout.RAQM if shaped else ImageFont.Layout.BASIC
        self._face = ImageFont.truetype(str(font.path), size, layout_engine=engine)
        self._shaped = shaped
        self._letters: dict[str, tuple[Stroke, float]] = {}
        self._kerns: dict[str, float] = {}
        self.ascent, self.descent = self._face.getmetrics()
        self.space = round(self._face.getlength(" "))

    def strokes(self, text: str) -> tuple[list[Stroke], float]:
        """The ink of a word, and how far it goes on the baseline, in pixels."""
        if self._shaped:
            stroke, width = self._drawn(text)
            return [stroke], width
        strokes, start, before = list[Stroke](), 0.0, ""
        for sign in text:
            letter = self._letters.get(sign)
            if letter is None:
                letter = self._letters[sign] = self._drawn(sign)
            if before:
                pair = before + sign
                kern = self._kerns.get(pair)
                if kern is None:
                    kern = self._kerns[pair] = self._kern(pair)
                start += kern
            (left, top, mask), width = letter
            strokes.append(Stroke(round(start) + left, top, mask))
            start += width
            before = sign
        return strokes, start

    def _kern(self, pair: str) -> float:
        """How much closer two letters stand than apart."""
        apart = sum(self._face.getlength(sign) for sign in pair)
        return self._face.getlength(pair) - apart

    def _drawn(self, text: str) -> tuple[Stroke, float]:
        core, (left, top) = self._face.getmask2(text, "L", anchor="ls")
        columns, rows = core.size
        mask = np.frombuffer(bytes(core), np.uint8).reshape(rows, columns)
        return Stroke(left, top, mask), self._face.getlength(text)
