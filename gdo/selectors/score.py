"""The shared score rho: how much a sample is worth, term by term (spec section 4).

All arithmetic is in IEEE doubles. Machines differ in the last bits of `log` and `tanh`, so rho is rounded to
`DECIMALS` places before anything is compared; equal scores then fall to the hash of (seed, qa_uid).
"""

from dataclasses import dataclass

import numpy as np

from gdo.selectors.candidates import Candidates, Codes, Floats, Hashes, Integers
from gdo.selectors.preset import Preset

DECIMALS = 12
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
    """The terms of rho, each with one entry per sample."""

    quality: Floats
    """Text quality, the "PPL" term."""
    difficulty: Floats
    alignment: Floats
    temporal_bonus: Floats
    """0 for images."""
    prior: Floats
    base: Floats
    vds3: Floats
    """Unclipped."""
    q: Floats
    """z(quality_score), 0 where missing."""
    rho: Floats
    vds3_rows: Floats
    """VDS3 of every row of the descriptor table, rows of no sample included: the budget's share."""

    def of(self, index: int) -> dict[str, float]:
        """All terms of one sample."""
        names = ("quality", "difficulty", "alignment", "temporal_bonus", "prior", "base", "vds3", "q", "rho")
        return {name: float(getattr(self, name)[index]) for name in names}


def score(candidates: Candidates, preset: Preset) -> Scores:
    """Score every sample; one that has a row of descriptors is described, even where the row is empty."""
    w = preset.weights
    questions = candidates.question_tokens.astype(np.float64)
    answers = candidates.answer_tokens.astype(np.float64)
    quality = _quality(questions, answers, candidates.answer_distinct, preset)
    z = np.abs(np.log(np.maximum(1.0, questions + answers / 2)) - np.log(w.difficulty_length))
    difficulty = np.exp(-(z**2) / (2 * w.difficulty_width**2))
    alignment = _alignment(candidates)
    bonus = _bonus(candidates, preset)
    prior = _prior(candidates)
    kept_quality = 0.0 if "ppl" in preset.without else quality
    shared = w.difficulty * difficulty + w.alignment * alignment + w.prior * prior
    base = np.where(
        candidates.video,
        w.video_quality * kept_quality + shared + w.temporal_bonus * bonus,
        w.image_quality * kept_quality + shared,
    )
    scaled = _z_columns(candidates, preset)
    vds3 = _vds3({name: values for name, (values, _) in scaled.items()}, preset)
    orphans = _vds3({name: values for name, (_, values) in scaled.items()}, preset)
    q = np.nan_to_num(scaled["quality_score"][0], nan=0.0)
    rho = np.round(_rho(candidates, base, vds3, q, preset), DECIMALS)
    rows = np.concatenate([vds3[candidates.described], orphans])
    return Scores(quality, difficulty, alignment, bonus, prior, base, vds3, q, rho, rows)


def _quality(questions: Floats, answers: Floats, distinct: Codes, preset: Preset) -> Floats:
    """Text quality: lengths near their peaks, answers that do not repeat themselves."""
    w = preset.weights
    qn, an = np.maximum(1.0, questions), np.maximum(1.0, answers)
    length: Floats = -np.abs(np.log(qn) - np.log(w.question_length))
    length -= w.answer_length_weight * np.abs(np.log(an) - np.log(w.answer_length))
    return length - w.distinct_weight * np.maximum(0.0, w.distinct_floor - distinct / an)


def _alignment(candidates: Candidates) -> Floats:
    """Mean over the fields of the logarithm of the value's share of the profile, at least 1e-9."""
    logs = list[Floats]()
    for name in _ALIGNED:
        field = candidates.fields[name]
        shares: Floats = np.maximum(field.counts / len(candidates), 1e-9)
        logs.append(np.log(shares)[field.codes[candidates.strata]])
    by_stratum: Floats = np.mean(logs, axis=0)
    return by_stratum[candidates.stratum]


def _bonus(candidates: Candidates, preset: Preset) -> Floats:
    w = preset.weights
    value = {"Temporal": w.bonus_temporal, "Mixed": w.bonus_mixed, "Static": w.bonus_static}
    field = candidates.fields["temporal_category"]
    by_code = np.array([value[name] for name in field.names])
    return np.where(candidates.video, by_code[field.codes], 0.0)


def _prior(candidates: Candidates) -> Floats:
    source = candidates.data_source
    logs: Floats = np.log((len(candidates) + 1) / (source.counts + 1))
    return logs[source.codes]


def _z_columns(candidates: Candidates, preset: Preset) -> dict[str, tuple[Floats, Floats]]:
    """z-scores of each descriptor column: for the samples, and for imported rows of no sample.

    Mean and standard deviation (n - 1) are over the finite values of all of them together.
    """
    scaled = {}
    for name, values in candidates.values.items():
        orphans = candidates.orphans[name]
        finite = np.concatenate([values[~np.isnan(values)], orphans[~np.isnan(orphans)]])
        mean = float(finite.mean()) if len(finite) else 0.0
        variance = float(finite.var(ddof=1)) if len(finite) > 1 else 0.0
        std = variance**0.5 if variance > 1e-12 else 1.0
        limit = preset.weights.z_limit
        scaled[name] = (
            np.clip((values - mean) / std, -limit, limit),
            np.clip((orphans - mean) / std, -limit, limit),
        )
    return scaled


def _vds3(z: dict[str, Floats], preset: Preset) -> Floats:
    """Video dependency from its three parts, or from what there is of them."""
    three = -z["loss_video"] + z["loss_blind"] + z["frame_diversity"]
    both = z["vds"] + preset.weights.vds_frame_diversity * z["frame_diversity"]
    fallback = np.where(np.isnan(both), np.nan_to_num(z["vds"], nan=0.0), both)
    return np.where(np.isnan(three), fallback, three)


def _rho(candidates: Candidates, base: Floats, vds3: Floats, q: Floats, preset: Preset) -> Floats:
    w, limit = preset.weights, preset.weights.z_limit
    vds_part = np.zeros_like(base) if "vds" in preset.without else np.clip(vds3, -limit, limit) / limit
    q_part = np.zeros_like(base) if "sc" in preset.without else np.clip(q, -limit, limit) / limit
    squashed = np.tanh(base / 3)
    video = w.video_base * squashed + np.where(
        candidates.described, w.video_vds * vds_part + w.video_q * q_part, w.video_undescribed
    )
    image = w.image_base * squashed + np.where(candidates.described, w.image_q * q_part, 0.0)
    return np.where(candidates.video, video, image)


def tie_hash(uid_hash: Hashes, seed: int) -> Hashes:
    """A hash of (seed, qa_uid) that orders equal scores and the uniform control (SplitMix64's mixer)."""
    start = np.uint64((seed * 0x9E3779B97F4A7C15) & 0xFFFFFFFFFFFFFFFF)
    x = uid_hash ^ start
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def ranking(rho: Floats, by_hash: Integers) -> Integers:
    """Sample indices by rho downwards; equal scores stay in the order of their hash."""
    return by_hash[np.argsort(-rho[by_hash], kind="stable")]
