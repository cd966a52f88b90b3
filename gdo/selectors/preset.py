"""Presets: a goal's feasibility set as named numbers, read from TOML and checked before any work starts.

The released values (arXiv 2603.12478; spec sections 3 to 9) stand in `presets/*.toml`; what all four share,
and every weight of the score, are the defaults here.
"""

from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from gdo.errors import UsageError
from gdo.settings import parse_setting, read_settings

PRESETS = ("minloss", "diverse", "temp", "temp_plus")
TERMS = ("vds", "ppl", "sc")
"""Terms of the score that `--without` can drop."""


class Weights(BaseModel):
    """The constants of the shared score rho (spec section 4), with their released values."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    question_length: float = Field(14.0, gt=0, description="question tokens at which text quality peaks")
    answer_length: float = Field(16.0, gt=0, description="answer tokens at which text quality peaks")
    answer_length_weight: float = Field(1.25, description="of the distance from answer_length")
    distinct_floor: float = Field(0.55, description="share of distinct answer tokens below which text loses")
    distinct_weight: float = Field(1.2, description="of the distance below distinct_floor")
    difficulty_length: float = Field(22.0, gt=0, description="tokens at which difficulty peaks")
    difficulty_answer: float = Field(0.5, ge=0, description="share of the answer's tokens among those")
    difficulty_width: float = Field(
        0.85, gt=0, description="of the bell of difficulty, in natural logarithms of tokens"
    )
    bonus_temporal: float = Field(1.0, description="temporal bonus of Temporal")
    bonus_mixed: float = Field(0.2, description="temporal bonus of Mixed")
    bonus_static: float = Field(-0.5, description="temporal bonus of Static")
    video_quality: float = Field(1.0, description="of text quality in base(video)")
    image_quality: float = Field(1.1, description="of text quality in base(image)")
    difficulty: float = Field(0.85, description="of difficulty in base")
    alignment: float = Field(0.9, description="of the mean log profile share in base")
    temporal_bonus: float = Field(0.55, description="of the temporal bonus in base(video)")
    prior: float = Field(0.15, description="of the source prior in base")
    z_limit: float = Field(4.0, gt=0, description="where z is cut, on both sides")
    vds_frame_diversity: float = Field(0.5, description="weight of z(frame_diversity) beside z(vds)")
    base_scale: float = Field(3.0, gt=0, description="what base is divided by before tanh")
    video_base: float = Field(0.35, description="of tanh(base / base_scale) in rho(video)")
    video_vds: float = Field(0.95, description="of VDS3 in rho(video)")
    video_q: float = Field(0.35, description="of z(quality_score) in rho(video)")
    video_undescribed: float = Field(-0.15, description="added to rho of a video without descriptors")
    image_base: float = Field(0.90, description="of tanh(base / base_scale) in rho(image)")
    image_q: float = Field(0.15, description="of z(quality_score) in rho(image)")


class Preset(BaseModel):
    """Every parameter of a selection; `name` and `seed` too, so that a stored preset says all."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    name: str = Field("custom", description="what the subset is called where no name is given")
    seed: int = Field(42, ge=-(2**63), lt=2**63, description="of ties and of the uniform control")

    count: int | None = Field(None, ge=1, description="size of the subset, in place of the automatic budget")
    ratio: float | None = Field(None, gt=0, le=1, description="the same as a share of the candidates")
    min_count: int = Field(12000, ge=1, description="least size of the subset")
    max_count: int = Field(72000, ge=1, description="most size")
    min_ratio: float = Field(0.001, ge=0, le=1, description="least size, as a share of the candidates")
    max_ratio: float = Field(0.014, gt=0, le=1, description="most size, as a share; wins over the least")
    effective_strata_mult: float = Field(
        16, ge=0, description="samples for each effective stratum (exp of the entropy)"
    )
    coverage_mass: float = Field(
        0.93, gt=0, le=1, description="share of the pool whose strata are to be covered"
    )
    tail_target: float = Field(3.5, ge=0, description="samples for the rarest of those strata")
    vds3_target_positive: int = Field(
        2600, ge=0, description="samples with a VDS3 over the threshold that the subset should hold"
    )
    vds3_threshold: float = Field(0.0, description="of VDS3")
    vds3_max_mult: float = Field(1.6, ge=0, description="most that VDS3 may enlarge the subset by")

    min_video_ratio: float = Field(0.15, le=1, description="least share of videos; negative: the pool's own")
    max_video_ratio: float = Field(0.32, le=1, description="most share of videos; negative: no bound")
    min_temporal_in_video_ratio: float = Field(
        0.05, ge=0, le=1, description="share of the videos that must be temporal"
    )
    temporal_categories: tuple[Literal["Temporal", "Mixed", "Static"], ...] = Field(
        ("Temporal", "Mixed"),
        description="which count as temporal; the release counts Mixed, so every video does",
    )

    oversample_factor: float = Field(
        1.15, ge=0, description="candidates that a stratum keeps for each place of its quota"
    )
    video_oversample_factor: float = Field(1.45, ge=0, description="the same for videos, where it is larger")
    temporal_oversample_factor: float = Field(
        1.55, ge=0, description="the same for temporal videos, where it is larger"
    )

    source_group_floor_topk: int = Field(
        14, ge=0, description="how many of the largest source groups get a floor"
    )
    min_source_group_ratio: float = Field(
        0.0015, ge=0, le=1, description="least floor, as a share of the subset"
    )
    source_group_floor_frac_of_expected: float = Field(
        0.33, ge=0, description="floor as a share of what the group would get by its size"
    )
    source_group_floor_max_share: float = Field(0.7, gt=0, le=1, description="of the subset, for all floors")

    target_frames: int = Field(32, ge=1, description="most frames of a video that duration strata count")
    max_qa_per_video: int = Field(8, ge=1, description="most samples of one video")
    uniform_multiplier: float = Field(10, gt=0, description="size of the uniform control, in subsets")
    dedup: Literal["exact", "near"] = Field(
        "exact", description="near: of samples that ask the same of copies only the best; the release: texts"
    )
    unreadable_media: Literal["exclude", "keep"] = Field(
        "exclude", description="samples whose media were read and gave no picture; the release never looks"
    )
    question_form: Literal["normalised", "raw"] = Field(
        "normalised", description="which question text tells a multiple choice; the release lost line breaks"
    )
    without: tuple[Literal["vds", "ppl", "sc"], ...] = Field(
        (), description="terms of the score that are dropped: vds, ppl, sc"
    )
    weights: Weights = Field(default_factory=Weights, description="constants of the score, see below")  # type: ignore[arg-type]

    @model_validator(mode="after")
    def _possible(self) -> "Preset":
        """Refuse bounds that no subset can meet."""
        for low, high in (("min_count", "max_count"), ("min_ratio", "max_ratio")):
            if getattr(self, low) > getattr(self, high):
                raise ValueError(f"{low} = {getattr(self, low)} is over {high} = {getattr(self, high)}")
        if 0 <= self.max_video_ratio < self.min_video_ratio:
            raise ValueError(
                f"min_video_ratio = {self.min_video_ratio} is over max_video_ratio = {self.max_video_ratio}"
            )
        if self.count is not None and self.ratio is not None:
            raise ValueError("count and ratio both fix the size; give one")
        return self


def load_preset(
    preset: str | Path,
    *,
    settings: Sequence[str] = (),
    count: int | None = None,
    seed: int | None = None,
    without: Sequence[str] = (),
) -> Preset:
    """Read a released preset by name or one's own TOML file, and change what the caller asks to change.

    Args:
        preset: A name of `PRESETS`, or the path of a TOML file with the same keys; the file may begin from
            a released one by `base = "temp"`.
        settings: `KEY=VALUE` in TOML's notation; weights as `weights.KEY=VALUE`.
        count: Fixes the size of the subset.
        seed: Of ties and of the uniform control.
        without: Terms of the score to drop: `vds`, `ppl`, `sc`.

    Raises:
        UsageError: No such preset, an unknown key, a wrong value or bounds that cannot be met together.
    """
    folder = resources.files("gdo.selectors") / "presets"
    released = {name: folder / f"{name}.toml" for name in PRESETS}
    values = read_settings("preset", preset, released, joined=("weights",))
    set_here = dict(_set(values, setting) for setting in settings)
    for key, said in (("count", count), ("seed", seed)):
        if said is not None and set_here.get(key, said) != said:
            raise UsageError(
                f"--{key} {said} and --set {key}={set_here[key]} contradict each other; give one"
            )
        if said is not None:
            values[key] = said
    if count is not None:
        values.pop("ratio", None)
    unknown = [term for term in without if term not in TERMS]
    if unknown:
        raise UsageError(f"unknown term {unknown[0]!r} in --without; known are {', '.join(TERMS)}")
    if without:
        values["without"] = list(without)
    try:
        return Preset.model_validate(values)
    except ValidationError as error:
        raise UsageError(f"preset {preset}: " + "; ".join(map(_explain, error.errors()))) from error


def _set(values: dict[str, Any], setting: str) -> tuple[str, Any]:
    """Apply one `KEY=VALUE`, and give the two."""
    key, value = parse_setting(setting)
    weights = values.get("weights", {})
    if key.startswith("weights.") and isinstance(weights, dict):
        values["weights"] = {**weights, key.removeprefix("weights."): value}
    else:
        values[key] = value
    return key, value


def _explain(error: Any) -> str:
    key = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        fields = Weights.model_fields if key.startswith("weights.") else Preset.model_fields
        return f"unknown key {key!r}; known are {', '.join(fields)}"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "tuple_type":
        message = f"is a list, written {key}='[\"{error['input']}\"]' on the command line"
    return f"{key}: {message}, not {error['input']!r}" if key else message
