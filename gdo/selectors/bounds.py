"""Quotas, bounds and floors: what a subset of N samples must look like (spec section 5)."""

import math
from dataclasses import dataclass

import numpy as np

from gdo.selectors.candidates import Candidates, Integers, Mask
from gdo.selectors.preset import Preset


@dataclass(frozen=True)
class Bounds:
    """The feasibility set of one preset on one pool."""

    quotas: Integers
    """Places per stratum, in order of first appearance."""
    bucket_quotas: dict[str, int]
    min_video: int
    max_video: int
    min_temporal: int
    floors: dict[int, int]
    """Code of the source group -> samples it must have; largest group first."""
    caps: Integers
    """Candidates kept per stratum."""
    temporal: Mask
    """Samples that count towards `min_temporal`."""


def plan_bounds(candidates: Candidates, count: int, preset: Preset) -> Bounds:
    """What the preset asks of a subset of `count` samples."""
    quotas = largest_remainder(np.bincount(candidates.stratum), count)
    buckets = largest_remainder(candidates.counts["bucket"], count)
    bucket_quotas = dict(zip(candidates.fields["bucket"].names, buckets.tolist(), strict=True))
    share = preset.min_video_ratio if preset.min_video_ratio >= 0 else float(candidates.video.mean())
    min_video = math.ceil(share * count)
    max_video = count
    if preset.max_video_ratio >= 0:
        max_video = min(count, max(min_video, math.floor(preset.max_video_ratio * count)))
    min_temporal = math.ceil(
        preset.min_temporal_in_video_ratio * max(min_video, bucket_quotas.get("short_video", 0))
    )
    categories = candidates.fields["temporal_category"]
    counted = np.array([name in preset.temporal_categories for name in categories.names])
    temporal = candidates.video & counted[categories.codes]
    return Bounds(
        quotas=quotas,
        bucket_quotas={name: int(quota) for name, quota in bucket_quotas.items()},
        min_video=min_video,
        max_video=max_video,
        min_temporal=min_temporal,
        floors=_floors(candidates, count, preset),
        caps=_caps(candidates, quotas, temporal, preset),
        temporal=temporal,
    )


def largest_remainder(counts: Integers, places: int) -> Integers:
    """Share out places in proportion to counts; the largest fractions get one more, ties in their order."""
    exact = places * (counts / counts.sum())
    quotas: Integers = np.floor(exact).astype(np.int64)
    order = np.argsort(-(exact - quotas), kind="stable")
    quotas[order[: places - int(quotas.sum())]] += 1
    return quotas


def _floors(candidates: Candidates, count: int, preset: Preset) -> dict[int, int]:
    """Samples that each of the largest source groups must have, as far as they can be asked for."""
    counts = candidates.counts["source_group"]
    largest = np.argsort(-counts, kind="stable")[: preset.source_group_floor_topk]
    floors = {}
    for code in largest.tolist():
        expected = count * (int(counts[code]) / len(candidates))
        need = max(
            math.ceil(count * preset.min_source_group_ratio),
            math.ceil(preset.source_group_floor_frac_of_expected * expected),
        )
        if 0 < need <= math.floor(expected):
            floors[code] = need
    limit, asked = math.floor(preset.source_group_floor_max_share * count), sum(floors.values())
    if asked > limit:
        floors = {code: max(1, math.floor(need * (limit / asked))) for code, need in floors.items()}
    return floors


def _caps(candidates: Candidates, quotas: Integers, temporal: Mask, preset: Preset) -> Integers:
    """Candidates per stratum: its quota times the oversampling of its kind; none where the quota is 0."""
    video = candidates.video[candidates.strata]
    factors = np.full(len(quotas), preset.oversample_factor)
    factors[video] = max(preset.oversample_factor, preset.video_oversample_factor)
    moving = temporal[candidates.strata]
    factors[moving] = np.maximum(factors[moving], preset.temporal_oversample_factor)
    return np.where(quotas > 0, np.maximum(quotas, np.ceil(quotas * factors).astype(np.int64)), 0)
