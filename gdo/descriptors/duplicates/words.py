"""What a question asks and what its answer says, as sets of words that rewording leaves alone."""

import re
import sys
from dataclasses import dataclass, field
from functools import cached_property

from gdo.pool.text import normalise


def _listed(words: str) -> list[str]:
    return words.split()


_EMPTY = frozenset(
    # Words that carry a sentence, not its matter.
    _listed(
        "a an and are as at be been by can could do does did for from has have here how i if in is it its "
        "many me much my of on or our should so than that the their them then there these they this those to "
        "was we were what when where which who whom whose why will with would you your"
    )
    # Words of openings and of instructions on the form of the answer.
    + _listed(
        "answer brief choice choose clip complete correct fit following full give image judging keep letter "
        "look looking only option phrase picture pick please reply sentence short shown single using video "
        "watch whole word"
    )
)
_VERDICTS = frozenset({"yes", "no"})
_NUMBERS = {
    name: str(number)
    for number, name in enumerate(
        _listed("zero one two three four five six seven eight nine ten eleven twelve")
    )
}
_PRONOUN = re.compile(r"\bone\b", re.IGNORECASE)
"""In questions it hardly ever is a number: which one, the first one."""
# Scripts without spaces give one word a character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_FORM = re.compile(
    r"(?<=[.?!\n])\s*(?:please )?(?:answer|reply|respond|keep)\b[^.?!\n]*\.?\s*$", re.IGNORECASE
)
"""A last sentence on the form of the answer."""
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_LETTER = re.compile(r"\(?([A-Z])\)?(?:[.):]\s*.*)?", re.DOTALL)
SHORT = 3
"""Words of an answer that is a name or a value rather than a sentence."""
_COMMON_OPTIONS = 2
"""Options that two questions share if they may be one."""

Words = frozenset[str]


@dataclass(frozen=True)
class Asked:
    """A question-answer pair; pairs with equal words are the same.

    Attributes:
        question: Words of the question, without those of its options.
        answer: Words of the answer; a letter stands for its option's text.
        options: Words of each option to choose from; they do not count for whether pairs are equal.
        order: Words of a question of yes or no as they stand: turned round, it is another question.
    """

    question: Words
    answer: Words
    options: frozenset[Words] = field(default=frozenset(), compare=False)
    order: tuple[str, ...] = ()

    @cached_property
    def said(self) -> Words:
        """What the answer says that the question did not; numbers it says in any case."""
        new = frozenset(word for word in self.answer if word.isdigit() or word not in self.question)
        return new or self.answer

    @cached_property
    def sort(self) -> str:
        """What kind of thing the answer is: yes or no, a number, a few words, or many."""
        if self.answer & _VERDICTS:
            return "verdict"
        if any(word.isdigit() for word in self.said) and len(self.said) <= SHORT + 1:
            return "number"
        return "words" if len(self.said) <= SHORT else "text"


def asked(question: str, answer: str) -> Asked:
    """The words of a question-answer pair."""
    options = dict(_OPTION.findall(question))
    letter = _LETTER.fullmatch(answer.strip())
    if letter and letter[1] in options:
        answer = options[letter[1]]
    choices = frozenset[Words]()
    if len(options) > 1:
        choices = frozenset(_words(option) for option in options.values())
        before, *between, after = _OPTION.sub("\0", question).split("\0")
        question = " ".join([before if before.strip() else after, *between])
    question = _FORM.sub("", question)
    words = tuple(_singular(word) for word in _telling(_PRONOUN.sub(" ", question)))
    said = _words(answer)
    return Asked(frozenset(words), said, choices, words if said & _VERDICTS else ())


def _words(text: str) -> Words:
    """Words without endings and function words, numbers as digits."""
    return frozenset(_NUMBERS.get(word) or _singular(word) for word in _telling(text))


def _telling(text: str) -> list[str]:
    """All but function words, in order; of a text that has no others, its letters, else all words.

    Of a text without any, it.
    """
    every = [sys.intern(word) for word in _WORD.findall(text.lower())]
    telling = [word for word in every if word not in _EMPTY] or [word for word in every if len(word) == 1]
    return telling or every or [normalise(text)]


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


def alternatives(a: Asked, b: Asked) -> bool:
    """Whether two answers are told to be choices of one question: by its options, or by those of both."""
    if len(a.options & b.options) >= _COMMON_OPTIONS:
        return True
    return any(_says_words(one.said, option) for one, other in ((a, b), (b, a)) for option in other.options)


def agree(a: Asked, b: Asked) -> bool:
    """Whether two answers say the same, one of them perhaps in a sentence of its own or of its question."""
    return a.answer == b.answer or a.said == b.said or _says(a, b) or _says(b, a)


def _says(long: Asked, short: Asked) -> bool:
    """Whether a long answer says what a short one does, and little besides, or takes it from its question."""
    if _says_words(long.said, short.said):
        return True
    besides = long.said - short.said - short.question
    repeated = short.said <= long.answer and len(besides) <= SHORT
    return repeated and not any(word.isdigit() for word in besides)


def _says_words(long: Words, short: Words) -> bool:
    """Whether some words are among others that are hardly more."""
    return short <= long and len(long - short) <= SHORT


def overlap(a: Words, b: Words) -> float:
    """Dice's coefficient; 1 for two empty sets."""
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
