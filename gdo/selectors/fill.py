"""The staged fill: hard bounds, then the strata's quotas, then the best of the rest (spec section 6)."""

from dataclasses import dataclass, field

import numpy as np

from gdo.selectors.bounds import Bounds
from gdo.selectors.candidates import Candidates, Floats, Hashes, Integers, Mask
from gdo.selectors.preset import Preset
from gdo.selectors.sorting import by_code, highest_by_code

TEMPORAL, VIDEO, SOURCE = "hard_temporal_video", "hard_video", "hard_source_group::"
QUOTA, TAIL, RESERVOIR = "stratum_quota", "global_tail", "uniform_reservoir"
"""Names of the stages, as the reference reports them."""


@dataclass
class Filled:
    """What the stages took, in the order in which they took it."""

    candidate: Mask
    """Samples left by the stratum's cap, near-duplicates of better ones taken out first."""
    order: Integers
    """Their indices by rho downwards."""
    best: Integers
    """For each sample the one of its near-duplicates that may be chosen, itself where it has none."""
    chosen: list[int] = field(default_factory=list)
    stages: list[str] = field(default_factory=list)
    texts: set[int] = field(default_factory=set)
    per_video: dict[int, int] = field(default_factory=dict)
    videos: int = 0
    unmet: dict[str, int] = field(default_factory=dict)
    """Bound -> by how many samples it was missed."""

    @property
    def kept(self) -> Mask:
        """Samples that have no better near-duplicate."""
        return np.equal(self.best, np.arange(len(self.best)))

    @property
    def stage_counts(self) -> dict[str, int]:
        """Samples per stage, in the order of the stages."""
        counts: dict[str, int] = {}
        for stage in self.stages:
            counts[stage] = counts.get(stage, 0) + 1
        return counts


class _Filler:
    """Takes samples one by one under the rules that hold in every stage."""

    def __init__(self, candidates: Candidates, bounds: Bounds, count: int, preset: Preset, filled: Filled):
        self.filled, self.count = filled, count
        self.max_video, self.cap = bounds.max_video, preset.max_qa_per_video
        self.text, self.video = candidates.text_hash, candidates.video_uid
        self.is_taken = bytearray(len(candidates))

    def take(self, members: Integers, stage: str, most: int) -> int:
        """Take up to `most` of these samples, in order; how many were taken."""
        filled, taken = self.filled, 0
        if most <= 0:
            return 0
        columns = (members, self.text[members], self.video[members])
        for index, text, video in zip(*(column.tolist() for column in columns), strict=True):
            if len(filled.chosen) >= self.count:
                break
            if self.is_taken[index] or text in filled.texts:
                continue
            if video >= 0:
                here = filled.per_video.get(video, 0)
                if filled.videos >= self.max_video or here >= self.cap:
                    continue
                filled.per_video[video] = here + 1
                filled.videos += 1
            self.is_taken[index] = 1
            filled.texts.add(text)
            filled.chosen.append(index)
            filled.stages.append(stage)
            taken += 1
            if taken >= most:
                break
        return taken


def fill(
    candidates: Candidates,
    rho: Floats,
    ties: Hashes,
    bounds: Bounds,
    count: int,
    preset: Preset,
    reservoir: Integers,
    best: Integers,
) -> Filled:
    """Choose `count` samples.

    Args:
        candidates: What may be chosen.
        rho: What each is worth.
        ties: What puts samples of equal rho in order.
        bounds: Quotas, bounds, floors and caps.
        count: Size of the subset.
        preset: For the per-video cap.
        reservoir: The uniform control, in its order: the last resort.
        best: For each sample the one of its near-duplicates that may be chosen, itself where it has none.
    """
    filled = _cap_strata(candidates, rho, ties, bounds, best)
    order = filled.order
    filler = _Filler(candidates, bounds, count, preset, filled)
    _hard_stages(candidates, order, bounds, filler)
    _quota_stage(candidates, order, bounds, filler)
    filler.take(order, TAIL, count - len(filled.chosen))
    if len(filled.chosen) < count:
        filler.take(reservoir[filled.kept[reservoir]], RESERVOIR, count - len(filled.chosen))
    _note_unmet(candidates, bounds, count, filled)
    return filled


def _cap_strata(candidates: Candidates, rho: Floats, ties: Hashes, bounds: Bounds, best: Integers) -> Filled:
    """Leave only the best of each stratum, and none that has a better near-duplicate."""
    kept = np.flatnonzero(best == np.arange(len(best)))
    order = kept[highest_by_code(candidates.stratum[kept], rho[kept], ties[kept], bounds.caps)]
    candidate = np.zeros(len(candidates), dtype=np.bool_)
    candidate[order] = True
    return Filled(candidate=candidate, order=order, best=best)


def _hard_stages(candidates: Candidates, order: Integers, bounds: Bounds, filler: _Filler) -> None:
    filler.take(order[bounds.temporal[order]], TEMPORAL, bounds.min_temporal)
    videos = order[candidates.video[order]]
    filler.take(videos, VIDEO, bounds.min_video - filler.filled.videos)
    groups = candidates.fields["source_group"]
    for code, floor in bounds.floors.items():
        chosen = np.array(filler.filled.chosen, dtype=np.int64)
        have = int((groups.codes[chosen] == code).sum())
        members = order[groups.codes[order] == code]
        filler.take(members, SOURCE + groups.names[code], floor - have)


def _quota_stage(candidates: Candidates, order: Integers, bounds: Bounds, filler: _Filler) -> None:
    """Each stratum up to its quota, counting what earlier stages took from it."""
    stratum = candidates.stratum[order]
    members = order[by_code(stratum, len(bounds.quotas))]
    ends = np.cumsum(np.bincount(stratum, minlength=len(bounds.quotas))).tolist()
    have = np.bincount(
        candidates.stratum[np.array(filler.filled.chosen, dtype=np.int64)], minlength=len(bounds.quotas)
    ).tolist()
    start = 0
    for code, (end, quota) in enumerate(zip(ends, bounds.quotas.tolist(), strict=True)):
        filler.take(members[start:end], QUOTA, quota - have[code])
        start = end


def _note_unmet(candidates: Candidates, bounds: Bounds, count: int, filled: Filled) -> None:
    chosen = np.array(filled.chosen, dtype=np.int64)
    groups = candidates.fields["source_group"]
    per_group = np.bincount(groups.codes[chosen], minlength=len(groups.names))
    asked = {
        "count": (count, len(chosen)),
        "video_min": (bounds.min_video, filled.videos),
        "temporal_video_min": (bounds.min_temporal, int(bounds.temporal[chosen].sum())),
    }
    asked |= {f"source_group::{groups.names[c]}": (n, int(per_group[c])) for c, n in bounds.floors.items()}
    filled.unmet = {name: want - have for name, (want, have) in asked.items() if have < want}
