"""What a question asks and what its answer says, as sets of words that rewording leaves alone."""

import math
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import product

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
_SEEN, _OFTEN = 2, 0.3
"""Rewordings, and share of a word's rewordings, in which another stands for it, if it does so at all."""
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
    """

    question: Words
    answer: Words
    options: frozenset[Words] = field(default=frozenset(), compare=False)

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
        if any(word.isdigit() for word in self.said) and len(self.said) <= _SHORT + 1:
            return "number"
        return "words" if len(self.said) <= _SHORT else "text"


def asked(question: str, answer: str) -> Asked:
    """The words of a question-answer pair."""
    options = dict(_OPTION.findall(question))
    letter = _LETTER.fullmatch(answer.strip())
    if letter and letter[1] in options:
        answer = options[letter[1]]
    if len(options) < 2:
        return Asked(_words(question), _words(answer))
    said = _words(answer)
    choices = frozenset(_words(option) for option in options.values())
    return Asked(_words(_OPTION.sub("", question)), said, choices)


def _words(text: str) -> Words:
    """Words without endings and function words; of a text that has no others, its letters, else all of them.

    Of a text without any, it.
    """
    every = [_NUMBERS.get(word, word) for word in _WORD.findall(text.lower())]
    every = [_singular(word) for word in every]
    telling = [word for word in every if word not in _EMPTY] or [word for word in every if len(word) == 1]
    return frozenset(telling or every or [normalise(text)])


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


class Evidence:
    """How much speaks for it that two pairs on copies of the same media ask the same.

    Rare answers that agree say more than common ones, and so do rare words of the questions; the counts are
    of the pool's own texts. What stands for what in other words it learns from rewordings already found.
    """

    def __init__(self, texts: Iterable[Asked]) -> None:
        self._total = 0
        self._questions, self._answers = Counter[str](), Counter[str]()
        self._beside: dict[str, set[str]] = defaultdict(set)
        self._means: dict[str, dict[str, float]] = {}
        for text in texts:
            self._total += 1
            self._questions.update(text.question)
            if len(text.answer) <= _SHORT:
                self._answers.update(text.answer)
            self._choices([option for option in text.options if len(option) <= _SHORT])

    def _choices(self, options: Sequence[Words]) -> None:
        """Note which words were given to choose from beside which others."""
        for option in options:
            others = frozenset[str]().union(*options) - option
            for word in option:
                self._beside[word].update(others)

    def learn(self, rewordings: Iterable[tuple[Words, Words]]) -> None:
        """Take up which words stand for which others; what was learned before is forgotten.

        Args:
            rewordings: Questions that ask the same, in pairs; the same pair counts once.
        """
        alone, together = Counter[str](), Counter[tuple[str, str]]()
        for a, b in {frozenset(pair) for pair in rewordings}:
            for some, others in ((a - b, b - a), (b - a, a - b)):
                if others:
                    alone.update(some)
                    together.update(product(some, others))
        self._means = defaultdict(dict)
        for (word, other), times in together.items():
            if times >= _SEEN and times >= _OFTEN * alone[word]:
                self._means[word][other] = times / alone[word]

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

        Long answers that say mostly the same tell it too. Yes and no say little: the questions must not be
        of other things.
        """
        if a.sort != b.sort or (a.sort == "verdict" and self._ask_of_others(a, b)):
            return 0.0
        answers = _overlap(a.answer, b.answer) if a.sort == "text" else 0.0
        return max(self._likeness(a.question, b.question), answers if answers >= _MOSTLY else 0.0)

    def related(self, a: Asked, b: Asked) -> bool:
        """Whether one of two answers may be a wrong one in the other's place, being of the same kind.

        Numbers are, and verdicts; long texts that say mostly the same; names and values that both questions
        name, or that some question of the pool gave to choose from.
        """
        if a.sort != b.sort or a.sort in ("number", "verdict"):
            return a.sort == b.sort
        if a.sort == "text":
            return _overlap(a.answer, b.answer) >= _MOSTLY
        named = a.question & b.question
        beside = frozenset[str]().union(*(self._beside.get(word, ()) for word in a.said))
        return (a.answer <= named and b.answer <= named) or not beside.isdisjoint(b.said)

    def _rarity(self, counts: Counter[str], word: str) -> float:
        return math.log((self._total + 1) / (counts[word] + 1))

    def _ask_of_others(self, a: Asked, b: Asked) -> bool:
        """Whether two words of either question were elsewhere given to choose from beside words of the other.

        One may be turned round with the question: left of this, right of that.
        """
        mine, other = a.question - b.question, b.question - a.question
        return all(
            sum(not self._beside.get(word, set()).isdisjoint(those) for word in these) > 1
            for these, those in ((mine, other), (other, mine))
        )

    def _names(self, one: Asked) -> Words:
        """Words of a question that are short answers elsewhere: things and values, not turns of phrase."""
        return frozenset(word for word in one.question if word in self._answers or word.isdigit())

    def _likeness(self, a: Words, b: Words) -> float:
        weight = {word: self._rarity(self._questions, word) for word in a | b}
        whole = math.fsum(weight[word] for one in (a, b) for word in one)
        common = [2 * weight[word] for word in a & b]
        for some, others in ((a - b, b - a), (b - a, a - b)):
            common += [weight[word] * self._meant(word, others) for word in some]
        return math.fsum(common) / whole if whole else 1.0

    def _meant(self, word: str, others: Words) -> float:
        """How often a word was put as one of these, 0 to 1."""
        means = self._means.get(word, {})
        return max((share for other, share in means.items() if other in others), default=0.0)


def alternatives(a: Asked, b: Asked) -> bool:
    """Whether two answers are told to be choices of one question: by its options, or by those of both."""
    offered = any(one.said in other.options or one.answer in other.options for one, other in ((a, b), (b, a)))
    return offered or len(a.options & b.options) >= _COMMON_OPTIONS


def _agree(a: Asked, b: Asked) -> bool:
    """Whether two answers say the same, one of them perhaps in a sentence of its own or of its question."""
    return a.answer == b.answer or a.said == b.said or _says(a, b) or _says(b, a)


def _says(long: Asked, short: Asked) -> bool:
    """Whether a long answer says what a short one does, and little besides, or takes it from its question."""
    besides = long.said - short.said
    if short.said <= long.said and len(besides) <= _SHORT:
        return True
    besides -= short.question
    repeated = short.said <= long.answer and len(besides) <= _SHORT
    return repeated and not any(word.isdigit() for word in besides)


def _overlap(a: Words, b: Words) -> float:
    """Dice's coefficient; 1 for two empty sets."""
    return 2 * len(a & b) / (len(a) + len(b)) if a or b else 1.0
