"""Presets: the released values, and messages that name the key where a preset cannot be."""

from pathlib import Path
from typing import Any

import pytest

from gdo.errors import UsageError
from gdo.selectors.preset import PRESETS, load_preset

KEYS = (
    *("min_count", "max_count", "min_ratio", "max_ratio"),
    *("effective_strata_mult", "coverage_mass", "tail_target"),
    *("vds3_target_positive", "vds3_threshold", "vds3_max_mult"),
    *("min_video_ratio", "max_video_ratio", "min_temporal_in_video_ratio"),
    *("oversample_factor", "video_oversample_factor", "temporal_oversample_factor"),
    *("source_group_floor_topk", "min_source_group_ratio", "source_group_floor_frac_of_expected"),
)
# fmt: off
RELEASED = {
    "minloss": (
        12000, 72000, 0.001, 0.014, 16, 0.93, 3.5, 2600, 0, 1.6,
        0.15, 0.32, 0.05, 1.15, 1.45, 1.55, 14, 0.0015, 0.33,
    ),
    "diverse": (
        14000, 95000, 0.001, 0.016, 26, 0.97, 8, 5000, 0, 2.4,
        0.25, 0.45, 0.15, 1.28, 1.9, 2.2, 28, 0.0030, 0.45,
    ),
    "temp": (
        15000, 90000, 0.001, 0.016, 20, 0.95, 10, 6500, 0, 2.4,
        0.35, 0.50, 0.20, 1.30, 2.2, 3.0, 18, 0.0022, 0.38,
    ),
    "temp_plus": (
        16000, 110000, 0.001, 0.018, 22, 0.95, 16, 9000, 0, 3.2,
        0.50, 0.64, 0.38, 1.35, 2.9, 4.2, 16, 0.0025, 0.38,
    ),
}
# fmt: on
COMMON: dict[str, Any] = {
    "temporal_categories": ("Temporal", "Mixed"),
    "target_frames": 32,
    "max_qa_per_video": 8,
    "seed": 42,
    "uniform_multiplier": 10,
    "source_group_floor_max_share": 0.7,
    "question_form": "normalised",
    "count": None,
    "ratio": None,
    "without": (),
}
WEIGHTS = {
    "question_length": 14,
    "answer_length": 16,
    "answer_length_weight": 1.25,
    "distinct_floor": 0.55,
    "distinct_weight": 1.2,
    "difficulty_length": 22,
    "difficulty_answer": 0.5,
    "difficulty_width": 0.85,
    "bonus_temporal": 1.0,
    "bonus_mixed": 0.2,
    "bonus_static": -0.5,
    "video_quality": 1.0,
    "image_quality": 1.1,
    "difficulty": 0.85,
    "alignment": 0.9,
    "temporal_bonus": 0.55,
    "prior": 0.15,
    "z_limit": 4,
    "base_scale": 3,
    "vds_frame_diversity": 0.5,
    "video_base": 0.35,
    "video_vds": 0.95,
    "video_q": 0.35,
    "video_undescribed": -0.15,
    "image_base": 0.90,
    "image_q": 0.15,
}


def test_the_presets_are_the_released_four() -> None:
    assert set(PRESETS) == set(RELEASED)


@pytest.mark.parametrize("name", RELEASED)
def test_presets_hold_the_released_values(name: str) -> None:
    preset = load_preset(name).model_dump()
    assert preset["name"] == name
    assert preset["weights"] == WEIGHTS
    released = dict(zip(KEYS, RELEASED[name], strict=True)) | COMMON
    assert {key: preset[key] for key in released} == released


REFUSED = {
    "tail_targets=3": "unknown key 'tail_targets'; known are .*tail_target",
    "weights.vds=1": "unknown key 'weights.vds'; known are .*video_vds",
    "min_count=many": "min_count: .*integer.* not 'many'",
    "min_count=1.5": "min_count: .*integer.* not 1.5",
    "coverage_mass=1.2": "coverage_mass: .*less than or equal to 1, not 1.2",
    "tail_target=-1": "tail_target: .*greater than or equal to 0, not -1",
    "max_qa_per_video=0": "max_qa_per_video: .*greater than or equal to 1, not 0",
    "target_frames=0": "target_frames: .*greater than or equal to 1, not 0",
    "count=0": "count: .*greater than or equal to 1, not 0",
    "ratio=0": "ratio: .*greater than 0, not 0",
    'temporal_categories=["Slow"]': "temporal_categories.0: .*'Temporal', 'Mixed' or 'Static'.* not 'Slow'",
    "question_form=written": "question_form: .*'normalised' or 'raw', not 'written'",
    "weights.difficulty_width=0": "weights.difficulty_width: .*greater than 0, not 0",
    "weights.prior=high": "weights.prior: .*number.* not 'high'",
    "min_count=90001": "min_count = 90001 is over max_count = 90000",
    "min_ratio=0.5": "min_ratio = 0.5 is over max_ratio = 0.016",
    "min_video_ratio=0.51": "min_video_ratio = 0.51 is over max_video_ratio = 0.5",
    "without=loss": r"without: is a list, written without='\[\"loss\"\]' .* not 'loss'",
    'without=["loss"]': "without.0: .*'vds', 'ppl' or 'sc', not 'loss'",
    "count": "KEY=VALUE, not 'count'",
    "=3": "KEY=VALUE, not '=3'",
}


@pytest.mark.parametrize("setting", REFUSED)
def test_an_impossible_setting_is_refused_by_its_name(setting: str) -> None:
    with pytest.raises(UsageError, match=REFUSED[setting]) as refused:
        load_preset("temp", settings=[setting])
    assert "\n" not in str(refused.value)


def test_all_that_is_wrong_is_told_at_once() -> None:
    with pytest.raises(UsageError, match=r"'speed'.*max_count") as refused:
        load_preset("temp", settings=["speed=1", "max_count=-1"])
    assert str(refused.value).startswith("preset temp: ")


def test_count_and_ratio_together_are_refused_and_an_argument_wins() -> None:
    with pytest.raises(UsageError, match="count and ratio both fix the size"):
        load_preset("temp", settings=["count=5", "ratio=0.5"])
    preset = load_preset("temp", settings=["ratio=0.5"], count=7, seed=1, without=["sc", "ppl"])
    assert (preset.count, preset.ratio, preset.seed, preset.without) == (7, None, 1, ("sc", "ppl"))


def test_a_number_said_twice_is_refused_unless_it_is_the_same() -> None:
    with pytest.raises(UsageError, match="--count 5 and --set count=10 contradict each other"):
        load_preset("temp", settings=["count=5", "count=10"], count=5)
    with pytest.raises(UsageError, match="--seed 1 and --set seed=2"):
        load_preset("temp", settings=["seed=2"], seed=1)
    assert load_preset("temp", settings=["count=5"], count=5).count == 5


def test_bounds_are_open_where_a_ratio_is_negative() -> None:
    preset = load_preset("temp", settings=["min_video_ratio=0.9", "max_video_ratio=-1"])
    assert (preset.min_video_ratio, preset.max_video_ratio) == (0.9, -1)


@pytest.mark.parametrize(
    ("setting", "key", "value"),
    [
        ("tail_target=4", "tail_target", 4),
        (" max_ratio = 0.5", "max_ratio", 0.5),
        ("question_form=raw", "question_form", "raw"),
        ('question_form="raw"', "question_form", "raw"),
        ('temporal_categories=["Temporal"]', "temporal_categories", ("Temporal",)),
        ("without=['vds']", "without", ("vds",)),
        ("vds3_threshold=-0.5", "vds3_threshold", -0.5),
    ],
)
def test_the_forms_of_a_setting(setting: str, key: str, value: object) -> None:
    assert getattr(load_preset("temp", settings=[setting]), key) == value


def test_the_last_setting_holds_and_weights_are_set_one_by_one() -> None:
    preset = load_preset("temp", settings=["weights.prior=1", "weights.image_q=0.5", "seed=1", "seed=2"])
    assert preset.weights.model_dump() == WEIGHTS | {"prior": 1, "image_q": 0.5}
    assert preset.seed == 2


def test_an_unknown_term_or_preset_lists_the_known() -> None:
    with pytest.raises(UsageError, match="unknown term 'loss' in --without; known are vds, ppl, sc"):
        load_preset("temp", without=["loss"])
    with pytest.raises(UsageError, match="no preset 'tempo'; known are minloss, diverse, temp, temp_plus"):
        load_preset("tempo")


def own(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_an_own_file_begins_from_its_base(tmp_path: Path) -> None:
    path = own(tmp_path, 'base = "diverse"\ncount = 500\n[weights]\nprior = 0.3\n')
    preset, base = load_preset(path), load_preset("diverse")
    assert (preset.name, preset.count) == ("mine", 500)
    assert preset.weights == base.weights.model_copy(update={"prior": 0.3})
    changed = {"name", "count", "weights"}
    assert preset.model_dump(exclude=changed) == base.model_dump(exclude=changed)
    assert load_preset(str(path), settings=["weights.image_q=1"]).weights.prior == 0.3


def test_a_file_may_begin_with_a_mark_of_its_byte_order(tmp_path: Path) -> None:
    assert load_preset(own(tmp_path, '\ufeffbase = "temp"\ncount = 7\n')).count == 7


def test_a_base_may_itself_be_an_own_file(tmp_path: Path) -> None:
    first = own(tmp_path, 'base = "temp_plus"\ntail_target = 3\n[weights]\nprior = 0.3\nimage_q = 0.3\n')
    second = tmp_path / "second.toml"
    second.write_text(f"base = {str(first)!r}\nname = 'given'\n[weights]\nprior = 0.4\n", encoding="utf-8")
    preset = load_preset(second)
    assert (preset.name, preset.tail_target, preset.max_video_ratio) == ("given", 3, 0.64)
    assert (preset.weights.prior, preset.weights.image_q) == (0.4, 0.3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tail_target = = 3", r"mine\.toml is not TOML: .*line 1"),
        ("tail_goal = 3", r"mine\.toml: unknown key 'tail_goal'"),
        ('base = "tempo"', "no preset 'tempo'"),
        ("[weights]\nspeed = 1", "unknown key 'weights.speed'"),
        ("weights = 3", "weights: "),
        ("min_count = 5\nmax_count = 4", "min_count = 5 is over max_count = 4"),
    ],
)
def test_a_wrong_file_is_refused_by_its_name(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        load_preset(own(tmp_path, text))


def test_a_file_that_is_its_own_base_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    with pytest.raises(UsageError, match="base"):
        load_preset(own(tmp_path, f"base = {str(path)!r}"))
