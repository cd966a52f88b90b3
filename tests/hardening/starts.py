"""The small inputs that the hardening tests begin from."""

import json
import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from containers import tar, ten_rows
from selection_pools import image_rows, make, metric_rows, video_rows
from train_data import make_rows


def start(job: str, folder: Path) -> None:
    """Make what a job of `jobs.JOBS` needs."""
    folder.mkdir()
    {
        "ingest": _rows,
        "describe": media_pool,
        "select": selection_pool,
        "export": _export,
        "sparrow": texts,
        "train": _train,
    }[job](folder)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def _rows(folder: Path) -> None:
    write(folder / "a.jsonl", [*ten_rows("paper image"), 7, {"id": "bad"}])
    write(folder / "b.jsonl", ten_rows("llava video"))
    members = []
    for row in ten_rows("swift images"):
        name = f"c{row['id']}"
        members.append((f"{name}.json", json.dumps(row | {"id": name}).encode()))
        members += [(f"{name}.{n}.jpg", b"\xff\xd8\xff" + name.encode() * (n + 9)) for n in range(2)]
    tar(folder / "c.tar", members)


def media_pool(folder: Path, count: int = 12) -> None:
    """A pool of frame lists and still pictures, two samples on each; one picture is broken."""
    from gdo.pool.ingest import ingest

    chance = np.random.default_rng(5)
    rows = []
    for number in range(count):
        names = [f"{number}-{frame}.png" for frame in range(3 if number % 2 else 1)]
        base = chance.integers(0, 256, (24, 32, 3), dtype=np.uint8)
        for shift, name in enumerate(names):
            cv2.imwrite(str(folder / name), np.roll(base, shift * (number % 4), axis=1))
        turns = [
            {"role": role, "content": f"{text} {number}"}
            for text in ("What is it?", "What happens then?")
            for role, text in (("user", text), ("assistant", "It."))
        ]
        rows.append({"id": f"r{number}", "messages": turns, "images": names, "video_id": f"v{number}"})
    (folder / "4-0.png").write_bytes(b"no picture")
    ingest(folder / "pool.duckdb", [write(folder / "rows.jsonl", rows)], workers=1)


def selection_pool(folder: Path) -> None:
    """A pool with imported values, and an earlier subset of the name that will be chosen again."""
    from gdo.selectors.select import select

    images, videos = image_rows(30), video_rows(20)
    made = make(folder / "in", images, videos, metric_rows([*images, *videos]))
    shutil.move(made.pool, folder / "pool.duckdb")
    shutil.rmtree(folder / "in")
    shutil.rmtree(folder / "pool.duckdb.d", ignore_errors=True)
    select(folder / "pool.duckdb", "diverse", name="again", count=5)


def _export(folder: Path) -> None:
    """A pool with a subset, and an earlier export where one will be written."""
    from gdo.export.run import export
    from gdo.selectors.select import select

    media_pool(folder)
    select(folder / "pool.duckdb", "temp", name="s", settings=["count=10", "unreadable_media=keep"])
    export(folder / "pool.duckdb", "s", folder / "out", uniform=True, frames=2)


def texts(folder: Path, count: int = 10) -> None:
    """Long texts, of a few pictures each."""
    rows = []
    for number in range(count):
        text = " ".join(f"word{number} and {n}" for n in range(150))
        rows.append({"context": text, "question": f"What of {number}?", "answer": "That."})
    write(folder / "texts.jsonl", [*rows, {"question": "no text"}])


def _train(folder: Path) -> None:
    from qwen_models import save_qwen

    make_rows(folder / "rows", 8)
    save_qwen(folder / "model")
