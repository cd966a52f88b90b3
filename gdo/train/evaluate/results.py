"""Results of an evaluation on disk: a Parquet part for each checkpoint, joined and summed up at the end."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from gdo.errors import UsageError
from gdo.pool.atomic import write_aside

FOLDER, OF = "evaluation", "of.json"
METRICS = ("step", "samples", "tokens", "answer_tokens", "frames", "flops", "seconds")
"""What is told of a checkpoint in every row of the results."""
SCHEMA = {
    **{name: pl.Float64 if name in ("flops", "seconds") else pl.Int64 for name in METRICS},
    "qa_uid": pl.String,
    "kind": pl.String,
    "form": pl.String,
    "answer": pl.String,
    "said": pl.String,
    "correct": pl.Boolean,
    "said_by_sum": pl.String,
    "correct_by_sum": pl.Boolean,
    "loss": pl.Float64,
    "error": pl.String,
}
"""Columns of the results: one row is one question asked of one checkpoint."""
SHOWN_ERRORS = 100


@dataclass(frozen=True, slots=True)
class Score:
    """Accuracy on some questions; those with an error are counted by themselves.

    Attributes:
        questions: How many there are.
        errors: Could not be asked.
        correct: Answered rightly; options by mean loss per token.
        accuracy: `correct` among those without an error, 0 to 1; None where there are none.
        accuracy_by_sum: The same, options by summed loss.
        loss: Mean over the questions of the right answer's loss in nats per token.
    """

    questions: int
    errors: int
    correct: int
    accuracy: float | None
    accuracy_by_sum: float | None
    loss: float | None


@dataclass(frozen=True, slots=True)
class CheckpointScore:
    """One checkpoint's scores: of all questions and of each kind; counts as in `Checkpoint`.

    Attributes:
        reported: The score that lmms-eval reports, in its own unit; None where gdo asked, or where it
            reports none.
    """

    step: int
    samples: int
    tokens: int
    frames: int
    all: Score
    kinds: dict[str, Score]
    reported: float | None = None


@dataclass(frozen=True, slots=True)
class EvaluateReport:
    """What an evaluation has come to.

    Attributes:
        name: What the results are called.
        path: The Parquet file of the results.
        of: The model or run, the held-out data, frames and pixels, and a digest of the questions.
        questions: How many.
        trained_on: Questions whose id is among the samples that the run trained on.
        checkpoints: Scores, first to last.
        errors: Up to 100 questions that could not be asked of the last checkpoint, with the reason.
        pool: The pool that has the results too; None for none.
        not_kept: Why the pool that the run was trained from does not have them; None where it need not.
    """

    name: str
    path: Path
    of: dict[str, Any]
    questions: int
    trained_on: int
    checkpoints: list[CheckpointScore]
    errors: list[tuple[str, str]] = field(default_factory=list)
    pool: Path | None = None
    not_kept: str | None = None


def part_of(folder: Path, name: str, step: int) -> Path:
    """The file of one checkpoint's results."""
    return folder / name / f"step-{step:09d}.parquet"


def claim(folder: Path, name: str, of: dict[str, Any]) -> None:
    """Take the folder of an evaluation's parts, or see that it holds parts of the same.

    Raises:
        UsageError: It holds parts of another one.
    """
    parts = folder / name
    file = parts / OF
    if file.exists():
        told = orjson.loads(file.read_bytes())
        differs = [key for key, value in of.items() if told.get(key) != value]
        if differs:
            raise UsageError(
                f"{parts} holds results of another evaluation: {', '.join(differs)} differ; "
                "give another --name or --output, or delete that folder"
            )
        return
    parts.mkdir(parents=True, exist_ok=True)
    write_aside(file, lambda path: path.write_bytes(orjson.dumps(of, option=orjson.OPT_INDENT_2)))


def finish(
    folder: Path,
    name: str,
    of: dict[str, Any],
    *,
    trained_on: int = 0,
    reported: Mapping[int, float | None] | None = None,
) -> EvaluateReport:
    """Join the parts, and sum them up beside.

    Args:
        folder: What the evaluation's name is a folder in.
        name: Of the evaluation.
        of: What it is of.
        trained_on: See `EvaluateReport`.
        reported: A benchmark's own score, by step.
    """
    table = pl.concat([pl.read_parquet(part) for part in sorted((folder / name).glob("step-*.parquet"))])
    path = folder / f"{name}.parquet"
    write_aside(path, table.write_parquet)
    scored = [
        _checkpoint_score(rows, reported or {}) for rows in table.partition_by("step", maintain_order=True)
    ]
    failed = table.filter((pl.col("step") == table["step"].max()) & pl.col("error").is_not_null())
    errors = list(failed.select("qa_uid", "error").head(SHOWN_ERRORS).iter_rows())
    report = EvaluateReport(name, path, of, scored[-1].all.questions, trained_on, scored, errors)
    summary = {key: value for key, value in asdict(report).items() if key not in ("pool", "not_kept")}
    told = orjson.dumps(summary, default=str, option=orjson.OPT_INDENT_2)
    write_aside(folder / f"{name}.json", lambda aside: aside.write_bytes(told + b"\n"))
    return report


def _checkpoint_score(rows: pl.DataFrame, reported: Mapping[int, float | None]) -> CheckpointScore:
    first = rows.row(0, named=True)
    kinds = {str(kind): _score(some) for (kind,), some in sorted(rows.group_by("kind"), key=lambda g: g[0])}
    figures = {name: first[name] for name in ("step", "samples", "tokens", "frames")}
    return CheckpointScore(**figures, all=_score(rows), kinds=kinds, reported=reported.get(first["step"]))


def _score(rows: pl.DataFrame) -> Score:
    told = rows.filter(pl.col("error").is_null()).select(
        pl.col("correct").sum(),
        pl.col("correct").cast(pl.Float64).mean().alias("accuracy"),
        pl.col("correct_by_sum").fill_null(pl.col("correct")).cast(pl.Float64).mean().alias("by_sum"),
        pl.col("loss").mean(),
    )
    correct, accuracy, by_sum, loss = told.row(0)
    return Score(len(rows), rows["error"].count(), correct, accuracy, by_sum, loss)


def read_results(folder: Path | str, name: str) -> tuple[dict[str, Any], pl.DataFrame]:
    """The summary and the results of an evaluation; columns of `SCHEMA`.

    Args:
        folder: The run's, or the one that was given as output.
        name: What the results are called.

    Raises:
        UsageError: There are none.
    """
    where = Path(folder) / FOLDER
    summary, table = where / f"{name}.json", where / f"{name}.parquet"
    if not (summary.exists() and table.exists()):
        known = ", ".join(sorted(path.stem for path in where.glob("*.parquet"))) or "none"
        raise UsageError(f"{folder} has no evaluation {name!r}, it has {known}; `gdo evaluate` makes one")
    return dict(orjson.loads(summary.read_bytes())), pl.read_parquet(table)
