"""The model's forward over packed token trees: hidden states once, logits only where an answer stands."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from gdo.descriptors.probe.packing import Packed, Place, Row, Tree, cut_batches, fill_rows, pack, row_length

LOGIT_BYTES = 2**28
"""Logits in memory at a time, in bytes of float32."""


@dataclass(slots=True)
class Work:
    """What was computed so far.

    Attributes:
        tokens: Positions that held a token.
        positions: Positions in all, padding included.
        pairs: Pairs of positions that attention was computed for.
    """

    tokens: int = 0
    positions: int = 0
    pairs: int = 0


@dataclass(frozen=True, slots=True)
class States:
    """A batch after its forward.

    Attributes:
        packed: What went in.
        hidden: Last hidden states, [rows, length, width].
        mask: Who saw whom, bool [rows, 1, length, length].
        cache: Keys and values of all positions; None unless they were asked for.
    """

    packed: Packed
    hidden: Tensor
    mask: Tensor
    cache: Any = None


Use = Callable[[States], None]
"""What is done with a batch's states."""


@dataclass(slots=True)
class Forest:
    """A model, and how much of it fits at a time.

    Attributes:
        model: A transformers model with a language head, in evaluation mode.
        device: Where it is.
        pad: Token id at empty positions.
        row: Positions that a row is filled up to.
        budget: Positions in a batch; halved for good where memory does not last.
        work: What was computed so far.
    """

    model: Any
    device: torch.device
    pad: int
    row: int
    budget: int
    work: Work = field(default_factory=Work)

    def run(
        self, trees: Sequence[Tree], use: Use, failed: Callable[[Tree, str], None], **options: Any
    ) -> None:
        """Compute trees in batches and hand each batch's states on.

        Where memory does not last, or something else is wrong, the batch is halved, down to the one branch
        that is to blame.

        Args:
            trees: What to compute, in any order.
            use: Takes the states of a batch; may raise itself, and must have stored nothing then.
            failed: Told of a branch that fails even alone, and why.
            options: For `forward`.

        Raises:
            RuntimeError: The device is of no use any more.
        """
        rows = fill_rows(trees, self.row)
        while rows:
            batch = next(cut_batches(rows, self.budget))
            rows = rows[len(batch) :]
            self._run_batch(batch, use, failed, options)

    def _run_batch(
        self, rows: list[Row], use: Use, failed: Callable[[Tree, str], None], options: Any
    ) -> None:
        try:
            use(self.forward(pack(rows, self.pad), **options))
            return
        except Exception as error:  # models raise whatever they like
            full = out_of_memory(error)
            if not full and "CUDA error" in str(error):
                raise
            reason = f"the model fails on it ({_line(error)})"
        if full:
            _free(self.device)
            positions = len(rows) * row_length(rows[0])
            self.budget = max(self.row, min(self.budget, math.ceil(positions / 2)))
            reason = f"out of memory ({positions} tokens at once)"
        halves = list(_halves(rows))
        for half in halves:
            self._run_batch(half, use, failed, options)
        if not halves:
            failed(rows[0][0], reason)

    @torch.inference_mode()
    def forward(self, packed: Packed, *, keep_cache: bool = False) -> States:
        """Hidden states of all positions."""
        mask = packed.mask(self.device)
        media = {name: self._cast(value) for name, value in packed.media.items()}
        cache = self._new_cache() if keep_cache else None
        output = self.model.base_model(
            input_ids=packed.ids.to(self.device),
            attention_mask=mask,
            position_ids=self.rope(packed.positions),
            past_key_values=cache,
            use_cache=keep_cache,
            **media,
        )
        rows, length = packed.ids.shape
        self.work.tokens += int((packed.tree >= 0).sum())
        self.work.positions += rows * length
        self.work.pairs += rows * length * length
        return States(packed, output.last_hidden_state, mask, cache)

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.model.config.get_text_config())

    def _cast(self, value: Tensor) -> Tensor:
        value = value.to(self.device)
        return value.to(self.model.dtype) if value.is_floating_point() else value

    def rope(self, positions: Tensor) -> Tensor:
        """Position ids as the model takes them, from [axes, rows, length].

        Models with several axes get four: one to count by, three to turn by; the others get one.
        """
        positions = positions.to(self.device)
        if not hasattr(self.model.base_model, "get_rope_index"):
            return positions[0]
        turning = positions.expand(3, -1, -1)
        counting = torch.arange(positions.shape[2], device=self.device).expand(1, positions.shape[1], -1)
        return torch.cat([counting, turning])

    @torch.inference_mode()
    def logits(self, hidden: Tensor) -> Iterator[Tensor]:
        """Logits of hidden states [count, width], in slices of float32 [some, vocabulary]."""
        head = self.model.get_output_embeddings()
        size = max(1, LOGIT_BYTES // (4 * head.weight.shape[0]))
        for at in range(0, len(hidden), size):
            yield head(hidden[at : at + size]).float()

    def answer_losses(self, states: States) -> list[float]:
        """Mean cross-entropy in nats over each branch's answer, in the order of `packed.places`."""
        places = states.packed.places
        rows, columns, targets, counts = list[int](), list[int](), list[int](), list[int]()
        for place in places:
            answer = place.branch.ids[place.branch.answer :]
            first = place.column + place.branch.answer - 1
            rows += [place.row] * len(answer)
            columns += range(first, first + len(answer))
            targets += answer
            counts.append(len(answer))
        losses = self._cross_entropy(states.hidden[rows, columns], torch.tensor(targets, device=self.device))
        ends = [0, *accumulate(counts)]
        return [float(losses[a:b].mean()) for a, b in pairwise(ends)]

    def _cross_entropy(self, hidden: Tensor, targets: Tensor) -> Tensor:
        parts, at = [], 0
        for logits in self.logits(hidden):
            wanted = targets[at : at + len(logits)]
            parts.append(torch.nn.functional.cross_entropy(logits, wanted, reduction="none"))
            at += len(logits)
        return torch.cat(parts).double().cpu()


class NotFiniteError(ArithmeticError):
    """A batch gives values that are no numbers; one bad tree spoils those that it is packed with."""


def last_prompt_states(states: States, places: Sequence[Place]) -> Tensor:
    """Hidden states that predict each branch's first answer token, [branches, width]."""
    columns = [place.column + place.branch.answer - 1 for place in places]
    return states.hidden[[place.row for place in places], columns]


def out_of_memory(error: Exception) -> bool:
    """Whether an exception says that memory did not last, on a GPU or a CPU."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    signs = ("not enough memory", "out of memory", "alloc_failed")
    return any(sign in str(error).lower() for sign in signs)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def _free(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.empty_cache()


def _halves(rows: list[Row]) -> Iterator[list[Row]]:
    """The same work in two batches; nothing where it is one branch."""
    trees = rows[0]
    if len(rows) > 1:
        parts = [rows[: len(rows) // 2], rows[len(rows) // 2 :]]
    elif len(trees) > 1:
        parts = [[trees[: len(trees) // 2]], [trees[len(trees) // 2 :]]]
    else:
        parts = [[[tree]] for tree in trees[0].split()]
    yield from parts
