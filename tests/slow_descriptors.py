"""Descriptors that a cluster's workers can load fast, and that take their time."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from gdo.descriptors.base import Column, DeviceDescriptor, Values
from gdo.pool.frames import FrameBudget, Frames


class Slow:
    """Mean brightness of the first frame."""

    name = "slow"
    version = 1
    probe = ""
    subject: Literal["media"] = "media"
    columns: Mapping[str, Column] = {"light": Column("DOUBLE", "", "mean brightness, 0 to 255")}
    frames = FrameBudget(frames=2)
    needs_stills = True

    def compute(self, batch: Sequence[Frames]) -> Values:
        time.sleep(0.2)
        return {"light": [float(frames.images[0].mean()) for frames in batch]}


class Halves(DeviceDescriptor):
    """The same in two halves; tells how large the device's batch was."""

    name = "halves"
    version = 1
    probe = "device"
    columns: Mapping[str, Column] = {
        **Slow.columns,
        "batch": Column("INTEGER", "media", "computed together"),
    }
    frames = FrameBudget(frames=2)
    needs_stills = True

    def prepare(self, frames: Frames) -> Any:
        return frames.images[0]

    def load(self, device: str) -> Callable[[Sequence[Any]], Values]:
        assert device == "cpu"
        return lambda batch: {
            "light": [float(image.mean()) for image in batch],
            "batch": [len(batch)] * len(batch),
        }
