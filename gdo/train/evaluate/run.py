"""`gdo evaluate`: held-out questions asked of every checkpoint, one Parquet file of what was said."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import orjson
import polars as pl

from gdo.descriptors.probe.contract import ProbeSettings
from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import write_aside
from gdo.train.checkpoints import Checkpoint, list_checkpoints, load_checkpoint
from gdo.train.evaluate.questions import Question, name_of, parse_held_out, read_questions
from gdo.train.prepare import RECIPE, RUN, read_run
from gdo.train.recipe import load_recipe
from gdo.train.store import TABLE

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
Progress = Callable[[str, int, int, str], None]


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
    """One checkpoint's scores: of all questions and of each kind; counts as in `Checkpoint`."""

    step: int
    samples: int
    tokens: int
    frames: int
    all: Score
    kinds: dict[str, Score]


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
    """

    name: str
    path: Path
    of: dict[str, Any]
    questions: int
    trained_on: int
    checkpoints: list[CheckpointScore]
    errors: list[tuple[str, str]] = field(default_factory=list)


def evaluate(
    target: Path | str,
    held_out: str,
    *,
    name: str | None = None,
    output: Path | str | None = None,
    checkpoints: Literal["all", "last"] = "all",
    kind: str | None = None,
    recipe: str | Path = "paper",
    device: str = "auto",
    progress: Progress | None = None,
) -> EvaluateReport:
    """Ask held-out questions of a run's checkpoints, or of a model; what was asked before is not asked again.

    Options are compared by the loss of each as the answer (mean per token; by sum is told too), other
    questions answered greedily and held against the answer in its normal form.

    Args:
        target: A run's folder, or a model's folder or name: that is one checkpoint at 0 samples.
        held_out: A JSONL in the form of the swift or llava export, its folder, or `POOL:SUBSET`.
        name: What the results are called; by default as the file, its folder or the subset.
        output: Folder that gets `evaluation/NAME.parquet`; by default the run's, a model needs one.
        checkpoints: All of them, or the last one.
        kind: Field or column that tells kinds apart; by default `kind`, else `data_source`.
        recipe: For a model, whose frames and pixels it is shown; a run is shown its own.
        device: auto, cpu or cuda.
        progress: Called with what is done, how many questions, of how many, and a note.

    Raises:
        UsageError: No such run or data, or the results there are of other questions.
        GdoError: A row cannot be understood, or a model cannot be loaded or asked.
    """
    if checkpoints not in ("all", "last"):
        raise UsageError(f"--checkpoints is all or last, not {checkpoints}")
    data = parse_held_out(held_out)
    chosen = _checkpoints(target, checkpoints)
    folder = _folder(target, output)
    name = name or name_of(data)
    if Path(name).name != name:
        raise UsageError(f"--name {name}: it becomes a file's name and cannot be a path")
    settings = _settings(target, recipe)
    questions = read_questions(data, kind)
    of = _of(target, data.told(), settings, questions)
    parts = folder / name
    _claim(parts, of)
    device = _device(device)
    for number, checkpoint in enumerate(chosen, 1):
        part = parts / f"step-{checkpoint.step:09d}.parquet"
        if not part.exists():
            note = f"questions, checkpoint {number} of {len(chosen)}"

            def tell(done: int, note: str = note) -> None:
                if progress:
                    progress("evaluating", done, len(questions), note)

            table = _ask(checkpoint, questions, settings, device, tell)
            write_aside(part, table.write_parquet)
    return _finish(folder, name, of, questions, _trained(target, questions))


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


def _is_run(target: Path | str) -> bool:
    return (Path(target) / RUN).exists()


def _checkpoints(target: Path | str, wanted: str) -> list[Checkpoint]:
    if not _is_run(target):
        return [Checkpoint(Path(target), 0, 0, 0, 0, 0, 0.0, 0.0, None)]
    found = list_checkpoints(target)
    if not found:
        raise UsageError(f"{target} is a run without a checkpoint; train it first")
    return found if wanted == "all" else found[-1:]


def _folder(target: Path | str, output: Path | str | None) -> Path:
    if output is None and not _is_run(target):
        raise UsageError(f"{target} is not the folder of a run; give -o DIR for the results of a model")
    return Path(target if output is None else output) / FOLDER


def _settings(target: Path | str, recipe: str | Path) -> ProbeSettings:
    """Frames and pixels as in training."""
    chosen = load_recipe(Path(target) / RECIPE if _is_run(target) else recipe)
    return ProbeSettings(budget=chosen.budget, frames_as=chosen.frames_as)


def _device(device: str) -> str:
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is auto, cpu or cuda, not {device}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here")
    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"


def _of(
    target: Path | str, data: Mapping[str, Any], settings: ProbeSettings, questions: Sequence[Question]
) -> dict[str, Any]:
    """What tells an evaluation from another."""
    run = read_run(target) if _is_run(target) else None
    local = Path(target).is_dir()
    return {
        "model": run["model"] if run else str(Path(target).resolve()) if local else str(target),
        "run": str(Path(target).resolve()) if run else None,
        "held_out": {name: data[name] for name in ("path", "subset")},
        "budget": asdict(settings.budget),
        "frames_as": settings.frames_as,
        "max_new_tokens": settings.max_new_tokens,
        "questions": hashlib.sha256(repr(questions).encode()).hexdigest(),
    }


def _claim(parts: Path, of: dict[str, Any]) -> None:
    """Take the folder of the parts, or see that it holds parts of the same."""
    file = parts / OF
    if file.exists():
        told = orjson.loads(file.read_bytes())
        differs = [key for key, value in of.items() if told.get(key) != value]
        if differs:
            raise UsageError(
                f"{parts} holds results of another evaluation: {', '.join(differs)} differ; "
                "give another --name, or delete that folder"
            )
        return
    parts.mkdir(parents=True, exist_ok=True)
    write_aside(file, lambda path: path.write_bytes(orjson.dumps(of, option=orjson.OPT_INDENT_2)))


def _ask(
    checkpoint: Checkpoint,
    questions: Sequence[Question],
    settings: ProbeSettings,
    device: str,
    tell: Callable[[int], None],
) -> pl.DataFrame:
    """The results of one checkpoint."""
    from transformers.utils.logging import disable_progress_bar

    from gdo.train.evaluate.answers import ask

    disable_progress_bar()
    try:
        model, processor = load_checkpoint(checkpoint.path, device=device)
    except (OSError, ValueError, KeyError) as error:
        raise GdoError(f"{checkpoint.path} cannot be loaded: {str(error).splitlines()[0]}") from error
    figures = {name: getattr(checkpoint, name) for name in METRICS}
    rows = [
        {
            **figures,
            "qa_uid": question.qa_uid,
            "kind": question.kind,
            "form": "choice" if question.choice else "free",
            "answer": question.choice.texts[question.choice.right] if question.choice else question.answer,
            **asdict(said),
        }
        for question, said in zip(questions, ask(model, processor, questions, settings, tell), strict=True)
    ]
    return pl.DataFrame(rows, schema=SCHEMA)


def _trained(target: Path | str, questions: Sequence[Question]) -> int:
    """Questions that the run trained on, by id."""
    if not _is_run(target):
        return 0
    trained = set(pl.read_parquet(Path(target) / TABLE, columns=["qa_uid"])["qa_uid"])
    return sum(question.qa_uid in trained for question in questions)


def _finish(
    folder: Path, name: str, of: dict[str, Any], questions: Sequence[Question], trained_on: int
) -> EvaluateReport:
    """Join the parts, and sum them up beside."""
    table = pl.concat([pl.read_parquet(part) for part in sorted((folder / name).glob("step-*.parquet"))])
    path = folder / f"{name}.parquet"
    write_aside(path, table.write_parquet)
    scored = [_checkpoint_score(rows) for rows in table.partition_by("step", maintain_order=True)]
    failed = table.filter((pl.col("step") == table["step"].max()) & pl.col("error").is_not_null())
    errors = list(failed.select("qa_uid", "error").head(SHOWN_ERRORS).iter_rows())
    report = EvaluateReport(name, path, of, len(questions), trained_on, scored, errors)
    told = orjson.dumps(asdict(report), default=str, option=orjson.OPT_INDENT_2)
    write_aside(folder / f"{name}.json", lambda aside: aside.write_bytes(told + b"\n"))
    return report


def _checkpoint_score(rows: pl.DataFrame) -> CheckpointScore:
    first = rows.row(0, named=True)
    kinds = {str(kind): _score(some) for (kind,), some in sorted(rows.group_by("kind"), key=lambda g: g[0])}
    figures = {name: first[name] for name in ("step", "samples", "tokens", "frames")}
    return CheckpointScore(**figures, all=_score(rows), kinds=kinds)


def _score(rows: pl.DataFrame) -> Score:
    told = rows.filter(pl.col("error").is_null()).select(
        pl.col("correct").sum(),
        pl.col("correct").cast(pl.Float64).mean().alias("accuracy"),
        pl.col("correct_by_sum").fill_null(pl.col("correct")).cast(pl.Float64).mean().alias("by_sum"),
        pl.col("loss").mean(),
    )
    correct, accuracy, by_sum, loss = told.row(0)
    return Score(len(rows), rows["error"].count(), correct, accuracy, by_sum, loss)
