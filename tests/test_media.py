"""The media reader against real clips, odd files, golden frames and files made here with known frames."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal

import av
import cv2
import numpy as np
import pytest
from av.stream import Disposition
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gdo.errors import MediaError, UsageError
from gdo.pool import video_decode
from gdo.pool.frames import Deadline, choose_indices, fit_size
from gdo.pool.media import FrameBudget, Frames, probe_media, read_frames, uniform_indices
from gdo.pool.video_decode import Darkroom, decode_chosen
from gdo.pool.video_scan import PacketHead, Scan, scan_video

ALL = FrameBudget(frames=None)
ODD = [
    "decord_corrupted.mp4", "moviepy_empty.webm", "wpt_invalid_codec.webm", "wpt_audio_only.webm",
    "decord_rot90.mov", "wpt_four_colors_1frame.mp4", "decord_unordered.mov", "wpt_midstream_resize.mp4",
    "vpf_res_change.h264", "moviepy_bitmap_1x1.mp4", "wpt_2x2_green.mp4", "moviepy_no_duration.webm",
    "wpt_encrypted.mp4", "wpt_white.webm",
]  # fmt: skip


# Frames that carry their number: bit b of it is the brightness of the b-th of eight squares.


def numbered(number: int) -> np.ndarray:
    bits = [(number >> b & 1) * 200 + 28 for b in range(8)]
    row = np.repeat(np.array(bits, np.uint8), 16)
    return np.repeat(np.repeat(row[None, :, None], 32, axis=0), 3, axis=2)


def number_of(picture: np.ndarray) -> int:
    height, width = picture.shape[:2]
    squares = picture.reshape(height, 8, width // 8, 3).mean(axis=(0, 2, 3))
    return sum(1 << b for b in range(8) if squares[b] > 128)


def write_video(
    path: Path,
    pts: list[int] | range,
    codec: str = "libx264",
    *,
    time_base: Fraction = Fraction(1, 30),
    gop: int = 12,
    rotation: int | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Encode one numbered frame for each presentation time."""
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        stream: Any = container.add_stream(codec, rate=30, options=options or {})
        stream.width, stream.height, stream.pix_fmt = 128, 32, "yuv420p"
        stream.gop_size = gop
        stream.codec_context.time_base = time_base
        if rotation is not None:
            stream.set_display_rotation(rotation)
        for number, when in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(numbered(number % 256), format="rgb24")
            frame.pts, frame.time_base = when, time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path, budget: FrameBudget = ALL, **options: Any) -> Frames:
    return read_frames("video", [path], budget, **options)


def numbers(frames: Frames) -> list[int]:
    return [number_of(picture) for picture in frames.images]


# Which frames


@given(n=st.integers(0, 5000), count=st.integers(1, 200))
def test_uniform_indices(n: int, count: int) -> None:
    picks = uniform_indices(n, count)
    assert len(picks) == min(n, count)
    assert all(a < b for a, b in pairwise(picks))
    if n > count > 1:
        assert (picks[0], picks[-1]) == (0, n - 1)
        gaps = [b - a for a, b in pairwise(picks)]
        assert max(gaps) - min(gaps) <= 2


def test_uniform_indices_round_half_to_even_and_take_one() -> None:
    assert uniform_indices(6, 3) == [0, 2, 5]
    assert uniform_indices(8, 3) == [0, 4, 7]
    assert uniform_indices(300, 8) == [0, 43, 85, 128, 171, 214, 256, 299]
    assert uniform_indices(100, 1) == [0]


@given(
    gaps=st.lists(st.integers(5, 900), min_size=1, max_size=80),
    fps=st.floats(0.1, 1000),
    frames=st.none() | st.integers(1, 40),
)
def test_choose_indices(gaps: list[int], fps: float, frames: int | None) -> None:
    times = [sum(gaps[:i]) / 1000 for i in range(len(gaps))]
    picks = choose_indices(FrameBudget(frames, fps), len(times), times, sum(gaps) / 1000)
    assert picks[0] == 0
    assert picks == sorted(set(picks))
    assert frames is None or len(picks) <= frames
    assert len(picks) <= math.ceil(sum(gaps) / 1000 * fps) + 1


def test_frames_per_second_of_a_coarsely_timed_video() -> None:
    times = [round(i / 30, 3) for i in range(300)]  # as Matroska stores them
    assert choose_indices(FrameBudget(None, 15), 300, times, 10.0) == list(range(0, 300, 2))
    assert choose_indices(FrameBudget(None, 30), 300, times, 10.0) == list(range(300))
    assert choose_indices(FrameBudget(None, 1), 300, times, 10.0) == list(range(0, 300, 30))
    assert choose_indices(FrameBudget(4, 1), 300, times, 10.0) == [0, 90, 180, 270]


@given(width=st.integers(1, 5000), height=st.integers(1, 5000), pixels=st.integers(1, 10**7))
def test_fit_size(width: int, height: int, pixels: int) -> None:
    fitted = fit_size(width, height, pixels)
    assert 1 <= fitted[0] <= width and 1 <= fitted[1] <= height
    assert fitted[0] * fitted[1] <= pixels
    assert fitted == (width, height) or width * height > pixels


@pytest.mark.parametrize(
    "wrong", [{"frames": 0}, {"fps": 0}, {"fps": math.inf}, {"fps": math.nan}, {"max_pixels": 0}]
)
def test_a_budget_must_be_possible(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        FrameBudget(**wrong)


# Real clips


def golden_clips(shared: Path) -> Iterator[tuple[Path, dict[str, Any], np.ndarray]]:
    expected = json.loads((shared / "golden/motion/expected.json").read_text())
    with np.load(shared / "golden/motion/grey.npz") as grey:
        for name, values in expected.items():
            yield shared / "data/realpool/videos" / name, values, grey[name]


@pytest.mark.slow
def test_golden_frames(shared: Path) -> None:
    clips = list(golden_clips(shared))
    assert len(clips) == 34
    for path, values, golden in clips:
        frames = read(path, FrameBudget(frames=8))
        assert frames.info.frames == values["frames_decoded"], path.name
        assert frames.indices == values["indices"], path.name
        assert frames.info.error is None, path.name
        if path.name == "moviepy_fire2.mp4":  # the golden frames of this one are upside down, as stored
            golden = np.rot90(golden, 2, axes=(1, 2))  # noqa: PLW2901
        for picture, grey in zip(frames.images, golden, strict=True):
            ours = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
            ours = cv2.resize(ours, (224, 224), interpolation=cv2.INTER_AREA)
            assert np.abs(ours.astype(np.int16) - grey).mean() < 1, path.name


def test_probe_agrees_with_golden_counts(shared: Path) -> None:
    for path, values, _ in golden_clips(shared):
        info = probe_media("video", [path])
        assert (info.frames, info.error) == (values["frames_decoded"], None), path.name
        assert info.fps is not None and info.duration is not None
        assert info.frames == pytest.approx(info.fps * info.duration, rel=0.05), path.name


def test_first_of_two_video_streams(shared: Path) -> None:
    info = probe_media("video", [shared / "data/realpool/videos/tc_nasa_13013.mp4"])
    assert (info.width, info.height, info.frames) == (320, 180, 325)


@pytest.mark.parametrize("name", ODD)
def test_odd_files(shared: Path, name: str) -> None:
    rows = map(json.loads, (shared / "data/realpool/odd.jsonl").read_text().splitlines())
    expect = next(row["expect"] for row in rows if Path(row["video"]).name == name)
    path = shared / "data/realpool/videos/odd" / name
    info = probe_media("video", [path], exact=True)
    assert info.frames == expect["frames"]
    assert (info.error is not None) == expect["error"]
    if expect["size"]:
        assert (info.width, info.height) == tuple(expect["size"])
    if expect["frames"] == 0:
        with pytest.raises(MediaError, match=name):
            read(path)
        return
    for budget in (ALL, FrameBudget(frames=8)):
        frames = read(path, budget)
        assert frames.info == info
        assert frames.indices == choose_indices(budget, expect["frames"])
        assert {picture.shape for picture in frames.images} == {(info.height, info.width, 3)}


def test_all_odd_files_are_tested(shared: Path) -> None:
    assert sorted(path.name for path in (shared / "data/realpool/videos/odd").iterdir()) == sorted(ODD)


def test_odd_files_hold_what_they_should(shared: Path) -> None:
    odd = shared / "data/realpool/videos/odd"
    resized = read(odd / "wpt_midstream_resize.mp4")
    assert [resized.images[i][:, :, :2].mean(axis=(0, 1)).argmax() for i in (0, 58, 60, 117)] == [0, 0, 1, 1]
    unordered = read(odd / "decord_unordered.mov")
    assert unordered.times == [0, 512 / 16384, 1024 / 16384, 1536 / 16384]
    assert min(picture.min() for picture in read(odd / "wpt_white.webm", FrameBudget(4)).images) > 250
    raw = read(odd / "vpf_res_change.h264", FrameBudget(frames=5, fps=2))
    assert (raw.times, raw.info.fps, raw.info.duration, len(raw.images)) == (None, None, None, 5)
    assert read(odd / "decord_corrupted.mp4", FrameBudget(4)).info.error == (
        "damaged packets: 1 of 50; 49 frames can be decoded"
    )
    assert "encrypted" in str(probe_media("video", [odd / "wpt_encrypted.mp4"]).error)


def test_cover_art_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "song.m4a"
    with av.open(str(path), "w", format="mp4") as container:
        sound = container.add_stream("aac", rate=8000, layout="mono")
        cover: Any = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = Disposition.attached_pic
        samples = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        samples.sample_rate = 8000
        container.mux(
            cover.encode(av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), format="rgb24"))
        )
        container.mux([*cover.encode(), *sound.encode(samples), *sound.encode()])
    assert probe_media("video", [path]).error == "has no video stream"


# Exactness


def test_frames_of_variable_rate_are_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    pts = np.concatenate([[0], rng.integers(5, 700, 119).cumsum()]).tolist()
    for suffix in (".mp4", ".mkv"):
        path = write_video(tmp_path / f"vfr{suffix}", pts, time_base=Fraction(1, 1000))
        assert numbers(read(path)) == list(range(120))
        sparse = read(path, FrameBudget(frames=9))
        assert numbers(sparse) == sparse.indices == uniform_indices(120, 9)
        assert sparse.times == pytest.approx([pts[i] / 1000 for i in sparse.indices], abs=1e-3)
        by_time = read(path, FrameBudget(frames=None, fps=0.5))
        on_screen = [np.searchsorted(pts, 2000 * k + 2, side="right") - 1 for k in range(-(-pts[-1] // 2000))]
        assert numbers(by_time)[: len(on_screen)] == on_screen


CODECS: list[tuple[str, str, dict[str, str]]] = [
    ("a.mp4", "libx264", {"x264-params": "open-gop=1:bframes=3:b-pyramid=normal"}),
    ("refresh.mp4", "libx264", {"x264-params": "intra-refresh=1:bframes=0"}),
    ("a.avi", "libx264", {}),
    ("a.ts", "libx264", {}),
    ("a.h264", "libx264", {}),
    ("a.webm", "libvpx-vp9", {"auto-alt-ref": "1", "lag-in-frames": "16", "cpu-used": "8"}),
    ("m.avi", "mpeg4", {}),
    ("m.mpg", "mpeg2video", {}),
]


@pytest.mark.parametrize(("name", "codec", "options"), CODECS, ids=lambda value: str(value)[:12])
def test_frames_are_exact_in_every_container(
    tmp_path: Path, name: str, codec: str, options: dict[str, str]
) -> None:
    path = write_video(tmp_path / name, range(90), codec, options=options)
    for budget in (ALL, FrameBudget(frames=7), FrameBudget(frames=1)):
        frames = read(path, budget)
        assert numbers(frames) == frames.indices == choose_indices(budget, 90)
        assert (frames.info.frames, frames.info.error) == (90, None)


def test_a_long_video_is_not_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_video(tmp_path / "long.mp4", range(6000), gop=30, options={"preset": "ultrafast"})
    decoded: list[int | None] = []
    decode_run = video_decode._decode_run

    def counted(*arguments: Any) -> Iterator[av.VideoFrame]:
        for frame in decode_run(*arguments):
            decoded.append(frame.pts)
            yield frame

    monkeypatch.setattr(video_decode, "_decode_run", counted)
    monkeypatch.setattr(video_decode, "decode_all", None)
    frames = read(path, FrameBudget(frames=32))
    assert numbers(frames) == [i % 256 for i in frames.indices]
    assert len(decoded) < 32 * 30


@pytest.mark.parametrize("codec", ["mpeg4", "mpeg2video", "libx264", "libvpx"])
def test_false_key_frames_do_not_give_false_frames(tmp_path: Path, codec: str) -> None:
    """Where a container calls every packet a key frame, the decoder's word counts."""
    options = {"bf": "0"} if codec != "libvpx" else {}
    path = write_video(tmp_path / "a.mkv", range(90), codec, gop=45, options=options)
    told = scan_video(path, Deadline(60))
    lies = replace(told, heads=[head._replace(key=True) for head in told.heads])
    for scan, exact in ((told, True), (lies, False)):
        pictures = decode_chosen(path, scan, [0, 22, 44, 67, 89], Darkroom(None), Deadline(60))
        assert (pictures is not None) == exact


def frame(pts: int, key: bool = False, corrupt: bool = False) -> Any:
    return SimpleNamespace(pts=pts, key_frame=key, is_corrupt=corrupt)


def test_a_run_must_give_the_frames_of_its_packets() -> None:
    heads = [
        PacketHead(pts, 1, key, True)
        for pts, key in ((0, True), (4, True), (2, False), (3, False), (5, False))
    ]
    run = video_decode.Run(1, 5)  # an open group: 2 and 3 lead up to the key frame 4

    def passed(*frames: Any) -> list[int | None]:
        return [frame.pts for frame in video_decode._announced_frames(run, heads, iter(frames))]

    assert passed(frame(4, key=True), frame(5)) == [4, 5]
    assert passed(frame(2), frame(3), frame(4, key=True), frame(5)) == [4, 5]
    for bad in (
        [frame(4, key=True)],
        [frame(5)],
        [frame(4), frame(5)],
        [frame(4, key=True), frame(5, corrupt=True)],
        [frame(4, key=True), frame(5), frame(6)],
        [frame(4, key=True), frame(6)],
    ):
        with pytest.raises(video_decode._NotAsAnnouncedError):
            passed(*bad)


def test_frames_that_lead_up_to_a_key_frame_need_the_one_before() -> None:
    stored = ((0, True), (1, False), (4, True), (2, False), (3, False), (5, False))
    heads = [PacketHead(pts, 1, key, True) for pts, key in stored]
    scan = Scan(heads, [0, 1, 3, 4, 2, 5], Fraction(1), (2, 2), 1.0, 0, None)
    runs = {i: video_decode.plan_runs(scan, [i]) for i in range(6)}
    assert runs == {0: [(0, 1)], 1: [(0, 2)], 2: [(0, 4)], 3: [(0, 5)], 4: [(2, 3)], 5: [(2, 6)]}
    assert video_decode.plan_runs(scan, [1, 5]) == [(0, 6)]
    assert video_decode.plan_runs(scan, [0, 5]) == [(0, 1), (2, 6)]
    assert video_decode.plan_runs(replace(scan, order=None), [0]) is None
    assert video_decode.plan_runs(replace(scan, torn=1), [0]) is None


# Rotation, size


@pytest.mark.parametrize("degrees", [0, 90, 180, 270, -90])
def test_rotation_of_the_container(tmp_path: Path, degrees: int) -> None:
    stored = read(write_video(tmp_path / "stored.mp4", range(5))).images
    path = write_video(tmp_path / "turned.mp4", range(5), rotation=degrees)
    turned = read(path)
    for upright, picture in zip(turned.images, stored, strict=True):
        np.testing.assert_array_equal(upright, np.rot90(picture, degrees // 90))
    info = probe_media("video", [path])
    assert (info.width, info.height) == turned.images[0].shape[1::-1]


def test_rotation_of_real_clips(shared: Path) -> None:
    videos = shared / "data/realpool/videos"
    for name, clockwise in (("moviepy_fire2.mp4", 2), ("odd/decord_rot90.mov", 1)):
        with av.open(str(videos / name)) as container:
            stored = next(container.decode(video=0)).to_ndarray(format="rgb24")
        np.testing.assert_array_equal(
            read(videos / name, FrameBudget(1)).images[0], np.rot90(stored, -clockwise)
        )


def test_pixel_budget(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(40))
    frames = read(path, FrameBudget(frames=4, max_pixels=1100))
    assert [picture.shape for picture in frames.images] == [(16, 66, 3)] * 4
    assert (frames.info.width, frames.info.height) == (128, 32)
    Image.new("RGB", (400, 100)).save(tmp_path / "a.png")
    image = read_frames("image", [tmp_path / "a.png"], FrameBudget(max_pixels=10_000))
    assert image.images[0].shape == (50, 200, 3)


# Backends


def test_decord_gives_the_same_frames_or_none(shared: Path) -> None:
    videos = shared / "data/realpool/videos"
    budget = FrameBudget(frames=5, max_pixels=50_000)
    for name in ("skv_bikes.mp4", "moviepy_fire2.mp4", "intel_asl_thanks.mkv", "odd/decord_rot90.mov"):
        ours, theirs = read(videos / name, budget), read(videos / name, budget, backend="decord")
        assert ours.info == theirs.info and ours.indices == theirs.indices and ours.times == theirs.times
        for a, b in zip(ours.images, theirs.images, strict=True):
            assert np.abs(a.astype(np.int16) - b).mean() < 2, name
    wrong = (
        "lf_2.avi",
        "tc_nasa_13013.mp4",
        "odd/wpt_four_colors_1frame.mp4",
        "odd/wpt_midstream_resize.mp4",
    )
    for name in (*wrong, "odd/moviepy_bitmap_1x1.mp4", "odd/vpf_res_change.h264", "odd/decord_corrupted.mp4"):
        with pytest.raises(MediaError, match=r"decord .* use pyav"):
            read(videos / name, backend="decord")


# Trouble


@pytest.mark.parametrize("kind", ["image", "frames", "video"])
def test_missing_and_foreign_files(tmp_path: Path, kind: Literal["image", "frames", "video"]) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("no media")
    for path, reason in ((tmp_path / "none.mp4", "no such file"), (tmp_path, "not a file"), (text, "not a ")):
        with pytest.raises(MediaError, match=f"{path}: .*{reason}"):
            read_frames(kind, [path], ALL)
        assert reason in str(probe_media(kind, [path]).error)
    with pytest.raises(MediaError, match="0 files"):
        read_frames(kind, [], ALL)
    assert "0 files" in str(probe_media(kind, []).error)


def test_a_time_limit_ends_the_reading(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.mp4", range(10))
    for backend in ("pyav", "decord"):
        with pytest.raises(MediaError, match="time limit of 0 s"):
            read(path, backend=backend, time_limit=0)
    assert "time limit" in str(probe_media("video", [path], time_limit=0).error)
    with pytest.raises(MediaError, match="time limit"):
        Deadline(-1).check()


@pytest.mark.parametrize("name", ["a.mkv", "a.avi", "a.ts", "a.mp4"])
def test_a_file_cut_off_gives_what_is_there_and_says_so(tmp_path: Path, name: str) -> None:
    whole = write_video(tmp_path / name, range(240), container_options={"movflags": "+faststart"})
    cut = tmp_path / f"cut_{name}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    frames = read(cut, FrameBudget(frames=6))
    assert numbers(frames) == frames.indices
    assert frames.info.frames is not None and 60 < frames.info.frames < 200
    assert read(cut, FrameBudget(1)).info == frames.info
    if name in ("a.mkv", "a.mp4"):  # the others tell no length, and may end between two frames
        assert frames.info.error


def test_addresses_are_not_followed(tmp_path: Path) -> None:
    secret = write_video(tmp_path / "secret.mp4", range(5))
    listing = tmp_path / "list.ffconcat"
    listing.write_text(f"ffconcat version 1.0\nfile {secret.name}\n")
    for path in (str(listing), f"concat:{secret}", f"file:{secret}"):
        with pytest.raises(MediaError, match=r"list of other files|no such file"):
            read_frames("video", [path], ALL)


# Pictures


def picture_file(path: Path, image: Image.Image, **options: Any) -> Path:
    image.save(path, **options)
    return path


def read_image(path: Path) -> np.ndarray:
    frames = read_frames("image", [path], FrameBudget())
    assert (frames.indices, frames.times, frames.info.frames, frames.info.error) == ([0], None, 1, None)
    picture = frames.images[0]
    assert picture.dtype == np.uint8 and picture.shape[2:] == (3,)
    info = probe_media("image", [path])
    assert (info.height, info.width) == picture.shape[:2]
    return picture


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(tmp_path: Path, orientation: int) -> None:
    stored = np.zeros((4, 6, 3), np.uint8)
    stored[0] = (255, 0, 0)
    stored[1:, 0] = (0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = read_image(picture_file(tmp_path / "a.png", Image.fromarray(stored), exif=exif))
    turned = {
        1: stored, 2: stored[:, ::-1], 3: stored[::-1, ::-1], 4: stored[::-1],
        5: stored.transpose(1, 0, 2), 6: np.rot90(stored, -1),
        7: np.rot90(stored, 2).transpose(1, 0, 2), 8: np.rot90(stored),
    }  # fmt: skip
    np.testing.assert_array_equal(picture, turned[orientation])


def test_every_mode_becomes_rgb(tmp_path: Path) -> None:
    clear = read_image(picture_file(tmp_path / "a.png", Image.new("RGBA", (2, 2), (255, 0, 0, 0))))
    assert clear.min() == 255
    half = read_image(picture_file(tmp_path / "b.png", Image.new("LA", (2, 2), (0, 128))))
    assert set(half.ravel().tolist()) == {127}
    palette = Image.new("P", (2, 1), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((1, 0), 0)
    shown = read_image(picture_file(tmp_path / "c.png", palette, transparency=0))
    assert shown.tolist() == [[[10, 20, 30], [255, 255, 255]]]
    cmyk = read_image(picture_file(tmp_path / "d.tif", Image.new("CMYK", (2, 2), (0, 255, 255, 0))))
    assert cmyk[0, 0].tolist() == [255, 0, 0]
    deep = Image.fromarray(np.array([[0, 256 * 7, 65535]], np.uint16))
    assert read_image(picture_file(tmp_path / "e.png", deep))[0, :, 0].tolist() == [0, 7, 255]
    real = Image.fromarray(np.array([[-1, 0, 1]], np.float32))
    assert read_image(picture_file(tmp_path / "f.tif", real))[0, :, 0].tolist() == [0, 127, 255]
    bits = read_image(picture_file(tmp_path / "g.png", Image.new("1", (2, 2), 1)))
    assert bits.min() == 255


@pytest.mark.parametrize("suffix", ["gif", "webp"])
def test_a_moving_picture_gives_its_first_frame(tmp_path: Path, suffix: str) -> None:
    shades = [Image.new("RGB", (8, 8), (shade,) * 3) for shade in (40, 140, 240)]
    path = picture_file(tmp_path / f"a.{suffix}", shades[0], save_all=True, append_images=shades[1:])
    assert abs(int(read_image(path)[0, 0, 0]) - 40) < 5


def test_broken_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8))
    for suffix in ("jpg", "png", "webp", "tif"):
        path = picture_file(tmp_path / f"a.{suffix}", noise)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        with pytest.raises(MediaError, match=f"a.{suffix}: "):
            read_frames("image", [path], ALL)
        assert probe_media("image", [path], exact=True).error
    bomb = picture_file(tmp_path / "bomb.png", Image.new("1", (300, 300)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(MediaError, match=r"bomb.png: too large"):
        read_frames("image", [bomb], ALL)
    assert "too large" in str(probe_media("image", [bomb]).error)


# Frame lists


def frame_files(folder: Path, count: int) -> list[Path]:
    return [
        picture_file(folder / f"{i:03}.png", Image.fromarray(numbered(i)), compress_level=1)
        for i in range(count)
    ]


def test_frame_lists(tmp_path: Path) -> None:
    files = frame_files(tmp_path, 50)
    for budget in (FrameBudget(), FrameBudget(1), FrameBudget(frames=8, fps=2), ALL):
        frames = read_frames("frames", files, budget)
        assert numbers(frames) == frames.indices == uniform_indices(50, budget.frames or 50)
        assert frames.times is None
    info = probe_media("frames", files, exact=True)
    assert (info.frames, info.width, info.height, info.fps, info.error) == (50, 128, 32, None, None)


def test_a_frame_list_takes_the_first_chosen_size(tmp_path: Path) -> None:
    files = frame_files(tmp_path, 3)
    Image.fromarray(numbered(1)).resize((64, 64)).save(files[1])
    assert {picture.shape for picture in read_frames("frames", files, ALL).images} == {(32, 128, 3)}


def test_a_bad_frame_is_named_when_it_is_chosen(tmp_path: Path) -> None:
    files = frame_files(tmp_path, 9)
    files[4].write_bytes(files[4].read_bytes()[:60])
    files[6].unlink()
    assert numbers(read_frames("frames", files, FrameBudget(2))) == [0, 8]
    with pytest.raises(MediaError, match=r"004\.png: "):
        read_frames("frames", files, FrameBudget(3))
    with pytest.raises(MediaError, match=r"006\.png: no such file"):
        read_frames("frames", files[5:], ALL)
    assert "006.png: no such file" in str(probe_media("frames", files).error)
    assert "004.png: " in str(probe_media("frames", files, exact=True).error)
