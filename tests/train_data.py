"""Samples and models for the trainer's tests: text, pictures and frame lists, asked of a tiny Qwen3-VL."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from gdo.train.machine import Machine
from gdo.train.run import TrainReport, train
from gdo.train.sources import Data

Row = dict[str, Any]
QUESTIONS = ("What colour is the ball?", "Does it move left or right before it stops?", "How many shapes?")
ANSWERS = ("The ball is red.", "It moves left.", "three")


def make_rows(folder: Path, count: int, kinds: Sequence[str] = ("text", "image", "video")) -> Path:
    """Write a JSONL of samples of the kinds in turn, and their pictures beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(count)
    rows = [_row(folder, number, kinds[number % len(kinds)], random) for number in range(count)]
    return write_rows(folder / "data.jsonl", rows)


def write_rows(file: Path, rows: Sequence[Row]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def read_rows(file: Path) -> list[Row]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def _row(folder: Path, number: int, kind: str, random: np.random.Generator) -> Row:
    names = [f"{number}_{i}.png" for i in range({"text": 0, "image": 1, "video": 3}[kind])]
    for name in names:
        cv2.imwrite(str(folder / name), random.integers(0, 256, (40, 56, 3), dtype=np.uint8))
    tag = "" if kind == "text" else f"<{kind}>"
    question, answer = QUESTIONS[number % 3] + f" {number}", ANSWERS[number // 3 % 3]
    return {
        "id": f"s{number:03d}",
        "messages": [
            {"role": "user", "content": tag + question},
            {"role": "assistant", "content": answer},
        ],
        "images": names if kind == "image" else [],
        "videos": [names] if kind == "video" else [],
    }


def smoke(data: Data | Path, output: Path, model: Path, *settings: str, **options: Any) -> TrainReport:
    """Train by the recipe `smoke` on the CPU, reading in the same process."""
    chosen = data if isinstance(data, Data) else Data(data)
    machine = Machine(device="cpu", workers=0)
    return train(
        chosen, output, model=str(model), recipe="smoke", settings=settings, machine=machine, **options
    )
