"""Results of an evaluation in a pool, where SQL and the report find them beside the samples."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import polars as pl

from gdo.errors import GdoError
from gdo.pool.store import Pool, record_run, utc_now
from gdo.train.evaluate.results import METRICS, EvaluateReport
from gdo.train.evaluate.target import pool_of
from gdo.train.prepare import read_run

LMMS = "lmms-eval"
_ANSWER = (
    *("evaluation", "target", "step", "qa_uid", "kind", "form", "answer", "said", "correct"),
    *("said_by_sum", "correct_by_sum", "loss", "error"),
)


def keep_where(asked: Path | str | None, target: Path | str, report: EvaluateReport) -> EvaluateReport:
    """Put an evaluation into the pool asked for, or else into the one that the run was trained from.

    Nobody asked for the latter, so one that cannot be written to is told and stops nothing.

    Args:
        asked: A pool's file; None for none.
        target: What was evaluated.
        report: Of the evaluation.

    Returns:
        The report, with where the results went.

    Raises:
        GdoError: The pool asked for cannot be written to.
    """
    if asked is not None:
        keep(asked, report)
        return replace(report, pool=Path(asked))
    own = pool_of(target)
    if own is None:
        return report
    try:
        keep(own, report)
    except (GdoError, OSError) as error:
        return replace(report, not_kept=str(error))
    return replace(report, pool=own)


def keep(pool: Path | str, report: EvaluateReport) -> None:
    """Put an evaluation into a pool's tables `evaluation` and `evaluation_answer`, in one transaction.

    What the pool has of the same name and run is replaced: doing it again changes nothing but the time.

    Args:
        pool: The pool's file.
        report: Of the evaluation; its Parquet file is read.

    Raises:
        UsageError: There is no such pool.
        GdoError: It cannot be written to.
    """
    started = utc_now()
    target = report.of["run"] or report.of["model"]
    answers = pl.read_parquet(report.path)
    shared = {"evaluation": report.name, "target": target}
    told = shared | _told(report.of) | {"evaluated": started}
    figures = answers.unique("step", maintain_order=True).select(METRICS).to_dicts()
    checkpoints = [
        told | of | asdict(score.all) | {"reported": score.reported}
        for of, score in zip(figures, report.checkpoints, strict=True)
    ]
    literals = {key: pl.lit(value) for key, value in shared.items()}
    rows = {
        "evaluation": pl.DataFrame(checkpoints, infer_schema_length=None),
        "evaluation_answer": answers.with_columns(**literals).select(_ANSWER),
    }
    with Pool(pool).write() as connection:
        for table, found in rows.items():
            connection.execute(
                f"DELETE FROM {table} WHERE evaluation = ? AND target = ?", [report.name, target]
            )
            connection.register("found", found.to_arrow())
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM found")
            connection.unregister("found")
        record_run(connection, "evaluate", shared, started)


def _told(of: Mapping[str, Any]) -> dict[str, Any]:
    """What all checkpoints of a run have in common."""
    settings = {key: value for key, value in of.items() if key not in ("model", "run")}
    asked_by = LMMS if "lmms_eval" in of else "gdo"
    shared = {"model": of["model"], "asked_by": asked_by, "settings": json.dumps(settings)}
    if of["run"] is None:
        return shared
    run = read_run(of["run"])
    data, recipe = run["data"], run["recipe"]
    return shared | {
        **{key: data[key] for key in ("subset", "uniform", "multiple")},
        "data": json.dumps(data),
        "recipe": recipe["name"],
        "seed": recipe["seed"],
    }
