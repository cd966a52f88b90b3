"""How much a sample needs its pictures, and how hard it is: its losses with and without them."""

import math
from collections.abc import Mapping
from typing import Literal

from gdo.descriptors.base import Column, ProbedDescriptor
from gdo.descriptors.probe.contract import Scored

WIDEST = 30.0
"""Losses beyond this, in nats, are cut before they become a perplexity."""


class Dependency(ProbedDescriptor[Scored]):
    """`loss_blind`, `loss_video`, `vds` and `ppl`: what a model loses when the media are taken away.

    Source: VDS and PPL of arXiv 2603.12478, as its public code computes them.
    """

    name = "dependency"
    version = 1
    asks: Literal["losses"] = "losses"
    columns: Mapping[str, Column] = {
        "loss_blind": Column(
            "DOUBLE", "nats", "mean cross-entropy of the answer, media not shown; 0 or more"
        ),
        "loss_video": Column("DOUBLE", "nats", "mean cross-entropy of the answer, media shown; 0 or more"),
        "vds": Column("DOUBLE", "nats", "loss_blind - loss_video; above 0 where the media help"),
        "ppl": Column("DOUBLE", "", "exp(loss_video clipped to [-30, 30]); 1 or more"),
    }

    def row(self, said: Scored) -> Mapping[str, float | str | None]:
        """Both losses and what follows from them; a loss that is not finite is missing."""
        blind, video = finite(said.loss_blind), finite(said.loss_video)
        whole = blind is not None and video is not None
        return {
            "loss_blind": blind,
            "loss_video": video,
            "vds": None if blind is None or video is None else blind - video,
            "ppl": None if video is None else math.exp(min(max(video, -WIDEST), WIDEST)),
            "error": None if whole else said.error or "the loss is not finite",
        }


def finite(value: float | None) -> float | None:
    """The value, unless it is infinite or not a number."""
    return value if value is not None and math.isfinite(value) else None
