"""The proxy's language: a tokenizer fitted on the pool's text, a chat template, and the processor of both."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from gdo.descriptors.probe.questions import STATIC, TEMPORAL, ask_temporal
from gdo.descriptors.proxy.shape import MERGE, PATCH, Shape

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast, Qwen3VLProcessor

PAD, START, END = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
VISION_START, VISION_END = "<|vision_start|>", "<|vision_end|>"
IMAGE, VIDEO = "<|image_pad|>", "<|video_pad|>"
SPECIAL = (PAD, START, END, VISION_START, VISION_END, IMAGE, VIDEO)

# A time stamp as the processor writes it, "<0.5 seconds>", is three tokens.
_PIECES = r" seconds>| ?<?\d{1,2}|\.\d| ?\p{L}+| ?[^\s\p{L}\d]+|\s+(?!\S)|\s+"

_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|im_start|>' + message.role + '\n' -}}"
    "{%- if message.content is string -%}{{- message.content -}}{%- else -%}"
    "{%- for part in message.content -%}"
    "{%- if part.type == 'image' -%}{{- '<|vision_start|><|image_pad|><|vision_end|>' -}}"
    "{%- elif part.type == 'video' -%}{{- '<|video_pad|>' -}}"
    "{%- else -%}{{- part.text -}}{%- endif -%}"
    "{%- endfor -%}{%- endif -%}"
    "{{- '<|im_end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
)
"""Nothing stands after the end of a turn, so that the end is the last token of an answer's loss."""


def fit_tokenizer(texts: Iterable[str], vocabulary: int) -> "PreTrainedTokenizerFast":
    """Fit a byte-level BPE tokenizer.

    Args:
        texts: What it should be good at; the words of the chat, of time stamps and of the question for
            temporal need are added.
        vocabulary: Most tokens; few texts give fewer.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PIECES), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=2,
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*texts, *_own_texts()], trainer)
    return chat_tokenizer(tokenizer)


def chat_tokenizer(tokenizer: "Tokenizer") -> "PreTrainedTokenizerFast":
    """Give a fitted tokenizer the chat template and the names of its special tokens."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START, VISION_START, VISION_END, IMAGE, VIDEO],
        chat_template=_TEMPLATE,
        model_max_length=32_768,
    )


def _own_texts() -> list[str]:
    """Texts that are in every prompt, often enough that each word of them is a token."""
    stamps = [f"<{tenths / 10:.1f} seconds>" for tenths in range(1000)]
    roles = ["user\n", "assistant\n", TEMPORAL, STATIC, ask_temporal("")]
    return stamps + roles * 100


def make_processor(tokenizer: "PreTrainedTokenizerFast", shape: Shape) -> "Qwen3VLProcessor":
    """The processor that turns messages, pictures and frames into the model's input."""
    from transformers import Qwen2VLImageProcessor, Qwen3VLProcessor, Qwen3VLVideoProcessor

    common: dict[str, Any] = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": 2,
        "image_mean": [0.5, 0.5, 0.5],
        "image_std": [0.5, 0.5, 0.5],
    }
    token = (PATCH * MERGE) ** 2
    pictures = Qwen2VLImageProcessor(
        size={"shortest_edge": token, "longest_edge": shape.image_pixels}, **common
    )
    frames = Qwen3VLVideoProcessor(
        size={"shortest_edge": token, "longest_edge": shape.frame_pixels * shape.frames},
        cap_pixels_per_frame=False,
        do_sample_frames=False,
        **common,
    )
    return Qwen3VLProcessor(pictures, tokenizer, frames, chat_template=_TEMPLATE)
