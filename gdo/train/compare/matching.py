"""What trajectories are compared by: peak match, reduction, delta (spec/training.md, arXiv 2603.12478).

All of it works on many trajectories at once, since the bootstrap makes thousands of them.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
ROUNDING = 1e-9
"""Accuracies that differ by less are the same."""


def peak_match(amounts: Floats, accuracies: Floats, target: Floats) -> Floats:
    """The least amount of training at which each trajectory reaches its target; infinity where it never does.

    Between two checkpoints the trajectory is a straight line. One that begins at its target or above has
    matched it at its first checkpoint, which is 0 where the starting model was evaluated.

    Args:
        amounts: Samples, tokens or frames at each checkpoint, ascending, [trajectories, checkpoints].
        accuracies: Of the same shape.
        target: [trajectories].
    """
    reached = accuracies >= target[:, None] - ROUNDING
    at = reached.argmax(axis=1)
    lines = np.arange(len(amounts))
    before = np.maximum(at - 1, 0)
    low, high = accuracies[lines, before], accuracies[lines, at]
    rise = high - low
    share = np.divide(target - low, rise, out=np.ones_like(rise), where=rise > 0)
    start, end = amounts[lines, before], amounts[lines, at]
    return np.where(
        reached.any(axis=1), start + np.where(at > 0, share.clip(max=1.0), 1.0) * (end - start), np.inf
    )


@dataclass(frozen=True, slots=True)
class Match:
    """Trajectories held against the ends of their controls, [trajectories] each.

    Attributes:
        peak: Amount at which the control's final accuracy is matched; infinity for never.
        reduction: The control's amount over `peak`; 0 for never, infinity for at once.
        delta: Best accuracy less the control's final one, in points.
        final_delta: Final accuracy less the control's, in points.
    """

    peak: Floats
    reduction: Floats
    delta: Floats
    final_delta: Floats


def match(amounts: Floats, accuracies: Floats, control_amount: Floats, control_accuracy: Floats) -> Match:
    """Hold trajectories against their controls.

    Args:
        amounts: Of training at each checkpoint, [trajectories, checkpoints].
        accuracies: Shares of 1, of the same shape.
        control_amount: Of each control at its end, [trajectories].
        control_accuracy: Of each control at its end, [trajectories].
    """
    peak = peak_match(amounts, accuracies, control_accuracy)
    with np.errstate(divide="ignore"):
        reduction = np.where(np.isfinite(peak), control_amount / peak, 0.0)
    best, final = accuracies.max(axis=1), accuracies[:, -1]
    return Match(peak, reduction, 100 * (best - control_accuracy), 100 * (final - control_accuracy))
