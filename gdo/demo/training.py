"""The demo's second half: Sparrow, a short training of the subset and of its control, and the comparison."""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from shlex import quote

from gdo.demo.held_out import make_held_out
from gdo.demo.long_texts import write_long_texts
from gdo.descriptors.proxy.make import untrained_proxy
from gdo.descriptors.proxy.shape import CPU
from gdo.pool.store import Pool
from gdo.report.comparison import compare_tables, write_trajectories
from gdo.report.sparrow import diversity_tables, keep_diversity, sparrow_tables
from gdo.report.tables import show
from gdo.report.training import train_tables
from gdo.train.compare.run import compare
from gdo.train.evaluate.run import evaluate
from gdo.train.machine import Machine
from gdo.train.run import train
from gdo.train.sources import Data
from gdo.train.sparrow.diversity import measure_diversity
from gdo.train.sparrow.run import make_sparrow

Step = Callable[[str], None]
"""Shows the command that is run next."""
Update = Callable[[str, int, int | None, str], None]

RECIPE = (
    "lr=1e-3",
    "batch=5",
    f"frames={CPU.frames}",
    f"max_pixels={CPU.image_pixels}",
    'frames_as="video"',
    'freeze=["vision"]',
)
"""Over the recipe `smoke`: what the small model was taught with, its eyes as they are."""


def show_sparrow(pool: Path, folder: Path, *, texts: int, seed: int, step: Step) -> None:
    """Make Sparrow samples of long texts, and tell what mixing them in does to the instructions."""
    file = write_long_texts(folder / "long_texts.jsonl", count=texts, seed=seed)
    step(f"gdo sparrow {file} -o {folder / 'sparrow'}")
    made = make_sparrow([file], folder / "sparrow")
    show(sparrow_tables(asdict(made)))
    step(f"gdo diversity {pool} --mix {made.path}")
    found = asdict(measure_diversity(pool, [made.path]))
    keep_diversity(found, pool)
    show(diversity_tables(found))


def show_training(
    pool: Path, folder: Path, subset: str, *, per_kind: int, seed: int, step: Step, update: Update
) -> None:
    """Train a small model on a subset and on its uniform control, ask both, and compare.

    The model is the self-proxy's beginning: it sees, and knows nothing of this pool.
    """
    model = folder / "model"
    if not model.exists():
        untrained_proxy(Pool(pool), folder / "model.part", seed).rename(model)
    questions = make_held_out(folder / "held_out", per_kind=per_kind, seed=seed + 1)
    settings = " ".join(f"--set {quote(setting)}" for setting in RECIPE)
    for uniform in (False, True):
        run = folder / "runs" / ("uniform" if uniform else subset)
        control = " --uniform --multiple 1" if uniform else ""
        step(f"gdo train {pool} {subset}{control} --model {model} --recipe smoke {settings} -o {run}")
        report = train(
            Data(pool, subset, uniform=uniform, multiple=1.0 if uniform else None),
            run,
            model=str(model),
            recipe="smoke",
            settings=RECIPE,
            machine=Machine("auto", 0),
            progress=update,
        )
        show(train_tables(asdict(report)))
        evaluate(run, str(questions), progress=update, pool=pool)
    start = folder / "runs" / "start"
    recipe = folder / "runs" / subset / "recipe.toml"
    evaluate(str(model), str(questions), output=start, recipe=recipe, pool=pool)
    runs = [str(start), *(f"{name}={folder / 'runs' / name}" for name in (subset, "uniform"))]
    step(f"gdo compare {' '.join(runs)} --on held_out -o {folder / 'compare.png'}")
    compared = asdict(compare(runs, "held_out"))
    show(compare_tables(compared))
    write_trajectories(compared, folder / "compare.png")
