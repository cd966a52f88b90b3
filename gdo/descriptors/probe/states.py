"""Embeddings from a probe: its last hidden states, averaged over the pieces of pictures or over a text.

A model that was made to continue texts is no retrieval model; where weights of open_clip can be had, those
tell more. But a probe is always there, and what it says is of the pool's own kind.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gdo.descriptors.probe.chat import show_media
from gdo.descriptors.probe.contract import Asked, Group
from gdo.descriptors.probe.forest import States
from gdo.descriptors.probe.packing import Tree
from gdo.descriptors.probe.plain import TEXT_ONLY, inputs_of
from gdo.descriptors.probe.scorer import ModelProbe
from gdo.errors import GdoError
from gdo.pool.frames import Frames

Vectors = NDArray[np.float32]


def embed_media(probe: ModelProbe, media: Sequence[Frames]) -> Vectors:
    """Unit-length means of the states at the pieces of pictures, no text beside them, [media, width].

    Raises:
        GdoError: The processor or the model refuses one.
    """
    ids = torch.tensor(probe.chat.media_ids)
    blank = Asked("", "", "")
    if not probe.shares:
        return np.stack([_embed_plain(probe, blank, frames, ids) for frames in media])

    def make(numbered: tuple[int, Frames]) -> list[Tree]:
        number, frames = numbered
        return probe.chat.media_trees(Group((frames,), (blank,)), [number], answer=False)

    made = probe.in_threads(make, enumerate(media), len(media))
    trees = [tree for trees in made for tree in trees]
    return _embed_trees(probe, trees, len(media), lambda states: torch.isin(states.packed.ids, ids))


def embed_texts(probe: ModelProbe, texts: Sequence[tuple[str, str]]) -> Vectors:
    """Unit-length means of the states over question and answer, nothing shown, [texts, width].

    Raises:
        GdoError: The tokenizer or the model refuses one.
    """
    samples = [Asked("", question, answer) for question, answer in texts]
    for asked in samples:
        probe.chat.check(asked)
    if not probe.shares:
        return np.stack([_embed_plain(probe, asked, None, None) for asked in samples])
    trees = [probe.chat.blind_tree(asked, number) for number, asked in enumerate(samples)]
    return _embed_trees(probe, trees, len(samples), lambda states: states.packed.tree >= 0)


def _embed_trees(
    probe: ModelProbe, trees: Sequence[Tree], count: int, counted: Callable[[States], Tensor]
) -> Vectors:
    """Means over the positions of each tree that count; trees have one branch, numbered as the vectors."""
    vectors: Vectors = np.zeros((count, 0), np.float32)

    def use(states: States) -> None:
        nonlocal vectors
        weights = counted(states).to(probe.forest.device)
        hidden = states.hidden.float() * weights[..., None]
        if not vectors.size:
            vectors = np.zeros((count, hidden.shape[-1]), np.float32)
        for place in states.packed.places:
            own = states.packed.tree[place.row] == states.packed.tree[place.row, place.column]
            total = hidden[place.row, own.to(probe.forest.device)].sum(0)
            vectors[place.branch.sample] = _unit(total)

    def failed(tree: Tree, reason: str) -> None:
        raise GdoError(reason)

    probe.forest.run(trees, use, failed)
    return vectors


@torch.inference_mode()
def _embed_plain(probe: ModelProbe, asked: Asked, frames: Frames | None, ids: Tensor | None) -> Vectors:
    """The same for one text or medium by itself."""
    shown = show_media([frames], probe.card.settings) if frames else TEXT_ONLY
    prompt, full = probe.chat.texts(asked, shown.parts)
    inputs = inputs_of(probe.forest, probe.chat, prompt if frames else full, shown)
    hidden = probe.forest.model.base_model(**inputs).last_hidden_state[0].float()
    if ids is not None:
        hidden = hidden[torch.isin(inputs["input_ids"][0].cpu(), ids).to(hidden.device)]
    return _unit(hidden.sum(0))


def _unit(total: Tensor) -> Vectors:
    """A vector of length 1; a sum has the direction of the mean."""
    return np.asarray(torch.nn.functional.normalize(total.double(), dim=0).cpu(), np.float32)
