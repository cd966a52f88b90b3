"""Which texts and questions become samples: rules of length, and the budget of tokens (spec/sparrow.md)."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from gdo.errors import GdoError

BYTES_PER_TOKEN = 3
"""For the estimate where there is no tokenizer: English has some 4.5, Chinese 3 to 5, so this is careful."""

_LONG_FAMILIES = re.compile(r"book[-_ ]?sum|natural[-_ ]?questions?|\bnq\b", re.IGNORECASE)
_LONG_FORMATS = {"longqlora"}
_QUESTION_WORDS = {"longqlora": 30, "longalpaca": 500}

CountTokens = Callable[[str], int]


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept.

    Attributes:
        min_words: Least words of a text; None asks 3000 of BookSum- and NaturalQuestions-like data alone.
        question_words: Most words of a question; None asks 30 of LongQLoRA, 500 of LongAlpaca.
        max_frames: Most pictures of a text.
        max_tokens: Most tokens of a sample, those of its pictures among them.
        frame_tokens: Tokens of a picture.
    """

    min_words: int | None = None
    question_words: int | None = None
    max_frames: int = 100
    max_tokens: int = 10_240
    frame_tokens: int = 64

    def least_words(self, format: str, family: str) -> int:
        """Words that a text must have; LongQLoRA is BookSum and NaturalQuestions where rows do not say."""
        if self.min_words is not None:
            return self.min_words
        is_long = _LONG_FAMILIES.search(family) if family else format in _LONG_FORMATS
        return 3000 if is_long else 0

    def question_trouble(self, format: str, question: str, tokens: int, frames: int) -> str | None:
        """Why a question is left out, if it is; `tokens` are its own and its answer's."""
        most = self.question_words if self.question_words is not None else _QUESTION_WORDS.get(format)
        if most is not None and len(question.split()) > most:
            return f"question has more than {most} words"
        if tokens + self.frame_tokens * frames > self.max_tokens:
            return f"sample has more than {self.max_tokens} tokens"
        return None

    def text_trouble(self, format: str, family: str, words: int) -> str | None:
        """Why a text is left out by its length, if it is."""
        least = self.least_words(format, family)
        return f"text has fewer than {least} words" if words < least else None

    def frames_trouble(self, frames: int) -> str | None:
        """Why a text of so many pictures is left out, if it is."""
        return f"text has more than {self.max_frames} pictures" if frames > self.max_frames else None


def estimated_tokens(text: str) -> int:
    """Tokens of a text where no tokenizer is given: a third of its bytes, rounded up."""
    return ceil(len(text.encode(errors="replace")) / BYTES_PER_TOKEN)


def processor_counts(folder: Path, side: int, max_pixels: int | None) -> tuple[CountTokens, int]:
    """What a model's processor makes of texts and pictures: a counter of text tokens, and tokens a picture.

    Args:
        folder: Of the processor (or its name at the hub); Qwen's line of models is known.
        side: Width and height of a picture in pixels.
        max_pixels: Most pixels that the model is shown of one; None leaves it to the processor.

    Raises:
        GdoError: It cannot be loaded, or shows no grid of patches.
    """
    import numpy as np
    from transformers import AutoProcessor

    try:
        processor: Any = AutoProcessor.from_pretrained(str(folder))
        merge = processor.image_processor.merge_size
        size = {"shortest_edge": merge**2, "longest_edge": max_pixels} if max_pixels else None
        shown = {"size": size} if size else {}
        picture = np.full((side, side, 3), 255, np.uint8)
        made = processor.image_processor(images=[picture], return_tensors="np", **shown)
        frame_tokens = int(np.prod(made["image_grid_thw"][0])) // merge**2
        tokenizer = processor.tokenizer
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise GdoError(
            f"the processor {folder} cannot tell the tokens of a picture ({error}); give --tokens-per-frame"
        ) from error
    return lambda text: len(tokenizer(text, add_special_tokens=False)["input_ids"]), frame_tokens
