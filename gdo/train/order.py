"""Which sample is trained when: one seeded order for all ranks, cut into steps, each dealt to rows and ranks.

The order depends on the samples and the recipe alone, never on the number of devices. Within a step samples
are put into rows of like length, so that ranks wait little for each other; between steps nothing is sorted.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Order:
    """Numbers of samples, in the order that they are trained.

    Attributes:
        steps: The samples of each step; an epoch's last step may be smaller.
        held_out: Samples that are never trained on.
    """

    steps: list[Numbers]
    held_out: Numbers


def make_order(
    kinds: Sequence[str],
    *,
    seed: int,
    batch: int,
    epochs: int = 1,
    batches: Literal["mixed", "one_kind"] = "mixed",
    holdout: float = 0.0,
) -> Order:
    """Shuffle the samples of each kind, spread the kinds evenly, and cut the order into steps.

    Args:
        kinds: Of every sample: text, image or video.
        seed: Of all that is random.
        batch: Samples of one step.
        epochs: How often every sample is trained; each epoch has an order of its own.
        batches: `mixed` gives every step the same share of each kind; `one_kind` makes steps of one kind,
            themselves in random order.
        holdout: Share of the samples that is held out; rounded, so that none may be.
    """
    random = np.random.default_rng(seed)
    count = len(kinds)
    held_out = np.sort(random.permutation(count)[: round(count * holdout)])
    rest = np.setdiff1d(np.arange(count), held_out)
    of_kind = np.asarray(kinds)[rest] if count else np.empty(0, dtype=str)
    by_kind = [rest[of_kind == kind] for kind in sorted(set(of_kind.tolist()))]
    steps: list[Numbers] = []
    for _ in range(epochs):
        shuffled = [random.permutation(numbers) for numbers in by_kind]
        if batches == "mixed":
            steps += _cut(_spread(shuffled, random), batch)
        else:
            cut = [step for numbers in shuffled for step in _cut(numbers, batch)]
            steps += [cut[i] for i in random.permutation(len(cut))]
    return Order(steps, held_out)


def _spread(parts: list[Numbers], random: np.random.Generator) -> Numbers:
    """One order in which every stretch has about the same share of each part."""
    if not parts:
        return np.empty(0, dtype=np.int64)
    places = [(np.arange(len(part)) + random.random()) / len(part) for part in parts]
    return np.concatenate(parts)[np.argsort(np.concatenate(places), kind="stable")]


def _cut(numbers: Numbers, size: int) -> list[Numbers]:
    return [numbers[at : at + size] for at in range(0, len(numbers), size)]


def deal(lengths: Sequence[int], world: int, limit: int) -> list[list[list[int]]]:
    """Put the samples of a step into rows, and the rows onto ranks: `[rank][turn][place]`.

    Rows are filled up to `limit` tokens, the longest samples first, each into the fullest row that has room;
    limit 0 gives every sample a row of its own. Every rank gets the same number of rows, some of them empty
    where there are fewer samples than ranks. The rows of a turn are of like length.

    Args:
        lengths: Tokens of each sample, as estimated.
        world: Number of ranks.
        limit: Tokens of a row; a longer sample stands alone.
    """
    rows: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(lengths)), key=lambda i: (-lengths[i], i)):
        fits = [r for r in range(len(rows)) if room[r] >= lengths[number]] if limit else []
        if fits:
            row = min(fits, key=lambda r: room[r])
        else:
            row = len(rows)
            rows.append([])
            room.append(limit)
        rows[row].append(number)
        room[row] -= lengths[number]
    while len(rows) % world and (widest := max(rows, key=len, default=[])) and len(widest) > 1:
        half = widest[1::2]
        widest[:] = widest[::2]
        rows.append(half)
    rows += [[] for _ in range(-len(rows) % world)]
    rows.sort(key=lambda row: -sum(lengths[number] for number in row))
    return [rows[rank::world] for rank in range(world)]
