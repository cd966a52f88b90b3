"""Motion in two halves, for a GPU: readers make small grey pictures, the device computes many clips at once.

The grey pictures, and with them `frame_diversity`, are exactly those of `motion`. `amm` is OpenCV's to about
1e-5 of its value, or 1e-4 pixels. It may differ by 1 % where straight edges cut large empty areas: flow is
undetermined there, and noise of 1e-5 grey levels in the pictures changes OpenCV's own as much.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.base import DeviceDescriptor, Values
from gdo.descriptors.motion import SIDE, Grey, Motion, to_grey
from gdo.pool.frames import Frames

PICTURES = {"cpu": 8, "cuda": 256}
"""Pictures that a device is given at once, 12 MB for each; always so many, as rounding may depend on it."""


class MotionOnDevice(DeviceDescriptor):
    """`amm` and `frame_diversity` of a medium, its flow computed in torch."""

    name = Motion.name
    version = Motion.version
    probe = "torch"
    columns = Motion.columns
    frames = Motion.frames
    needs_stills = Motion.needs_stills

    def prepare(self, frames: Frames) -> Grey:
        """The grey pictures of one medium: uint8 [frames, 224, 224]."""
        return to_grey(frames.images)

    def load(self, device: str) -> Callable[[Sequence[Grey]], Values]:
        """The device half: from the grey pictures of many media to their motion."""
        return partial(_motion_of_all, device)


def _motion_of_all(device: str, batch: Sequence[Grey]) -> Values:
    """Motion of each medium; 0 where it has one picture or none."""
    found = [(0.0, 0.0)] * len(batch)
    pictures = PICTURES[device.partition(":")[0]]
    for clips in _fill(batch, pictures):
        for number, motion in zip(clips, _motions([batch[n] for n in clips], pictures, device), strict=True):
            found[number] = motion
    return {"amm": [amm for amm, _ in found], "frame_diversity": [diversity for _, diversity in found]}


def _fill(batch: Sequence[Grey], pictures: int) -> Iterator[list[int]]:
    """Numbers of the media with two pictures or more, as many at a time as fit among `pictures`."""
    clips: list[int] = []
    for number, grey in enumerate(batch):
        if len(grey) < 2:
            continue
        if clips and sum(len(batch[n]) for n in clips) + len(grey) > pictures:
            yield clips
            clips = []
        clips.append(number)
    if clips:
        yield clips


def _motions(clips: Sequence[Grey], pictures: int, device: str) -> list[tuple[float, float]]:
    """`amm` and `frame_diversity` of clips that fill at most `pictures`; black pictures fill the rest."""
    ends = np.cumsum([0, *map(len, clips)])
    together = np.zeros((pictures, SIDE, SIDE), dtype=np.uint8)
    together[: ends[-1]] = np.concatenate(clips)
    lengths, differences = _neighbours(together, device)
    return [
        (float(np.mean(lengths[first : end - 1])), float(np.mean(differences[first : end - 1])))
        for first, end in pairwise(ends)
    ]


def _neighbours(pictures: Grey, device: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean length of the flow, and mean grey difference, between each picture and the next."""
    import torch

    from gdo.descriptors.flow import farneback

    grey = torch.from_numpy(pictures).to(device)
    found = farneback(SIDE, SIDE, grey.device).along(grey.float())
    lengths = torch.linalg.vector_norm(found, dim=1).mean(dim=(1, 2), dtype=torch.float64)
    differences = grey.int().diff(dim=0).abs().sum(dim=(1, 2)).double() / SIDE**2 / 255
    return lengths.cpu().numpy(), differences.cpu().numpy()
