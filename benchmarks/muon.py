"""Muon in single precision: matrices take steps of even size in all directions.

torch.optim.Muon works in bfloat16, which processors without it emulate at a tenth of the speed.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor

_QUINTIC = (3.4445, -4.775, 2.0315)
_ROUNDS = 5


class Muon(torch.optim.Optimizer):
    """Momentum, made nearly orthogonal; source: Jordan et al., 2024, with the scale of Liu et al., 2025.

    Args:
        weights: Matrices.
        lr: Learning rate, on the scale of AdamW's.
        momentum: Share of the last direction that is kept.
        weight_decay: Per step, times `lr`.
    """

    def __init__(
        self, weights: Iterable[Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.05
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Take a step."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                mean = state.setdefault("mean", torch.zeros_like(weight))
                mean.lerp_(weight.grad, 1 - group["momentum"])
                ahead = weight.grad.lerp(mean, group["momentum"])
                weight.mul_(1 - group["lr"] * group["weight_decay"])
                size = 0.2 * math.sqrt(max(weight.shape))
                weight.add_(_orthogonal(ahead), alpha=-group["lr"] * size)


def _orthogonal(matrix: Tensor) -> Tensor:
    """About the nearest matrix whose singular values are all one, by a Newton-Schulz iteration."""
    a, b, c = _QUINTIC
    turned = matrix.T if matrix.shape[0] > matrix.shape[1] else matrix
    turned = turned / turned.norm().clamp(min=1e-7)
    for _ in range(_ROUNDS):
        gram = turned @ turned.T
        turned = a * turned + (b * gram + c * gram @ gram) @ turned
    return turned.T if matrix.shape[0] > matrix.shape[1] else turned
