"""Questions to test on: clean ones, of every kind, on media that no example pool of another seed has."""

import json
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

from gdo.demo.media import write_aside, write_medium
from gdo.demo.plan import CLEAN, Row, Sample, make_plan
from gdo.demo.scenes import Scene

_DRAWN_FROM = 3000
"""Samples among which so many of each kind are found."""


def make_held_out(folder: Path, *, per_kind: int, seed: int) -> Path:
    """Write multiple-choice questions and their media; a finished file is reused.

    Args:
        folder: Where to write; made if missing.
        per_kind: Most questions of each kind.
        seed: Of everything random; another one than the pool's.

    Returns:
        A JSONL file of rows as `gdo evaluate --on` takes them, with the field `kind`.
    """
    file = folder / "held_out.jsonl"
    if file.exists():
        return file
    for name in ("images", "videos"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    plan = make_plan(_DRAWN_FROM, seed, CLEAN)
    pairs = [(row, sample) for row in plan.images + plan.videos for sample in row.samples]
    Random(f"held out/{seed}").shuffle(pairs)
    taken: Counter[str] = Counter()
    lines = []
    for row, sample in pairs:
        kind = sample.asked.kind
        if taken[kind] == per_kind or "\nA. " not in sample.asked.question:
            continue
        taken[kind] += 1
        for medium in row.media:
            write_medium(folder, medium)
        lines.append(json.dumps(_record(row, sample)))
    write_aside(file, ("\n".join(lines) + "\n").encode())
    return file


def _record(row: Row, sample: Sample) -> dict[str, Any]:
    paths = [medium.path for medium in row.media]
    clip = isinstance(row.media[0].content, Scene)
    asked = ("<video>" if clip else "<image>") * len(paths) + "\n" + sample.asked.question
    turns = [{"role": "user", "content": asked}, {"role": "assistant", "content": sample.answer}]
    shown = {"videos" if clip else "images": paths}
    return {"id": sample.uid, "kind": sample.asked.kind, "messages": turns, **shown}
