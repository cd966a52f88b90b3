"""The run's folder before the first step: its data, order and description; made once, by one rank."""

import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson
import polars as pl

from gdo import __version__
from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.store import locked, utc_now
from gdo.train.checkpoints import drop_halves, list_checkpoints
from gdo.train.ledger import FOLDER, forget_after
from gdo.train.order import make_order
from gdo.train.recipe import Recipe
from gdo.train.sources import Data, read_data
from gdo.train.store import write_order, write_samples

RUN, RECIPE = "run.json", "recipe.toml"
LOCK_WAIT = 30.0
"""Seconds to wait for a run's folder: readers of a killed process hold it until they miss it."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What tells a run from another: taken up again, all of it must be the same.

    Attributes:
        model: Where the model is loaded from.
        data: What is trained on.
        recipe: How.
    """

    model: str
    data: Data
    recipe: Recipe

    def told(self) -> dict[str, Any]:
        """As the run's file tells it."""
        return {"model": self.model, "data": self.data.told(), "recipe": self.recipe.model_dump(mode="json")}


@contextmanager
def alone(run: Path) -> Iterator[None]:
    """Hold a run's folder, which is made if it is not there.

    Raises:
        GdoError: Another process trains there.
    """
    run.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + LOCK_WAIT
    with ExitStack() as held:
        while not held.enter_context(locked(run, wait=False)):
            held.close()
            if time.monotonic() > deadline:
                raise GdoError(f"another process trains in {run}; wait for it or stop it")
            time.sleep(0.2)
        yield


def prepare(run: Path, asked: Asked) -> None:
    """Make the run's folder ready to start, or to go on from its last whole checkpoint.

    Raises:
        UsageError: The folder holds another run, or something else.
    """
    if not (run / RUN).exists():
        _begin(run, asked)
    told = read_run(run)
    differs = _differences(told, asked.told())
    if differs:
        raise UsageError(f"{run} holds another run: {'; '.join(differs)}. Give another folder")
    drop_halves(run)
    checkpoints = list_checkpoints(run)
    forget_after(run, checkpoints[-1].step if checkpoints else 0)


def read_run(run: Path | str) -> dict[str, Any]:
    """What a run's file tells: model, data, recipe, counts, versions, and at the end what came of it.

    Raises:
        UsageError: The folder is not a run.
    """
    file = Path(run) / RUN
    if not file.exists():
        raise UsageError(f"{run} is not the folder of a run: it has no {RUN}")
    return dict(orjson.loads(file.read_bytes()))


def write_run(run: Path, told: dict[str, Any]) -> None:
    """Write the run's file."""
    content = orjson.dumps(told, option=orjson.OPT_INDENT_2, default=str)
    write_aside(run / RUN, lambda path: path.write_bytes(content + b"\n"))


def _begin(run: Path, asked: Asked) -> None:
    """Copy the data, make the order, and describe the run, that last."""
    known = {"samples.jsonl", "samples.parquet", "order.parquet", RECIPE, FOLDER}
    if run.exists() and any(path.name not in known for path in run.iterdir() if path.name[0] != "."):
        raise UsageError(f"{run} is not empty and not the folder of a run; give another")
    run.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(run / FOLDER, ignore_errors=True)
    from gdo.train.encode import Encoder
    from gdo.train.lengths import Measure

    recipe = asked.recipe
    measure = Measure(Encoder(asked.model, recipe))
    table = write_samples(run, read_data(asked.data, recipe.seed), measure)
    order = make_order(
        table["kind"].to_list(),
        seed=recipe.seed,
        batch=recipe.batch,
        epochs=recipe.epochs,
        batches=recipe.batches,
        holdout=recipe.holdout,
    )
    if not order.steps:
        raise UsageError("all samples are held out; lower holdout")
    write_order(run, order)
    write_aside(run / RECIPE, lambda path: path.write_text(recipe.to_toml()))
    counts = {"samples": len(table), "held_out": len(order.held_out), "steps": len(order.steps)}
    kinds = dict(table.group_by("kind").len().sort("kind").iter_rows())
    sources = dict(table.group_by("source").agg(pl.len()).sort("source").iter_rows())
    write_run(
        run,
        {
            "made_by": "gdo train",
            **asked.told(),
            "counts": {**counts, "kinds": kinds, "sources": sources},
            "versions": _versions(),
            "started": utc_now(),
            "finished": None,
        },
    )


def _versions() -> dict[str, str]:
    found = {"gdo": __version__}
    for name in ("torch", "transformers", "accelerate", "peft", "deepspeed", "flash-attn"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _differences(told: dict[str, Any], asked: dict[str, Any], where: str = "") -> list[str]:
    """What was told otherwise, key by key."""
    differs: list[str] = []
    for key, value in asked.items():
        have = told.get(key)
        if isinstance(value, dict) and isinstance(have, dict):
            differs += _differences(have, value, f"{where}{key}.")
        elif have != value:
            differs.append(f"{where}{key} was {have!r} and now is {value!r}")
    return differs
