"""The flow in torch is OpenCV's, whatever the size of pictures and batches."""

import json
import pickle
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.nn.functional import grid_sample

from gdo.descriptors.describe import describe
from gdo.descriptors.engine.machine import LocalEngine
from gdo.descriptors.flow import flow
from gdo.descriptors.motion import Grey, Motion, motion_of, to_grey
from gdo.descriptors.motion_torch import MotionOnDevice
from gdo.pool.frames import Frames, MediaInfo
from gdo.pool.ingest import ingest
from gdo.pool.media import read_frames
from gdo.pool.query import run_sql

QUICK = ("intel_asl_walk.mkv", "tfio_small.mp4")
EMPTY = "wpt_counting.mp4"
"""A drawn clip whose empty areas leave the flow undetermined: there OpenCV does not agree with itself."""
FIELDS = NDArray[np.float32]


def texture(height: int, width: int, seed: int = 0) -> Grey:
    """Smooth noise over the whole range of greys."""
    noise = np.random.default_rng(seed).integers(0, 256, (height, width), dtype=np.uint8)
    blurred = cv2.GaussianBlur(noise, (0, 0), 3)
    return np.asarray(cv2.normalize(blurred, None, 0, 255, cv2.NORM_MINMAX), dtype=np.uint8)


def textures(count: int, seed: int = 0) -> Grey:
    """A texture that slides down and to the right by (2, 1) from picture to picture."""
    large = texture(224 + 2 * count, 224 + 2 * count, seed)
    shifts = range(count, 0, -1)
    return np.stack([large[i : i + 224, 2 * i : 2 * i + 224] for i in shifts])


def ours(before: Grey, after: Grey, device: str = "cpu") -> FIELDS:
    """Flow in torch: [pairs, height, width, 2]."""
    pictures = [torch.from_numpy(each).to(device).float() for each in (before, after)]
    return flow(*pictures).permute(0, 2, 3, 1).cpu().numpy()


def theirs(before: Grey, after: Grey) -> FIELDS:
    """OpenCV's flow, pair by pair."""
    settings = {"levels": 2, "winsize": 15, "iterations": 2, "poly_n": 5, "poly_sigma": 1.1, "flags": 0}
    return np.stack(
        [
            cv2.calcOpticalFlowFarneback(a, b, None, pyr_scale=0.5, **settings)
            for a, b in zip(before, after, strict=True)
        ]
    )


def apart(one: FIELDS, other: FIELDS) -> FIELDS:
    """Distance in pixels between the end points of two flows, at each pixel."""
    return np.asarray(np.linalg.norm(one - other, axis=-1))


@pytest.mark.parametrize(("right", "down"), [(2, 0), (0, 3), (-4, 1)])
def test_a_shifted_texture_flows_by_its_shift(right: int, down: int) -> None:
    large = texture(240, 240)
    before, after = large[8:-8, 8:-8], np.roll(large, (down, right), (0, 1))[8:-8, 8:-8]
    middle = ours(before[None], after[None])[0, 20:-20, 20:-20]
    assert np.median(apart(middle, np.float32([right, down]))) < 0.05


@pytest.mark.parametrize("size", [(224, 224), (97, 131), (33, 225), (64, 63), (128, 70), (16, 40)])
def test_pictures_of_any_size_flow_as_in_opencv(size: tuple[int, int]) -> None:
    first = np.stack([texture(*size, seed) for seed in range(3)])
    second = np.roll(first, (1, 2), (1, 2))
    difference = apart(ours(first, second), theirs(first, second))
    assert difference.mean() < 1e-4
    assert difference.max() < 0.01


def test_a_still_picture_flows_as_in_opencv_and_an_empty_one_not_at_all() -> None:
    still, empty = texture(224, 224)[None], np.full((1, 224, 224), 77, np.uint8)
    got, want = ours(still, still), theirs(still, still)
    assert apart(got, want).mean() < 1e-4
    assert not want[:, 20:100, 20:100].any()
    assert not got[:, 20:100, 20:100].any()
    assert np.abs(ours(empty, empty)).max() < 1e-4


def test_a_pair_flows_the_same_alone_and_among_others() -> None:
    pictures = np.concatenate([textures(4), textures(3, seed=1)])
    together = ours(pictures[:-1], pictures[1:])
    for i, (before, after) in enumerate(pairwise(pictures)):
        assert np.abs(together[i] - ours(before[None], after[None])[0]).max() < 1e-5


@pytest.mark.parametrize("quick", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_real_clips_flow_as_in_opencv(shared: Path, quick: bool) -> None:
    expected = json.loads((shared / "golden/motion/expected.json").read_text())
    with np.load(shared / "golden/motion/grey.npz") as clips:
        for name in QUICK if quick else clips.files:
            grey = clips[name]
            got, want = ours(grey[:-1], grey[1:]), theirs(grey[:-1], grey[1:])
            difference, amm = apart(got, want), np.linalg.norm(got, axis=-1).mean()
            assert np.median(difference) < 5e-5, name
            if name == EMPTY:
                assert amm == pytest.approx(expected[name]["amm"], rel=0.02), name
            else:
                assert amm == pytest.approx(expected[name]["amm"], rel=1e-4), name
                assert difference.mean() < 1e-3, name
                assert np.quantile(difference, 0.99) < 5e-3, name


@pytest.mark.slow
def test_motion_of_real_files_on_a_device_agrees_with_the_reference(shared: Path) -> None:
    expected = json.loads((shared / "golden/motion/expected.json").read_text())
    names, motion = sorted(expected)[::4], MotionOnDevice()
    frames = [read_frames("video", [shared / "data/realpool/videos" / name], motion.frames) for name in names]
    values = motion.load("cpu")([motion.prepare(each) for each in frames])
    for name, amm, diversity in zip(names, values["amm"], values["frame_diversity"], strict=True):
        assert amm == pytest.approx(expected[name]["amm"], rel=0.02, abs=1e-3), name
        assert diversity == pytest.approx(expected[name]["frame_diversity"], rel=0.02, abs=1e-4), name


def mixed_clips() -> list[Grey]:
    """Clips of 8, no, 3, 1 and 2 pictures, one of them of noise and one still."""
    noise = np.random.default_rng(3).integers(0, 256, (3, 224, 224), dtype=np.uint8)
    still = textures(1, seed=4)
    return [textures(8), still[:0], noise, still, np.concatenate([still, still])]


def test_motion_of_a_clip_does_not_depend_on_the_batch() -> None:
    clips, device = mixed_clips(), MotionOnDevice().load("cpu")
    values = device(clips)
    for number, clip in enumerate(clips):
        alone = device([clip])
        assert {name: each[0] for name, each in alone.items()} == {
            name: each[number] for name, each in values.items()
        }


def test_motion_on_a_device_is_that_of_the_cpu() -> None:
    clips = mixed_clips()
    values = MotionOnDevice().load("cpu")(clips)
    known = [motion_of(clip) for clip in clips]
    assert values["amm"] == pytest.approx([amm for amm, _ in known], rel=1e-4, abs=2e-4)
    assert values["frame_diversity"] == [diversity for _, diversity in known]
    assert MotionOnDevice().load("cpu")([]) == {"amm": [], "frame_diversity": []}


def test_motion_on_a_device_stands_where_motion_does_and_says_who_made_it() -> None:
    motion = pickle.loads(pickle.dumps(MotionOnDevice()))
    assert motion.probe == "torch"
    for shared_with in ("name", "version", "subject", "columns", "frames", "needs_stills"):
        assert getattr(motion, shared_with) == getattr(Motion(), shared_with)
    picture = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    prepared = motion.prepare(Frames([picture], [0], None, MediaInfo("frames", 80, 60, frames=1)))
    assert np.array_equal(prepared, to_grey([picture]))


def test_readers_do_without_torch() -> None:
    code = "import sys, gdo.descriptors.motion_torch; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_precision_allowed_to_others_is_not_used_and_not_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    products = torch.backends.cuda.matmul, torch.backends.mkldnn.matmul
    used = []

    def look(*arguments: Any, **options: Any) -> torch.Tensor:
        used.extend(each.fp32_precision for each in products)
        return grid_sample(*arguments, **options)

    monkeypatch.setattr("gdo.descriptors.flow.grid_sample", look)
    torch.set_float32_matmul_precision("medium")
    try:
        allowed = [each.fp32_precision for each in products]
        ours(textures(1), textures(1))
        assert [each.fp32_precision for each in products] == allowed != ["ieee", "ieee"]
    finally:
        torch.set_float32_matmul_precision("highest")
    assert set(used) == {"ieee"}


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU")
def test_a_gpu_gives_the_flow_of_the_cpu(shared: Path) -> None:
    with np.load(shared / "golden/motion/grey.npz") as clips:
        greys = [clips[name] for name in clips.files if name != EMPTY]
    difference = apart(ours(greys[0][:-1], greys[0][1:], "cuda"), ours(greys[0][:-1], greys[0][1:]))
    assert difference.mean() < 1e-3
    gpu = MotionOnDevice().load("cuda:0")
    together = gpu(greys)
    assert together["amm"] == pytest.approx(MotionOnDevice().load("cpu")(greys)["amm"], rel=1e-3)
    alone = [gpu([grey]) for grey in greys]
    assert together == {name: [each[name][0] for each in alone] for name in together}


@pytest.mark.slow
def test_a_pool_keeps_to_the_backend_it_was_begun_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        rows = []
        for clip in range(3):
            names = [f"{clip}-{frame}.png" for frame in range(3)]
            for name, grey in zip(names, textures(3, seed=clip), strict=True):
                cv2.imwrite(str(folder / name), grey)
            turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "It."}]
            rows.append({"id": f"r{clip}", "video_id": f"v{clip}", "messages": turns, "images": names})
        (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
        ingest(folder / "pool.duckdb", [folder / "rows.jsonl"], workers=1)

    def motion(folder: Path, gpus: list[str]) -> tuple[str, int, int]:
        monkeypatch.setattr(LocalEngine, "gpus", lambda self, device: gpus)
        (one,) = describe(folder / "pool.duckdb", ["motion"], workers=0).descriptors
        return one.probe, one.already, one.computed

    assert motion(here, []) == ("", 0, 3)
    assert motion(here, ["cpu"]) == ("", 3, 0)
    assert motion(there, ["cpu"]) == ("torch", 0, 3)
    assert motion(there, []) == ("torch", 3, 0)
    query = "SELECT amm, frame_diversity FROM candidate ORDER BY id"
    ours, theirs = (np.array(run_sql(folder / "pool.duckdb", query).rows) for folder in (here, there))
    assert (ours > 0).all()
    np.testing.assert_allclose(theirs, ours, rtol=1e-3)
