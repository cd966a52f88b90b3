"""The model of a run: loaded for training, with what the recipe freezes or adapts."""

import inspect
from typing import Any

import torch

from gdo.descriptors.probe.vision import group_pictures
from gdo.errors import UsageError
from gdo.train.parts import add_adapters, freeze
from gdo.train.recipe import Recipe

PACKS = ("qwen3_vl",)
"""Model types whose packed rows give the loss of single samples within 1e-5, as tested."""


def load_model(source: str, recipe: Recipe, *, cuda: bool) -> Any:
    """Load a model for training.

    Trained weights are float32, whatever is computed in: updates of 1e-5 are lost in bf16. The frozen weights
    beside LoRA adapters are bf16 on a GPU.

    Args:
        source: Folder or name at the hub.
        recipe: What to freeze or to adapt.
        cuda: It will train on a GPU.

    Raises:
        UsageError: It cannot be loaded, or the recipe does not fit it.
    """
    from transformers import AutoModelForImageTextToText
    from transformers.utils import is_flash_attn_2_available
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    attention = "flash_attention_2" if cuda and is_flash_attn_2_available() else "sdpa"
    half = cuda and recipe.bf16 and recipe.method == "lora"
    dtype = torch.bfloat16 if half else torch.float32
    try:
        model = AutoModelForImageTextToText.from_pretrained(
            source, dtype=dtype, attn_implementation=attention
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise UsageError(f"{source} cannot be loaded: {str(error).splitlines()[0]}") from error
    group_pictures(model)
    if recipe.method == "lora":
        model = add_adapters(model, recipe)
    else:
        freeze(model, recipe)
    if recipe.gradient_checkpointing:
        _checkpoint_activations(model)
    return model


def _checkpoint_activations(model: Any) -> None:
    """Compute activations again in the backward pass, in place of keeping them."""
    options = {"use_reentrant": False}
    if hasattr(model, "activation_checkpointing_enable"):
        model.activation_checkpointing_enable(activation_checkpointing_kwargs=options)
    else:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)


def can_pack(model: Any) -> bool:
    """Whether packed rows are exact for this model."""
    return model.config.model_type in PACKS


def keeps_logits(model: Any) -> bool:
    """Whether the model makes logits at chosen positions alone."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters
