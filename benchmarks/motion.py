"""How fast is motion: once per question as released, once per video, and with the flow in torch?

    python benchmarks/motion.py [--clips 64] [--videos DIR] [--questions 4] [--workers N] [--json FILE]

Clips are those of a generated example pool, or every file of a folder that reads as a video. `per question`
does what the released code does for every question-answer pair, one after the other: decode, make grey,
OpenCV's flow; the next line does so once per video. The others run as `gdo describe` does, without its
database and the start of its processes. Rounds are interleaved, so that a busy machine slows all alike: read
the ratios. Where a CUDA GPU is, it is timed too: with readers before it (on all clips, `--repeat` times
over), and its flow alone, on pictures in memory.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
from measure import machine, write_json
from rich.console import Console
from rich.table import Table

from gdo.demo.make import make_example_pool
from gdo.descriptors.engine.local import Crew
from gdo.descriptors.engine.machine import read_media
from gdo.descriptors.engine.on_device import describe_on_devices
from gdo.descriptors.engine.work import Medium
from gdo.descriptors.motion import Grey, Motion, motion_of, to_grey
from gdo.descriptors.motion_torch import MotionOnDevice
from gdo.errors import MediaError
from gdo.pool.frames import Frames
from gdo.pool.media import read_frames

TIME_LIMIT = 60.0
RELEASED = "per question, OpenCV"
ONCE = "per video, OpenCV"
ON_GPU = 1024
"""Clips that a GPU's flow alone is timed on, the same ones again and again."""


def find_videos(folder: Path) -> list[Path]:
    """The files of a folder of which at least two frames can be read."""
    found = []
    for path in sorted(file for file in folder.rglob("*") if file.is_file()):
        try:
            if len(read(path).images) > 1:
                found.append(path)
        except MediaError:
            continue
    return found


def read(path: Path) -> Frames:
    """The frames that motion needs."""
    return read_frames("video", [path], Motion.frames)


@dataclass
class Clock:
    """Seconds of each thing that was timed, round by round."""

    seconds: dict[str, list[float]] = field(default_factory=dict)

    def time(self, name: str, work: Callable[[], object]) -> None:
        started = time.perf_counter()
        work()
        self.add(name, time.perf_counter() - started)

    def add(self, name: str, seconds: float) -> None:
        self.seconds.setdefault(name, []).append(seconds)

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])


def devices() -> list[str]:
    """Where torch computes. Imported here, so that readers, which load this file too, do without it."""
    import torch

    return ["cpu", *(["cuda:0"] if torch.cuda.is_available() else [])]


def time_stages(paths: Sequence[Path], clock: Clock) -> list[Grey]:
    """Time each step by itself, in this process; returns the grey pictures."""
    greys = []
    decode = grey = 0.0
    for path in paths:
        started = time.perf_counter()
        images = read(path).images
        decoded = time.perf_counter()
        greys.append(to_grey(images))
        decode += decoded - started
        grey += time.perf_counter() - decoded
    clock.add("decode", decode)
    clock.add("grey", grey)
    clock.time("flow, OpenCV", lambda: [motion_of(grey) for grey in greys])
    for device in devices():
        half = MotionOnDevice().load(device)
        half(greys[:1])
        many = greys * (ON_GPU // len(greys) + 1) if device != "cpu" else greys
        clock.time(f"flow, torch {device}", lambda half=half, many=many: half(many))
        clock.seconds[f"flow, torch {device}"][-1] *= len(greys) / len(many)
    return greys


def motion_alone(path: Path) -> float:
    return motion_of(to_grey(read(path).images))[0]


def time_ways(paths: Sequence[Path], arguments: argparse.Namespace, clock: Clock) -> None:
    """Time each way to describe the clips."""
    workers = arguments.workers
    clock.time(RELEASED, lambda: [motion_alone(path) for path in paths for _ in range(arguments.questions)])
    clock.time(ONCE, lambda: [motion_alone(path) for path in paths])
    media = [Medium(number, "video", "/", [str(path)]) for number, path in enumerate(paths)]
    crew = Crew(workers)
    try:
        for name, device in ways(workers).items():
            describe(media[: 2 * workers], crew, device)
            clock.time(name, lambda device=device: describe(media * arguments.repeat, crew, device))
    finally:
        crew.end()


def ways(workers: int) -> dict[str, str | None]:
    """What the engine is timed with: its name, and the device; None is OpenCV."""
    on_devices = {f"per video, torch {device}, {workers} readers": device for device in devices()}
    return {f"per video, OpenCV, {workers} workers": None, **on_devices}


def describe(media: Sequence[Medium], crew: Crew, device: str | None) -> list[pa.Table]:
    """The engine's part of `gdo describe`, on a device or by OpenCV."""
    if device is None:
        return list(read_media(Motion(), media, crew, TIME_LIMIT))
    motion = MotionOnDevice()
    return list(describe_on_devices(motion, iter(media), [device], workers=crew, time_limit=TIME_LIMIT))


def agreement(greys: Sequence[Grey], device: str) -> dict[str, float]:
    """How far amm in torch is from OpenCV's, relative to it, or to 0.01 pixels where that is more."""
    known = np.array([motion_of(grey)[0] for grey in greys])
    got = np.array(MotionOnDevice().load(device)(greys)["amm"])
    apart = np.abs(got - known) / known.clip(min=0.01)
    return {"median": float(np.median(apart)), "largest": float(apart.max())}


def show(
    stages: dict[str, float],
    rates: dict[str, float],
    frames: float,
    apart: dict[str, dict[str, float]],
    console: Console,
) -> None:
    """Print all figures."""
    table = Table("one process", "ms per video")
    for name, seconds in stages.items():
        table.add_row(name, f"{1e3 * seconds:.2f}")
    console.print(table)
    table = Table("", "videos/s", "frames/s", "times as fast")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.1f}", f"{rate * frames:.0f}", f"{rate / rates[RELEASED]:.1f}")
    console.print(table)
    for device, figures in apart.items():
        console.print(
            f"amm on {device} against OpenCV's, relative: median {figures['median']:.1e}, "
            f"largest {figures['largest']:.1e}"
        )


def measure(paths: Sequence[Path], arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Time everything round by round, and print it."""
    stages, clock = Clock(), Clock()
    for _ in range(arguments.rounds):
        greys = time_stages(paths, stages)
        time_ways(paths, arguments, clock)
    frames = sum(map(len, greys)) / len(paths)
    times = {RELEASED: 1, ONCE: 1}
    rates = {
        name: len(paths) * times.get(name, arguments.repeat) / clock.median(name) for name in clock.seconds
    }
    each = {name: stages.median(name) / len(paths) for name in stages.seconds}
    apart = {device: agreement(greys, device) for device in devices()}
    show(each, rates, frames, apart, console)
    return {
        "videos": len(paths),
        "frames_per_video": frames,
        "questions": arguments.questions,
        "workers": arguments.workers,
        "stage_seconds_per_video": each,
        "videos_per_second": rates,
        "amm_apart": apart,
        "gpu": gpu(),
    }


def gpu() -> dict[str, Any] | None:
    """Name of the GPU and the most memory that was taken of it."""
    import torch

    if not torch.cuda.is_available():
        return None
    return {
        "name": torch.cuda.get_device_name(0),
        "peak_memory_gb": torch.cuda.max_memory_allocated(0) / 1e9,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--clips", type=int, default=64, help="generated clips")
    parser.add_argument("--videos", type=Path, help="a folder of videos instead")
    parser.add_argument("--questions", type=int, default=4, help="questions of each video")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--repeat", type=int, default=1, help="times that the engine describes each video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    with tempfile.TemporaryDirectory() as made:
        if arguments.videos is None:
            make_example_pool(Path(made), samples=max(40, 10 * arguments.clips))
            paths = find_videos(Path(made))[: arguments.clips]
        else:
            paths = find_videos(arguments.videos)
        figures = measure(paths, arguments, Console(width=110))
    write_json(arguments.json, {"machine": machine(), **figures})


if __name__ == "__main__":
    main()
