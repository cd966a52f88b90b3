"""`gdo train`: a run from its data to its last checkpoint, held against what was selected."""

from collections.abc import Callable, Sequence, Set
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path

import polars as pl

from gdo.pool.store import utc_now
from gdo.train.checkpoints import Checkpoint, list_checkpoints, resolve_model
from gdo.train.ledger import Check, check_ledger, read_ledger
from gdo.train.machine import Machine
from gdo.train.order import Order
from gdo.train.prepare import Asked, alone, prepare, read_run, write_run
from gdo.train.recipe import load_recipe
from gdo.train.sources import MAIN, Data, selected_ids
from gdo.train.store import Samples

Progress = Callable[[str, int, int, str], None]
Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class TrainReport:
    """What a run has done.

    Attributes:
        path: Its folder.
        samples: Samples that were to be trained, held-out ones not among them.
        held_out: Samples held out.
        steps: Steps of the run.
        resumed_from: The step that this call began after; 0 for a fresh run.
        checkpoints: All of them.
        check: The ledger held against the data.
        tokens_per_s: Over the whole run, all devices together.
        samples_per_s: Likewise.
        mfu: Share of the devices' peak arithmetic that the model used; None where the peak is not known.
    """

    path: Path
    samples: int
    held_out: int
    steps: int
    resumed_from: int
    checkpoints: list[Checkpoint]
    check: Check
    tokens_per_s: float
    samples_per_s: float
    mfu: float | None


def train(
    data: Data,
    output: Path | str,
    *,
    model: str,
    recipe: str | Path = "paper",
    settings: Sequence[str] = (),
    machine: Machine | None = None,
    progress: Progress | None = None,
    say: Say | None = None,
) -> TrainReport:
    """Train a model on a subset; killed anywhere, the same call goes on from the last whole checkpoint.

    Under `torchrun` or `accelerate launch` every process calls it with the same arguments.

    Args:
        data: What to train on.
        output: The run's folder; see docs/training.md for what it holds.
        model: Folder, name at the hub, or an earlier run's folder.
        recipe: A name of `gdo.train.recipe.RECIPES`, or a TOML file.
        settings: `KEY=VALUE` for numbers of the recipe.
        machine: What it trains on.
        progress: Called on the first rank with what is done, how much, of how much, and a note.
        say: Called on the first rank with a sentence on what will be done.

    Raises:
        UsageError: Wrong settings, or the folder holds another run.
        GdoError: A sample cannot be read, the loss is not finite, memory ran out, the ledger does not
            agree with the data, or another process trains in the folder.
    """
    from gdo.train import session

    run = Path(output)
    asked = Asked(resolve_model(model), data, load_recipe(recipe, settings=settings))
    machine = machine or Machine()
    arguments = session.make_arguments(run, asked.recipe, machine)
    is_first = session.is_first_rank(arguments)
    with ExitStack() as held:
        with session.first_rank_first(arguments):
            if is_first:
                held.enter_context(alone(run))
                prepare(run, asked)
        samples = Samples(run)
        order = samples.order()
        before = list_checkpoints(run)
        start = before[-1].step if before else 0
        if start < len(order.steps):
            session.run_steps(run, asked, machine, arguments, samples, order, start, progress, say)
        report = _finish(run, samples, order, start, asked if is_first else None)
        if is_first:
            _tell_end(run, report)
            if say:
                say(f"the ledger was held against {report.check.against}")
    report.check.demand()
    return report


def _finish(run: Path, samples: Samples, order: Order, start: int, asked: Asked | None) -> TrainReport:
    """Hold the ledger against the data, and tell what the run has come to.

    Where `asked` is given, as to the first rank, the data are what the pool says was selected, if it still
    can; else the run's own copy.
    """
    numbers = [int(number) for step in order.steps for number in step]
    wanted = samples.table[numbers].select("qa_uid", "source")
    held = samples.table[order.held_out]["qa_uid"].to_list()
    against = "the run's own copy of its data"
    if asked:
        began = datetime.fromisoformat(read_run(run)["started"])
        selected, against = selected_ids(asked.data, began)
        if selected is not None:
            wanted = _wanted(selected, set(held), asked.recipe.epochs, wanted)
    check = replace(check_ledger(read_ledger(run), wanted), held_out=held, against=against)
    checkpoints = list_checkpoints(run)
    last = checkpoints[-1]
    seconds = max(last.seconds, 1e-9)
    peak = read_run(run).get("machine", {}).get("peak_flops")
    return TrainReport(
        run,
        samples=len(set(numbers)),
        held_out=len(order.held_out),
        steps=len(order.steps),
        resumed_from=start,
        checkpoints=checkpoints,
        check=check,
        tokens_per_s=last.tokens / seconds,
        samples_per_s=last.samples / seconds,
        mfu=last.flops / seconds / peak if peak else None,
    )


def _wanted(selected: Sequence[str], held: Set[str], epochs: int, own: pl.DataFrame) -> pl.DataFrame:
    """What was to be trained: of the selected all that are not held out, and what the run mixed in."""
    ids = [uid for uid in selected if uid not in held] * epochs
    main = pl.DataFrame({"qa_uid": ids}, schema={"qa_uid": pl.String}).with_columns(source=pl.lit(MAIN))
    return pl.concat([main, own.filter(pl.col("source") != MAIN)])


def _tell_end(run: Path, report: TrainReport) -> None:
    """Write into the run's file what became of the data."""
    told = read_run(run)
    told["finished"] = told["finished"] or utc_now()
    told["ledger"] = asdict(report.check) | {"agrees": report.check.agrees}
    write_run(run, told)
