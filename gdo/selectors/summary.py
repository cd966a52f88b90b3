"""What a selection reports: budget, bounds, stages, profiles and what could not be met (spec section 7)."""

from collections import Counter
from typing import Any

import numpy as np

from gdo.selectors.bounds import Bounds
from gdo.selectors.candidates import FIELDS, Candidates, Floats, Integers, Mask
from gdo.selectors.fill import Filled
from gdo.selectors.preset import Preset

TOP = 5
"""Sources named where something binds."""


def summarise(
    candidates: Candidates,
    target: int,
    budget: dict[str, Any],
    bounds: Bounds,
    filled: Filled,
    uniform: Integers,
    preset: Preset,
) -> dict[str, Any]:
    """The report of a selection, with the reference's names."""
    chosen = np.array(filled.chosen, dtype=np.int64)
    groups = candidates.fields["source_group"]
    overlap = int(np.isin(chosen, uniform).sum())
    counts = {"pool": candidates.counts, "subset": candidates.counts_of(chosen)}
    counts["uniform"] = candidates.counts_of(uniform)
    profiles = {part: _named(candidates, counted) for part, counted in counts.items()}
    return {
        "total_pairs": len(candidates),
        "target_count": target,
        "selected_count": len(chosen),
        "uniform_taken": len(uniform),
        "budget": budget,
        "described_share": float(candidates.described.mean()),
        "num_strata": len(candidates.strata),
        "bucket_quotas": bounds.bucket_quotas,
        "constraints": {
            "min_video_count": bounds.min_video,
            "max_video_count": bounds.max_video,
            "min_temporal_video_count": bounds.min_temporal,
            "source_group_floor_requirements": {groups.names[c]: n for c, n in bounds.floors.items()},
            "selection_stage_counts": filled.stage_counts,
            "unmet_constraints": filled.unmet,
        },
        "met": {
            "video_count": filled.videos,
            "temporal_video_count": int(bounds.temporal[chosen].sum()),
            "source_groups": profiles["subset"]["source_group"],
        },
        "unmet_because": {
            name: what_binds(candidates, bounds, filled, preset, _affected(candidates, bounds, name))
            for name in filled.unmet
        },
        "subset_js_to_pool": _divergences(candidates.counts, counts["subset"]),
        "uniform_js_to_pool": _divergences(candidates.counts, counts["uniform"]),
        "profiles": profiles,
        "overlap": {
            "count": overlap,
            "share": overlap / max(1, min(len(chosen), len(uniform))),
        },
    }


def why_not(candidates: Candidates, bounds: Bounds, filled: Filled, preset: Preset, index: int) -> str:
    """What kept one sample out of the subset."""
    quota = int(bounds.quotas[candidates.stratum[index]])
    if not filled.kept[index]:
        return "near-duplicate of a sample with a higher rho"
    if int(candidates.text_hash[index]) in filled.texts:
        return "exact duplicate of a chosen text"
    if candidates.video[index]:
        if filled.per_video.get(int(candidates.video_uid[index]), 0) >= preset.max_qa_per_video:
            return f"per-video cap: {preset.max_qa_per_video} samples of its video are chosen"
        if filled.videos >= bounds.max_video:
            return f"max_video: the subset may hold {bounds.max_video} videos"
    if quota == 0:
        return "stratum quota is 0"
    if not filled.candidate[index]:
        cap = int(bounds.caps[candidates.stratum[index]])
        return f"below the best {cap} of its stratum (quota {quota})"
    return "the subset was full before its rho came up"


def what_binds(
    candidates: Candidates, bounds: Bounds, filled: Filled, preset: Preset, affected: Mask
) -> dict[str, Any]:
    """Why no more of these samples were taken: counts by reason, and for each the sources it hits most."""
    left = affected.copy()
    left[np.array(filled.chosen, dtype=np.int64)] = False
    groups = candidates.fields["source_group"]
    reasons: dict[str, Counter[str]] = {}
    for index in np.flatnonzero(left).tolist():
        reason = why_not(candidates, bounds, filled, preset, index).partition(":")[0].partition(" (")[0]
        if reason.startswith("below the best"):
            reason = "below the stratum's candidate cap"
        reasons.setdefault(reason, Counter())[groups.names[groups.codes[index]]] += 1
    return {
        "in_pool": int(affected.sum()),
        "left_out": {reason: sum(counter.values()) for reason, counter in reasons.items()},
        "sources": {reason: dict(counter.most_common(TOP)) for reason, counter in reasons.items()},
    }


def _affected(candidates: Candidates, bounds: Bounds, bound: str) -> Mask:
    """The samples that could have met a bound."""
    if bound == "video_min":
        return candidates.video
    if bound == "temporal_video_min":
        return bounds.temporal
    if bound.startswith("source_group::"):
        groups = candidates.fields["source_group"]
        return np.equal(groups.codes, groups.names.index(bound.removeprefix("source_group::")))
    return np.ones(len(candidates), dtype=np.bool_)


def _named(candidates: Candidates, counts: dict[str, Integers]) -> dict[str, dict[str, int]]:
    """Samples per field and value."""
    return {
        name: dict(zip(candidates.fields[name].names, counts[name].tolist(), strict=True)) for name in FIELDS
    }


def _divergences(pool: dict[str, Integers], part: dict[str, Integers]) -> dict[str, float]:
    return {
        name: jensen_shannon(pool[name] / pool[name].sum(), part[name] / max(1, int(part[name].sum())))
        for name in FIELDS
    }


def jensen_shannon(p: Floats, q: Floats) -> float:
    """Jensen-Shannon divergence in nats: 0 for equal distributions, ln 2 for disjoint ones."""
    middle = (p + q) / 2

    def half(x: Floats) -> float:
        seen = x > 0
        return float(np.sum(x[seen] * np.log(x[seen] / middle[seen])))

    return max(0.0, (half(p) + half(q)) / 2)
