"""How large a self-proxy is and what it is shown; a GPU looks at more of the pool."""

from dataclasses import dataclass

from gdo.descriptors.probe.contract import CONTRACT_BUDGET, ProbeSettings
from gdo.pool.frames import FrameBudget

PATCH = 8
"""Side of a patch in pixels."""
MERGE = 2
"""Patches of a visual token, along each side."""


@dataclass(frozen=True, slots=True)
class Shape:
    """The size of a model and of what it sees.

    Attributes:
        hidden: Width of the text part.
        layers: Layers of the text part.
        heads: Attention heads of the text part.
        vision_hidden: Width of the vision tower.
        vision_layers: Layers of the vision tower.
        vision_heads: Attention heads of the vision tower.
        deepstack: Layers of the tower whose states are added to the text part's, too.
        initial: Spread of the random weights; with the usual 0.02 so small a model hardly comes to use
            pictures.
        taught: It begins with the weights in `base/`, which are of this size; else with random ones.
        vocabulary: Most tokens of the tokenizer.
        frames: Most frames of a video.
        image_pixels: Pixels that an image is scaled to, about.
        frame_pixels: Pixels that a frame of a video is scaled to, about.
        samples: Most samples of the pool that are trained on.
        batch_tokens: Tokens of a batch.
        minutes: Time of the training, unless told.
        rate: Highest learning rate; with 3e-4 much of what the base can read is gone within a minute.
    """

    hidden: int = 128
    layers: int = 4
    heads: int = 4
    vision_hidden: int = 128
    vision_layers: int = 3
    vision_heads: int = 4
    deepstack: tuple[int, ...] = ()
    initial: float = 0.06
    taught: bool = True
    vocabulary: int = 4096
    frames: int = 8
    image_pixels: int = 144 * 144
    frame_pixels: int = 80 * 80
    samples: int = 4096
    batch_tokens: int = 1024
    minutes: float = 4.0
    rate: float = 2e-4

    @property
    def settings(self) -> ProbeSettings:
        """What the probe must use when it asks this model.

        Pictures are read larger than the model sees them: its processor scales them down in one step. Shrunk
        twice, signs were hard to read.
        """
        budget = FrameBudget(frames=self.frames, max_pixels=CONTRACT_BUDGET.max_pixels)
        return ProbeSettings(budget=budget, frames_as="video")


CPU = Shape()
CUDA = Shape(samples=32_768, batch_tokens=8192, minutes=10.0)
