"""The shared score rho: how much a sample is worth, term by term (spec section 4).

All arithmetic is in IEEE doubles. Machines differ in the last bits of `log` and `tanh`, so rho is rounded to
`DECIMALS` places before anything is compared; equal scores then fall to the hash of (seed, qa_uid).
"""

from dataclasses import dataclass

import numpy as np

from gdo.pool.threads import in_threads
from gdo.selectors.candidates import Candidates, Floats, Hashes
from gdo.selectors.preset import Preset

DECIMALS = 12
CHUNK = 1 << 15
"""Samples scored at a time: their terms fit into the processor's cache, and memory stays bounded."""
THREADS = 2
"""That score; each sample for itself, so that their number changes nothing."""
_ALIGNED = (
    "duration_bucket",
    "temporal_category",
    "question_form",
    "q_len_bucket",
    "a_len_bucket",
    "source_group",
)


@dataclass(frozen=True)
class Scores:
    """The score of every sample, and what its terms are worked out from."""

    rho: Floats
    vds3_rows: Floats
    """VDS3 of every row of the descriptor table, rows of no candidate included: the budget's share."""
    terms: "Terms"

    def of(self, index: int) -> dict[str, float]:
        """All terms of one sample."""
        return {name: float(values[0]) for name, values in self.terms.of(slice(index, index + 1)).items()}


def score(candidates: Candidates, preset: Preset) -> Scores:
    """Score every sample; one that has a row of descriptors is described, even where the row is empty."""
    terms = Terms(candidates, preset)
    rho, vds3 = np.empty(len(candidates)), np.empty(len(candidates))

    def fill_in(start: int) -> None:
        rows = slice(start, start + CHUNK)
        found = terms.of(rows)
        rho[rows], vds3[rows] = found["rho"], found["vds3"]

    for _ in in_threads(fill_in, range(0, len(candidates), CHUNK), THREADS):
        pass
    rows_of_no_candidate = terms.vds3(candidates.orphans)
    return Scores(rho, np.concatenate([vds3[candidates.described], rows_of_no_candidate]), terms)


class Terms:
    """The terms of rho for any samples, given the profile and the spread of the whole pool."""

    def __init__(self, candidates: Candidates, preset: Preset) -> None:
        self.candidates, self.preset = candidates, preset
        self.alignment = _alignment(candidates)
        self.bonus = _bonus(candidates, preset)
        counts = candidates.data_source.counts
        self.prior: Floats = np.log((len(candidates) + 1) / (counts + 1))
        self.spread = candidates.spread

    def of(self, rows: slice) -> dict[str, Floats]:
        """Every term of these samples, by name; `quality` is the "PPL" term, `vds3` is unclipped."""
        candidates, w = self.candidates, self.preset.weights
        questions = candidates.question_tokens[rows].astype(np.float64)
        answers = candidates.answer_tokens[rows].astype(np.float64)
        quality = self._quality(questions, answers, rows)
        z = np.abs(
            np.log(np.maximum(1.0, questions + w.difficulty_answer * answers)) - np.log(w.difficulty_length)
        )
        difficulty = np.exp(-(z**2) / (2 * w.difficulty_width**2))
        alignment, bonus = self.alignment[candidates.stratum[rows]], self.bonus[candidates.stratum[rows]]
        prior = self.prior[candidates.data_source.codes[rows]]
        shared = w.difficulty * difficulty + w.alignment * alignment + w.prior * prior
        kept_quality = 0.0 * quality if "ppl" in self.preset.without else quality
        base = np.where(
            candidates.video[rows],
            w.video_quality * kept_quality + shared + w.temporal_bonus * bonus,
            w.image_quality * kept_quality + shared,
        )
        values = {name: column[rows] for name, column in candidates.values.items()}
        vds3, q = self.vds3(values), np.nan_to_num(self._z("quality_score", values), nan=0.0)
        return {
            "quality": quality,
            "difficulty": difficulty,
            "alignment": alignment,
            "temporal_bonus": bonus,
            "prior": prior,
            "base": base,
            "vds3": vds3,
            "q": q,
            "rho": np.round(self._rho(base, vds3, q, rows), DECIMALS),
        }

    def vds3(self, values: dict[str, Floats]) -> Floats:
        """Video dependency from its three parts, or from what there is of them."""
        z = {name: self._z(name, values) for name in ("loss_video", "loss_blind", "frame_diversity", "vds")}
        three = -z["loss_video"] + z["loss_blind"] + z["frame_diversity"]
        both = z["vds"] + self.preset.weights.vds_frame_diversity * z["frame_diversity"]
        fallback = np.where(np.isnan(both), np.nan_to_num(z["vds"], nan=0.0), both)
        return np.where(np.isnan(three), fallback, three)

    def _quality(self, questions: Floats, answers: Floats, rows: slice) -> Floats:
        """Text quality: lengths near their peaks, answers that do not repeat themselves."""
        w = self.preset.weights
        qn, an = np.maximum(1.0, questions), np.maximum(1.0, answers)
        length: Floats = -np.abs(np.log(qn) - np.log(w.question_length))
        length -= w.answer_length_weight * np.abs(np.log(an) - np.log(w.answer_length))
        distinct = self.candidates.answer_distinct[rows] / an
        return length - w.distinct_weight * np.maximum(0.0, w.distinct_floor - distinct)

    def _z(self, name: str, values: dict[str, Floats]) -> Floats:
        mean, std = self.spread[name]
        limit = self.preset.weights.z_limit
        return np.clip((values[name] - mean) / std, -limit, limit)

    def _rho(self, base: Floats, vds3: Floats, q: Floats, rows: slice) -> Floats:
        w, limit, without = self.preset.weights, self.preset.weights.z_limit, self.preset.without
        vds_part = np.zeros_like(base) if "vds" in without else np.clip(vds3, -limit, limit) / limit
        q_part = np.zeros_like(base) if "sc" in without else np.clip(q, -limit, limit) / limit
        squashed, described = np.tanh(base / w.base_scale), self.candidates.described[rows]
        video = w.video_base * squashed + np.where(
            described, w.video_vds * vds_part + w.video_q * q_part, w.video_undescribed
        )
        image = w.image_base * squashed + np.where(described, w.image_q * q_part, 0.0)
        return np.where(self.candidates.video[rows], video, image)


def _alignment(candidates: Candidates) -> Floats:
    """Per stratum, the mean over its fields of the logarithm of the value's share, at least 1e-9."""
    logs = list[Floats]()
    for name in _ALIGNED:
        field = candidates.fields[name]
        shares: Floats = np.maximum(candidates.counts[name] / len(candidates), 1e-9)
        logs.append(np.log(shares)[field.codes[candidates.strata]])
    return np.asarray(np.mean(logs, axis=0))


def _bonus(candidates: Candidates, preset: Preset) -> Floats:
    """Per stratum, what its temporal category adds; 0 for images."""
    w = preset.weights
    value = {"Temporal": w.bonus_temporal, "Mixed": w.bonus_mixed, "Static": w.bonus_static}
    field = candidates.fields["temporal_category"]
    by_code = np.array([value[name] for name in field.names])
    return np.where(candidates.video[candidates.strata], by_code[field.codes[candidates.strata]], 0.0)


def tie_hash(uid_hash: Hashes, seed: int) -> Hashes:
    """A hash of (seed, qa_uid) that orders equal scores and the uniform control (SplitMix64's mixer)."""
    start = np.uint64((seed * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    x = uid_hash ^ start
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
