"""Packed rows: several samples one after the other, each of which sees itself alone.

What keeps them apart is the text position, which begins at 0 with every sample: transformers makes the
block-diagonal mask from it (sdpa), flash attention the lengths. Nothing is padding.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from gdo.train.encode import NOT_LEARNED, Encoded

Inputs = dict[str, Tensor]


def pack_row(samples: Sequence[Encoded], stand_ins: Sequence[Encoded]) -> tuple[Inputs, Tensor]:
    """Join samples into one row, with a stand-in for every kind of picture that none of them shows.

    Args:
        samples: The samples, in order; none makes a row of stand-ins alone.
        stand_ins: What `Encoder.stand_ins` gives.

    Returns:
        The model's inputs: `input_ids` [1, length], `position_ids` [1, length] or, for models with rotary
        axes of time, height and width, [4, 1, length] with the text position first, and the pictures.
        The targets: int64 [length], at every position the token that is learned after it, or `NOT_LEARNED`.
    """
    shown = {name for sample in samples for name in sample.media}
    joined = [*samples, *(one for one in stand_ins if not shown.issuperset(one.media))]
    own = torch.cat([torch.arange(len(sample.ids)) for sample in joined])
    positions = own[None]
    if joined[0].positions.shape[0] > 1:
        positions = torch.cat([own[None], torch.cat([sample.positions for sample in joined], dim=1)])[:, None]
    inputs = {"input_ids": torch.cat([sample.ids for sample in joined])[None], "position_ids": positions}
    for name in dict.fromkeys(name for sample in joined for name in sample.media):
        inputs[name] = torch.cat([sample.media[name] for sample in joined if name in sample.media])
    targets = torch.cat([sample.labels for sample in joined]).roll(-1)
    targets[-1] = NOT_LEARNED
    return inputs, targets


def summed_loss(model: torch.nn.Module, inputs: Inputs, targets: Tensor, *, keeps: bool) -> Tensor:
    """Cross-entropy in nats, summed over all learned tokens of a row; 0 with a gradient where there are none.

    Args:
        model: A causal model that may be wrapped.
        inputs: From `pack_row`, on the model's device.
        targets: From `pack_row`, on the model's device.
        keeps: The model takes `logits_to_keep`: logits are made at the learned positions alone.
    """
    at = (targets != NOT_LEARNED).nonzero()[:, 0]
    if keeps:
        logits = model(**inputs, logits_to_keep=at, use_cache=False).logits[0]
    else:
        logits = model(**inputs, use_cache=False).logits[0, at]
    return torch.nn.functional.cross_entropy(logits.float(), targets[at], reduction="sum")
