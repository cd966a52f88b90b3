"""How many tokens samples have, about, without reading their media: what rows are filled by.

Pictures are taken to be as large as the recipe allows, so that a row hardly ever becomes longer than planned.
The ledger tells the true number.
"""

import math
from collections.abc import Sequence

import numpy as np

from gdo.pool.frames import Frames, MediaInfo, MediaKind
from gdo.train.encode import Encoder
from gdo.train.samples import Medium, Sample, Turn


class Measure:
    """Estimates the tokens of samples by the tokenizer, and by one picture and one clip encoded for size."""

    def __init__(self, encoder: Encoder) -> None:
        self._tokenizer = encoder.processor.tokenizer
        self._recipe = encoder.recipe
        turns = (Turn("user", ()), Turn("assistant", ("",)))
        bare = len(encoder.join(turns, []).ids)
        self._of_turn = math.ceil(bare / 2)
        self._of_picture, self._of_pair = 0, 0
        if encoder.stand_ins():
            self._of_picture = self._size(encoder, 1) - bare
            self._of_pair = self._size(encoder, 2) - bare

    def _size(self, encoder: Encoder, frames: int) -> int:
        """Tokens of a conversation that shows so many of the largest square frames."""
        side = math.isqrt(self._recipe.max_pixels)
        black = [np.zeros((side, side, 3), dtype=np.uint8)] * frames
        kind: MediaKind = "image" if frames == 1 else "frames"
        shown = Frames(black, list(range(frames)), None, MediaInfo(kind, side, side, frames=frames))
        turns = (Turn("user", (Medium(kind, ()),)), Turn("assistant", ("",)))
        return len(encoder.join(turns, [shown]).ids)

    def __call__(self, samples: Sequence[Sample]) -> list[int]:
        """Tokens of each sample."""
        texts = ["\n".join(turn.text for turn in sample.turns) for sample in samples]
        counts = [len(ids) for ids in self._tokenizer(texts, add_special_tokens=False)["input_ids"]]
        return [
            count + self._of_turn * len(sample.turns) + sum(map(self._of_medium, sample.media))
            for count, sample in zip(counts, samples, strict=True)
        ]

    def _of_medium(self, medium: Medium) -> int:
        listed = len(medium.paths) if medium.kind != "video" else self._recipe.frames
        frames = min(listed, self._recipe.frames)
        if frames == 1 or self._recipe.frames_as == "images":
            return frames * self._of_picture
        return math.ceil(frames / 2) * self._of_pair
