"""`gdo experiment`: presets against uniform controls, from selection to one table.

Every step is taken up where it was left: subsets stand in the pool, runs and evaluations in the folder.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from gdo.errors import UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.store import Pool, scalar
from gdo.selectors.preset import load_preset
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

    Each seed has a selection, a control and an order of its own. Presets of one size share their controls,
    those of the first of them; each is held against the controls of its own size. The evaluations also stand
    in the pool.

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
    asked = _Asked(
        Path(pool),
        tuple(presets),
        Path(output).absolute(),
        model,
        held_out,
        recipe,
        tuple(settings),
        seeds,
        count,
        tuple(mix),
        kind,
    )
    _claim(asked)
    Pool(pool).upgrade()
    return _carry_out(asked, machine or Machine(), progress, say or (lambda _: None))


@dataclass(frozen=True, slots=True)
class _Asked:
    """What tells an experiment from another; taken up again, all of it must be the same."""

    pool: Path
    presets: tuple[str, ...]
    folder: Path
    model: str
    held_out: str
    recipe: str | Path
    settings: tuple[str, ...]
    seeds: int
    count: int | None
    mix: Mix
    kind: str | None

    def __post_init__(self) -> None:
        parse_held_out(self.held_out)
        load_recipe(self.recipe, settings=self.settings)
        if self.seeds < 1 or not self.presets or len(set(self.titles)) < len(self.titles):
            raise UsageError("an experiment takes one seed or more, and presets of different names")

    @property
    def titles(self) -> list[str]:
        """What the presets' groups are called."""
        return [Path(preset).stem for preset in self.presets]

    def told(self) -> dict[str, Any]:
        """As the folder's file tells it."""
        told = {name: getattr(self, name) for name in ("model", "held_out", "seeds", "count", "kind")}
        told |= {"pool": str(self.pool.absolute()), "recipe": str(self.recipe)}
        told |= {"presets": list(self.presets), "settings": list(self.settings)}
        return told | {"mix": [[str(path.absolute()), share] for path, share in self.mix]}


def _carry_out(
    asked: _Asked, machine: Machine, progress: Progress | None, told: Callable[[str], None]
) -> CompareReport:
    """Train and evaluate what is not done yet, and compare all of it."""
    first = load_recipe(asked.recipe, settings=asked.settings).seed
    seeds = range(first, first + asked.seeds)
    for seed in seeds:
        for preset, title in zip(asked.presets, asked.titles, strict=True):
            _select_once(asked.pool, preset, _subset(asked.folder, title, seed), asked.count, seed)
    owners = _owners(asked, seeds)
    runs = [run for seed in seeds for run in _seed(asked, owners, seed, machine, progress, told)]
    told("the starting model")
    start, recipe = asked.folder / "start", asked.folder / f"{asked.titles[0]}-{first}" / RECIPE
    _evaluate(asked, asked.model, machine, progress, output=start, recipe=recipe)
    name, controls = name_of(parse_held_out(asked.held_out)), _controls(owners, asked.mix)
    return compare([str(start), *runs], name, controls=controls)


def _seed(
    asked: _Asked,
    owners: Mapping[str, str],
    seed: int,
    machine: Machine,
    progress: Progress | None,
    told: Callable[[str], None],
) -> Iterator[str]:
    """Train and evaluate all runs of one seed: each as `LABEL=FOLDER`."""
    settings = [*asked.settings, f"seed={seed}"]
    for label, data in _trained(asked.pool, asked.folder, owners, seed, asked.mix):
        run = asked.folder / f"{label}-{seed}"
        told(f"{label}, seed {seed}")
        train(
            data,
            run,
            model=asked.model,
            recipe=asked.recipe,
            settings=settings,
            machine=machine,
            progress=progress,
        )
        _evaluate(asked, run, machine, progress)
        yield f"{label}={run}"


def _evaluate(
    asked: _Asked, target: Path | str, machine: Machine, progress: Progress | None, **more: Any
) -> None:
    """Ask the held-out questions of a run or the starting model, into the pool too."""
    evaluate(
        target,
        asked.held_out,
        kind=asked.kind,
        device=machine.device,
        pool=asked.pool,
        progress=progress,
        **more,
    )


def _claim(asked: _Asked) -> None:
    """Take the folder, or see that it holds this experiment."""
    file, wanted = asked.folder / ASKED, asked.told()
    if file.exists():
        told = orjson.loads(file.read_bytes())
        differs = [key for key, value in wanted.items() if told.get(key) != value]
        if differs:
            raise UsageError(
                f"{asked.folder} holds another experiment: {', '.join(differs)} differ; give another"
            )
        return
    asked.folder.mkdir(parents=True, exist_ok=True)
    write_aside(file, lambda path: path.write_bytes(orjson.dumps(wanted, option=orjson.OPT_INDENT_2)))


def _subset(folder: Path, title: str, seed: int) -> str:
    return f"{folder.name}-{title}-{seed}"


def _select_once(pool: Path | str, preset: str, subset: str, count: int | None, seed: int) -> None:
    """Select where the pool does not have the subset yet.

    Raises:
        UsageError: It has one of that name that was chosen in another way.
    """
    with Pool(pool).read() as connection:
        known = connection.execute("SELECT parameters FROM subset WHERE subset = ?", [subset]).fetchall()
    if not known:
        select(pool, preset, name=subset, count=count, seed=seed)
        return
    told, wanted = (
        orjson.loads(known[0][0]),
        load_preset(preset, count=count, seed=seed).model_dump(mode="json"),
    )
    if differs := [f"{name} was {told.get(name)}" for name in wanted if told.get(name) != wanted[name]]:
        raise UsageError(
            f"subset {subset!r} of an earlier experiment was chosen otherwise ({', '.join(differs)}); "
            "give the experiment a folder of another name"
        )


def _owners(asked: _Asked, seeds: Sequence[int]) -> dict[str, str]:
    """Of each preset, whose controls it is held against: the first of those of its size in every seed."""
    first: dict[tuple[int, ...], str] = {}
    with Pool(asked.pool).read() as connection:
        chosen = "SELECT count(*) FROM subset_sample WHERE subset = ? AND role = 'chosen'"

        def size(title: str, seed: int) -> int:
            return int(scalar(connection, chosen, [_subset(asked.folder, title, seed)]))

        return {
            title: first.setdefault(tuple(size(title, seed) for seed in seeds), title)
            for title in asked.titles
        }


def _trained(
    pool: Path, folder: Path, owners: Mapping[str, str], seed: int, mix: Mix
) -> list[tuple[str, Data]]:
    """What is trained for one seed: label and data."""
    subsets = {title: Data(pool, _subset(folder, title, seed)) for title in owners}
    mixed = [(_mixed(title, mix), replace(data, mix=tuple(mix))) for title, data in subsets.items() if mix]
    controls = [
        (_control(owners, owner, multiple), replace(subsets[owner], uniform=True, multiple=multiple))
        for owner in dict.fromkeys(owners.values())
        for multiple in CONTROLS
    ]
    return [*subsets.items(), *mixed, *controls]


def _controls(owners: Mapping[str, str], mix: Mix) -> dict[str, list[str]]:
    """The labels that each label of a subset is held against."""
    against = {title: [_control(owners, title, multiple) for multiple in CONTROLS] for title in owners}
    return against | {_mixed(title, mix): labels for title, labels in against.items() if mix}


def _control(owners: Mapping[str, str], title: str, multiple: float) -> str:
    """A control's label; it names the preset only where the first one is of another size."""
    owner = owners[title]
    return f"uni-{multiple:g}x" if owner == next(iter(owners)) else f"uni-{multiple:g}x-{owner}"


def _mixed(title: str, mix: Mix) -> str:
    return f"{title}+{'+'.join(name_of(Data(path)) for path, _ in mix)}"
