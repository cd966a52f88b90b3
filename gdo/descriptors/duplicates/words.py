"""What a question asks and what its answer says, as sets of words that rewording leaves alone."""

import math
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
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
_NUMBERS = {
    name: str(number)
    for number, name in enumerate(
        _listed("zero one two three four five six seven eight nine ten eleven twelve")
    )
}
# Scripts without spaces give one word a character.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|[^\W_]+")
_OPTION = re.compile(r"^[ \t]*\(?([A-Z])[.):][ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_LETTER = re.compile(r"\(?([A-Z])\)?(?:[.):]\s*.*)?", re.DOTALL)
_MOSTLY = 0.6
"""Share of their words that long answers have in common if they say mostly the same."""
_SHORT = 3
"""Words of an answer that is a name or a value rather than a sentence."""

Words = frozenset[str]


@dataclass(frozen=True)
class Asked:
    """A question-answer pair; pairs with equal words are the same.

    Attributes:
        question: Words of the question, without those of its options.
        answer: Words of the answer; a letter stands for its option's text.
    """

    question: Words
    answer: Words

    @property
    def words(self) -> Words:
        """Words of both."""
        return self.question | self.answer

    @cached_property
    def said(self) -> Words:
        """What the answer says that the question did not; numbers it says in any case."""
        new = frozenset(word for word in self.answer if word.isdigit() or word not in self.question)
        return new or self.answer

    @cached_property
    def sort(self) -> str:
        """What kind of thing the answer is: yes or no, a number, a few words, or many."""
        if self.answer & {"yes", "no"}:
            return "verdict"
        if any(word.isdigit() for word in self.said):
            return "number"
        return "words" if len(self.said) <= _SHORT else "text"


def asked(question: str, answer: str) -> Asked:
    """The words of a question-answer pair."""
    options = dict(_OPTION.findall(question))
    letter = _LETTER.fullmatch(answer.strip())
    if letter and letter[1] in options:
        answer = options[letter[1]]
    stem = _OPTION.sub("", question) if len(options) > 1 else question
    return Asked(_words(stem), _words(answer))


def _words(text: str) -> Words:
    """Words without endings and function words; of a text that has no others, all; of one without any, it."""
    every = [_NUMBERS.get(word, word) for word in _WORD.findall(text.lower())]
    every = [_singular(word) for word in every]
    return frozenset(word for word in every if word not in _EMPTY) or frozenset(every or [normalise(text)])


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


class Evidence:
    """How much speaks for it that two pairs on copies of the same media ask the same.

    Rare answers that agree say more than common ones, and so do rare words of the questions; the counts are
    of the pool's own texts.
    """

    def __init__(self, texts: Iterable[Asked]) -> None:
        self._total = 0
        self._questions, self._answers = Counter[str](), Counter[str]()
        for text in texts:
            self._total += 1
            self._questions.update(text.question)
            if len(text.answer) <= _SHORT:
                self._answers.update(text.answer)

    def score(self, a: Asked, b: Asked) -> float | None:
        """The weight of the evidence, about 0 to 20; None where the answers differ."""
        if not _agree(a, b):
            return None
        both = (a.said & b.said) or (a.answer & b.answer) or min(a.said, b.said, key=len)
        rarity = max(self._rarity(self._answers, word) for word in both)
        answers = max(_overlap(a.answer, b.answer), _overlap(a.said, b.said))
        names = [self._names(one) - a.answer - b.answer for one in (a, b)]
        return rarity + 2 * answers + 3 * self._likeness(a.question, b.question) + 1.5 * _overlap(*names)

    def likeness(self, a: Asked, b: Asked) -> float:
        """How alike two questions are, rare words counting more, 0 to 1; 0 for answers of two sorts.

        Long answers that say mostly the same tell it too.
        """
        if a.sort != b.sort:
            return 0.0
        answers = _overlap(a.answer, b.answer) if a.sort == "text" else 0.0
        return max(self._likeness(a.question, b.question), answers if answers >= _MOSTLY else 0.0)

    def _rarity(self, counts: Counter[str], word: str) -> float:
        return math.log((self._total + 1) / (counts[word] + 1))

    def _names(self, one: Asked) -> Words:
        """Words of a question that are short answers elsewhere: things and values, not turns of phrase."""
        return frozenset(word for word in one.question if word in self._answers or word.isdigit())

    def _likeness(self, a: Words, b: Words) -> float:
        weight = {word: self._rarity(self._questions, word) for word in a | b}
        whole = sum(weight[word] for word in a) + sum(weight[word] for word in b)
        return 2 * sum(weight[word] for word in a & b) / whole if whole else 1.0


def _agree(a: Asked, b: Asked) -> bool:
    """Whether two answers say the same, one of them perhaps in a sentence of its own."""
    if a.answer == b.answer or a.said == b.said:
        return True
    return any(
        short.said <= long.said and len(long.said - short.said) <= _SHORT for short, long in ((a, b), (b, a))
    )


def _overlap(a: Words, b: Words) -> float:
    """Dice's coefficient; 1 for two empty sets."""
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
