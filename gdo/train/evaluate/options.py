"""The options of a multiple-choice question, and each of them written as the right answer is written."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from string import ascii_uppercase
from typing import Any

from gdo.errors import GdoError
from gdo.train.evaluate.grade import normal_form, without_lead

_LINE = re.compile(r"^\s*\(?([A-Z])[.):]\s*(\S.*?)\s*$", re.MULTILINE)
_LETTER = re.compile(r"^\(?([A-Z])[.):]?\s*$")
_LETTERED = re.compile(r"^\(?([A-Z])[.):]\s*(?=\S)")


@dataclass(frozen=True, slots=True)
class Choice:
    """What a multiple-choice question may be answered with.

    Attributes:
        texts: The answers to compare, all in the form of the one that is right.
        right: Which of them is right.
        asks_letter: They are letters: the question must show the options.
    """

    texts: tuple[str, ...]
    right: int
    asks_letter: bool


def options_in(question: str) -> tuple[str, ...]:
    """The texts of the lines `A. ...`, `B) ...`, `(C) ...` of a question, from A on without a gap.

    Empty where there are fewer than two.
    """
    found: list[str] = []
    for letter, text in _LINE.findall(question):
        if letter == ascii_uppercase[len(found) % 26]:
            found.append(text)
    return tuple(found) if len(found) > 1 else ()


def options_of(field: Any) -> tuple[str, ...]:
    """The texts of a row's field `options`: a list, whose entries may begin with letters, or letter to text.

    Raises:
        GdoError: It is of another form.
    """
    if isinstance(field, Mapping):
        field = [field[letter] for letter in sorted(field)]
    if not isinstance(field, Sequence) or isinstance(field, str) or not 1 < len(field) <= 26:
        raise GdoError(f"its options are {field!r}, not a list of 2 to 26 texts")
    texts = [str(entry).strip() for entry in field]
    marks = [_LETTERED.match(text) for text in texts]
    if all(mark and mark[1] == letter for mark, letter in zip(marks, ascii_uppercase, strict=False)):
        texts = [text[mark.end() :] for text, mark in zip(texts, marks, strict=True) if mark]
    return tuple(texts)


def listed(options: Sequence[str]) -> str:
    """Options as the lines of a question."""
    return "\n".join(f"{letter}. {text}" for letter, text in zip(ascii_uppercase, options, strict=False))


def make_choice(answer: str, options: Sequence[str]) -> Choice:
    """Write every option as the right answer is written: `B`, `(B)`, `B. the text` or the text.

    Raises:
        GdoError: The answer is none of the options.
    """
    bare = without_lead(answer)
    letters = ascii_uppercase[: len(options)]
    mark = _LETTER.match(bare)
    if mark and mark[1] in letters:
        forms = [bare[: mark.start(1)] + letter + bare[mark.end(1) :] for letter in letters]
        return Choice(tuple(forms), letters.index(mark[1]), asks_letter=True)
    lettered = _LETTERED.match(bare)
    if lettered and lettered[1] in letters:
        head, tail = bare[: lettered.start(1)], bare[lettered.end(1) : lettered.end()]
        forms = [f"{head}{letter}{tail}{text}" for letter, text in zip(letters, options, strict=True)]
        return Choice(tuple(forms), letters.index(lettered[1]), asks_letter=True)
    same = [number for number, text in enumerate(options) if normal_form(text) == normal_form(bare)]
    if len(same) != 1:
        raise GdoError(f"its answer {answer!r} is {'more than one' if same else 'none'} of its options")
    return Choice(tuple(options), same[0], asks_letter=False)
