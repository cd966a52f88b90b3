"""What the loader's workers do: a step's samples are read, encoded and packed into this rank's rows."""

import multiprocessing
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from gdo.errors import GdoError, MediaError
from gdo.pool.child import end_with_parent
from gdo.train.encode import Encoded, Encoder, TooLongError
from gdo.train.ledger import Entry, Outcome
from gdo.train.order import Numbers, deal
from gdo.train.recipe import Recipe
from gdo.train.rows import Inputs, pack_row
from gdo.train.store import Samples


@dataclass(slots=True)
class PackedRow:
    """One row of a step.

    Attributes:
        inputs: What the model is given.
        targets: What it is to say, see `pack_row`.
        entries: Its samples, and those that were left out of it.
        lengths: Tokens of each sample in it.
        patches: Patches that the vision tower sees.
        failed: Why the run must stop here; None where all is well.
    """

    inputs: Inputs
    targets: Tensor
    entries: list[Entry]
    lengths: list[int]
    patches: int
    failed: str | None = None


@dataclass(slots=True)
class Step:
    """What one rank trains in one step; all ranks have as many rows.

    Attributes:
        number: From 1; 0 for held-out samples.
        rows: At least one.
    """

    number: int
    rows: list[PackedRow] = field(default_factory=list)


class Reading:
    """Makes samples into rows; handed to worker processes before it has loaded anything."""

    def __init__(self, samples: Samples, model: str, recipe: Recipe, *, pack: bool) -> None:
        self.samples, self.model, self.recipe = samples, model, recipe
        self.limit = recipe.row_limit if pack else 0

    @cached_property
    def encoder(self) -> Encoder:
        """Loaded by the process that reads."""
        from transformers.utils import logging

        logging.set_verbosity_error()
        return Encoder(self.model, self.recipe)

    @cached_property
    def _stand_ins(self) -> list[Encoded]:
        return self.encoder.stand_ins()

    def step(self, number: int, first: int, numbers: Numbers, rank: int, world: int) -> Step:
        """This rank's rows of a step.

        Args:
            number: Of the step.
            first: Position of its first sample in the whole order.
            numbers: Its samples.
            rank: Whose rows to make.
            world: How many ranks there are.
        """
        tokens = self.samples.table["tokens"].gather(numbers).to_list()
        dealt = deal(tokens, world, self.limit)[rank]
        return Step(
            number, [self._row([(first + place, int(numbers[place])) for place in row]) for row in dealt]
        )

    def _row(self, places: list[tuple[int, int]]) -> PackedRow:
        encoded: list[Encoded] = []
        entries: list[Entry] = []
        failed = None
        for position, number in places:
            uid, source, *_ = self.samples.table.row(number)
            try:
                one = self.encoder.encode(self.samples[number])
            except TooLongError as error:
                entries.append(Entry(position, uid, source, "dropped", str(error)))
            except (GdoError, MediaError, OSError) as error:
                entries.append(Entry(position, uid, source, "skipped", str(error)))
                if self.recipe.on_unreadable == "stop":
                    failed = failed or f"sample {uid} cannot be read: {error}"
            else:
                encoded.append(one)
                reason = f"cut to max_length {self.recipe.max_length}" if one.cut else None
                outcome: Outcome = "cut" if one.cut else "trained"
                counts = (len(one.ids), one.answers, one.frames)
                entries.append(Entry(position, uid, source, outcome, reason, *counts))
        inputs, targets = pack_row(encoded, self._stand_ins)
        patches = sum(
            int(value.prod(-1).sum()) for name, value in inputs.items() if name.endswith("grid_thw")
        )
        return PackedRow(inputs, targets, entries, [len(one.ids) for one in encoded], patches, failed)


class Steps(Dataset[Step]):
    """The steps of one rank, made when they are asked for."""

    def __init__(self, reading: Reading, steps: list[Numbers], rank: int, world: int) -> None:
        self.reading, self.steps, self.rank, self.world = reading, steps, rank, world
        ends = [0]
        for numbers in steps:
            ends.append(ends[-1] + len(numbers))
        self.firsts = ends[:-1]

    def __len__(self) -> int:
        return len(self.steps)

    def __getitem__(self, index: int) -> Step:
        return self.reading.step(index + 1, self.firsts[index], self.steps[index], self.rank, self.world)


class _From(Sampler[int]):
    """The steps from one on; its length is that of all, as the trainer counts."""

    def __init__(self, count: int, start: int) -> None:
        self.count, self.start = count, start

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.start, self.count))


def make_loader(steps: Steps, *, start: int, workers: int) -> "DataLoader[Step]":
    """A loader of steps, in order, from step number `start` + 1 on, read in `workers` processes."""
    more: dict[str, Any] = {}
    if workers:
        # A process with threads (polars, OpenCV, gloo) must not be forked: its children hang at their locks.
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["gdo.train.batches"])
        more = {"multiprocessing_context": context, "persistent_workers": True, "prefetch_factor": 2}
        more["worker_init_fn"] = _begin
    return DataLoader(
        steps,
        batch_size=None,
        sampler=_From(len(steps), start),
        num_workers=workers,
        collate_fn=_as_it_is,
        **more,
    )


def _begin(_: int) -> None:
    """A reader is the fork server's child: it would outlive a killed trainer."""
    end_with_parent()


def _as_it_is(step: Any) -> Any:
    return step
