"""Every descriptor keeps the contract, and each gives the values it promises."""

import json
import math
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from gdo.descriptors.base import Descriptor, MediaDescriptor, ProbedDescriptor, SampleDescriptor
from gdo.descriptors.catalog import DESCRIPTORS, PROBED, TEXT_RULES, find_descriptors
from gdo.descriptors.motion import Motion, motion_of, to_grey
from gdo.descriptors.probe.contract import Scored
from gdo.descriptors.temporal import TemporalText, TemporalWords
from gdo.errors import UsageError
from gdo.pool.candidate import VALUE_COLUMNS
from gdo.pool.frames import Frames, MediaInfo, uniform_indices
from gdo.pool.media import read_frames
from gdo.pool.store import Pool

KNOWN = DESCRIPTORS | {f"temporal by {name}": rule for name, rule in TEXT_RULES.items()}
EVERY = pytest.mark.parametrize("descriptor", KNOWN.values(), ids=KNOWN)
EVERY_PROBED = pytest.mark.parametrize("kind", PROBED.values(), ids=PROBED)
TYPES = {"DOUBLE": float, "FLOAT": float, "BIGINT": int, "INTEGER": int, "BOOLEAN": bool, "VARCHAR": str}
TYPES |= {"BLOB": bytes}


def clip(seed: int, frames: int) -> Frames:
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(frames)]
    return Frames(images, list(range(frames)), None, MediaInfo("frames", 64, 48, frames=frames))


def batch_of(descriptor: MediaDescriptor | SampleDescriptor, size: int):
    if descriptor.subject == "media":
        return [clip(seed, frames) for seed, frames in zip(range(size), (3, 1, 2, 8, 0), strict=False)]
    if "question" in descriptor.inputs:
        questions = ["What is it?", "What happens after that?", "", "Choose:\nA. one\nB. two", "数"]
        table = {"question": questions[:size], "bucket": (["short_video", "image_qa"] * size)[:size]}
        return pa.table({name: pa.array(column, pa.string()) for name, column in table.items()})
    categories = (["Temporal", "Static", "Mixed"] * size)[:size]
    return pa.table({name: pa.array(categories, pa.string()) for name in descriptor.inputs})


@EVERY
@pytest.mark.parametrize("size", [0, 1, 5])
def test_values_have_the_declared_columns_types_and_rows(descriptor: Descriptor, size: int) -> None:
    values = descriptor.compute(batch_of(descriptor, size))
    assert set(values) == set(descriptor.columns)
    for name, column in descriptor.columns.items():
        assert len(values[name]) == size
        assert all(value is None or isinstance(value, TYPES[column.type]) for value in values[name])
        assert all(np.isfinite(value) for value in values[name] if isinstance(value, float))


@EVERY
def test_a_row_does_not_depend_on_its_neighbours(descriptor: Descriptor) -> None:
    batch = batch_of(descriptor, 5)
    together = descriptor.compute(batch)
    assert together == descriptor.compute(batch)
    for row in range(5):
        alone = descriptor.compute(batch[row : row + 1] if isinstance(batch, list) else batch.slice(row, 1))
        assert {name: values[row] for name, values in together.items()} == {
            name: values[0] for name, values in alone.items()
        }


@EVERY
def test_a_descriptor_says_what_it_is(descriptor: Descriptor, tmp_path: Path) -> None:
    assert descriptor in (DESCRIPTORS[descriptor.name], TEXT_RULES.get(descriptor.probe))
    assert descriptor.version >= 1
    assert all(column.doc for column in descriptor.columns.values())
    for name, column in descriptor.columns.items():
        assert VALUE_COLUMNS.get(name, column.type) == column.type
    assert pickle.loads(pickle.dumps(descriptor)).columns == descriptor.columns
    with Pool(tmp_path / "pool", create=True).write() as connection:
        tables = {row[0] for row in connection.execute("SHOW TABLES").fetchall()}
    assert descriptor.name not in tables


@EVERY_PROBED
def test_a_probed_descriptor_says_what_it_is(kind: type[ProbedDescriptor]) -> None:
    descriptor = kind("model@1")
    assert PROBED[descriptor.name] is kind
    assert (descriptor.probe, descriptor.subject) == ("model@1", "sample")
    assert descriptor.version >= 1
    for name, column in descriptor.columns.items():
        assert column.doc
        assert VALUE_COLUMNS[name] == column.type
    assert pickle.loads(pickle.dumps(descriptor)).probe == "model@1"


@EVERY_PROBED
@pytest.mark.parametrize("value", [0.0, 0.5, None, math.nan, math.inf, -math.inf])
def test_a_probed_row_has_its_columns_and_a_reason_for_what_is_missing(
    kind: type[ProbedDescriptor], value: float | None
) -> None:
    descriptor = kind()
    said = value if descriptor.asks == "time" else Scored(value, value, value)
    row = dict(descriptor.row(said))
    error = row.pop("error")
    assert set(row) == set(descriptor.columns)
    good = value is not None and math.isfinite(value)
    assert all((one is not None) == good for one in row.values())
    assert (error is None) == good


def test_what_a_probe_gives_as_the_reason_is_kept() -> None:
    blind = Scored(loss_blind=2.0, error="no such file")
    assert PROBED["dependency"]().row(blind) == {
        "loss_blind": 2.0,
        "loss_video": None,
        "vds": None,
        "ppl": None,
        "error": "no such file",
    }
    assert PROBED["stability"]().row(blind) == {"self_consistency": None, "error": "no such file"}
    whole = Scored(loss_blind=2.0, loss_video=1.5, error="of no concern")
    assert PROBED["dependency"]().row(whole)["error"] is None


@pytest.mark.parametrize(
    ("loss", "ppl"), [(0.0, 1.0), (1.0, math.e), (40.0, math.exp(30)), (-40.0, math.exp(-30))]
)
def test_perplexity_is_of_the_clipped_loss(loss: float, ppl: float) -> None:
    row = PROBED["dependency"]().row(Scored(loss_blind=3.0, loss_video=loss))
    assert (row["ppl"], row["vds"]) == (ppl, 3.0 - loss)


def test_who_tells_temporal_need_follows_the_probe() -> None:
    def probe(name: str | None) -> object:
        (found,) = find_descriptors(["temporal"], name)
        return PROBED["temporal"] if isinstance(found, ProbedDescriptor) else found.probe

    assert [probe(name) for name in (None, "text", "words")] == ["text", "text", "words"]
    assert probe("self") is probe("some/model") is PROBED["temporal"]
    kinds = [type(each) for each in find_descriptors(["motion", "stability"], "words")]
    assert kinds == [Motion, PROBED["stability"]]


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(
        UsageError, match="unknown descriptor 'moton'; known are coverage, dependency, fingerprint, motion"
    ):
        find_descriptors(["motion", "moton"])


def test_names_are_taken_once_in_order() -> None:
    found = find_descriptors(["temporal", "motion", "temporal"])
    assert [descriptor.name for descriptor in found] == ["temporal", "motion"]


def test_motion_agrees_with_the_reference(shared: Path) -> None:
    expected = json.loads((shared / "golden/motion/expected.json").read_text())
    with np.load(shared / "golden/motion/grey.npz") as grey:
        assert set(grey.files) == set(expected)
        for name in grey.files:
            amm, diversity = motion_of(grey[name])
            assert amm == pytest.approx(expected[name]["amm"], rel=1e-4), name
            assert diversity == pytest.approx(expected[name]["frame_diversity"], rel=1e-4), name


@pytest.mark.slow
def test_motion_of_the_video_files_agrees_with_the_reference(shared: Path) -> None:
    expected = json.loads((shared / "golden/motion/expected.json").read_text())
    for name, values in expected.items():
        frames = read_frames("video", [shared / "data/realpool/videos" / name], Motion.frames)
        assert frames.indices == values["indices"], name
        amm, diversity = motion_of(to_grey(frames.images))
        assert amm == pytest.approx(values["amm"], rel=0.02, abs=1e-3), name
        assert diversity == pytest.approx(values["frame_diversity"], rel=0.02, abs=1e-4), name


def test_motion_of_a_shifted_texture_is_the_shift() -> None:
    import cv2

    noise = np.random.default_rng(0).integers(0, 256, (300, 300), dtype=np.uint8)
    texture = cv2.GaussianBlur(noise, (0, 0), 4)
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX)
    grey = np.stack([texture[20 : 20 + 224, 20 + 2 * i : 244 + 2 * i] for i in range(4)])
    amm, diversity = motion_of(grey)
    assert amm == pytest.approx(2.0, abs=0.3)
    assert 0 < diversity < 1


@pytest.mark.parametrize("frames", [0, 1])
def test_one_frame_or_none_has_no_motion(frames: int) -> None:
    assert motion_of(np.zeros((frames, 224, 224), np.uint8)) == (0.0, 0.0)


def test_equal_frames_have_no_difference_and_black_to_white_the_whole() -> None:
    black, white = np.zeros((224, 224), np.uint8), np.full((224, 224), 255, np.uint8)
    assert motion_of(np.stack([black, black]))[1] == 0.0
    assert motion_of(np.stack([black, white]))[1] == 1.0
    assert motion_of(np.stack([white, black]))[1] == 1.0


def test_grey_weighs_red_green_and_blue() -> None:
    colours = [np.full((10, 30, 3), colour, np.uint8) for colour in ((255, 0, 0), (0, 255, 0), (0, 0, 255))]
    grey = to_grey(colours)
    assert grey.shape == (3, 224, 224)
    assert grey.dtype == np.uint8
    assert [int(picture.max()) for picture in grey] == pytest.approx([76, 150, 29], abs=1)


def test_motion_takes_eight_frames_by_the_released_rule() -> None:
    assert Motion.frames.frames == 8
    assert uniform_indices(300, Motion.frames.frames) == [0, 43, 85, 128, 171, 214, 256, 299]


def test_tnc_is_one_for_temporal_questions_only() -> None:
    table = pa.table({"temporal_category": ["Temporal", "Mixed", "Static"]})
    assert TemporalWords().compute(table) == {"tnc": [1.0, 0.0, 0.0]}


def test_tnc_by_text_is_a_probability_and_nothing_for_stills() -> None:
    questions = ["What does he do after he sits down?", "What colour is it?"]
    table = pa.table({"question": questions * 2, "bucket": ["short_video"] * 2 + ["image_qa"] * 2})
    after, colour, *stills = TemporalText().compute(table)["tnc"]
    assert 0 < colour < 0.5 < after < 1
    assert stills == [0.0, 0.0]
