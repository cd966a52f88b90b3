"""Loading a probe: any chat vision-language model of transformers, refused early where it cannot score.

Models whose attention takes token trees share the media among the samples; whether they do is found out by
scoring a few made-up samples both ways.
"""

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gdo.descriptors.probe.chat import Chat, show_media
from gdo.descriptors.probe.contract import CONTRACT_BUDGET, Asked, Group, ProbeCard, ProbeSettings
from gdo.descriptors.probe.forest import Forest
from gdo.descriptors.probe.plain import plain_loss
from gdo.descriptors.probe.scorer import ModelProbe
from gdo.descriptors.probe.vision import group_pictures
from gdo.errors import GdoError, UsageError
from gdo.pool.frames import Frames, MediaInfo
from gdo.pool.threads import MAX_THREADS

PROXY_FILE = "gdo.json"
"""What marks a folder as a self-proxy's; it holds the settings that it was trained for."""
WHOLE_BYTES = 2**28
"""Model folders up to this size are hashed whole, larger ones by the ends of their files."""
BUDGETS = {"cpu": (512, 8192), "cuda": (4096, 65536)}
"""Positions of a row and of a batch."""
TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}
"""Largest relative difference to one sample at a time that the trees may show."""


def read_card(model: str, *, device: str, settings: ProbeSettings | None = None) -> ProbeCard:
    """Tell what a probe is without loading its weights.

    Args:
        model: A folder, or a model's name at the hub.
        device: Where it will compute: bf16 on CUDA, float32 on a CPU.
        settings: What it is asked; default the training contract's, for a self-proxy its own.

    Raises:
        UsageError: The model cannot be found.
    """
    dtype = "bfloat16" if device.startswith("cuda") else "float32"
    folder = Path(model)
    if not folder.is_dir():
        return ProbeCard(model, model, _commit(model), dtype, settings or ProbeSettings())
    proxy = folder / PROXY_FILE
    name = "self" if proxy.exists() else folder.resolve().name
    if settings is None:
        settings = _proxy_settings(proxy) if proxy.exists() else ProbeSettings()
    return ProbeCard(name, str(folder.resolve()), _folder_digest(folder), dtype, settings)


def _proxy_settings(file: Path) -> ProbeSettings:
    from gdo.pool.frames import FrameBudget

    told = json.loads(file.read_text())["settings"]
    return ProbeSettings(**told | {"budget": FrameBudget(**told["budget"])})


def _commit(model: str) -> str:
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(model)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{model} is neither a folder nor a model that the hub gives: {str(error).splitlines()[0]}"
        ) from error
    return str(getattr(config, "_commit_hash", None) or "unknown")


def _folder_digest(folder: Path) -> str:
    """Digest of a model's files; of large ones their size and ends."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != PROXY_FILE)
    whole = sum(path.stat().st_size for path in files) <= WHOLE_BYTES
    digest = hashlib.sha256()
    for path in files:
        size = path.stat().st_size
        digest.update(f"{path.name}/{size}/".encode())
        with path.open("rb") as file:
            if whole:
                digest.update(file.read())
            else:
                digest.update(file.read(2**20))
                file.seek(max(0, size - 2**20))
                digest.update(file.read())
    return digest.hexdigest()


def load_probe(card: ProbeCard, *, device: str) -> ModelProbe:
    """Load a probe's weights.

    Args:
        card: What to load, from `read_card`.
        device: Where to: cpu, cuda or cuda:N.

    Returns:
        The probe; its card's details tell attention, context and whether samples share their media.

    Raises:
        GdoError: The model cannot be loaded, or cannot score: no chat template, no image input, no room for
            the frames in its context.
    """
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    processor = _load_processor(card)
    return make_probe(card, processor, _load_model(card, device))


def make_probe(card: ProbeCard, processor: Any, model: Any) -> ModelProbe:
    """The probe of a model in memory, in evaluation mode, and its processor.

    Raises:
        GdoError: It cannot score.
    """
    _check_processor(card, processor)
    _limit_pixels(processor, card.settings)
    device, context = next(model.parameters()).device, _context(model)
    chat = Chat(processor, model, card.settings, context)
    row, budget = BUDGETS[device.type]
    forest = Forest(model, device, _pad(processor), min(row, context), budget)
    _check_template(card, chat)
    tokens = _picture_tokens(processor)
    probe = ModelProbe(card, chat, forest, _ends(model, processor), tokens)
    side = int((card.settings.budget.max_pixels or CONTRACT_BUDGET.max_pixels or 0) ** 0.5)
    _refuse_context((card.settings.budget.frames or 1) * tokens(side, side), context)
    reason = _why_not_shared(probe)
    probe.shares = reason is None
    if device.type == "cuda":  # else the cores are the model's
        cores = int(os.environ.get("OMP_NUM_THREADS") or len(os.sched_getaffinity(0)))
        probe.threads = min(MAX_THREADS, cores)
    details = {
        "attention": _told_attention(model),
        "context": context,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "shares_media": reason or "yes",
        **_versions(),
    }
    probe.card = replace(card, details=details)
    return probe


def _refuse_context(media_tokens: int, context: int) -> None:
    """Refuse frames that leave no room for text.

    Raises:
        GdoError: They take up the model's context.
    """
    if media_tokens + 64 > context:
        raise GdoError(
            f"the frames of one video take {media_tokens} tokens, the model's context is {context}; "
            "lower --frames or --max-pixels"
        )


def _told_attention(model: Any) -> str:
    text = model.config.get_text_config()._attn_implementation
    vision = getattr(getattr(model.config, "vision_config", None), "_attn_implementation", text)
    return f"{vision if vision.startswith('flash') else text} for pictures, {text} for text"


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("torch", "transformers")}


def _load_processor(card: ProbeCard) -> Any:
    from transformers import AutoProcessor

    try:
        return AutoProcessor.from_pretrained(card.source)
    except (OSError, ValueError, KeyError) as error:
        raise GdoError(f"{card.source} has no processor: {str(error).splitlines()[0]}") from error


def _check_processor(card: ProbeCard, processor: Any) -> None:
    if getattr(processor, "image_processor", None) is None:
        raise GdoError(f"{card.model} takes no images; name a vision-language model")
    if not getattr(processor, "chat_template", None):
        raise GdoError(f"{card.model} has no chat template; name a chat (instruct) model")


def _limit_pixels(processor: Any, settings: ProbeSettings) -> None:
    """Make processors that resize by area keep to the pixel budget."""
    most = settings.budget.max_pixels
    for name, frames in (("image_processor", 1), ("video_processor", settings.budget.frames or 32)):
        part = getattr(processor, name, None)
        if most is None or part is None or not hasattr(part, "merge_size"):
            continue
        if hasattr(part, "cap_pixels_per_frame"):
            part.cap_pixels_per_frame = False
        size = dict(part.size)
        cell = (part.patch_size * part.merge_size) ** 2
        size["longest_edge"] = min(size["longest_edge"], most * frames)
        size["shortest_edge"] = min(size["shortest_edge"], 4 * cell, size["longest_edge"])
        part.size = type(part.size)(**size)


def _attentions(device: str) -> list[Any]:
    """Kinds of attention to try, the best first; token trees need sdpa, pictures do not."""
    from transformers.utils import is_flash_attn_2_available

    flash = {"vision_config": "flash_attention_2", "text_config": "sdpa", "": "sdpa"}
    installed = device.startswith("cuda") and is_flash_attn_2_available()
    return [*([flash] if installed else []), "sdpa", "eager"]


def _load_model(card: ProbeCard, device: str) -> Any:
    from transformers import AutoModelForImageTextToText

    *others, last = _attentions(device)
    for attention in (*others, last):
        try:
            model = AutoModelForImageTextToText.from_pretrained(
                card.source, dtype=getattr(torch, card.dtype), attn_implementation=attention
            )
            group_pictures(model)
            return model.to(device).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            if attention is last:
                raise GdoError(f"{card.source} cannot be loaded: {str(error).splitlines()[0]}") from error
    raise AssertionError("unreachable")


def _context(model: Any) -> int:
    return int(getattr(model.config.get_text_config(), "max_position_embeddings", 0) or 2**31)


def _pad(processor: Any) -> int:
    tokenizer = processor.tokenizer
    return int(tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id)


def _ends(model: Any, processor: Any) -> list[int]:
    told = model.generation_config.eos_token_id
    told = [told] if isinstance(told, int) else list(told or ())
    return sorted({*told, processor.tokenizer.eos_token_id} - {None})


def _check_template(card: ProbeCard, chat: Chat) -> None:
    try:
        prompt, full = chat.texts(Asked("", "What is shown?", "A ball."), [{"type": "image"}])
    except Exception as error:  # templates raise whatever they like
        raise GdoError(f"the chat template of {card.model} takes no images: {error}") from error
    if not full.startswith(prompt):
        raise GdoError(
            f"the chat template of {card.model} writes the prompt anew once there is an answer; "
            "it cannot be told which tokens are the answer's"
        )


def _picture_tokens(processor: Any) -> Callable[[int, int], int]:
    """Tokens of a picture of [height, width], by the processor's own count where it has one."""
    count = getattr(processor, "_get_num_multimodal_tokens", None)
    known: dict[tuple[int, int], int] = {}

    def tokens(height: int, width: int) -> int:
        if count is None:
            return 256
        if (height, width) not in known:
            known[height, width] = int(count(image_sizes=[(height, width)]).num_image_tokens[0])
        return known[height, width]

    return tokens


def _why_not_shared(probe: ModelProbe) -> str | None:
    """Score made-up samples as trees and one by one; None where they agree, else what is wrong."""
    random = np.random.default_rng(0)
    settings = probe.card.settings
    pictures = [random.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(2)]
    still = Frames(pictures[:1], [0], None, MediaInfo("image", 64, 48, frames=1))
    clip = Frames(pictures, [0, 1], None, MediaInfo("frames", 64, 48, frames=2))
    asked = [Asked(f"{i}", text, "A red ball.") for i, text in enumerate(("What is it?", "Which colour?"))]
    groups = [Group((clip,), tuple(asked)), Group((still,), (asked[0],))]
    try:
        scored = probe.score(groups, losses=True, stability=True)
        for group, of_group in zip(groups, scored, strict=True):
            for one, got in zip(group.samples, of_group, strict=True):
                if got.error:
                    return f"no ({got.error})"
                shown = show_media(group.media, settings)
                for value, media in ((got.loss_video, shown), (got.loss_blind, None)):
                    want = plain_loss(probe.forest, probe.chat, one, media)
                    if value is None or not abs(value - want) <= TOLERANCE[probe.forest.model.dtype] * abs(
                        want
                    ):
                        return f"no (the loss would be {value}, by itself it is {want:.6g})"
    except Exception as error:  # models raise whatever they like
        return f"no ({type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''})"
    return None
