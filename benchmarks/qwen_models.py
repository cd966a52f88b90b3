"""Qwen3-VL models with random weights, of any size: what tests and benchmarks of the probe run on."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|video_pad|>"
    "{% else %}{{ part['text'] }}{% endif %}{% endfor %}{% endif %}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
SPECIAL += ["<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>"]
CORPUS = [
    "What colour is the ball? The ball is red. Does it move left or right before it stops?",
    "user assistant Temporal Static Question about a video <0.5 seconds>",
    "How many shapes are there after the circle has gone? There are three of them.",
]


@dataclass(frozen=True)
class Shape:
    """How large a model is; the values of Qwen3-VL's configuration of the same names."""

    hidden: int
    intermediate: int
    layers: int
    heads: int
    key_value_heads: int
    head_dim: int
    sections: tuple[int, int, int]
    vocabulary: int
    vision_hidden: int
    vision_intermediate: int
    vision_depth: int
    vision_heads: int
    patch: int
    deepstack: tuple[int, ...]
    positions: int = 2304
    context: int = 4096


TINY = Shape(64, 96, 3, 4, 2, 16, (4, 2, 2), 400, 32, 48, 2, 2, 8, (0, 1), 64)
SMALL = Shape(192, 512, 4, 6, 3, 32, (8, 4, 4), 8192, 96, 256, 3, 3, 8, (0, 1), 256)
QWEN3_VL_8B = Shape(
    4096, 12288, 36, 32, 8, 128, (24, 20, 20), 151936, 1152, 4304, 27, 16, 16, (8, 16, 24), context=32768
)


def save_qwen(
    folder: Path,
    shape: Shape = TINY,
    *,
    seed: int = 0,
    context: int | None = None,
    chat_template: str | None = CHAT_TEMPLATE,
) -> Path:
    """Save a model with its processor, as any model is saved; pictures may have up to 64 x 64 pixels."""
    processor = make_processor(shape, 64 * 64, chat_template)
    model = make_model(shape, processor.tokenizer, seed, context=context)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def make_processor(shape: Shape, max_pixels: int, chat_template: str | None = CHAT_TEMPLATE) -> Any:
    """A Qwen3-VL processor with a byte-level tokenizer of about 400 tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import (
        PreTrainedTokenizerFast,
        Qwen2VLImageProcessor,
        Qwen3VLProcessor,
        Qwen3VLVideoProcessor,
    )

    raw = Tokenizer(models.BPE())
    raw.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    raw.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    raw.train_from_iterator(CORPUS, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=raw, eos_token="<|im_end|>", pad_token="<|endoftext|>", extra_special_tokens=SPECIAL
    )
    cut = {"patch_size": shape.patch, "merge_size": 2, "temporal_patch_size": 2}
    least = 4 * shape.patch**2
    return Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(
            size={"shortest_edge": least, "longest_edge": max_pixels}, **cut
        ),
        video_processor=Qwen3VLVideoProcessor(
            size={"shortest_edge": least, "longest_edge": 32 * max_pixels}, **cut
        ),
        tokenizer=tokenizer,
        chat_template=chat_template,
    )


def make_model(shape: Shape, tokenizer: Any, seed: int, *, context: int | None = None) -> Any:
    """A model with random weights, far from uniform, so that a wrong mask or position shows."""
    import torch
    from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration

    ids = dict(zip(SPECIAL, tokenizer.convert_tokens_to_ids(SPECIAL), strict=True))
    config = Qwen3VLConfig(
        text_config={
            "vocab_size": max(shape.vocabulary, len(tokenizer)),
            "hidden_size": shape.hidden,
            "intermediate_size": shape.intermediate,
            "num_hidden_layers": shape.layers,
            "num_attention_heads": shape.heads,
            "num_key_value_heads": shape.key_value_heads,
            "head_dim": shape.head_dim,
            "max_position_embeddings": context or shape.context,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 10000.0,
                "mrope_section": list(shape.sections),
                "mrope_interleaved": True,
            },
            "pad_token_id": ids["<|endoftext|>"],
        },
        vision_config={
            "depth": shape.vision_depth,
            "hidden_size": shape.vision_hidden,
            "intermediate_size": shape.vision_intermediate,
            "num_heads": shape.vision_heads,
            "patch_size": shape.patch,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
            "out_hidden_size": shape.hidden,
            "num_position_embeddings": shape.positions,
            "deepstack_visual_indexes": list(shape.deepstack),
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=shape.vocabulary < 10_000,
    )
    torch.manual_seed(seed)
    model = Qwen3VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)
    model.generation_config.eos_token_id = ids["<|im_end|>"]
    model.generation_config.pad_token_id = ids["<|endoftext|>"]
    return model
