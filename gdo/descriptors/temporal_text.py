"""Whether a question needs the order of time, told from its words by a small logistic regression.

The weights stand in `temporal_text.json`, to be read and argued with: a word or a pair of neighbouring words
adds its weight once, however often it occurs. `benchmarks/temporal_questions.py --fit` makes the file, and
without `--fit` judges it against the released word list.
"""

import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources

START = "^"
"""Stands before a question's first word in the pairs."""

_WORD = re.compile(r"[a-z0-9]+")
_OPTION = re.compile(r"\n\s*\(?[A-Za-z][.):]\s[^\n]*")


@dataclass(frozen=True, slots=True)
class Weights:
    """A fitted rule.

    Attributes:
        intercept: Log-odds of a question without any cue.
        cues: What each word or pair of words adds to the log-odds.
    """

    intercept: float
    cues: dict[str, float]

    def log_odds(self, question: str) -> float:
        """Of being temporal; any real number."""
        return self.intercept + math.fsum(self.cues[cue] for cue in cues_of(question) if cue in self.cues)


def cues_of(question: str) -> set[str]:
    """The words of a question in lower case and its pairs of neighbouring words, options left out."""
    words = _WORD.findall(_OPTION.sub("", question).lower())
    return {*words, *map(" ".join, zip([START, *words], words, strict=False))}


@cache
def shipped_weights() -> Weights:
    """The weights that come with the package."""
    stored = json.loads((resources.files("gdo.descriptors") / "temporal_text.json").read_text())
    return Weights(stored["intercept"], stored["cues"])


def temporal_probability(question: str) -> float:
    """How likely a question about a video is to need several frames in their order, 0 to 1.

    Args:
        question: English, in any case, with or without lettered options on lines of their own.
    """
    return 1 / (1 + math.exp(-shipped_weights().log_odds(question)))


def temporal_probabilities(questions: Iterable[str]) -> list[float]:
    """`temporal_probability` of each question."""
    return [temporal_probability(question) for question in questions]
