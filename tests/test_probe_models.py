"""Models other than Qwen's: they share their media where their attention allows it, else go one by one."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from qwen_models import TINY, make_processor

from gdo.descriptors.probe.contract import Asked, Group
from gdo.descriptors.probe.load import load_probe, read_card
from gdo.pool.frames import Frames, MediaInfo

TEXT = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
VISION = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
}


def template(image: str) -> str:
    return (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{% for part in message['content'] %}"
        "{% if part['type'] == 'image' %}" + image + "{% else %}{{ part['text'] }}{% endif %}{% endfor %}"
        "<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )


def tokenizer_with(**tokens: str) -> Any:
    from transformers import PreTrainedTokenizerFast

    raw = make_processor(TINY, 4096).tokenizer.backend_tokenizer
    raw.add_special_tokens(list(tokens.values()))
    return PreTrainedTokenizerFast(
        tokenizer_object=raw,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        model_specific_special_tokens=tokens,
    )


def save(model: Any, processor: Any, folder: Path) -> Path:
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0)
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def save_llava(folder: Path) -> Path:
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = tokenizer_with(image_token="<image>")
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=template("<image>\n"),
    )
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**VISION, projection_dim=32),
        text_config=LlamaConfig(vocab_size=len(tokenizer), **TEXT, **ends),
        image_token_index=tokenizer.image_token_id,
        vision_feature_layer=-1,
    )
    torch.manual_seed(0)
    return save(LlavaForConditionalGeneration(config), processor, folder)


def save_gemma(folder: Path) -> Path:
    """Gemma 3: most layers see only the last few tokens, and pictures see both ways."""
    from transformers import (
        Gemma3Config,
        Gemma3ForConditionalGeneration,
        Gemma3ImageProcessor,
        Gemma3Processor,
    )

    names = {"boi_token": "<start_of_image>", "eoi_token": "<end_of_image>", "image_token": "<image_soft>"}
    tokenizer = tokenizer_with(**names)
    processor = Gemma3Processor(
        image_processor=Gemma3ImageProcessor(size={"height": 32, "width": 32}),
        tokenizer=tokenizer,
        image_seq_length=4,
        chat_template=template("<start_of_image>"),
    )
    ends = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    config = Gemma3Config(
        vision_config=VISION,
        text_config={"vocab_size": len(tokenizer), "head_dim": 16, "sliding_window": 16, **TEXT, **ends},
        image_token_index=tokenizer.image_token_id,
        boi_token_index=tokenizer.boi_token_id,
        eoi_token_index=tokenizer.eoi_token_id,
        mm_tokens_per_image=4,
    )
    torch.manual_seed(0)
    return save(Gemma3ForConditionalGeneration(config), processor, folder)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "shares"), [(save_llava, True), (save_gemma, False)])
def test_losses_are_those_of_single_samples(make: Any, shares: bool, tmp_path: Path) -> None:
    probe = load_probe(read_card(str(make(tmp_path / "model")), device="cpu"), device="cpu")
    assert probe.shares == shares
    assert (probe.card.details["shares_media"] == "yes") == shares
    random = np.random.default_rng(0)
    groups = []
    for number, count in enumerate((1, 3, 5)):
        pictures = [random.integers(0, 256, (40, 56, 3), dtype=np.uint8) for _ in range(count)]
        media = Frames(pictures, list(range(count)), None, MediaInfo("frames", 56, 40, frames=count))
        texts = [("What is it?", "A ball"), ("Which colour " * count, "red " * count), ("How many?", "3")]
        groups.append(Group((media,), tuple(Asked(f"{number}{q}", q, a) for q, a in texts)))
    processor, model = probe.chat.processor, probe.forest.model
    for group, scored in zip(groups, probe.score(groups, losses=True, stability=True), strict=True):
        images = group.media[0].images
        for asked, got in zip(group.samples, scored, strict=True):
            assert got.error is None
            parts = [*({"type": "image"} for _ in images), {"type": "text", "text": asked.question}]
            turns = [{"role": "user", "content": parts}]
            turns.append({"role": "assistant", "content": [{"type": "text", "text": asked.answer}]})
            prompt = processor.apply_chat_template(turns[:1], tokenize=False, add_generation_prompt=True)
            full = processor.apply_chat_template(turns, tokenize=False)
            inputs, begin = (
                processor(
                    text=[text], images=[images], return_tensors="pt", input_data_format="channels_last"
                )
                for text in (full, prompt)
            )
            labels = inputs["input_ids"].clone()
            labels[:, : begin["input_ids"].shape[1]] = -100
            with torch.inference_mode():
                want = float(model(**inputs, labels=labels).loss)
            assert got.loss_video == pytest.approx(want, rel=1e-4)
            assert got.self_consistency is not None
