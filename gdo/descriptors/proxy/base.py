"""Where a proxy starts: weights that have been taught to see, put into the language of the pool.

From answers alone so small a model hardly comes to use pictures. The weights in `base/` were taught by
`benchmarks/warm_up.py` on drawn scenes, charts and signs; what they know of colours, shapes, ways and written
words is what a pool's own training begins with.
"""

from importlib import resources
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from transformers import PreTrainedTokenizerFast, Qwen3VLForConditionalGeneration

WEIGHTS, LANGUAGE = "model.safetensors", "tokenizer.json"
_EMBEDDING = "model.language_model.embed_tokens.weight"
_UNKNOWN = "�"


def known_words() -> list[str]:
    """The texts of the base's tokens: a tokenizer that has them as tokens lets a model keep what it knows."""
    language = base_language()
    texts = (language.decode([number]) for number in language.get_vocab(with_added_tokens=False).values())
    return sorted(text for text in texts if text.strip() and _UNKNOWN not in text)


def start_from_base(model: "Qwen3VLForConditionalGeneration", tokenizer: "PreTrainedTokenizerFast") -> None:
    """Give a model of the base's shape the base's weights, in place.

    A token that the base does not have begins as the mean of the base's tokens for its text; what is no text
    by itself (a part of a character) keeps its random embedding.

    Args:
        model: With random weights; only its vocabulary may differ from the base's.
        tokenizer: Its tokenizer.
    """
    import torch
    from safetensors.torch import load

    weights = {name: value.float() for name, value in load(_file(WEIGHTS)).items()}
    language = base_language()
    known = weights.pop(_EMBEDDING)
    loaded = model.load_state_dict(weights, strict=False)
    assert not loaded.unexpected_keys, loaded.unexpected_keys
    assert set(loaded.missing_keys) <= {_EMBEDDING, "lm_head.weight"}, loaded.missing_keys
    table = model.get_input_embeddings().weight
    with torch.no_grad():
        for token, number in tokenizer.get_vocab().items():
            pieces = _pieces(token, tokenizer, language)
            if pieces:
                table[number] = known[pieces].mean(0)


def _file(name: str) -> bytes:
    return (resources.files("gdo.descriptors.proxy") / "base" / name).read_bytes()


def base_language() -> "Tokenizer":
    """The base's tokenizer."""
    from tokenizers import Tokenizer

    return Tokenizer.from_str(_file(LANGUAGE).decode())


def _pieces(token: str, tokenizer: "PreTrainedTokenizerFast", language: "Tokenizer") -> list[int]:
    """The base's tokens for a token's text: itself, where the base has it."""
    same = language.token_to_id(token)
    if same is not None:
        return [same]
    text = tokenizer.convert_tokens_to_string([token])
    return [] if _UNKNOWN in text else list(language.encode(text, add_special_tokens=False).ids)
