"""`gdo experiment`: presets against uniform controls, from selection to one table.

Every step is taken up where it was left: subsets stand in the pool, runs and evaluations in the folder.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

from gdo.errors import UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.store import Pool
from gdo.selectors.select import select
from gdo.train.compare.run import CompareReport, compare
from gdo.train.evaluate.questions import name_of, parse_held_out
from gdo.train.evaluate.run import evaluate
from gdo.train.machine import Machine
from gdo.train.prepare import RECIPE
from gdo.train.recipe import load_recipe
from gdo.train.run import train
from gdo.train.sources import Data

ASKED = "experiment.json"
CONTROLS = (1.0, 10.0)
"""Sizes of the uniform controls in subsets: Uni-1x and Uni-10x."""
Progress = Callable[[str, int, int, str], None]
Mix = Sequence[tuple[Path, float]]


def experiment(
    pool: Path | str,
    presets: Sequence[str],
    output: Path | str,
    *,
    model: str,
    held_out: str,
    recipe: str | Path = "paper",
    settings: Sequence[str] = (),
    seeds: int = 3,
    count: int | None = None,
    mix: Mix = (),
    kind: str | None = None,
    machine: Machine | None = None,
    progress: Progress | None = None,
    say: Callable[[str], None] | None = None,
) -> CompareReport:
    """Select by each preset, train subsets and controls from the same start, evaluate, compare.

    Each seed has a selection, a control and an order of its own. The controls are those of the first preset.
    The evaluations also stand in the pool.

    Args:
        pool: The described pool.
        presets: Names of presets or TOML files; a file's name is what its group is called.
        output: Folder of the runs. Its name begins the names of the subsets in the pool.
        model: Where all runs start.
        held_out: What is evaluated on, see `evaluate`.
        recipe: Of all runs.
        settings: `KEY=VALUE` of the recipe.
        seeds: How many; they count up from the recipe's.
        count: Size of the subsets, in place of the presets' budgets.
        mix: Folders or JSONL files and their share of all samples: each subset is trained once more with
            them mixed in, as a group of its own.
        kind: See `evaluate`.
        machine: What it trains and evaluates on.
        progress: As of `train` and `evaluate`.
        say: Called with what is done next.

    Raises:
        UsageError: The folder holds another experiment, or something asked for is not there.
        GdoError: A run or an evaluation fails.
    """
    folder, machine = Path(output).absolute(), machine or Machine()
    base = load_recipe(recipe, settings=settings).seed
    name = name_of(parse_held_out(held_out))
    titles = [Path(preset).stem for preset in presets]
    if seeds < 1 or not titles or len(set(titles)) < len(titles):
        raise UsageError("an experiment takes one seed or more, and presets of different names")
    asked: dict[str, Any] = {"pool": str(Path(pool).absolute()), "presets": list(presets), "model": model}
    asked |= {"held_out": held_out, "recipe": str(recipe), "settings": list(settings)}
    asked |= {"seeds": seeds, "count": count, "kind": kind}
    _claim(folder, asked | {"mix": [[str(path.absolute()), share] for path, share in mix]})
    Pool(pool).upgrade()
    told = say or (lambda _: None)
    labels: list[str] = []
    for seed in range(base, base + seeds):
        for preset, title in zip(presets, titles, strict=True):
            _select_once(pool, preset, _subset(folder, title, seed), count, seed)
        for label, data in _trained(Path(pool), folder, titles, seed, mix):
            run = folder / f"{label}-{seed}"
            told(f"{label}, seed {seed}")
            train(
                data,
                run,
                model=model,
                recipe=recipe,
                settings=[*settings, f"seed={seed}"],
                machine=machine,
                progress=progress,
            )
            evaluate(run, held_out, kind=kind, device=machine.device, pool=pool, progress=progress)
            labels.append(f"{label}={run}")
    told("the starting model")
    evaluate(
        model,
        held_out,
        output=folder / "start",
        kind=kind,
        recipe=folder / f"{titles[0]}-{base}" / RECIPE,
        device=machine.device,
        pool=pool,
        progress=progress,
    )
    return compare([str(folder / "start"), *labels], name)


def _claim(folder: Path, asked: dict[str, Any]) -> None:
    """Take the folder, or see that it holds this experiment."""
    file = folder / ASKED
    if file.exists():
        told = orjson.loads(file.read_bytes())
        differs = [key for key, value in asked.items() if told.get(key) != value]
        if differs:
            raise UsageError(f"{folder} holds another experiment: {', '.join(differs)} differ; give another")
        return
    folder.mkdir(parents=True, exist_ok=True)
    write_aside(file, lambda path: path.write_bytes(orjson.dumps(asked, option=orjson.OPT_INDENT_2)))


def _subset(folder: Path, title: str, seed: int) -> str:
    return f"{folder.name}-{title}-{seed}"


def _select_once(pool: Path | str, preset: str, subset: str, count: int | None, seed: int) -> None:
    """Select where the pool does not have the subset yet."""
    with Pool(pool).read() as connection:
        known = connection.execute("SELECT count(*) FROM subset WHERE subset = ?", [subset]).fetchall()
    if known == [(0,)]:
        select(pool, preset, name=subset, count=count, seed=seed)


def _trained(pool: Path, folder: Path, titles: Sequence[str], seed: int, mix: Mix) -> list[tuple[str, Data]]:
    """What is trained for one seed: label and data."""
    first = Data(pool, _subset(folder, titles[0], seed))
    subsets = [(title, Data(pool, _subset(folder, title, seed))) for title in titles]
    added = "+".join(name_of(Data(path)) for path, _ in mix)
    mixed = [(f"{title}+{added}", replace(data, mix=tuple(mix))) for title, data in subsets if mix]
    return subsets + mixed + [(f"uni-{m:g}x", replace(first, uniform=True, multiple=m)) for m in CONTROLS]
