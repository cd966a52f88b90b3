"""What lmms-eval wrote, read back as results like those of gdo's own evaluation."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from gdo.errors import GdoError
from gdo.train.evaluate.results import SCHEMA

_KINDS = ("task_type", "task_category")
"""What benchmarks call the kind of a question in what they keep of it."""


def read_raw(raw: Path, task: str, figures: Mapping[str, Any]) -> pl.DataFrame:
    """What lmms-eval wrote of one task or group, as rows of `SCHEMA`.

    Kinds of questions are a group's tasks, or what the benchmark calls them. A question is right where the
    first of its metrics that can be read says so: 0 or 1, an entry with a `score` of 0 or 1, or one whose
    `pred_answer` is its `answer`. Where there is none, `error` tells it.

    Args:
        raw: The folder that it wrote into.
        task: Its name.
        figures: Of the checkpoint, by `METRICS`.

    Raises:
        GdoError: It logged no samples.
    """
    summary = _summary(raw)
    rows = []
    for leaf in _leaves(summary, task):
        metrics = [name.split(",")[0] for name in summary["results"].get(leaf, {})]
        for file in raw.rglob(f"*_samples_{leaf}.jsonl"):
            for line in file.read_bytes().splitlines():
                rows.append({**figures, **_row(orjson.loads(line), metrics, leaf, alone=leaf == task)})
    if not rows:
        raise GdoError(f"lmms-eval logged no samples of {task}: {raw}")
    return pl.DataFrame(rows, schema=SCHEMA)


def _summary(raw: Path) -> dict[str, Any]:
    return dict(orjson.loads(next(raw.rglob("*_results.json")).read_bytes()))


def _leaves(summary: Mapping[str, Any], task: str) -> list[str]:
    """The tasks of a group, of groups in it too; a task is its own."""
    inner = summary["group_subtasks"].get(task) or []
    return [leaf for name in inner for leaf in _leaves(summary, name)] if inner else [task]


def _row(sample: Mapping[str, Any], metrics: Sequence[str], leaf: str, *, alone: bool) -> dict[str, Any]:
    values = [sample[name] for name in metrics if name in sample]
    correct = next((right for value in values if (right := _correct(value)) is not None), None)
    kept = next((value for value in values if isinstance(value, dict)), {})
    kind = next((kept[name] for name in _KINDS if alone and kept.get(name)), leaf)
    said = sample.get("filtered_resps")
    return {
        "qa_uid": f"{leaf}::{sample['doc_id']}",
        "kind": str(kind),
        "form": "lmms",
        "answer": str(sample.get("target")),
        "said": said if isinstance(said, str) else orjson.dumps(said).decode(),
        "correct": correct,
        "error": "no metric of it says right or wrong" if correct is None else None,
    }


def _correct(value: Any) -> bool | None:
    if isinstance(value, dict):
        if "score" in value:
            return _correct(value["score"])
        answer = value.get("answer", value.get("gt_answer"))
        return None if answer is None or "pred_answer" not in value else value["pred_answer"] == answer
    return bool(value) if isinstance(value, bool | int | float) and value in (0, 1) else None


def reported_score(raw: Path, task: str) -> float | None:
    """The score that lmms-eval gives for a task; groups have one where they say how to average.

    Args:
        raw: The folder that it wrote into; None comes back where it was deleted.
        task: Its name.
    """
    if not raw.exists():
        return None
    scores = _summary(raw)["results"].get(task, {})
    numbers = [v for k, v in scores.items() if "stderr" not in k and isinstance(v, int | float)]
    return float(numbers[0]) if numbers else None
