"""One sample at a time, by the model's own processor, loss and `generate`: slow, and right for every model.

It scores models whose attention does not take token trees, and the faster way is checked against it.
"""

from typing import Any

import torch
from torch import Tensor

from gdo.descriptors.probe.chat import Chat, Shown
from gdo.descriptors.probe.contract import Asked, ProbeSettings
from gdo.descriptors.probe.forest import Forest
from gdo.pool.text import hash64

TEXT_ONLY = Shown([], {})


@torch.inference_mode()
def plain_loss(forest: Forest, chat: Chat, asked: Asked, shown: Shown | None) -> float:
    """Mean cross-entropy in nats of the answer's tokens; without media where `shown` is None.

    Raises:
        Exception: The processor or the model refuses the sample.
    """
    media = shown or TEXT_ONLY
    prompt, full = (inputs_of(forest, chat, text, media) for text in chat.texts(asked, media.parts))
    labels = full["input_ids"].clone()
    labels[:, : prompt["input_ids"].shape[1]] = -100
    return float(forest.model(**full, labels=labels).loss)


@torch.inference_mode()
def plain_answers(
    forest: Forest, chat: Chat, asked: Asked, shown: Shown | None, settings: ProbeSettings, ends: list[int]
) -> list[list[int]]:
    """Answers sampled with `generate`: token ids without what ends them."""
    media = shown or TEXT_ONLY
    inputs = inputs_of(forest, chat, chat.texts(asked, media.parts)[0], media)
    torch.manual_seed(hash64(f"{settings.seed}/{asked.qa_uid}") >> 1)
    made = forest.model.generate(
        **inputs,
        do_sample=True,
        temperature=settings.temperature,
        top_p=settings.top_p,
        top_k=0,
        max_new_tokens=settings.max_new_tokens,
        num_return_sequences=settings.answers,
        eos_token_id=ends,
        pad_token_id=forest.pad,
    )
    answers = made[:, inputs["input_ids"].shape[1] :].tolist()
    return [[token for token in answer if token not in (*ends, forest.pad)] for answer in answers]


def inputs_of(forest: Forest, chat: Chat, text: str, shown: Shown) -> dict[str, Any]:
    """What the model takes of a text and its media, on its device."""
    inputs: dict[str, Tensor] = chat.process(text, shown)
    return {
        name: value.to(forest.device, forest.model.dtype if value.is_floating_point() else None)
        for name, value in inputs.items()
    }
