"""What is evaluated: the checkpoints of a run, or a model, and the frames and pixels it is shown."""

from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from gdo.descriptors.probe.contract import ProbeSettings
from gdo.errors import UsageError
from gdo.train.checkpoints import Checkpoint, list_checkpoints
from gdo.train.evaluate.results import FOLDER
from gdo.train.prepare import RECIPE, RUN, read_run
from gdo.train.recipe import load_recipe

Which = Literal["all", "last"]


def is_run(target: Path | str) -> bool:
    """Whether it is the folder of a run, and not a model."""
    return (Path(target) / RUN).exists()


def checkpoints_of(target: Path | str, wanted: Which) -> list[Checkpoint]:
    """A run's checkpoints, first to last; a model is one at 0 samples.

    Raises:
        UsageError: The run has none.
    """
    if wanted not in ("all", "last"):
        raise UsageError(f"--checkpoints is all or last, not {wanted}")
    if not is_run(target):
        return [Checkpoint(Path(target), 0, 0, 0, 0, 0, 0.0, 0.0, None)]
    found = list_checkpoints(target)
    if not found:
        raise UsageError(f"{target} is a run without a checkpoint; train it first")
    return found if wanted == "all" else found[-1:]


def results_folder(target: Path | str, output: Path | str | None) -> Path:
    """Where the results of a run or model stand.

    Raises:
        UsageError: A model has no folder for them.
    """
    if output is None and not is_run(target):
        raise UsageError(f"{target} is not the folder of a run; give -o DIR for the results of a model")
    return Path(target if output is None else output) / FOLDER


def pool_of(target: Path | str) -> Path | None:
    """The pool whose subset a run was trained on; None for files, a pool that is gone, and a model."""
    if not is_run(target):
        return None
    data = read_run(target)["data"]
    pool = Path(data["path"])
    return pool if data["subset"] is not None and pool.is_file() else None


def shown_as(target: Path | str, recipe: str | Path) -> ProbeSettings:
    """Frames and pixels as in training; a model's are those of the recipe."""
    chosen = load_recipe(Path(target) / RECIPE if is_run(target) else recipe)
    return ProbeSettings(budget=chosen.budget, frames_as=chosen.frames_as)


def told(target: Path | str, settings: ProbeSettings) -> dict[str, Any]:
    """Where it started, the run's folder (None for a model), and how media are shown."""
    run = read_run(target) if is_run(target) else None
    local = Path(target).is_dir()
    return {
        "model": run["model"] if run else str(Path(target).resolve()) if local else str(target),
        "run": str(Path(target).resolve()) if run else None,
        "budget": asdict(settings.budget),
        "frames_as": settings.frames_as,
    }


def device_of(device: str) -> str:
    """`auto`, `cpu` or `cuda` as what is there.

    Raises:
        UsageError: There is no such device.
    """
    import torch

    if device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is auto, cpu or cuda, not {device}")
    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError("--device cuda: torch sees no GPU here")
    return device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
