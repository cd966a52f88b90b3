"""The proxy's network: a small Qwen3-VL with random weights."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdo.descriptors.proxy.language import END, IMAGE, PAD, VIDEO, VISION_END, VISION_START
from gdo.descriptors.proxy.shape import MERGE, PATCH, Shape

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration, Qwen3VLProcessor

CONTEXT = 32_768
"""Most positions of the text part."""


def build_model(
    shape: Shape, tokenizer: "PreTrainedTokenizerFast", seed: int
) -> "Qwen3VLForConditionalGeneration":
    """A model of this shape with random weights, the same for the same seed."""
    import torch
    from transformers import GenerationConfig, Qwen3VLConfig, Qwen3VLForConditionalGeneration

    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in (END, PAD, IMAGE, VIDEO)}
    config = Qwen3VLConfig(
        text_config=_text_config(shape, len(tokenizer), ids[PAD]),
        vision_config=_vision_config(shape),
        image_token_id=ids[IMAGE],
        video_token_id=ids[VIDEO],
        vision_start_token_id=tokenizer.convert_tokens_to_ids(VISION_START),
        vision_end_token_id=tokenizer.convert_tokens_to_ids(VISION_END),
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3VLForConditionalGeneration(config)
    model.generation_config = GenerationConfig(eos_token_id=ids[END], pad_token_id=ids[PAD])
    return model


def _text_config(shape: Shape, vocabulary: int, pad: int) -> dict[str, Any]:
    head = shape.hidden // shape.heads
    side = head // 6  # height and width turn a third of the head's frequencies each, time the rest
    return {
        "vocab_size": vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": 8 * shape.hidden // 3,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.heads,
        "head_dim": head,
        "max_position_embeddings": CONTEXT,
        "initializer_range": shape.initial,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10_000.0,
            "mrope_section": [head // 2 - 2 * side, side, side],
            "mrope_interleaved": True,
        },
        "pad_token_id": pad,
    }


def _vision_config(shape: Shape) -> dict[str, Any]:
    return {
        "depth": shape.vision_layers,
        "hidden_size": shape.vision_hidden,
        "intermediate_size": 4 * shape.vision_hidden,
        "num_heads": shape.vision_heads,
        "patch_size": PATCH,
        "spatial_merge_size": MERGE,
        "temporal_patch_size": 2,
        "out_hidden_size": shape.hidden,
        "num_position_embeddings": 256,
        "deepstack_visual_indexes": list(shape.deepstack),
        "initializer_range": shape.initial,
    }


def save_model(model: "Qwen3VLForConditionalGeneration", processor: "Qwen3VLProcessor", folder: Path) -> None:
    """Write a model and its processor as `from_pretrained` reads them."""
    from transformers.utils import logging

    folder.mkdir(parents=True, exist_ok=True)
    logging.disable_progress_bar()
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
