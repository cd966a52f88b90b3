"""A made-up pool of realistic size for benchmarks: image rows, video rows with frame lists, and metrics.

Row shapes follow LLaVA-OneVision and LLaVA-Video: one to four turns, answers from a letter to a paragraph,
8 to 32 listed frames, two dozen sources of uneven size.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import orjson

IMAGE_SHARE = 0.65
"""Of the pairs."""
_WORDS = [
    "the",
    "a",
    "of",
    "in",
    "on",
    "is",
    "are",
    "man",
    "woman",
    "child",
    "dog",
    "cat",
    "red",
    "blue",
    "green",
    "table",
    "street",
    "window",
    "door",
    "camera",
    "object",
    "scene",
    "before",
    "after",
    "then",
    "while",
    "first",
    "next",
    "during",
    "finally",
    "holds",
    "opens",
    "closes",
    "walks",
    "runs",
    "turns",
    "slowly",
    "quickly",
    "left",
    "right",
    "behind",
    "under",
    "several",
    "three",
    "two",
    "many",
    "picture",
    "number",
    "colour",
    "player",
    "game",
    "field",
    "water",
    "kitchen",
    "sign",
    "car",
]
_IMAGE_SOURCES = [("sharegpt4v(coco)", 9), ("vqav2", 6), ("gqa", 5), ("ai2d(cauldron,llava_format)", 3)]
_IMAGE_SOURCES += [(name, 2) for name in ("chartqa", "docvqa", "ocrvqa", "textvqa", "geo170k(qa)", "mathqa")]
_VIDEO_SOURCES = [
    (f"{length}_{origin}_v0_1", weight)
    for length, weight in (("0_30_s", 4), ("30_60_s", 3), ("1_2_m", 2), ("2_3_m", 1))
    for origin in ("academic", "youtube", "activitynetqa", "nextqa", "perceptiontest")
]


@dataclass(frozen=True)
class MadePool:
    """The files of a generated pool."""

    images: Path
    videos: Path
    metrics: Path
    pairs: int

    @property
    def megabytes(self) -> float:
        """Size of the three files."""
        return sum(path.stat().st_size for path in (self.images, self.videos, self.metrics)) / 1e6


def make_pool(folder: Path, pairs: int, seed: int = 42) -> MadePool:
    """Write a pool of at least `pairs` question-answer pairs; an existing one is reused."""
    made = MadePool(folder / "images.jsonl", folder / "videos.jsonl", folder / "metrics.jsonl", pairs)
    if (folder / "done").exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    phrases = [" ".join(rng.choices(_WORDS, k=rng.randint(3, 9))) for _ in range(5000)]
    with made.metrics.open("wb") as metrics:
        image_pairs = int(pairs * IMAGE_SHARE)
        with made.images.open("wb") as out:
            _write_rows(rng, phrases, out, metrics, image_pairs, video=False)
        with made.videos.open("wb") as out:
            _write_rows(rng, phrases, out, metrics, pairs - image_pairs, video=True)
    (folder / "done").touch()
    return made


def _write_rows(rng, phrases, out, metrics, pairs, *, video):
    names, weights = zip(*(_VIDEO_SOURCES if video else _IMAGE_SOURCES), strict=True)
    written = row = 0
    while written < pairs:
        turns = min(rng.choice((1, 1, 2, 3, 4)), pairs - written)
        source = rng.choices(names, weights)[0]
        row_id = f"{'vid' if video else 'img'}_{row:08d}"
        messages = []
        for turn in range(turns):
            tag = ("<image>" * (rng.choice((8, 16, 24, 32)) if video else 1) + "\n") if turn == 0 else ""
            if turn == 0:
                frames = tag.count("<image>")
            question = " ".join(rng.choices(phrases, k=rng.choice((1, 1, 2, 3)))).capitalize() + "?"
            if rng.random() < 0.25:
                question += "\nA. " + rng.choice(phrases) + "\nB. " + rng.choice(phrases)
            answer = (
                " ".join(rng.choices(phrases, k=rng.choice((1, 1, 2, 6, 30)))) if rng.random() < 0.8 else "A"
            )
            messages.append({"role": "user", "content": tag + question})
            messages.append({"role": "assistant", "content": answer})
        record = {"id": row_id, "data_source": source}
        if video:
            clip = f"clip{row // 3:07d}"
            record["video_id"] = clip
            record["images"] = [
                f"LLaVA-Video-178K/{source}/frames/{clip}/frame_{number:05d}.jpg" for number in range(frames)
            ]
        else:
            record["images"] = [f"images/{source.partition('(')[0]}/{row_id}.jpg"]
        record["messages"] = messages
        out.write(orjson.dumps(record) + b"\n")
        for turn in range(turns):
            _write_metrics(rng, metrics, f"{'vv' if video else 'ov'}::{row_id}::t{turn}", video)
        written, row = written + turns, row + 1


def _write_metrics(rng, metrics, qa_uid, video):
    if rng.random() < 0.03:
        return
    blind, gain = rng.gauss(1.4, 0.5), rng.gauss(0.15, 0.35)
    metrics.write(
        orjson.dumps(
            {
                "qa_uid": qa_uid,
                "loss_video": blind - gain,
                "loss_blind": blind,
                "vds": gain,
                "frame_diversity": abs(rng.gauss(0.08, 0.05)) if video else 0.0,
                "ppl": 2.718 ** (blind - gain),
                "amm": abs(rng.gauss(2.0, 1.5)) if video else 0.0,
                "tnc_score": float(rng.random() < 0.3),
                "self_consistency": rng.random(),
                "quality_score": rng.random(),
            }
        )
        + b"\n"
    )
