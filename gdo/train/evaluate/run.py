"""`gdo evaluate`: held-out questions asked of every checkpoint, one Parquet file of what was said."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import polars as pl

from gdo.descriptors.probe.contract import ProbeSettings
from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import write_aside
from gdo.train.checkpoints import Checkpoint, load_checkpoint
from gdo.train.evaluate.keep import keep_where
from gdo.train.evaluate.questions import Question, name_of, parse_held_out, read_questions
from gdo.train.evaluate.results import METRICS, SCHEMA, EvaluateReport, claim, finish, part_of
from gdo.train.evaluate.target import (
    Which,
    checkpoints_of,
    device_of,
    is_run,
    results_folder,
    shown_as,
    told,
)
from gdo.train.store import TABLE

Progress = Callable[[str, int, int, str], None]


def evaluate(
    target: Path | str,
    held_out: str,
    *,
    name: str | None = None,
    output: Path | str | None = None,
    checkpoints: Which = "all",
    kind: str | None = None,
    recipe: str | Path = "paper",
    device: str = "auto",
    pool: Path | str | None = None,
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
        pool: Also gets the results, in its tables `evaluation` and `evaluation_answer`; by default the pool
            of `POOL:SUBSET`, and for a JSONL the one whose subset the run was trained on, if it is there.
        progress: Called with what is done, how many questions, of how many, and a note.

    Raises:
        UsageError: No such run or data, or the results there are of other questions.
        GdoError: A row cannot be understood, a model cannot be loaded or asked, or the pool asked for cannot
            be written to.
    """
    chosen = checkpoints_of(target, checkpoints)
    data = parse_held_out(held_out)
    folder = results_folder(target, output)
    name = name or name_of(data)
    if Path(name).name != name:
        raise UsageError(f"--name {name}: it becomes a file's name and cannot be a path")
    settings = shown_as(target, recipe)
    questions = read_questions(data, kind)
    of = told(target, settings) | {
        "held_out": {key: data.told()[key] for key in ("path", "subset")},
        "max_new_tokens": settings.max_new_tokens,
        "questions": hashlib.sha256(repr(questions).encode()).hexdigest(),
    }
    claim(folder, name, of)
    device = device_of(device)
    for number, checkpoint in enumerate(chosen, 1):
        part = part_of(folder, name, checkpoint.step)
        if not part.exists():
            note = f"questions, checkpoint {number} of {len(chosen)}"

            def tell(done: int, note: str = note) -> None:
                if progress:
                    progress("evaluating", done, len(questions), note)

            table = _ask(checkpoint, questions, settings, device, tell)
            write_aside(part, table.write_parquet)
    report = finish(folder, name, of, trained_on=_trained(target, questions))
    return keep_where(pool or (data.path if data.subset is not None else None), target, report)


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
    if not is_run(target):
        return 0
    trained = set(pl.read_parquet(Path(target) / TABLE, columns=["qa_uid"])["qa_uid"])
    return sum(question.qa_uid in trained for question in questions)
