"""Stability: several answers sampled for every question at once, and how much they agree.

Every answer grows as a twig of its own on the branch of its question, in the cache that the losses were
computed with; nothing is prefilled again, and no question has a cache of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from gdo.descriptors.probe.contract import ProbeSettings
from gdo.descriptors.probe.forest import Forest, States, last_prompt_states
from gdo.descriptors.probe.packing import Place
from gdo.pool.text import hash64

TRIES = 64
"""Draws for one token; each is taken with a probability of `top_p` at least."""


def jaccard(answers: Sequence[Sequence[int]]) -> float:
    """Mean pairwise Jaccard similarity of the answers' token sets, 0 to 1; two empty answers agree.

    Source: self-consistency of arXiv 2603.12478, as told in spec/descriptors.md.
    """
    sets = [set(answer) for answer in answers]
    scores = [len(a & b) / len(a | b) if a | b else 1.0 for a, b in combinations(sets, 2)]
    return sum(scores) / len(scores)


def draws(seed: int, name: str, count: int) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Uniform numbers for the tokens of one answer, [count, TRIES], the same in whatever batch it stands."""
    return np.random.Generator(np.random.Philox(key=[seed, hash64(name)])).random((count, TRIES))


def pick(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    """Sample one token per row from the fewest likeliest tokens that reach `top_p`.

    A token is drawn from all by the inverse distribution function and taken if those likelier than it do not
    reach `top_p` by themselves; so nothing is sorted. The most likely one stands in where no draw is taken.

    Args:
        logits: float32 [rows, vocabulary].
        uniform: Numbers from 0 to 1, float64 [rows, tries].
        temperature: Logits are divided by it.
        top_p: Above 0, at most 1.

    Returns:
        Token ids, int64 [rows].
    """
    share = torch.softmax(logits / temperature, dim=-1)
    reached = share.cumsum(-1, dtype=torch.float64)
    tokens = share.argmax(-1)
    open_rows = torch.arange(len(share), device=share.device)
    for number in range(uniform.shape[1]):
        drawn = uniform[open_rows, number] * reached[:, -1]
        at = torch.searchsorted(reached, drawn[:, None], right=True).clamp(max=share.shape[1] - 1)
        likelier = share.masked_fill(share <= share.gather(1, at), 0.0).sum(-1)
        taken = likelier < top_p
        tokens[open_rows[taken]] = at[taken, 0]
        if bool(taken.all()):
            break
        open_rows, share, reached = open_rows[~taken], share[~taken], reached[~taken]
    return tokens


@dataclass(slots=True)
class _Twigs:
    """The answers that grow in one batch; twig `i` is answer `i % answers` of place `i // answers`."""

    row: Tensor
    position: Tensor
    base: Tensor
    answers: list[list[int]]


@torch.inference_mode()
def sample_answers(
    forest: Forest,
    states: States,
    places: Sequence[Place],
    names: Sequence[str],
    settings: ProbeSettings,
    ends: Sequence[int],
) -> list[list[list[int]] | None]:
    """Sample answers on branches of a batch.

    Args:
        forest: The model.
        states: A batch with its cache, which grows.
        places: The branches, in the order of `states.packed.places`.
        names: Name of every branch's sample; seeds its draws.
        settings: How to sample.
        ends: Token ids that end an answer; they are not part of it.

    Returns:
        The answers' token ids, for each of `places`; None where the model gave no numbers.
    """
    count = settings.answers
    uniform = torch.tensor(
        np.array(
            [draws(settings.seed, f"{n}/{i}", settings.max_new_tokens) for n in names for i in range(count)]
        ),
        device=forest.device,
    )
    twigs = _plant(forest, states, places, count)
    alive = torch.arange(len(twigs.answers), device=forest.device)
    hidden = last_prompt_states(states, places).repeat_interleave(count, 0)
    owners = torch.empty((states.packed.ids.shape[0], 0), dtype=torch.int64, device=forest.device)
    sound = torch.ones(len(twigs.answers), dtype=torch.bool, device=forest.device)
    for step in range(settings.max_new_tokens):
        sound[alive] &= hidden.isfinite().all(-1)
        tokens = _next_tokens(forest, hidden, uniform[alive, step], settings)
        going = [token not in ends for token in tokens.tolist()]
        for twig, token in zip(alive[going].tolist(), tokens[going].tolist(), strict=True):
            twigs.answers[twig].append(token)
        alive, tokens = alive[going], tokens[going]
        if not len(alive) or step == settings.max_new_tokens - 1:
            break
        hidden, owners = _grow(forest, states, twigs, alive, tokens, owners, step)
    starts = range(0, len(twigs.answers), count)
    return [twigs.answers[i : i + count] if bool(sound[i : i + count].all()) else None for i in starts]


def _plant(forest: Forest, states: States, places: Sequence[Place], count: int) -> _Twigs:
    """Twigs at the end of every prompt: they see what its last token saw."""
    device = forest.device
    rows = torch.tensor([place.row for place in places], device=device)
    ends = torch.tensor([place.column + place.branch.answer - 1 for place in places], device=device)
    positions = torch.tensor([place.position + place.branch.answer for place in places], device=device)
    return _Twigs(
        rows.repeat_interleave(count),
        positions.repeat_interleave(count),
        states.mask[rows, 0, ends].repeat_interleave(count, 0),
        [[] for _ in range(len(places) * count)],
    )


def _next_tokens(forest: Forest, hidden: Tensor, uniform: Tensor, settings: ProbeSettings) -> Tensor:
    parts, at = [], 0
    for logits in forest.logits(hidden):
        drawn = uniform[at : at + len(logits)]
        parts.append(pick(logits, drawn, settings.temperature, settings.top_p))
        at += len(logits)
    return torch.cat(parts)


def _grow(
    forest: Forest,
    states: States,
    twigs: _Twigs,
    alive: Tensor,
    tokens: Tensor,
    owners: Tensor,
    step: int,
) -> tuple[Tensor, Tensor]:
    """One token more on every living twig: hidden states [alive, width], and whose every new column is."""
    rows, length = states.packed.ids.shape
    row = twigs.row[alive]
    slot = _slots(row, rows)
    width = int(slot.max()) + 1
    ids = torch.full((rows, width), forest.pad, device=forest.device)
    positions = torch.zeros((1, rows, width), dtype=torch.int64, device=forest.device)
    fresh = torch.full((rows, width), -1, device=forest.device)
    ids[row, slot], positions[0, row, slot], fresh[row, slot] = tokens, twigs.position[alive] + step, alive
    owners = torch.cat([owners, fresh], dim=1)
    mask = torch.zeros((rows, width, length + owners.shape[1]), dtype=torch.bool, device=forest.device)
    mask[:, :, 0] = True  # what stands at an empty place has to see something
    mask[row, slot, :length] = twigs.base[alive]
    mask[row, slot, length:] = owners[row] == alive[:, None]
    output = forest.model.base_model(
        input_ids=ids,
        attention_mask=mask[:, None],
        position_ids=forest.rope(positions),
        past_key_values=states.cache,
        use_cache=True,
    )
    return output.last_hidden_state[row, slot], owners


def _slots(row: Tensor, rows: int) -> Tensor:
    """Each twig's number among those of its row; `row` ascends."""
    counts = torch.bincount(row, minlength=rows)
    firsts = counts.cumsum(0) - counts
    return torch.arange(len(row), device=row.device) - firsts[row]
