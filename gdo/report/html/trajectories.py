"""Training: how often held-out questions are answered rightly along each run.

Runs are those in the pool's table `evaluation`, and folders that were named: of these the `evaluation` files
are read, so that a report needs no model and no training code.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from gdo.errors import UsageError
from gdo.report.html.blocks import Block, Chart, Grid, Heading, Note, Section
from gdo.report.html.charts import lines
from gdo.report.html.source import Source

UNITS = ("samples", "tokens", "frames")
_Z = 1.959964
_NEEDED = {"step", "correct", "error", *UNITS}

# One row is one checkpoint that was asked one set of questions.
_STORED = """
SELECT evaluation, target, step, samples, tokens, frames, questions - errors AS questions, correct
FROM evaluation WHERE questions > errors AND correct IS NOT NULL ORDER BY evaluation, target, step
"""


@dataclass(frozen=True, slots=True)
class Trajectory:
    """A run that was asked one set of questions.

    Attributes:
        evaluation: What the questions are called.
        name: Of the run.
        folder: Of the run.
        points: One row per checkpoint: step, amounts by unit, `questions` that could be asked, `accuracy`
            with `low` and `high`.
    """

    evaluation: str
    name: str
    folder: Path
    points: pl.DataFrame


def read_runs(runs: Sequence[str]) -> list[Trajectory]:
    """The evaluations of runs.

    Args:
        runs: Folders of evaluated runs, or `LABEL=FOLDER`.

    Raises:
        UsageError: A folder has no evaluation.
    """
    found = []
    for run in runs:
        label, equals, path = run.partition("=")
        if not equals or Path(run).exists():
            label, path = "", run
        files = sorted((Path(path) / "evaluation").glob("*.parquet"))
        if not files:
            raise UsageError(f"{path} has no evaluation; `gdo evaluate {path} --on QUESTIONS` makes one")
        for file in files:
            table = pl.read_parquet(file)
            if missing := _NEEDED - set(table.columns):
                raise UsageError(f"{file} is no evaluation: it has no column {', '.join(sorted(missing))}")
            folder = Path(path).resolve()
            found.append(Trajectory(file.stem, label or folder.name, folder, _counted(table)))
    return found


def stored_runs(source: Source, given: Sequence[Trajectory]) -> list[Trajectory]:
    """The evaluations that the pool has, but for those of runs that were given."""
    there = {(one.evaluation, one.folder) for one in given}
    found = []
    for (name, target), rows in source.frame(_STORED).group_by("evaluation", "target", maintain_order=True):
        folder = Path(str(target)).resolve()
        if (str(name), folder) not in there:
            points = _with_intervals(rows.drop("evaluation", "target"))
            found.append(Trajectory(str(name), folder.name, folder, points))
    return found


def trajectories_section(found: Sequence[Trajectory]) -> Section:
    """A chart for each unit of training, and the checkpoints as a table, for each evaluation."""
    title = "Training"
    if not found:
        missing = Note("No evaluated runs are known.", "gdo evaluate runs/temp --on POOL:SUBSET")
        return Section("training", title, "", [missing])
    blocks: list[Block] = []
    for number, name in enumerate(dict.fromkeys(one.evaluation for one in found)):
        blocks.append(Heading(name, f"t-{number}"))
        blocks += _one(name, _named([one for one in found if one.evaluation == name]))
    intro = (
        "Held-out questions answered rightly at each checkpoint; 95 % Wilson intervals over the questions. "
        "gdo compare holds runs against their controls, pair by pair."
    )
    return Section("training", title, intro, blocks)


def _named(runs: Sequence[Trajectory]) -> dict[str, pl.DataFrame]:
    """Checkpoints by name of the run; runs of one name are told apart by their folder."""
    names = [run.name for run in runs]
    return {
        run.name if names.count(run.name) == 1 else f"{run.name} ({run.folder.parent})": run.points
        for run in runs
    }


def _one(name: str, runs: dict[str, pl.DataFrame]) -> list[Block]:
    blocks: list[Block] = []
    for unit in UNITS:
        series = {
            run: points.select(x=unit, y="accuracy", low="low", high="high").to_dicts()
            for run, points in runs.items()
        }
        blocks.append(Chart(f"{name}: accuracy by {unit}", lines(series, axis=unit, value="accuracy")))
    rows = [
        (run, *row[:-3], *(f"{100 * value:.2f}" for value in row[-3:]))
        for run, points in runs.items()
        for row in points.select("step", *UNITS, "questions", "accuracy", "low", "high").rows()
    ]
    columns = ["run", *(f"{n}>" for n in ("step", *UNITS, "questions", "accuracy (%)", "from", "to"))]
    return [*blocks, Grid(f"{name}: checkpoints", columns, rows)]


def _counted(table: pl.DataFrame) -> pl.DataFrame:
    """Checkpoints of single answers; questions that could not be asked are left out."""
    asked = table.filter(pl.col("error").is_null()).group_by("step")
    amounts = [pl.col(unit).first() for unit in UNITS]
    return _with_intervals(asked.agg(*amounts, questions=pl.len(), correct=pl.col("correct").sum()))


def _with_intervals(counts: pl.DataFrame) -> pl.DataFrame:
    """Accuracy and its Wilson interval for each checkpoint, first to last."""
    n = pl.col("questions").cast(pl.Float64)
    right = pl.col("correct") / n
    wide = _Z * (right * (1 - right) / n + _Z**2 / (4 * n**2)).sqrt()
    middle, scale = right + _Z**2 / (2 * n), 1 + _Z**2 / n
    return counts.with_columns(
        accuracy=right, low=(middle - wide) / scale, high=(middle + wide) / scale
    ).sort("step")
