"""The budget: how many samples a subset has, and how that number came about (spec section 3)."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from gdo.selectors.candidates import Candidates, Floats, Integers
from gdo.selectors.preset import Preset


def plan_budget(candidates: Candidates, vds3_rows: Floats, preset: Preset) -> tuple[int, dict[str, Any]]:
    """Size of the subset, with the reference's names for each step.

    Args:
        candidates: What may be chosen.
        vds3_rows: VDS3 of every row of the descriptor table.
        preset: A fixed count, a fixed ratio, or the bounds of the automatic budget.
    """
    total = len(candidates)
    if preset.count is not None:
        return min(preset.count, total), {"mode": "fixed_count", "requested_count": preset.count}
    if preset.ratio is not None:
        return max(1, math.floor(total * preset.ratio)), {
            "mode": "fixed_ratio",
            "requested_ratio": preset.ratio,
        }
    counts = np.bincount(candidates.stratum)
    effective = _effective_strata(counts / total)
    covered, tail = _coverage(counts, total, preset.coverage_mass)
    # Rounded first: the last bit of an entropy differs between machines, the size of a subset must not.
    n_effective = math.ceil(round(effective * preset.effective_strata_mult, 9))
    n_tail = math.ceil(preset.tail_target / tail)
    n_min, n_max = math.ceil(total * preset.min_ratio), math.floor(total * preset.max_ratio)
    count = max(preset.min_count, n_min, n_effective, n_tail)
    count = max(1, min(count, preset.max_count, n_max, total))
    count, adjustment = _adjust(count, total, vds3_rows, preset)
    return count, {
        "mode": "distribution_auto",
        "effective_strata": effective,
        "coverage_mass": preset.coverage_mass,
        "covered_strata": covered,
        "tail_prob_at_coverage": tail,
        "n_from_effective_strata": n_effective,
        "n_from_tail_coverage": n_tail,
        "n_from_min_ratio": n_min,
        "n_from_max_ratio": n_max,
        "recommended_count": count,
        "recommended_ratio": count / total,
        "vds3_adjustment": adjustment,
    }


def why_small(budget: Mapping[str, Any], preset: Preset) -> str | None:
    """A sentence where the pool is too small for the least size that the preset asks; else None."""
    most = budget.get("n_from_max_ratio", preset.min_count)
    if most >= preset.min_count:
        return None
    return (
        f"max_ratio ({preset.max_ratio:.1%} of the pool) fixes the size, under the {preset.min_count:,} that "
        "the preset asks at least: it is made for pools of millions; --count N takes N"
    )


def _effective_strata(shares: Floats) -> float:
    """Exponential of the entropy of the strata's shares."""
    return float(math.exp(-math.fsum(shares * np.log(shares))))


def _coverage(counts: Integers, total: int, mass: float) -> tuple[int, float]:
    """How many of the largest strata it takes to reach that mass, and the share of the last of them."""
    shares = np.sort(counts / total)[::-1]
    reached = int(np.searchsorted(np.cumsum(shares), mass))
    last = min(reached, len(shares) - 1)
    return last + 1, float(shares[last])


def _adjust(count: int, total: int, vds3: Floats, preset: Preset) -> tuple[int, dict[str, Any]]:
    """More samples where too few rows depend on their video, so that enough of them are drawn."""
    if not len(vds3):
        return count, {"enabled": False}
    positive = int((vds3 > preset.vds3_threshold).sum())
    cap = min(
        total,
        preset.max_count,
        math.ceil(count * preset.vds3_max_mult),
        math.floor(total * preset.max_ratio),
    )
    share = positive / len(vds3)
    wanted = math.ceil(preset.vds3_target_positive / share) if positive else count
    adjusted = max(1, min(max(count, wanted), cap)) if positive else count
    return adjusted, {
        "enabled": True,
        "vds3_positive_ratio": share,
        "vds3_positive_count": positive,
        "vds3_total_count": len(vds3),
        "vds3_threshold": preset.vds3_threshold,
        "vds3_target_positive": preset.vds3_target_positive,
        "n_from_vds3_positive": wanted,
        "vds3_adjust_cap": cap,
        "adjusted_target": adjusted,
    }
