"""A folder of tasks that lmms-eval accepts: clips and pictures made here, and a group of the two."""

import json
from pathlib import Path

import av
import cv2
import numpy as np

GROUP = "gdo_probe"
TASK = """
task: {name}
dataset_path: json
dataset_kwargs:
  data_files:
    test: {rows}
test_split: test
output_type: generate_until
doc_to_visual: !function utils.{visual}
doc_to_text: "{{{{question}}}}"
doc_to_target: "answer"
generation_kwargs:
  max_new_tokens: 4
  temperature: 0
process_results: !function utils.{results}
metric_list:
  - metric: {name}_accuracy
    aggregation: !function utils.{mean}
    higher_is_better: true
"""
UTILS = """
from PIL import Image


def clip(doc):
    return [doc["file"]]


def picture(doc):
    return [Image.open(doc["file"]).convert("RGB")]


def clip_results(doc, said):
    told = {"task_type": doc["task_type"], "pred_answer": doc["pretended"], "answer": doc["answer"]}
    return {"gdo_clips_accuracy": told}


def picture_results(doc, said):
    return {"gdo_pictures_accuracy": float(doc["pretended"] == doc["answer"])}


def clip_mean(results):
    return 100 * sum(one["pred_answer"] == one["answer"] for one in results) / len(results)


def picture_mean(results):
    return sum(results) / len(results)
"""


def make_tasks(folder: Path) -> Path:
    """Write tasks `gdo_clips`, of 4 clips of which 3 are answered rightly, and `gdo_pictures`, 1 of 2.

    What the model says does not matter: rows bring the answer that is taken for its own. One of the clips
    has fewer frames than are asked for, and an odd number of them.
    """
    folder.mkdir(parents=True)
    random = np.random.default_rng(0)
    clips = [write_clip(folder / f"{n}.avi", frames, random) for n, frames in enumerate((7, 40, 4, 12))]
    pictures = [folder / f"{n}.png" for n in range(2)]
    for file in pictures:
        cv2.imwrite(str(file), random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
    for name, files, visual in (("gdo_clips", clips, "clip"), ("gdo_pictures", pictures, "picture")):
        rows = folder / f"{name}.jsonl"
        rows.write_text("".join(json.dumps(_row(number, file)) + "\n" for number, file in enumerate(files)))
        task = TASK.format(
            name=name, rows=rows, visual=visual, results=f"{visual}_results", mean=f"{visual}_mean"
        )
        (folder / f"{name}.yaml").write_text(task)
    (folder / "utils.py").write_text(UTILS)
    (folder / "group.yaml").write_text(f"group: {GROUP}\ntask:\n  - gdo_clips\n  - gdo_pictures\n")
    return folder


def write_clip(file: Path, frames: int, random: np.random.Generator) -> Path:
    with av.open(str(file), "w") as container:
        stream = container.add_stream("mpeg4", rate=8)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(frames):
            picture = random.integers(0, 256, (48, 64, 3), dtype=np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return file


def _row(number: int, file: Path) -> dict[str, str]:
    return {
        "question": f"Which of A and B is it? {number}",
        "answer": "A",
        "pretended": "B" if number == 1 else "A",
        "task_type": "order" if number % 2 else "count",
        "file": str(file),
    }
