"""The small Qwen3-VL that `warm_up.py` teaches, helped to a start by how its weights are set."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import numpy as np
import torch
from exam import draw, questions
from mosaics import TOKEN, WAYS
from torch import Tensor

from gdo.demo.looks import COLOURS, SHAPES, TONES
from gdo.demo.stills import GROUNDS, LABELS, OBJECTS, TITLES, WORDS
from gdo.descriptors.probe.forest import Forest
from gdo.descriptors.probe.vision import group_pictures
from gdo.descriptors.proxy.base import base_language, start_from_base
from gdo.descriptors.proxy.language import chat_tokenizer, fit_tokenizer
from gdo.descriptors.proxy.model import build_model
from gdo.descriptors.proxy.shape import CPU, PATCH

SMALL = replace(CPU, vocabulary=2048)
VOCABULARY = list(
    dict.fromkeys(
        [*COLOURS, *SHAPES, *WAYS]
        + [tone.split()[0] for tone in TONES]
        + [*OBJECTS, *GROUNDS, "clear", "dark", "bar", *LABELS, *TITLES, *WORDS]
    )
)
"""Words that visual tokens can say; each is one token of the language."""
_VALUES, _TENS, _ONES = (
    [form.format(n) for n in numbers]
    for form, numbers in (("={}", range(1, 13)), ("{}_", range(10)), ("_{}", range(10)))
)
MARKS = (*_VALUES, *_TENS, *_ONES)
"""What visual tokens say beside words: the value of a chart's bar, the tens and the units of a number."""
GROUPS = [
    ([(*VOCABULARY, *MARKS).index(word) for word in group], weight)
    for group, weight in (
        (COLOURS, 0.5),
        (SHAPES, 1.0),
        (WAYS, 0.5),
        ((*LABELS, *WORDS), 0.5),
        (_VALUES, 0.5),
        (_TENS, 0.5),
        (_ONES, 0.5),
    )
]
"""What excludes each other: places in `VOCABULARY` and `MARKS` after it, and how much it matters."""
ROW = 384
NEIGHBOURS = (
    ((0, 1), (0, -1), (1, 0), (-1, 0)),
    ((1, 1), (1, -1), (-1, 1), (-1, -1)),
    ((0, 1), (0, -1), (1, 0), (-1, 0)),
)
"""Which patch each head of each layer looks at, at first: (down, right)."""


@dataclass
class Pupil:
    """A model that is taught, and its language."""

    model: Any
    tokenizer: Any
    forest: Forest
    words: Tensor
    """Token id of each word of `VOCABULARY`."""
    marks: Tensor
    """What stands for each of `MARKS` in a visual token, [marks, width]."""
    axes: Tensor
    """What stands for a place to the right and further down, orthonormal, [2, width]."""

    @property
    def embeddings(self) -> Tensor:
        weight: Tensor = self.model.get_input_embeddings().weight
        return weight

    @property
    def spoken(self) -> Tensor:
        """What visual tokens are made of: `VOCABULARY`, then `MARKS`."""
        return torch.cat([self.embeddings[self.words], self.marks])

    def ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False)["input_ids"])


def make_pupil(seed: int) -> Pupil:
    """A model with random weights, helped to a start: whitened patches, heads that look at neighbours.

    The words keep their embeddings, so that the tower may learn to say them while the language model learns
    what they mean.
    """
    rng = Random(f"language/{seed}")
    pairs = [pair for _ in range(2500) for pair in questions(rng, draw(rng, paint=False).content, 4)]
    texts = [text for pair in pairs for text in pair]
    texts += [f" {word}" for word in VOCABULARY] * 50
    tokenizer = fit_tokenizer(texts, SMALL.vocabulary)
    model = build_model(SMALL, tokenizer, seed)
    with torch.no_grad():
        _whiten(model, Random(f"patches/{seed}"))
        _look_beside(model)
        _copy_what_matches(model, seed)
    return _pupil(model, tokenizer)


def shipped_pupil(seed: int) -> Pupil:
    """The model that self-proxies begin with, to be taught further."""
    tokenizer = chat_tokenizer(base_language())
    model = build_model(SMALL, tokenizer, seed)
    start_from_base(model, tokenizer)
    return _pupil(model, tokenizer)


def _pupil(model: Any, tokenizer: Any) -> Pupil:
    group_pictures(model)
    forest = Forest(model, torch.device("cpu"), tokenizer.pad_token_id, ROW, 4096)
    ids = [tokenizer(f" {word}", add_special_tokens=False)["input_ids"] for word in VOCABULARY]
    words = torch.tensor([one for (one,) in ids])
    embeddings = model.get_input_embeddings().weight
    others = torch.ones(len(embeddings), 1)
    others[words] = 0
    embeddings.register_hook(lambda gradient: gradient * others)
    return Pupil(model, tokenizer, forest, words, *_beside(embeddings.detach()[words]))


def _beside(words: Tensor) -> tuple[Tensor, Tensor]:
    """Vectors for marks and axes: at right angles to all words and to each other."""
    random = torch.Generator().manual_seed(0)
    wanted = torch.randn(len(MARKS) + 2, words.shape[1], generator=random)
    turned = torch.linalg.qr(torch.cat([words, wanted]).T)[0].T[len(words) :]
    return words.norm(dim=1).mean() * turned[2:], turned[:2].contiguous()


def _whiten(model: Any, rng: Random) -> None:
    """Let the patch embedding give the main components of patches, fine ones as strong as coarse ones."""
    patches = torch.cat([cut(draw(rng, clips=0.7).frames) for _ in range(250)]).float() / 127.5 - 1
    mean = patches.mean(0)
    spread, axes = torch.linalg.eigh(torch.cov(patches.T.double()))
    width = SMALL.vision_hidden
    kept = axes.flip(1)[:, :width] / (spread.flip(0)[:width] + 5e-4).sqrt()
    weight = 0.5 * kept.T.float()
    layer = model.model.visual.patch_embed.proj
    layer.weight.copy_(weight.reshape(layer.weight.shape))
    layer.bias.copy_(-weight @ mean)


def _look_beside(model: Any) -> None:
    """Start each head of the tower on a neighbouring patch: constant queries and keys, turned by position."""
    for layer, block in enumerate(model.model.visual.blocks):
        attention = block.attn
        width, size = attention.dim, attention.head_dim
        turns = size // 4
        attention.qkv.weight[: 2 * width] *= 0.5
        for head in range(attention.num_heads):
            for axis, offset in enumerate(NEIGHBOURS[layer][head]):
                for number, strength in ((0, 28.0), (1, 12.0)):
                    angle = offset * 10_000 ** (-number / turns)
                    at, height = head * size + axis * turns + number, math.sqrt(strength)
                    attention.qkv.bias[at] = height
                    attention.qkv.bias[width + at] = height * math.cos(angle)
                    attention.qkv.bias[width + at + size // 2] = -height * math.sin(angle)


def _copy_what_matches(model: Any, seed: int) -> None:
    """Start the language model's heads on tokens alike, and let them hand on what stands there."""
    random = torch.Generator().manual_seed(seed)
    for layer in model.model.language_model.layers:
        attention = layer.self_attn
        width, size = attention.o_proj.weight.shape[0], attention.head_dim
        axes = torch.linalg.qr(torch.randn(width, width, generator=random))[0]
        attention.v_proj.weight.copy_(0.4 * axes)
        attention.o_proj.weight.copy_(0.4 * axes.T)
        for head in range(0, width // size, 2):
            seen = 0.06 * torch.randn(size, width, generator=random)
            seen[:6] = seen[size // 2 : size // 2 + 6] = 0  # these turn too fast for tokens far apart
            for projection in (attention.q_proj, attention.k_proj):
                projection.weight[head * size : (head + 1) * size] = seen


def cut(frames: Sequence[Any]) -> Tensor:
    """Pairs of frames as the processor hands them on: uint8 [patches, 3 * 2 * PATCH * PATCH]."""
    pixels = np.stack(frames)
    pairs, (height, width) = len(pixels) // 2, pixels.shape[1:3]
    rows, columns = height // TOKEN, width // TOKEN
    parts = pixels.reshape(pairs, 2, rows, 2, PATCH, columns, 2, PATCH, 3)
    ordered = parts.transpose(0, 2, 5, 3, 6, 8, 1, 4, 7)
    return torch.from_numpy(ordered.reshape(pairs * rows * columns * 4, -1).copy())
