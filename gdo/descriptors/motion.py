"""How much a clip moves: dense optical flow and grey difference between a few evenly spread frames.

Source: the released code of arXiv 2603.12478 (AMM), as told in spec/descriptors.md.
"""

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.base import Column, Values
from gdo.pool.frames import FrameBudget, Frames

SIDE = 224
"""Height and width of the grey pictures that the flow is computed on."""

Grey = NDArray[np.uint8]


def to_grey(images: Sequence[NDArray[np.uint8]]) -> Grey:
    """Turn RGB pictures grey and resize them by area.

    Args:
        images: Pictures uint8 [height, width, 3].

    Returns:
        uint8 [frames, 224, 224].
    """
    import cv2

    grey = np.empty((len(images), SIDE, SIDE), dtype=np.uint8)
    for target, image in zip(grey, images, strict=True):
        flat = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        target[:] = cv2.resize(flat, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return grey


def motion_of(grey: Grey) -> tuple[float, float]:
    """Motion between neighbouring frames, averaged over the pairs.

    Args:
        grey: uint8 [frames, 224, 224], in time order.

    Returns:
        `amm`, the mean length in pixels of the Farneback flow (0 or more), and `frame_diversity`, the mean
        absolute difference of grey values over 255 (0 to 1). Both are 0 for one frame or none.
    """
    if len(grey) < 2:
        return 0.0, 0.0
    lengths = [_flow_length(before, after) for before, after in pairwise(grey)]
    differences = np.abs(np.diff(grey.astype(np.int16), axis=0)).mean(axis=(1, 2)) / 255
    return float(np.mean(lengths)), float(np.mean(differences))


def _flow_length(before: Grey, after: Grey) -> float:
    """Mean length in pixels of the flow between two pictures."""
    import cv2

    flow = cv2.calcOpticalFlowFarneback(  # type: ignore[call-overload]
        before,
        after,
        None,
        pyr_scale=0.5,
        levels=2,
        winsize=15,
        iterations=2,
        poly_n=5,
        poly_sigma=1.1,
        flags=0,
    )
    return float(np.sqrt(np.square(flow, dtype=np.float64).sum(axis=2)).mean())


class Motion:
    """`amm` and `frame_diversity` of a medium; a still image has neither, both are 0.

    Source: AMM of arXiv 2603.12478, as its public code computes it.
    """

    name = "motion"
    version = 1
    probe = ""
    subject: Literal["media"] = "media"
    columns: Mapping[str, Column] = {
        "amm": Column(
            "DOUBLE", "pixels", "mean optical-flow length between 8 frames at 224 x 224; 0 or more"
        ),
        "frame_diversity": Column("DOUBLE", "", "mean absolute grey difference between 8 frames; 0 to 1"),
    }
    frames = FrameBudget(frames=8)
    needs_stills = False

    def compute(self, batch: Sequence[Frames]) -> Values:
        """Motion of each medium on its own."""
        pairs = [motion_of(to_grey(frames.images)) for frames in batch]
        return {"amm": [amm for amm, _ in pairs], "frame_diversity": [diversity for _, diversity in pairs]}
