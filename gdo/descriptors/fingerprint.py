"""What a medium looks like, in a few hundred bytes a frame: enough to find its copies, without any weights.

A frame becomes the low frequencies of its grey picture (a cosine transform), which survive compression and
rescaling. Being a smooth function of the place in the picture, they can be evaluated on any part of it, so
that cropped copies can be compared as well (see duplicates/align.py).
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.base import Column, Values
from gdo.pool.frames import FrameBudget, Frames, Picture

SIDE = 64
"""Height and width of the grey pictures that are transformed."""
WAVES = 24
"""Frequencies kept along each side."""
FLAT = 3.0
"""Standard deviation of grey values (0 to 255) below which a frame shows nothing to tell it by."""

_LEVELS = 127

Floats = NDArray[np.float32]


def spectra(images: Sequence[Picture]) -> Floats:
    """The low frequencies of pictures, each stretched to a square and made grey.

    Args:
        images: RGB pictures, uint8 [height, width, 3].

    Returns:
        float32 [frames, WAVES, WAVES], rows before columns, each frame of unit length, its mean left out.
        Frames of nearly one colour are left out.
    """
    import cv2

    kept = []
    for image in images:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        small = cv2.resize(grey, (SIDE, SIDE), interpolation=cv2.INTER_AREA).astype(np.float32)
        if float(small.std()) >= FLAT:
            waves = cv2.dct(small)[:WAVES, :WAVES]
            waves[0, 0] = 0
            kept.append(waves / np.linalg.norm(waves))
    return np.array(kept, dtype=np.float32).reshape(-1, WAVES, WAVES)


def pack(waves: Floats) -> bytes:
    """Spectra as bytes, one for each number; roots are kept, so that small numbers are not lost.

    Args:
        waves: float32 [frames, WAVES, WAVES], within -1 to 1.
    """
    roots = np.sign(waves) * np.sqrt(np.abs(waves))
    return bytes(np.rint(roots * _LEVELS).astype(np.int8).tobytes())


def unpack(packed: bytes) -> Floats:
    """The spectra that `pack` was given, within a hundredth: float32 [frames, WAVES, WAVES]."""
    roots = np.frombuffer(packed, np.int8).reshape(-1, WAVES, WAVES).astype(np.float32) / _LEVELS
    return np.asarray(roots * np.abs(roots), np.float32)


class Fingerprint:
    """The spectra of up to 32 frames of a medium, four of each second where it is short.

    Source: ours (docs/explanation/near-duplicates.md).
    """

    name = "fingerprint"
    version = 1
    probe = ""
    subject: Literal["media"] = "media"
    columns: Mapping[str, Column] = {
        "spectra": Column(
            "BLOB", "", "24 x 24 frequencies of each frame that is not of one colour: roots in 127ths"
        ),
    }
    frames = FrameBudget(frames=32, fps=4.0, max_pixels=256 * 256)
    needs_stills = True

    def compute(self, batch: Sequence[Frames]) -> Values:
        """Spectra of each medium on its own; those of one that shows nothing but one colour are empty."""
        return {"spectra": [pack(spectra(frames.images)) for frames in batch]}
