"""One process of a run: its device, its model, its trainer, and what its failures are called."""

import logging
import os
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from transformers import AutoProcessor, TrainingArguments, set_seed
from transformers.integrations import get_available_reporting_integrations
from transformers.utils import logging as transformers_logging

from gdo.errors import UsageError
from gdo.train.batches import Reading, Step, Steps
from gdo.train.checkpoints import list_checkpoints
from gdo.train.ledger import Ledger
from gdo.train.machine import Machine
from gdo.train.memory import memory_told
from gdo.train.meter import Meter, Totals, peak_flops
from gdo.train.model import can_pack, keeps_logits, load_model
from gdo.train.order import Order
from gdo.train.prepare import Asked, read_run, write_run
from gdo.train.recipe import Recipe
from gdo.train.store import Samples
from gdo.train.trainer import Plan, SubsetTrainer

WAIT_SECONDS = 7200
"""How long ranks wait for the one that prepares the data."""


def make_arguments(run: Path, recipe: Recipe, machine: Machine) -> TrainingArguments:
    """The Trainer's arguments, but for what depends on the number of steps; starts the process group.

    Raises:
        UsageError: There is no such device, it cannot be sharded over, or what is to be reported to is not
            installed.
    """
    if machine.device not in ("auto", "cpu", "cuda"):
        raise UsageError(f"--device is auto, cpu or cuda, not {machine.device}")
    cuda = torch.cuda.is_available()
    if machine.device == "cuda" and not cuda:
        raise UsageError("--device cuda: torch sees no GPU here")
    use_cpu = machine.device == "cpu" or not cuda
    if machine.sharding and use_cpu and cuda:
        raise UsageError("--sharding on CPUs works where no GPU is seen: set CUDA_VISIBLE_DEVICES= (nothing)")
    _demand_reporters(machine.report_to)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    if "wandb" in machine.report_to:
        os.environ.setdefault("WANDB_DIR", str(run))
    transformers_logging.set_verbosity_error()
    logging.getLogger("accelerate").setLevel(logging.ERROR)
    arguments = TrainingArguments(
        output_dir=str(run),
        use_cpu=use_cpu,
        bf16=recipe.bf16 and not use_cpu,
        seed=recipe.seed,
        max_grad_norm=recipe.max_grad_norm,
        per_device_train_batch_size=1,
        logging_steps=1,
        logging_nan_inf_filter=False,
        save_strategy="no",
        report_to=list(machine.report_to) or "none",
        run_name=run.name,
        disable_tqdm=True,
        log_level="error",
        log_level_replica="error",
        remove_unused_columns=False,
        ignore_data_skip=True,
        ddp_find_unused_parameters=False,
        ddp_timeout=WAIT_SECONDS,
        **machine.sharding_arguments(cpu=use_cpu),
    )
    if machine.sharding and arguments.world_size == 1:
        raise UsageError("--sharding needs several processes: start them with torchrun (docs/training.md)")
    return arguments


def _demand_reporters(names: Sequence[str]) -> None:
    have = get_available_reporting_integrations()
    for name in names:
        if name not in (*have, "all", "none"):
            known = ", ".join(have) or "none"
            raise UsageError(
                f"--report-to {name}: not installed, or not known to transformers; found: {known}"
            )


def first_rank_first(arguments: TrainingArguments) -> AbstractContextManager[Any]:
    """A block that the first rank runs while the others wait."""
    return arguments.main_process_first(local=False)  # type: ignore[no-any-return]


def is_first_rank(arguments: TrainingArguments) -> bool:
    """Whether this process is the one that writes and talks."""
    return bool(arguments.process_index == 0)


def run_steps(
    run: Path,
    asked: Asked,
    machine: Machine,
    arguments: TrainingArguments,
    samples: Samples,
    order: Order,
    start: int,
    progress: Callable[[str, int, int, str], None] | None,
    say: Callable[[str], None] | None,
) -> None:
    """Train the steps that are left.

    Raises:
        GdoError: A sample cannot be read, the loss is not finite or memory ran out.
    """
    set_seed(asked.recipe.seed)
    arguments.max_steps = len(order.steps)
    with memory_told(asked.recipe, lambda: Step(0)):
        trainer = _make_trainer(run, asked, machine, arguments, samples, order, start, progress, say)
    with memory_told(asked.recipe, lambda: trainer.current):
        trainer.train(resume_from_checkpoint=str(run / f"checkpoint-{start}") if start else None)


def _make_trainer(
    run: Path,
    asked: Asked,
    machine: Machine,
    arguments: TrainingArguments,
    samples: Samples,
    order: Order,
    start: int,
    progress: Callable[[str, int, int, str], None] | None,
    say: Callable[[str], None] | None,
) -> SubsetTrainer:
    """The trainer of the steps that are left, its model on its device; tells what will be done."""
    recipe, count = asked.recipe, len(order.steps)
    cuda = not arguments.use_cpu
    model = load_model(asked.model, recipe, cuda=cuda)
    pack = recipe.pack and can_pack(model)
    reading = Reading(samples, asked.model, recipe, pack=pack)
    rank, world = arguments.process_index, arguments.world_size
    held = order.held_out
    plan = Plan(
        recipe,
        Steps(reading, order.steps, rank, world),
        Steps(
            reading, [held[at : at + recipe.batch] for at in range(0, len(held), recipe.batch)], rank, world
        ),
        start,
        machine.readers(int(os.environ.get("LOCAL_WORLD_SIZE", "1"))),
        _even_steps(count, recipe.checkpoints),
    )
    meter = _meter(run, cuda, world)
    if is_first_rank(arguments):
        meter.forget_after(start)
        device = torch.cuda.get_device_name() if cuda else "cpu"
        machine_told = {"device": device, "processes": world, "peak_flops": meter.peak, "packed": pack}
        write_run(run, read_run(run) | {"machine": machine_told})
        if say:
            say(_plan_told(order, recipe, world, start, pack))
    return SubsetTrainer(
        model,
        arguments,
        AutoProcessor.from_pretrained(asked.model),
        plan,
        Ledger(run, rank),
        meter,
        keeps=keeps_logits(model),
        progress=_teller(progress, count),
    )


def _even_steps(count: int, checkpoints: int) -> frozenset[int]:
    """The steps after which so many checkpoints stand evenly; the last is the end."""
    return frozenset(round(count * i / checkpoints) for i in range(1, checkpoints + 1)) - {0}


def _meter(run: Path, cuda: bool, world: int) -> Meter:
    """A meter that goes on from the last checkpoint."""
    peak = peak_flops(torch.cuda.get_device_name()) if cuda else None
    checkpoints = list_checkpoints(run)
    before, seconds = Totals(), 0.0
    if checkpoints:
        last = checkpoints[-1]
        before = Totals(last.samples, last.tokens, last.answer_tokens, last.frames, last.flops)
        seconds = last.seconds
    return Meter(run, before, seconds, peak * world if peak else None)


def _plan_told(order: Order, recipe: Recipe, world: int, start: int, pack: bool) -> str:
    trained = sum(map(len, order.steps))
    parts = [f"{trained:,} samples in {len(order.steps):,} steps of {recipe.batch}"]
    parts += [f"{len(order.held_out):,} held out"] if len(order.held_out) else []
    parts += [f"{world} processes"] if world > 1 else []
    parts += ["packed" if pack else "not packed"]
    parts += [f"goes on after step {start:,}"] if start else []
    return ", ".join(parts)


def _teller(
    progress: Callable[[str, int, int, str], None] | None, count: int
) -> Callable[[int, dict[str, Any]], None]:
    lately = deque[float](maxlen=20)

    def tell(step: int, figures: dict[str, Any]) -> None:
        lately.append(figures["seconds"])
        if progress:
            left = round((count - step) * sum(lately) / len(lately))
            mfu = f", MFU {figures['mfu']:.1%}" if figures["mfu"] else ""
            rates = f"{figures['samples_per_s']:,.1f} samples/s, {figures['tokens_per_s']:,.0f} tokens/s"
            note = f"steps, loss {figures['loss']:.4f}, {rates}{mfu}, {timedelta(seconds=left)} left"
            progress("training", step, count, note)

    return tell
