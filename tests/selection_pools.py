"""Small pools for the selection's tests, and the comparison of `gdo` with the plain oracle on them."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import plain_selection
import pytest

from gdo.descriptors.importing import import_descriptors
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.pool.text import hash64
from gdo.selectors.score import tie_hash
from gdo.selectors.select import Selection, select

WORDS = "red square moves left of the blue circle while a small dog waits near an open door today"
Row = dict[str, Any]


@dataclass(frozen=True)
class Made:
    """A pool and the files it was made of."""

    pool: Path
    images: Path | None
    videos: Path | None
    metrics: Path | None


def make(
    folder: Path, images: Sequence[Any] = (), videos: Sequence[Any] = (), metrics: Sequence[Row] = ()
) -> Made:
    """Write rows as JSONL (a string as it stands) and ingest them; images first."""
    folder.mkdir(exist_ok=True)
    files: dict[str, Path | None] = {}
    for name, rows in (("images", images), ("videos", videos), ("metrics", metrics)):
        path = folder / f"{name}.jsonl"
        path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
        files[name] = path if rows else None
    made = Made(folder / "pool.duckdb", **files)
    if made.images:
        ingest(made.pool, [made.images], kind="image")
    if made.videos:
        ingest(made.pool, [made.videos], kind="video")
    if made.metrics:
        import_descriptors(made.pool, made.metrics)
    return made


def words(count: int, start: int = 0) -> str:
    every = WORDS.split()
    return " ".join(every[(start + i) % len(every)] for i in range(count))


def messages(*pairs: tuple[str, str]) -> list[Row]:
    return [
        {"role": role, "content": text}
        for pair in pairs
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]


def image_row(number: int, *pairs: tuple[str, str], source: str | None = "coco") -> Row:
    return {"id": f"i{number}", "images": ["a.jpg"], "data_source": source, "messages": messages(*pairs)}


def video_row(
    number: int,
    *pairs: tuple[str, str],
    video: str | None = None,
    frames: int = 12,
    source: str | None = "tube",
) -> Row:
    row = {"id": f"v{number}", "video_id": video or f"clip{number}", "data_source": source}
    return {**row, "images": [f"{i}.jpg" for i in range(frames)], "messages": messages(*pairs)}


def plain_pairs(number: int, count: int) -> list[tuple[str, str]]:
    """Pairs whose texts nobody else has."""
    return [
        (f"q{number} {turn} {words(3 + number % 9)}", f"a {words(1 + (number * 3 + turn * 5) % 40)}")
        for turn in range(count)
    ]


def image_rows(count: int, pairs: int = 2) -> list[Row]:
    return [image_row(n, *plain_pairs(n, pairs), source=f"s{n % 3}(x)") for n in range(count)]


def video_rows(count: int, pairs: int = 2) -> list[Row]:
    return [video_row(n, *plain_pairs(100 + n, pairs), frames=1 + 7 * n % 40) for n in range(count)]


def metric_rows(rows: Sequence[Row], turns: int = 2) -> list[Row]:
    """A value of each kind for every pair, no two alike."""
    uids = [f"{'vv' if 'video_id' in row else 'ov'}::{row['id']}::t{t}" for row in rows for t in range(turns)]
    return [
        {
            "qa_uid": uid,
            "loss_video": 1 + math.sin(n),
            "loss_blind": 2 + math.cos(2 * n),
            "frame_diversity": abs(math.sin(3 * n)),
            "vds": math.sin(n + 1),
            "quality_score": math.cos(n / 7),
        }
        for n, uid in enumerate(uids)
    ]


def members(pool: Path, subset: str, role: str = "chosen") -> list[tuple[str, float, str]]:
    with Pool(pool).read() as connection:
        return connection.execute(
            "SELECT qa_uid, score, stage FROM subset_sample WHERE subset = ? AND role = ? ORDER BY rank",
            [subset, role],
        ).fetchall()


def uids(pool: Path, subset: str, role: str = "chosen") -> list[str]:
    return [uid for uid, _, _ in members(pool, subset, role)]


def as_settings(changes: Row) -> list[str]:
    return [f"{key}={json.dumps(value)}" for key, value in changes.items()]


REPORTED = (
    "total_pairs",
    "target_count",
    "uniform_count",
    "budget",
    "described_share",
    "num_strata",
    "bucket_quotas",
    "constraints",
    "subset_js_to_pool",
)


def gdo_order_key(seed: int, qa_uid: str) -> int:
    """The hash of ties is gdo's own choice; the oracle takes it over, so that equal scores compare too."""
    return int(tie_hash(np.array([hash64(qa_uid)], dtype=np.uint64), seed)[0])


def agree(made: Made, preset: str = "temp", **changes: Any) -> Selection:
    """Select with gdo and with the oracle, and hold them equal in every count, sample, score and place."""
    selection = select(made.pool, preset, settings=as_settings(changes))
    oracle_preset = plain_selection.load_preset(preset) | changes
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_selection, "order_key", gdo_order_key)
        [oracle] = plain_selection.plain_select(made.images, made.videos, made.metrics, [oracle_preset])
    for name in REPORTED:
        assert_close(selection.report[name], oracle[name], name)
    chosen = members(made.pool, preset)
    assert [uid for uid, _, _ in chosen] == [uid for uid, _ in oracle["selected"]]
    assert [score for _, score, _ in chosen] == pytest.approx(
        [score for _, score in oracle["selected"]], abs=1e-9
    )
    assert uids(made.pool, preset, "uniform") == oracle["uniform"]
    return selection


def assert_close(have: Any, want: Any, where: str) -> None:
    if isinstance(want, dict):
        assert set(have) == set(want), where
        for key, value in want.items():
            assert_close(have[key], value, f"{where}.{key}")
    else:
        assert have == pytest.approx(want, abs=1e-9), where


IMAGES, VIDEOS = image_rows(12), video_rows(8)
BOTH = [*IMAGES, *VIDEOS]
DUPLICATES = [image_row(50 + n, ("what is it", "a dog")) for n in range(6)]
SHARED_VIDEO = [video_row(60 + n, *plain_pairs(160 + n, 3), video="same") for n in range(5)]
POOLS: dict[str, tuple[list[Row], list[Row], list[Row]]] = {
    "images only": (IMAGES, [], metric_rows(IMAGES)),
    "videos only": ([], VIDEOS, metric_rows(VIDEOS)),
    "one image": (IMAGES[:1], [], []),
    "one video": ([], VIDEOS[:1], metric_rows(VIDEOS[:1])),
    "no descriptors": (IMAGES, VIDEOS, []),
    "all described": (IMAGES, VIDEOS, metric_rows(BOTH)),
    "half described": (IMAGES, VIDEOS, metric_rows(BOTH)[::2]),
    "one row described": (IMAGES, VIDEOS, metric_rows(BOTH)[5:6]),
    "rows without a sample": (IMAGES, VIDEOS, metric_rows(BOTH, turns=5)),
    "an empty row": (IMAGES, VIDEOS, [{"qa_uid": "vv::v1::t0"}, *metric_rows(BOTH)[-4:]]),
    "duplicate texts": (IMAGES + DUPLICATES, VIDEOS, metric_rows(BOTH)),
    "a crowded video": (IMAGES, VIDEOS + SHARED_VIDEO, metric_rows(BOTH)),
}
SIZES: dict[str, Row] = {
    "automatic": {},
    "automatic, open": {
        "min_count": 1,
        "max_ratio": 0.8,
        "effective_strata_mult": 0.4,
        "vds3_target_positive": 12,
    },
    "count": {"count": 11, "max_qa_per_video": 3},
    "more than there is": {"count": 500, "max_qa_per_video": 3},
    "ratio": {"ratio": 0.4, "min_video_ratio": -1, "max_video_ratio": -1},
}
