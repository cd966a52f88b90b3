"""Three hundred damaged pictures and clips: no crash, no hang, and each has values or a reason."""

import io
import json
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
from mutate import Mutator
from PIL import Image

from gdo.descriptors.describe import describe
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool

COUNT = 300
LIMIT = 600.0
"""Seconds for one medium, which takes a hundredth of one; a busy machine is slow to start workers."""
REAL = 30
"""Bytes in thousands that a real file may have."""

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("fuzz")]


def clip(suffix: str, codec: str) -> bytes:
    """Twelve frames of a moving square."""
    held = io.BytesIO()
    with av.open(held, "w", format=suffix) as container:
        stream = container.add_stream(codec, rate=6)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for number in range(12):
            image = np.full((48, 64, 3), 90, np.uint8)
            image[10:30, 4 * number : 4 * number + 16] = (250, 80, 10)
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return held.getvalue()


def picture(kind: str, seed: int) -> bytes:
    chance, held = np.random.default_rng(seed), io.BytesIO()
    pixels = chance.integers(0, 256, (6, 8, 3), dtype=np.uint8).repeat(8, axis=0).repeat(8, axis=1)
    Image.fromarray(pixels).save(held, kind)
    return held.getvalue()


def originals() -> Iterator[tuple[str, bytes]]:
    for suffix, codec in (("mp4", "libx264"), ("mp4", "mpeg4"), ("matroska", "libx264"), ("avi", "mpeg4")):
        yield {"matroska": "mkv"}.get(suffix, suffix), clip(suffix, codec)
    for seed, kind in enumerate(("jpeg", "png", "webp", "gif", "tiff", "bmp")):
        yield kind, picture(kind, seed)


def real_files(shared: Path) -> list[tuple[str, bytes]]:
    """Small ones of the real pool."""
    found = sorted((shared / "data" / "realpool").rglob("*"))
    kinds = {".mp4", ".webm", ".jpg", ".png", ".webp"}
    good = [path for path in found if path.suffix in kinds and "odd" not in path.as_posix()]
    small = [path for path in good if path.stat().st_size <= REAL * 1000]
    return [(path.suffix[1:], path.read_bytes()) for path in small[:10]]


def damaged(folder: Path, files: list[tuple[str, bytes]]) -> Path:
    """Write the files as they are, then mutated in turn, and rows that show one each."""
    mutator, rows = Mutator("media"), []
    for number in range(len(files) + COUNT):
        suffix, data = files[number % len(files)]
        whole = number < len(files)
        name = f"{number}.{suffix}"
        (folder / name).write_bytes(data if whole else mutator.data(data, 12))
        key = "videos" if suffix in {"mp4", "mkv", "avi", "webm"} else "images"
        turns = [{"role": "user", "content": "What?"}, {"role": "assistant", "content": "That."}]
        rows.append({"id": f"{'whole' if whole else 'hurt'}{number}", key: [name], "messages": turns})
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_damaged_media_have_values_or_a_reason(shared: Path, tmp_path: Path) -> None:
    files = [*originals(), *real_files(shared)]
    pool = tmp_path / "pool.duckdb"
    ingest(pool, [damaged(tmp_path, files)], workers=1)
    describe(pool, ["fingerprint"], workers=2, time_limit=LIMIT)
    with Pool(pool).read() as connection:
        told = connection.execute(
            "SELECT qa_uid, spectra IS NOT NULL, f.error FROM sample "
            "JOIN sample_media USING (qa_uid) JOIN fingerprint AS f USING (media_id)"
        ).fetchall()
    assert len(told) == len(files) + COUNT
    for uid, has_value, reason in told:
        assert has_value != bool(reason), (uid, reason)
        assert not (reason or "").startswith(("took longer", "the reader crashed")), (uid, reason)
        assert not (reason and "whole" in uid), (uid, reason)
    broken = sum(reason is not None for *_, reason in told)
    assert COUNT // 5 < broken < COUNT
