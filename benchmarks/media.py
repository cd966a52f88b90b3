"""Which backend should read videos? Times PyAV and decord side by side and watches their memory.

    python benchmarks/media.py [--json FILE] [--videos DIR]

Backends: `pyav` and `decord` are those of `gdo.pool.media.read_frames`; `decord alone` is its own reader
(get_batch) without the checks that keep wrong frames out; `wrong alone` counts frames it gave that are not
the frames asked for, in its worst round. All read 32 uniform frames. Repeats are interleaved, so that a
busy machine slows all alike: read the ratios. Memory is the growth of a fresh process over 60 re-opens.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import decord
import numpy as np
import numpy.typing as npt
import psutil
from rich.console import Console
from rich.table import Table

from gdo.errors import MediaError
from gdo.pool.media import FrameBudget, read_frames, uniform_indices

FRAMES = 32
REOPENS = 60
SIZE = (640, 360)
GENERATED = {"300 frames 640x360": 300, "10 minutes 640x360": 18_000}


Pictures = Sequence[npt.NDArray[np.uint8]]


def read_pyav(path: Path) -> Pictures:
    return read_frames("video", [path], FrameBudget(frames=FRAMES), backend="pyav").images


def read_decord(path: Path) -> Pictures:
    return read_frames("video", [path], FrameBudget(frames=FRAMES), backend="decord").images


def read_decord_alone(path: Path) -> Pictures:
    reader = decord.VideoReader(str(path))
    return list(reader.get_batch(uniform_indices(len(reader), FRAMES)).asnumpy())


BACKENDS: dict[str, Callable[[Path], Pictures]] = {
    "pyav": read_pyav,
    "decord": read_decord,
    "decord alone": read_decord_alone,
}


def make_video(path: Path, frames: int) -> None:
    """Encode a texture that slides under a moving bar, H.264 at 30 frames per second."""
    width, height = SIZE
    texture = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    texture = texture.repeat(8, axis=0).repeat(8, axis=1)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "superfast"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for number in range(frames):
            picture = np.roll(texture, number, axis=1)
            picture[:, number * 5 % width :][:, :20] = 255
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@dataclass
class Row:
    """Figures of one video: seconds a backend (none where it refuses), decord's wrong frames."""

    seconds: dict[str, float]
    wrong: int | None


def time_backends(path: Path, repeats: int) -> Row:
    """Time each backend's reads of a video and compare what decord alone gives with what PyAV gives."""
    times: dict[str, list[float]] = {name: [] for name in BACKENDS}
    wrong: int | None = None
    for repeat in range(repeats + 1):
        pictures: dict[str, Pictures] = {}
        for name, read in BACKENDS.items():
            start = time.perf_counter()
            try:
                pictures[name] = read(path)
            except (MediaError, decord.DECORDError, RuntimeError):
                continue
            if repeat:  # the first round warms the file cache
                times[name].append(time.perf_counter() - start)
        if len(pictures.get("decord alone", ())) == len(pictures.get("pyav", ())) > 0:
            wrong = max(wrong or 0, count_different(pictures["pyav"], pictures["decord alone"]))
    return Row({name: statistics.median(taken) for name, taken in times.items() if taken}, wrong)


def count_different(ours: Pictures, theirs: Pictures) -> int:
    """Count the frames that are not the same picture, whatever the conversion to RGB."""
    return sum(
        a.shape != b.shape or float(np.abs(a.astype(np.int16) - b).mean()) > 4
        for a, b in zip(ours, theirs, strict=True)
    )


def memory_growth(backend: str, path: str) -> float:
    """Return how many MiB this process gains over the re-opens after the first few."""
    process = psutil.Process()
    for _ in range(3):
        BACKENDS[backend](Path(path))
    before = process.memory_info().rss
    for _ in range(REOPENS):
        BACKENDS[backend](Path(path))
    return float(process.memory_info().rss - before) / 2**20


def measure_memory(path: Path) -> dict[str, float]:
    """Run `memory_growth` of each backend in a process of its own."""
    growth = {}
    for name in BACKENDS:
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            growth[name] = pool.apply(memory_growth, (name, str(path)))
    return growth


def show(rows: dict[str, Row], growth: dict[str, float]) -> None:
    """Print all figures as a table."""
    columns = ("video", *BACKENDS, "alone / pyav", "wrong alone")
    table = Table(*columns, title=f"median seconds for {FRAMES} frames")
    for video, row in rows.items():
        cells = [f"{row.seconds[name]:.3f}" if name in row.seconds else "refused" for name in BACKENDS]
        alone, pyav = row.seconds.get("decord alone"), row.seconds.get("pyav")
        ratio = f"{alone / pyav:.2f}" if alone and pyav else ""
        table.add_row(video, *cells, ratio, "" if row.wrong is None else str(row.wrong))
    table.add_section()
    table.add_row(f"MiB gained over {REOPENS} re-opens", *(f"{growth[name]:.1f}" for name in BACKENDS))
    Console(width=120).print(table)


def write_json(path: Path, figures: dict[str, object]) -> None:
    aside = path.with_name(path.name + ".part")
    aside.write_text(json.dumps(figures, indent=2) + "\n")
    aside.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--videos", type=Path, help="time every file of this folder too")
    parser.add_argument("--repeats", type=int, default=5, help="timed reads of each file and backend")
    arguments = parser.parse_args()
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder:
        for label, frames in GENERATED.items():
            path = Path(folder) / f"{frames}.mp4"
            make_video(path, frames)
            rows[label] = time_backends(path, arguments.repeats)
        growth = measure_memory(Path(folder) / "300.mp4")
    if arguments.videos:
        for path in sorted(file for file in arguments.videos.iterdir() if file.is_file()):
            rows[path.name] = time_backends(path, arguments.repeats)
    show(rows, growth)
    if arguments.json:
        write_json(
            arguments.json,
            {
                "frames": FRAMES,
                "videos": {video: asdict(row) for video, row in rows.items()},
                "mib_gained": growth,
            },
        )


if __name__ == "__main__":
    main()
