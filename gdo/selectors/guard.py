"""The benchmark guard keeps samples out whose text an evaluation set has too (spec section 8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal

import numpy as np

from gdo.errors import UsageError
from gdo.pool.rows import BadRowError, Shape, pairs_of, without_tags
from gdo.pool.text import hash64, normalise, text_hash
from gdo.selectors.candidates import Candidates, Mask

GuardBy = Literal["question", "pair", "both"]


@dataclass(frozen=True)
class Guard:
    """Hashes of an evaluation set's texts."""

    questions: frozenset[int]
    pairs: frozenset[int]

    @property
    def digest(self) -> str:
        """Tells whether the evaluation sets are the same as before."""
        both = (sorted(self.questions), sorted(self.pairs))
        return blake2b(repr(both).encode(), digest_size=16).hexdigest()

    def excluded(self, candidates: Candidates) -> Mask:
        """Samples that the guard keeps out."""
        by_question = np.isin(candidates.question_hash, _array(self.questions))
        return by_question | np.isin(candidates.text_hash, _array(self.pairs))


def load_guard(files: Sequence[Path | str], by: GuardBy = "both") -> Guard:
    """Read evaluation sets: rows with `question` (and `answer`), or with messages.

    `by` says what counts as equal: the normalised question, the question-answer pair, or either.

    Raises:
        UsageError: A file is missing, or holds no question.
    """
    if not files:
        return Guard(frozenset(), frozenset())
    from gdo.pool.readers import READERS, detect  # what reads files takes a while to load

    questions, pairs = set[int](), set[int]()
    for file in files:
        path, found = Path(file), False
        for block in READERS[detect(path)](path):
            for _, raw in block.rows():
                for question, answer in _texts(raw):
                    normal = normalise(without_tags(question))
                    if normal:
                        found = True
                        questions.add(hash64(normal))
                        pairs.add(text_hash(normal, normalise(answer)))
        if not found:
            raise UsageError(f"the guard file {path} has no row with `question` or with messages")
    return Guard(
        questions=frozenset(questions) if by != "pair" else frozenset(),
        pairs=frozenset(pairs) if by != "question" else frozenset(),
    )


_SHAPE = Shape(("messages", "conversations"), (), ())


def _texts(raw: Any) -> list[tuple[str, str]]:
    """The question-answer pairs of an evaluation row; rows that cannot be read give none."""
    if not isinstance(raw, dict):
        return []
    if isinstance(raw.get("question"), str):
        return [(raw["question"], str(raw.get("answer") or ""))]
    try:
        return pairs_of(raw, _SHAPE)
    except BadRowError:
        return []


def _array(hashes: frozenset[int]) -> np.ndarray:
    return np.fromiter(hashes, dtype=np.uint64, count=len(hashes))
