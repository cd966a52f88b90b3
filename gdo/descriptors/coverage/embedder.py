"""What coverage asks of a model that turns media and texts into vectors, and which one is asked."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.probe.contract import ModelCard
from gdo.pool.frames import FrameBudget, Frames

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """What the vectors of an embedder depend on, beside its weights.

    Attributes:
        budget: The frames that it is shown of a medium.
    """

    budget: FrameBudget = field(default_factory=lambda: FrameBudget(frames=8))


class Towers(Protocol):
    """An embedder's weights on a device."""

    def media(self, prepared: Sequence[Any]) -> Vectors:
        """Vectors of length 1 of what was prepared of media, float32 [media, size]."""

    def texts(self, texts: Sequence[tuple[str, str]]) -> Vectors:
        """Vectors of length 1 of questions and their answers, float32 [texts, size]."""


class Embedder(Protocol):
    """A model that embeds media and texts. It can be pickled, and loads no weights before `load`."""

    @property
    def card(self) -> ModelCard:
        """What it is."""

    @property
    def size(self) -> int:
        """Numbers in a vector."""

    @property
    def budget(self) -> FrameBudget:
        """The frames that it wants of a medium."""

    def prepare(self, frames: Frames) -> Any:
        """What `Towers.media` takes of one medium, small and picklable; runs in a reader's process."""

    def load(self, device: str) -> Towers:
        """Load the weights.

        Raises:
            GdoError: They cannot be had.
        """
