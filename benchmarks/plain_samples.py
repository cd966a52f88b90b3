"""Files to samples and z-values: the reading half of `plain_selection` (spec sections 1, 2 and 4)."""

import gzip
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import IO, Any

Dict = dict[str, Any]
Rows = dict[str, dict[str, float]]

FIELDS = (
    "bucket",
    "duration_bucket",
    "temporal_category",
    "question_form",
    "q_len_bucket",
    "a_len_bucket",
    "source_group",
)
COLUMNS = ("loss_video", "loss_blind", "frame_diversity", "vds", "quality_score")
DURATION = ((1, "image"), (8, "very_short"), (24, "short"), (64, "medium"), (160, "long"), (1e9, "very_long"))
Q_LENGTH = ((6, "q_tiny"), (14, "q_short"), (30, "q_medium"), (60, "q_long"), (1e9, "q_very_long"))
A_LENGTH = ((2, "a_tiny"), (8, "a_short"), (24, "a_medium"), (64, "a_long"), (1e9, "a_very_long"))
TAGS = re.compile(r"<image>|<video>|<audio>")
TOKEN = re.compile(r"[A-Za-z0-9_]+")
TEMPORAL = re.compile(
    r"\b(before|after|then|while|during|first|next|finally|sequence|later|earlier|transition|happen)\b", re.I
)
CHOICE = re.compile(r"\bchoices?\b", re.I)
OPTION = re.compile(r"\n\s*A[.)]")


def read_lines(path: Path, broken: list[int]) -> Iterator[tuple[int, Any]]:
    """The parsed lines of a JSONL file with their numbers; the numbers of broken ones go to `broken`."""
    opener: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else Path.open
    with opener(path, "rt", encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                yield number, json.loads(line)
            except ValueError:
                broken.append(number)


def pair_turns(messages: list[Any]) -> Iterator[tuple[str, str, str]]:
    """Question, answer, and the question as it was written, for each answered question."""
    waiting = ""
    for message in messages:
        role = message.get("role") or message.get("from")
        text = message.get("content") or message.get("value") or ""
        if role in ("user", "human"):
            waiting = TAGS.sub(" ", text)
        elif role in ("assistant", "gpt"):
            question, answer = " ".join(waiting.split()), " ".join(text.split())
            if question and answer:
                yield question, answer, waiting
            waiting = ""


def named(value: int, bounds: Iterable[tuple[float, str]]) -> str:
    return next(name for bound, name in bounds if value <= bound)


def source_group(source: str) -> str:
    head, bracket, _ = source.partition("(")
    parts = source.split("_")
    group = head.strip() if bracket else "_".join(parts[:4]) if len(parts) >= 4 else source
    return group or "unknown"


def describe(sample: Dict, written: str, preset: Dict) -> None:
    """Add what a sample is scored and counted by."""
    question, answer = sample["question"], sample["answer"]
    tokens = TOKEN.findall(answer.lower())
    video = sample["bucket"] == "short_video"
    asked = written if preset["question_form"] == "raw" else question
    sample["text"] = hashlib.sha1(f"{question}|||{answer}".encode()).digest()
    sample["qn"], sample["an"] = len(TOKEN.findall(question.lower())), len(tokens)
    sample["distinct"] = len(set(tokens)) / max(1, len(tokens))
    sample["duration_bucket"] = named(len(sample["images"]), DURATION) if video else "image"
    moving = "Temporal" if TEMPORAL.search(question) else "Mixed"
    sample["temporal_category"] = moving if video else "Static"
    sample["question_form"] = "MCQ" if CHOICE.search(question) or OPTION.search(asked) else "Open"
    sample["q_len_bucket"] = named(sample["qn"], Q_LENGTH)
    sample["a_len_bucket"] = named(sample["an"], A_LENGTH)
    sample["source_group"] = source_group(sample["source"])
    sample["stratum"] = "|".join(sample[name] for name in FIELDS)


def read_samples(
    files: tuple[Path | None, Path | None], preset: Dict, broken: dict[str, int]
) -> Iterator[Dict]:
    """Every sample of both files, images first."""
    for video, path in enumerate(files):
        if path is None:
            continue
        bad: list[int] = []
        for number, row in read_lines(path, bad):
            if (
                not isinstance(row, dict)
                or not row.get("images")
                or not isinstance(row.get("messages"), list)
            ):
                continue
            row_id = str(row.get("id") or f"{'video' if video else 'onevision'}-{number}")
            source, images = row.get("data_source"), row["images"]
            last, most = len(images) - 1, preset["target_frames"] if video else 1
            if last >= most:
                images = [images[round(i * last / max(1, most - 1))] for i in range(most)]
            for turn, (question, answer, written) in enumerate(pair_turns(row["messages"])):
                sample = {
                    "qa_uid": f"{'vv' if video else 'ov'}::{row_id}::t{turn}",
                    "video_uid": str(row.get("video_id") or row_id) if video else "",
                    "source": source if source is not None else ("llava_video" if video else "onevision"),
                    "bucket": "short_video" if video else "image_qa",
                    "images": images,
                    "question": question,
                    "answer": answer,
                }
                describe(sample, written, preset)
                yield sample
        if bad:
            broken["llava_video_json" if video else "onevision_json"] = len(bad)


# Section 4: the descriptors.


def read_z(path: Path | None) -> Rows:
    """The z-values of each described sample; what is missing or not a number is left out."""
    metrics: Rows = {}
    for _, row in read_lines(path, []) if path else ():
        values = metrics[row["qa_uid"]] = {}
        for column in COLUMNS:
            try:
                value = float(row[column])
            except (KeyError, TypeError, ValueError):
                continue
            if math.isfinite(value):
                values[column] = value
    for column in COLUMNS:
        finite = [row[column] for row in metrics.values() if column in row]
        mean = sum(finite) / max(1, len(finite))
        variance = sum((value - mean) ** 2 for value in finite) / max(1, len(finite) - 1)
        spread = math.sqrt(variance) if variance > 1e-12 else 1.0
        for row in metrics.values():
            if column in row:
                row[column] = clip((row[column] - mean) / spread)
    return metrics


def clip(value: float) -> float:
    return max(-4.0, min(4.0, value))
