"""Figures of a run: tokens and samples a second, and how much of the device's arithmetic the model uses."""

import time
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import orjson

from gdo.pool.atomic import write_aside
from gdo.train.batches import PackedRow
from gdo.train.parts import OUTPUT, part_of

FILE = "metrics.jsonl"
PEAK_FLOPS = {
    "B200": 2.25e15,
    "H200": 9.89e14,
    "H100": 9.89e14,
    "A100": 3.12e14,
    "L40S": 3.62e14,
    "RTX 4090": 1.65e14,
    "L4": 1.21e14,
}
"""Dense bf16 operations a second, from the makers' data sheets."""


def peak_flops(device_name: str) -> float | None:
    """Dense bf16 operations a second of a device; None where it is not known."""
    return next((peak for name, peak in PEAK_FLOPS.items() if name in device_name), None)


@dataclass(frozen=True, slots=True)
class Work:
    """What a model computes for a token or a patch, in operations, forward and backward.

    Of a trained weight that is 6 for each position (2 forward, 4 backward), of a frozen one that the gradient
    passes through 4, of a frozen one with nothing to train before it 2. Recomputation for gradient
    checkpointing is not counted: this is the model's work, not the machine's.

    Attributes:
        token: For a position of the language model, without attention.
        pair: For a pair of positions that see each other.
        patch: For a patch of the vision tower, its mergers counted in, without attention.
        answer: For a position whose logits are made.
    """

    token: float
    pair: float
    patch: float
    answer: float

    def of(self, rows: Sequence[PackedRow]) -> float:
        """Operations for rows."""
        lengths = [length for row in rows for length in row.lengths]
        answers = sum(entry.answer_tokens for row in rows for entry in row.entries)
        pairs = sum(length * length for length in lengths) / 2
        patches = sum(row.patches for row in rows)
        return self.token * sum(lengths) + self.pair * pairs + self.patch * patches + self.answer * answers


def count_work(model: Any) -> Work:
    """The work of a model by its parameters, as they are frozen now."""
    trained = {"language": 0.0, "vision": 0.0, "output": 0.0}
    frozen = dict(trained)
    patches = getattr(getattr(model.config, "vision_config", None), "spatial_merge_size", 1) ** 2
    for name, parameter in model.named_parameters():
        part = "output" if OUTPUT.search(name) else "language" if part_of(name) == "language" else "vision"
        share = 1 / patches if part_of(name) == "merger" else 1  # mergers see several patches as one
        (trained if parameter.requires_grad else frozen)[part] += parameter.numel() * share
    text = model.config.get_text_config()
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return Work(
        token=6.0 * trained["language"] + 4.0 * frozen["language"],
        pair=12.0 * text.num_hidden_layers * text.num_attention_heads * head,
        patch=6.0 * trained["vision"] + (4.0 if trained["vision"] else 2.0) * frozen["vision"],
        answer=6.0 * text.hidden_size * text.vocab_size,
    )


@dataclass(slots=True)
class Totals:
    """What was trained, over all ranks.

    Attributes:
        samples: Samples trained, whole or cut.
        tokens: Theirs, media included.
        answer_tokens: Those that were learned.
        frames: Pictures shown.
        flops: Operations of the model.
    """

    samples: float = 0
    tokens: float = 0
    answer_tokens: float = 0
    frames: float = 0
    flops: float = 0

    def __add__(self, other: "Totals") -> "Totals":
        return Totals(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def totals_of(rows: Sequence[PackedRow], work: Work) -> Totals:
    """What one rank trains in one step."""
    entries = [entry for row in rows for entry in row.entries if entry.tokens]
    return Totals(
        len(entries),
        sum(entry.tokens for entry in entries),
        sum(entry.answer_tokens for entry in entries),
        sum(entry.frames for entry in entries),
        work.of(rows),
    )


class Meter:
    """Times the steps, and keeps their figures in a file of the run.

    Args:
        run: The run's folder.
        before: What an earlier part of the run has trained.
        seconds: The time that it took.
        peak: Operations a second of all devices together; None where it is not known.
    """

    def __init__(self, run: Path, before: Totals, seconds: float, peak: float | None) -> None:
        self.file = run / FILE
        self.totals, self.seconds, self.peak = before, seconds, peak
        self._last = time.perf_counter()

    def forget_after(self, step: int) -> None:
        """Drop the figures of steps that are done anew."""
        if self.file.exists():
            kept = [line for line in self.file.read_bytes().splitlines(keepends=True) if _step(line) <= step]
            write_aside(self.file, lambda path: path.write_bytes(b"".join(kept)))

    def restart(self) -> None:
        """Begin to time."""
        self._last = time.perf_counter()

    def step(self, done: Totals) -> dict[str, float | None]:
        """Figures of the step that ends now."""
        now = time.perf_counter()
        seconds, self._last = now - self._last, now
        self.totals += done
        self.seconds += seconds
        return {
            **{name: int(value) for name, value in asdict(done).items()},
            "seconds": round(seconds, 4),
            "samples_per_s": round(done.samples / seconds, 3),
            "tokens_per_s": round(done.tokens / seconds, 1),
            "mfu": round(done.flops / seconds / self.peak, 4) if self.peak else None,
        }

    def write(self, figures: dict[str, Any]) -> None:
        """Append the figures of a step to the run's file."""
        with self.file.open("ab") as file:
            file.write(orjson.dumps(figures, option=orjson.OPT_APPEND_NEWLINE))


def _step(line: bytes) -> float:
    """The step of a line; a line that was cut off in writing belongs to none."""
    try:
        return float(orjson.loads(line)["step"])
    except orjson.JSONDecodeError:
        return float("inf")
