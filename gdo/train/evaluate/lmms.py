"""`gdo evaluate --lmms`: benchmarks that lmms-eval asks of every checkpoint, with the frames of training.

lmms-eval wants other versions of av and protobuf than gdo, so it stands in an environment of its own and is
run there as a program, once for each checkpoint and benchmark.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import polars as pl

from gdo.descriptors.probe.contract import ProbeSettings
from gdo.errors import GdoError, UsageError
from gdo.pool.atomic import write_aside
from gdo.pool.store import locked, remove_unless_locked
from gdo.train.checkpoints import Checkpoint, load_checkpoint
from gdo.train.evaluate.keep import LMMS, keep_where
from gdo.train.evaluate.lmms_results import read_raw, reported_score
from gdo.train.evaluate.results import METRICS, EvaluateReport, claim, finish, part_of
from gdo.train.evaluate.target import Which, checkpoints_of, device_of, results_folder, shown_as, told

MODEL = "qwen3_vl"
"""The type of model, in transformers and in lmms-eval, that it is asked with."""
EVERY_FRAME = 1000
"""A rate of frames above any video's: then the most frames alone hold. Told the number of frames instead,
lmms-eval 0.7.3 stops at the first clip with fewer and an odd number of them."""
LEAST_PIXELS = 4 * 32 * 32
"""Smaller pictures are enlarged to it, as gdo's own evaluation does for Qwen3-VL."""
LOG = "log.txt"
BEGIN = """\
import os, runpy, threading
parent = os.dup(0)
os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
threading.Thread(target=lambda: os.read(parent, 1) or os._exit(1), daemon=True).start()
runpy.run_module("lmms_eval", run_name="__main__", alter_sys=True)
"""
"""What is run there: lmms-eval, until it is done or whoever holds the other end of its input ends."""


def evaluate_lmms(
    target: Path | str,
    tasks: Sequence[str],
    *,
    python: Path | str | None = None,
    include: Path | str | None = None,
    output: Path | str | None = None,
    checkpoints: Which = "all",
    recipe: str | Path = "paper",
    device: str = "auto",
    pool: Path | str | None = None,
    say: Callable[[str], None] | None = None,
) -> list[EvaluateReport]:
    """Have lmms-eval ask benchmarks of a run's checkpoints, or of a model.

    Frames and pixels are those of training. Each benchmark becomes an evaluation of its own name, which
    `compare` takes; what was asked before is not asked again.

    Args:
        target: A run's folder, or a model's folder or name.
        tasks: Names that lmms-eval knows, of tasks or groups.
        python: The interpreter that lmms-eval is installed for; by default this one.
        include: Folder with more tasks.
        output: See `evaluate`.
        checkpoints: See `evaluate`.
        recipe: See `evaluate`.
        device: auto, cpu or cuda; a large model is spread over all GPUs.
        pool: Also gets the results; by default the one whose subset the run was trained on, if it is there.
        say: Called with what is asked next.

    Raises:
        UsageError: No such run, no lmms-eval, or a model that it is not asked with.
        GdoError: lmms-eval fails; its output is kept.
    """
    chosen = checkpoints_of(target, checkpoints)
    folder = results_folder(target, output)
    settings = shown_as(target, recipe)
    wrong = [task for task in tasks if Path(task).name != task]
    if wrong or not tasks:
        raise UsageError(f"--lmms takes names of tasks, such as mvbench,videomme, not {', '.join(wrong)!r}")
    program = str(python or sys.executable)
    of = told(target, settings) | {"frames_as": "video", "lmms_eval": _version(program)}
    arguments = [] if include is None else ["--include_path", str(Path(include).absolute())]
    on_cpu = device_of(device) == "cpu"
    for task in tasks:
        claim(folder, task, of | {"held_out": task})
    _remove_left(folder)
    for number, checkpoint in enumerate(chosen, 1):
        for task in tasks:
            part = part_of(folder, task, checkpoint.step)
            if part.exists():
                continue
            if say:
                say(f"lmms-eval asks {task}, checkpoint {number} of {len(chosen)}")
            raw = _raw(folder, task, checkpoint.step)
            with _as_model(checkpoint, folder) as model:
                model_arguments = _model_arguments(model, settings, on_cpu=on_cpu)
                _run([program, *command(model_arguments, task), *arguments], folder, raw, task)
            table = read_raw(raw, task, {name: getattr(checkpoint, name) for name in METRICS})
            write_aside(part, table.write_parquet)
    reports = [_finish(folder, task, of | {"held_out": task}) for task in tasks]
    return [keep_where(pool, target, report) for report in reports]


def command(model_arguments: str, task: str) -> list[str]:
    """The arguments that Python is given, but for where it writes."""
    called = ["-c", BEGIN, "--model", MODEL, "--force_simple", "--model_args", model_arguments]
    return [*called, "--tasks", task, "--batch_size", "1", "--log_samples"]


def _raw(folder: Path, task: str, step: int) -> Path:
    return (folder / task / f"{LMMS}-{step:09d}").absolute()


def _version(python: str) -> str:
    """Which lmms-eval an interpreter has.

    Raises:
        UsageError: It has none, or there is no such interpreter.
    """
    script = "from importlib.metadata import version; print(version('lmms_eval'))"
    try:
        done = subprocess.run([python, "-c", script], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(
            f"{python} has no lmms-eval; install it into an environment of its own (docs/training.md) and "
            "name that one's interpreter with --lmms-python"
        ) from error
    return done.stdout.strip()


@contextmanager
def _as_model(checkpoint: Checkpoint, folder: Path) -> Iterator[str]:
    """A checkpoint as lmms-eval loads one: adapters are merged for the time being."""
    from transformers import AutoConfig

    path = checkpoint.path
    if (path / "adapter_config.json").exists():
        with _own(folder, folder / "merged") as merged:
            for part in load_checkpoint(path):
                part.save_pretrained(merged)
            yield str(merged.resolve())
        return
    name = str(path.resolve()) if path.is_dir() else str(path)
    try:
        kind = AutoConfig.from_pretrained(name).model_type
    except (OSError, ValueError) as error:
        raise GdoError(f"{name} cannot be loaded: {str(error).splitlines()[0]}") from error
    if kind != MODEL:
        raise UsageError(f"{name} is a {kind}; --lmms is for {MODEL}: run lmms-eval by hand for others")
    yield name


def _model_arguments(model: str, settings: ProbeSettings, *, on_cpu: bool) -> str:
    budget = settings.budget
    pixels = budget.max_pixels or 0
    told = {"pretrained": model, "max_num_frames": budget.frames, "fps": budget.fps or EVERY_FRAME}
    told |= {"max_pixels": pixels, "min_pixels": min(LEAST_PIXELS, pixels)}
    told |= {"device": "cpu", "device_map": "cpu"} if on_cpu else {}
    if "," in model:
        raise UsageError(f"{model}: lmms-eval takes no path with a comma in it")
    return ",".join(f"{key}={value}" for key, value in told.items())


def _run(arguments: Sequence[str], folder: Path, raw: Path, task: str) -> None:
    """Run lmms-eval; what it says is kept, since it ends well even where it failed."""
    with _own(folder, raw) as own:
        with (own / LOG).open("w") as log, _lifeline() as line:
            called = [*arguments, "--output_path", str(own)]
            done = subprocess.run(
                called, cwd=own, stdin=line, stdout=log, stderr=subprocess.STDOUT, check=False
            )
        shutil.rmtree(raw, ignore_errors=True)
        own.rename(raw)
    if done.returncode or not any(raw.rglob("*_results.json")):
        said = (raw / LOG).read_text(errors="replace").strip().splitlines()
        reasons = [line for line in said if "Error" in line] or said or ["it said nothing"]
        raise GdoError(f"lmms-eval failed on {task}: {reasons[-1].strip()[:500]} (all of it: {raw / LOG})")


@contextmanager
def _lifeline() -> Iterator[int]:
    """The end of a pipe that can be read to its end when this process has let go of it, be it killed."""
    ours, theirs = os.pipe()
    try:
        yield ours
    finally:
        os.close(ours)
        os.close(theirs)


@contextmanager
def _own(folder: Path, place: Path) -> Iterator[Path]:
    """A new folder beside a place, for this process alone; it is gone at the end unless it was renamed.

    Its lock tells `_remove_left` that it is in use.
    """
    own = place.with_name(f".{place.name}.{os.getpid()}.part").absolute()
    with ExitStack() as held:
        with locked(folder):
            own.mkdir()
            held.enter_context(locked(own))
        try:
            yield own
        finally:
            shutil.rmtree(own, ignore_errors=True)


def _remove_left(folder: Path) -> None:
    """Remove the own folders of runs that were killed."""
    with locked(folder):
        for left in [*folder.glob(".merged.*.part"), *folder.glob(f"*/.{LMMS}-*.part")]:
            remove_unless_locked(left)


def _finish(folder: Path, task: str, of: dict[str, Any]) -> EvaluateReport:
    """Join a benchmark's parts; all checkpoints must have been asked the same."""
    parts = sorted((folder / task).glob("step-*.parquet"))
    digests = {int(part.stem.removeprefix("step-")): _digest(part) for part in parts}
    if len(set(digests.values())) > 1:
        raise GdoError(f"{task} had other questions for some checkpoints; delete {folder / task}, ask again")
    reported = {step: reported_score(_raw(folder, task, step), task) for step in digests}
    return finish(folder, task, of | {"questions": next(iter(digests.values()))}, reported=reported)


def _digest(part: Path) -> str:
    asked = pl.read_parquet(part, columns=["qa_uid", "answer"]).sort("qa_uid").rows()
    return hashlib.sha256(repr(asked).encode()).hexdigest()
