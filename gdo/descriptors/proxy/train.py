"""The training of a proxy: a plain loop with a clock, that a killed run can go on with."""

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gdo.descriptors.probe.forest import Forest
from gdo.descriptors.probe.packing import Packed, fill_rows, pack
from gdo.descriptors.proxy.course import batches
from gdo.descriptors.proxy.lessons import Lessons, to_pixels
from gdo.descriptors.proxy.measure import held_out_loss
from gdo.pool.atomic import write_aside

CHECKPOINT = "checkpoint.pt"
KEEP_EVERY = 30.0
"""Seconds between checkpoints."""
WARM_UP = 100
"""Steps in which the learning rate rises, or a tenth of all where that is less."""
ROW = 256
"""Positions of a row."""
CHECK_EVERY = 50
"""Steps between two looks at the held-out samples."""
PATIENCE = 300
"""Steps without a better held-out loss after which the training ends: it would only learn by heart."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How to train.

    Attributes:
        seconds: Time to train for, over all runs.
        steps: Steps to train for instead; None goes by the clock.
        rate: Highest learning rate.
        tokens: Positions of a batch.
        seed: Of the order of the lessons.
        key: What a checkpoint must agree in.
    """

    seconds: float
    steps: int | None
    rate: float
    tokens: int
    seed: int
    key: str


@dataclass(slots=True)
class State:
    """How far the training is.

    Attributes:
        step: Steps done.
        seconds: Time taken.
        best: Least held-out loss so far.
        best_step: The step it had then.
    """

    step: int = 0
    seconds: float = 0.0
    best: float = math.inf
    best_step: int = 0

    def done(self, plan: Plan) -> float:
        """Share of the training that is over, from 0."""
        return self.step / plan.steps if plan.steps is not None else self.seconds / plan.seconds


def train(
    forest: Forest,
    lessons: Lessons,
    plan: Plan,
    folder: Path,
    progress: Callable[[State, float], None],
) -> State:
    """Train the forest's model until the plan is over or it learns no more, and keep its best weights.

    Those may be what it began with. A checkpoint in `folder` is gone on with.

    Args:
        forest: The model, on its device.
        lessons: What to learn; samples that are held out are passed over.
        plan: For how long, and how.
        folder: Where checkpoints are kept.
        progress: Told the state and the running loss after every step.
    """
    model, path = forest.model, folder / CHECKPOINT
    optimizer = _optimizer(model, plan.rate)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    state = _resume(path, plan.key, model, optimizer, best)
    if not state.step:
        _check(forest, lessons, state, best)
    model.train()
    kept = clock = time.monotonic()
    loss = math.nan
    for batch in islice(batches(lessons, plan.seed, plan.tokens), state.step, None):
        share = state.done(plan)
        if share >= 1 or state.step - state.best_step > PATIENCE:
            break
        for group in optimizer.param_groups:
            group["lr"] = plan.rate * _height(state.step, share, plan)
        value = _step(forest, pack(fill_rows(batch, ROW), forest.pad), optimizer)
        loss = value if math.isnan(loss) else 0.95 * loss + 0.05 * value
        state.step += 1
        if state.step % CHECK_EVERY == 0:
            _check(forest, lessons, state, best)
        now = time.monotonic()
        state.seconds, clock = state.seconds + now - clock, now
        progress(state, loss)
        if now - kept > KEEP_EVERY:
            _keep(path, plan.key, model, optimizer, state, best)
            kept = now
    _check(forest, lessons, state, best)
    model.load_state_dict(best)
    model.eval()
    return state


def _check(forest: Forest, lessons: Lessons, state: State, best: dict[str, Tensor]) -> None:
    """Keep the weights in `best` where they are the best so far by the held-out samples."""
    forest.model.eval()
    loss = held_out_loss(forest, lessons)
    forest.model.train()
    if loss <= state.best:
        state.best, state.best_step = loss, state.step
        for name, value in forest.model.state_dict().items():
            best[name].copy_(value)


def _optimizer(model: torch.nn.Module, rate: float) -> torch.optim.Optimizer:
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [{"params": matrices, "weight_decay": 0.05}, {"params": vectors, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))


def _height(step: int, share: float, plan: Plan) -> float:
    """The learning rate as a share of its highest: a rise, then a cosine down to a fiftieth."""
    rise = WARM_UP if plan.steps is None else min(WARM_UP, max(1, plan.steps // 10))
    fall = 0.02 + 0.98 * (1 + math.cos(math.pi * share)) / 2
    return min(1.0, (step + 1) / rise) * fall


def _step(forest: Forest, packed: Packed, optimizer: torch.optim.Optimizer) -> float:
    """One step of the optimizer; returns the loss."""
    device = forest.device
    with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
        hidden = forest.model.base_model(
            input_ids=packed.ids.to(device),
            attention_mask=packed.mask(device),
            position_ids=forest.rope(packed.positions),
            use_cache=False,
            **to_pixels({name: value.to(device) for name, value in packed.media.items()}),
        ).last_hidden_state
        loss = answer_loss(forest, packed, hidden)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(forest.model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad()
    return float(loss.detach())


def answer_loss(forest: Forest, packed: Packed, hidden: Tensor) -> Tensor:
    """Mean over samples of the mean cross-entropy, in nats, of each answer and its end of turn."""
    rows, columns, targets, weights = list[int](), list[int](), list[int](), list[float]()
    for place in packed.places:
        answer = place.branch.ids[place.branch.answer :]
        first = place.column + place.branch.answer - 1
        rows += [place.row] * len(answer)
        columns += range(first, first + len(answer))
        targets += answer
        weights += [1 / (len(answer) * len(packed.places))] * len(answer)
    logits = forest.model.get_output_embeddings()(hidden[rows, columns])
    wanted = torch.tensor(targets, device=hidden.device)
    losses = torch.nn.functional.cross_entropy(logits.float(), wanted, reduction="none")
    return (losses * torch.tensor(weights, device=hidden.device)).sum()


def _keep(
    path: Path,
    key: str,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    state: State,
    best: dict[str, Tensor],
) -> None:
    weights = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "best": best}
    told = {"key": key, "state": asdict(state), **weights}
    write_aside(path, lambda aside: torch.save(told, aside))


def _resume(
    path: Path,
    key: str,
    model: torch.nn.Module,
    optimizer: torch.optim.Optimizer,
    best: dict[str, Tensor],
) -> State:
    """The state of a run that was killed; a new one where there is none, or one of something else."""
    if not path.exists():
        return State()
    told: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if told["key"] != key:
        return State()
    model.load_state_dict(told["model"])
    optimizer.load_state_dict(told["optimizer"])
    for name, value in told["best"].items():
        best[name].copy_(value)
    return State(**told["state"])
