"""The loop: transformers' Trainer, with our steps, loss, ledger and checkpoints in it.

Devices, sharding, mixed precision, clipping, schedules, resuming and reporting are the Trainer's. A step of
ours is one item of its loader; it may hold several rows, whose gradients are added up before the update.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, astuple, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from accelerate.utils import DistributedType, FullyShardedDataParallelPlugin, parse_flag_from_env
from torch import Tensor
from transformers import PrinterCallback, Trainer, TrainerCallback, TrainingArguments

from gdo.errors import GdoError
from gdo.train.batches import PackedRow, Step, Steps, make_loader
from gdo.train.checkpoints import Checkpoint, mark_whole
from gdo.train.ledger import Ledger
from gdo.train.meter import Meter, Totals, count_work, totals_of
from gdo.train.parts import parameter_groups
from gdo.train.recipe import Recipe
from gdo.train.rows import summed_loss
from gdo.train.schedule import rate


@dataclass(slots=True)
class Plan:
    """What a run trains, on one rank.

    Attributes:
        recipe: How.
        steps: The steps.
        held_out: Held-out samples, as steps.
        start: Steps that are done.
        workers: Processes that read.
        save_at: Steps after which a checkpoint is written.
    """

    recipe: Recipe
    steps: Steps
    held_out: Steps
    start: int
    workers: int
    save_at: frozenset[int]


class SubsetTrainer(Trainer):  # type: ignore[misc]  # transformers is not typed
    """A Trainer of packed steps.

    Args:
        model: From `load_model`.
        args: Its arguments.
        processor: Saved with every checkpoint.
        plan: What to train.
        ledger: Takes up what was trained.
        meter: Takes up how fast.
        keeps: The model makes logits at chosen positions alone.
        progress: Called after every step with its number and figures.
    """

    def __init__(
        self,
        model: Any,
        args: TrainingArguments,
        processor: Any,
        plan: Plan,
        ledger: Ledger,
        meter: Meter,
        *,
        keeps: bool,
        progress: Callable[[int, dict[str, Any]], None],
    ) -> None:
        self.work = count_work(model)
        self.plan, self.ledger, self.meter, self.keeps = plan, ledger, meter, keeps
        self.progress = progress
        self.current = Step(0)
        self._done = Totals()
        self.optimizer: torch.optim.Optimizer | None = None
        self.lr_scheduler: torch.optim.lr_scheduler.LRScheduler | None = None
        super().__init__(
            model=model,
            args=args,
            train_dataset=plan.steps,
            processing_class=processor,
            callbacks=[_Recorder(self)],
        )
        self.remove_callback(PrinterCallback)

    def create_accelerator_and_postprocess(self) -> None:
        """Shard on CPUs too: accelerate leaves a sharding plan aside there, though torch carries it out."""
        super().create_accelerator_and_postprocess()
        asked = parse_flag_from_env("ACCELERATE_USE_FSDP")
        if asked and self.args.use_cpu and self.args.world_size > 1:
            state = self.accelerator.state
            PartialState().distributed_type = state.distributed_type = DistributedType.FSDP
            state.fsdp_plugin = FullyShardedDataParallelPlugin(**self.args.fsdp_plugin_args or {})
            self.is_fsdp_enabled = True

    def get_train_dataloader(self) -> Any:
        """The steps that are left."""
        return make_loader(self.plan.steps, start=self.plan.start, workers=self.plan.workers)

    def get_batch_samples(self, epoch_iterator: Any, num_batches: int, device: Any) -> tuple[list[Any], None]:
        """The next step, its rows on the CPU until their turn; waiting for the first is not timed."""
        step = next(epoch_iterator, None)
        if not self.current.number:
            self.meter.restart()
        return ([] if step is None else [step]), None

    def floating_point_ops(self, inputs: Any) -> int:
        """Counted by the meter instead."""
        return 0

    def create_optimizer(self, model: Any = None) -> Any:
        """AdamW with the recipe's learning rate for each part."""
        if self.optimizer is None:
            recipe = self.plan.recipe
            groups = parameter_groups((model or self.model).named_parameters(), recipe)
            self.optimizer = torch.optim.AdamW(groups, betas=(recipe.beta1, recipe.beta2))
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The recipe's schedule, for every group of parameters."""
        if self.lr_scheduler is None:
            recipe = self.plan.recipe
            share = partial(rate, steps=num_training_steps, recipe=recipe)
            self.lr_scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer or self.create_optimizer(), share)
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def training_step(self, model: Any, inputs: Step, num_items_in_batch: Any = None) -> Tensor:
        """Gradients of a step: the mean loss over all its learned tokens, on whatever rank they are."""
        self.current = inputs
        _demand_readable(inputs)
        model.train()
        self._done = self._over_ranks(totals_of(inputs.rows, self.work))
        scale = self.args.world_size / max(1.0, self._done.answer_tokens)
        sharded_by_deepspeed = self.accelerator.distributed_type == DistributedType.DEEPSPEED
        total = torch.zeros((), device=self.args.device)
        for number, row in enumerate(inputs.rows, 1):
            last = number == len(inputs.rows)
            self.accelerator.gradient_state._set_sync_gradients(last)
            waits = nullcontext() if last or sharded_by_deepspeed else self.accelerator.no_sync(model)
            with waits:
                loss = self._row_loss(model, row) * scale
                self._demand_finite(loss.item(), "loss", row)
                more = {"scale_wrt_gas": False} if sharded_by_deepspeed else {}
                self.accelerator.backward(loss, **more)
            total += loss.detach()
        return total

    def _row_loss(self, model: Any, row: PackedRow) -> Tensor:
        inputs = self._prepare_inputs(row.inputs)
        return summed_loss(model, inputs, row.targets.to(self.args.device), keeps=self.keeps)

    def _over_ranks(self, totals: Totals) -> Totals:
        mine = torch.tensor(astuple(totals), dtype=torch.float64, device=self.args.device)
        return Totals(*self.accelerator.reduce(mine, "sum").tolist())

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm of a step's gradients, looked at before they are applied."""
        norm = super()._get_grad_norm(model, grad_norm)
        if norm is not None:
            self._demand_finite(float(norm), "gradient norm")
        return norm

    def _demand_finite(self, value: float, name: str, row: PackedRow | None = None) -> None:
        """Stop where a figure of the step is no number, and name the samples that this rank has in it."""
        if math.isfinite(value):
            return
        rank, world = self.args.process_index, self.args.world_size
        rows = self.current.rows
        told = f"the samples of that step{f' on rank {rank} of {world}' if world > 1 else ''}: {_shown(rows)}"
        if row and len(rows) > 1:
            told += f"; of them in the row that showed it: {_shown([row])}"
        raise GdoError(
            f"the {name} of step {self.state.global_step + 1} is {value}; {told}. The step was not applied. "
            "Look at these samples, or lower lr or max_grad_norm"
        )

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add throughput to the figures of a step, and keep them with the run."""
        if "loss" in logs:
            figures = self.meter.step(self._done)
            logs |= {name: value for name, value in figures.items() if value is not None}
            told = {"step": self.state.global_step, **logs, **figures}
            if self.is_world_process_zero():
                self.meter.write(told)
                self.progress(self.state.global_step, told)
        super().log(logs, start_time)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, and declare it whole once all ranks have written theirs."""
        loss = self.held_out_loss(model)
        if loss is not None:
            self.log({"held_out_loss": loss})
        super()._save_checkpoint(model, trial)
        self.accelerator.wait_for_everyone()
        if self.is_world_process_zero():
            step = self.state.global_step
            counts = {name: int(value) for name, value in asdict(self.meter.totals).items()}
            folder = Path(self.args.output_dir) / f"checkpoint-{step}"
            mark_whole(Checkpoint(folder, step, **counts, seconds=self.meter.seconds, held_out_loss=loss))
        self.accelerator.wait_for_everyone()
        self.meter.restart()

    def held_out_loss(self, model: Any) -> float | None:
        """Mean cross-entropy of the answers of the held-out samples, in nats; None where there are none."""
        if not len(self.plan.held_out):
            return None
        model.eval()
        sums = torch.zeros(2, dtype=torch.float64, device=self.args.device)
        with torch.no_grad():
            for step in make_loader(self.plan.held_out, start=0, workers=0):
                _demand_readable(step)
                for row in step.rows:
                    sums[0] += self._row_loss(model, row)
                    sums[1] += sum(entry.answer_tokens for entry in row.entries)
        loss, tokens = self.accelerator.reduce(sums, "sum").tolist()
        return loss / tokens if tokens else None


def _shown(rows: Sequence[PackedRow]) -> str:
    """The ids of the samples that the model saw in these rows."""
    return ", ".join(entry.qa_uid for row in rows for entry in row.entries if entry.tokens)


def _demand_readable(step: Step) -> None:
    for row in step.rows:
        if row.failed:
            raise GdoError(f'{row.failed}; mend or remove it, or leave it out by on_unreadable = "skip"')


class _Recorder(TrainerCallback):  # type: ignore[misc]  # transformers is not typed
    """Writes steps into the ledger, and asks for checkpoints."""

    def __init__(self, trainer: SubsetTrainer) -> None:
        self._trainer = trainer

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        trainer, step = self._trainer, state.global_step
        trainer.ledger.add(step, [entry for row in trainer.current.rows for entry in row.entries])
        if step in trainer.plan.save_at:
            trainer.ledger.flush(step)
            control.should_save = True
