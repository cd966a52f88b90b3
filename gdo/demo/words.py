"""Facts put into words: one true thing, asked in many ways, answered rightly or wrongly."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Literal

Kind = Literal[
    "one_frame",
    "order",
    "direction",
    "count_time",
    "change",
    "text_only",
    "colour",
    "count",
    "position",
    "reading",
]

TEMPORAL_KINDS: frozenset[Kind] = frozenset({"order", "direction", "count_time", "change"})

CLIP_LEADS = ("In this clip, ", "Watch the video: ", "Looking at the clip as a whole, ", "In the video, ")
STILL_LEADS = ("In this picture, ", "Look at the image: ", "Judging by the picture, ", "In the image shown, ")
NO_LEADS: tuple[str, ...] = ()

_SETTINGS = ("clip", "video", "picture", "image")
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_LETTERS = "ABCD"
_PICK = (
    "Answer with the option's letter.",
    "Pick the right choice and give its letter only.",
    "Which of these choices is right?",
    "Reply with the letter that fits.",
    "",
)
_BRIEF = ("", "", "", "Answer in a word or two.", "Keep the answer short.")
_FULL = ("", "", "Answer in a full sentence.", "Reply with one complete sentence.")


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing that is true of a medium, and what could be said falsely in its place.

    Attributes:
        key: Name of the fact, unique within its medium.
        kind: What it takes to answer the question.
        wordings: The question in at least two wordings.
        answer: The right answer, as it stands inside `sentence`.
        others: Wrong answers of the same sort.
        sentence: A full answer, with `{}` where the short one goes.
        prose: The answer is a description: it has no short form and is never multiple choice.
    """

    key: str
    kind: Kind
    wordings: tuple[str, ...]
    answer: str
    others: tuple[str, ...]
    sentence: str = "{}."
    prose: bool = False


@dataclass(frozen=True, slots=True)
class Asked:
    """A fact as a question-answer pair, with a wrong answer at hand in the same form.

    Attributes:
        fact: `Fact.key`.
        kind: `Fact.kind`.
        wording: Index of the wording used.
        question: The question, options included.
        answer: The right answer.
        wrong: A wrong answer.
    """

    fact: str
    kind: Kind
    wording: int
    question: str
    answer: str
    wrong: str


def ask(fact: Fact, rng: Random, leads: Sequence[str], but_not: int | None = None) -> Asked:
    """Put a fact into words.

    Args:
        fact: What to ask.
        rng: Chooses wording, form and length.
        leads: Openings such as "In this clip, " that may stand before a question that does not say as much.
        but_not: Index of a wording to avoid, for a rephrased question.
    """
    wording = rng.choice([i for i in range(len(fact.wordings)) if i != but_not])
    question = fact.wordings[wording]
    if leads and rng.random() < 0.5 and not any(word in question for word in _SETTINGS):
        question = rng.choice(leads) + question[0].lower() + question[1:]
    if not fact.prose and rng.random() < 0.33:
        question, answer, wrong = _multiple_choice(question, fact, rng)
    else:
        question, answer, wrong = _open(question, fact, rng)
    return Asked(fact.key, fact.kind, wording, question, answer, wrong)


def _open(question: str, fact: Fact, rng: Random) -> tuple[str, str, str]:
    """Question, answer and wrong answer in free form: a few words or a sentence."""
    other = rng.choice(fact.others)
    if fact.prose:
        return question, fact.answer, other
    brief = rng.random() < 0.6
    template = "{}" if brief else fact.sentence
    hint = rng.choice(_BRIEF if brief else _FULL)
    return f"{question} {hint}".rstrip(), _sentence(template, fact.answer), _sentence(template, other)


def _multiple_choice(question: str, fact: Fact, rng: Random) -> tuple[str, str, str]:
    """Question with lettered options, the right letter and a wrong one."""
    others = rng.sample(fact.others, min(len(fact.others), len(_LETTERS) - 1))
    options = [fact.answer, *others]
    rng.shuffle(options)
    lines = [f"{letter}. {_capital(option)}" for letter, option in zip(_LETTERS, options, strict=False)]
    right, wrong = options.index(fact.answer), options.index(others[0])
    pick = rng.choice(_PICK)
    text = "\n".join([question, *lines, *([pick] if pick else [])])
    if rng.random() < 0.2:
        return text, lines[right], lines[wrong]
    return text, _LETTERS[right], _LETTERS[wrong]


def number(n: int) -> str:
    """A count as people write it: a word up to ten, digits above."""
    return _NUMBERS[n] if n < len(_NUMBERS) else str(n)


def other_numbers(n: int, low: int = 1) -> tuple[str, ...]:
    """Counts near `n`, `n` left out, none below `low`."""
    return tuple(number(m) for m in range(max(low, n - 2), n + 4) if m != n)


def ordinal(i: int) -> str:
    """The name of a place in a row, 0 being the first (five places at most)."""
    return _ORDINALS[i]


def article(noun: str) -> str:
    """The noun with "a" or "an" before it."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def listing(words: Sequence[str], last: str = "and") -> str:
    """Join words as in "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _sentence(template: str, answer: str) -> str:
    return _capital(template.format(answer))
