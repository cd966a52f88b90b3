"""How much speaks for it that two question-answer pairs on copies of a medium ask the same.

The signs are added up with the weights of a logistic regression. What they rest on is counted in the pool
itself: how often questions of one medium have the same answer, which questions are asked side by side, so
that they must differ in meaning, and which words stand for which others in rewordings already found.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import combinations, product

from gdo.descriptors.duplicates.words import SHORT, Asked, Words, agree, alternatives, overlap

NEEDED = 7.0
"""Weight of the signs that makes two questions the same."""
SURPRISING = 0.9
"""That the answers agree, for each nat of how unlikely two questions of one medium are to."""
ALIKE_QUESTIONS = 5.4
"""That the questions have all words in common, rare ones counting more; for some of them a share of it."""
ALIKE_ANSWERS = 2.2
"""That the answers do."""
LONG_ANSWERS = 1.6
"""That long answers do, which seldom agree by accident: the same once more."""
RELATED = 2.2
"""That answers which differ are of one kind, so that one may be wrong."""
LINKED = 1.5
"""That such questions were matched elsewhere, for each nat of how often."""
ASKED_TWICE = -3.4
"""That somebody asks two such questions of one medium, for each nat of how often, if they were not."""
OF_OTHERS = -9.0
"""That the questions are of different things, or one is the other turned round."""
SAME_NAMES = 3.2
"""That they name the same; for some of the names a share of it."""

_SEEN, _OFTEN = 2, 0.3
"""Rewordings, and share of a word's rewordings, in which another stands for it, if it does so at all."""
_MOSTLY = 0.6
"""Share of their words that long answers have in common if they say mostly the same."""
_NAMED, _NAMES = 2, 0.25
"""Answers and short options that say a word if it is a name, and how many for each question with it."""
_MET = 3.0
"""Pairs of questions that the frequency of an answer counts as, beside those that were met."""
_COMMONEST = 0.1
"""Most that this frequency is taken to be: of the commonest answers it says little."""
_SIDE_BY_SIDE = 12
"""Questions of one medium that are compared with each other."""
_ORDINALS = frozenset(
    {"first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth", "last"}
)

Forms = frozenset[Words]


class Evidence:
    """Weighs the signs that two question-answer pairs on copies of a medium ask the same.

    What it counts does not depend on the order of the makers.

    Args:
        makers: Question-answer pairs that one maker has for one medium, no two of them equal; of many makers.
    """

    def __init__(self, makers: Iterable[Sequence[Asked]]) -> None:
        self._total = 0
        self._questions, self._answers, self._values = Counter[str](), Counter[str](), set[str]()
        self._beside: dict[str, set[str]] = defaultdict(set)
        self._met, self._agreed = Counter[str](), Counter[str]()
        self._means: dict[str, dict[str, float]] = {}
        self._links, self._apart = Counter[Forms](), Counter[Forms]()
        together = []
        for texts in makers:
            for text in texts:
                self._count(text)
            together.append(texts[:_SIDE_BY_SIDE])
        for texts in together:
            for one, other in combinations([(text, self._names(text)) for text in texts], 2):
                self._tell_apart(one, other)

    def _count(self, text: Asked) -> None:
        """Note its words, and which were given to choose from beside which others."""
        self._total += 1
        self._questions.update(text.question)
        options = [option for option in text.options if len(option) <= SHORT]
        self._answers.update(word for option in options for word in option)
        if len(text.said) == 1:
            self._answers.update(text.said)
        self._values.update(*(words for words in (text.answer, *options) if len(words) == 1))
        for option in options:
            others = frozenset[str]().union(*options) - option
            for word in option:
                self._beside[word].update(others)

    def _tell_apart(self, one: tuple[Asked, Words], other: tuple[Asked, Words]) -> None:
        """Note what two different questions of one medium, given with their names, have in common."""
        (a, mine), (b, its) = one, other
        same = self.agree(a, b)
        for word in (*a.said, *b.said):
            self._met[word] += 1
            self._agreed[word] += same
        if mine == its:
            self._apart[frozenset((a.question - mine, b.question - its))] += 1

    def learn(self, rewordings: Iterable[tuple[Asked, Asked]]) -> None:
        """Take up how questions are put in other words; what was learned before is forgotten.

        Args:
            rewordings: Questions that ask the same, in pairs.
        """
        self._links = Counter()
        alone, together = Counter[str](), Counter[tuple[str, str]]()
        known = set[Forms]()
        for one, other in rewordings:
            self._links[self._forms(one, other)] += 1
            a, b = one.question, other.question
            if frozenset((a, b)) not in known:
                known.add(frozenset((a, b)))
                for some, others in ((a - b, b - a), (b - a, a - b)):
                    if others:
                        alone.update(some)
                        together.update(product(some, others))
        self._means = defaultdict(dict)
        for (word, stands_for), times in together.items():
            if times >= _SEEN and times >= _OFTEN * alone[word]:
                self._means[word][stands_for] = times / alone[word]

    def score(self, a: Asked, b: Asked) -> float:
        """The weight of the evidence; 0 and more is enough."""
        score = (
            ALIKE_QUESTIONS * self.likeness(a, b)
            + ALIKE_ANSWERS * self._likeness(a.answer, b.answer)
            + SAME_NAMES * overlap(*(self._names(one) - a.said - b.said for one in (a, b)))
            + OF_OTHERS * self._ask_of_others(a, b)
            + self._habit(a, b)
        )
        if a.sort == b.sort == "text":
            score += LONG_ANSWERS * overlap(a.answer, b.answer)
        if self.agree(a, b):
            score += SURPRISING * self._surprise(a, b)
        elif self.related(a, b):
            score += RELATED
        return score - NEEDED

    def agree(self, a: Asked, b: Asked) -> bool:
        """Whether two answers say the same, and not each a thing of its own beside what it is asked of."""
        return agree(a, b) and not (self._crossed(a, b) or self._crossed(b, a))

    def _crossed(self, a: Asked, b: Asked) -> bool:
        """Whether the first question names what the second answer tells, and its own answer tells a value."""
        known = b.said <= a.question and not (a.said & b.said)
        return known and any(word.isdigit() or word in self._values for word in a.said)

    def likeness(self, a: Asked, b: Asked) -> float:
        """How alike two questions are, rare words counting more, 0 to 1."""
        return self._likeness(a.question, b.question)

    def related(self, a: Asked, b: Asked) -> bool:
        """Whether one of two answers may be a wrong one in the other's place, being of the same kind.

        Numbers are, and verdicts; long texts that say mostly the same; names and values that both questions
        name, or that some question of the pool gave to choose from; and what one of the two questions did.
        """
        if alternatives(a, b):
            return True
        if a.sort != b.sort or a.sort in ("number", "verdict"):
            return a.sort == b.sort
        if a.sort == "text":
            return overlap(a.answer, b.answer) >= _MOSTLY
        named = a.question & b.question
        beside = frozenset[str]().union(*(self._beside.get(word, ()) for word in a.said))
        return (a.answer <= named and b.answer <= named) or not beside.isdisjoint(b.said)

    def _habit(self, a: Asked, b: Asked) -> float:
        """What speaks for it that questions of these forms were matched elsewhere, or asked side by side."""
        forms = self._forms(a, b)
        if len(forms) == 1:
            return 0.0
        links = self._links[forms]
        return LINKED * math.log1p(links) if links else ASKED_TWICE * math.log1p(self._apart[forms])

    def _surprise(self, a: Asked, b: Asked) -> float:
        """How unlikely two questions of one medium are to have this answer, in nats."""
        both = (a.said & b.said) or (a.answer & b.answer) or min(a.said, b.said, key=len)
        return max(-math.log(self._chance(word)) for word in both)

    def _chance(self, word: str) -> float:
        """The probability that another question of a medium has the answer of one that says this word."""
        share = min((self._answers[word] + 1) / (self._total + 1), _COMMONEST)
        return (self._agreed[word] + _MET * share) / (self._met[word] + _MET)

    def _ask_of_others(self, a: Asked, b: Asked) -> bool:
        """Whether each question names what the other does not, of one kind; or they are turned round.

        Numbers are of one kind, and words that were somewhere given to choose from beside each other.
        """
        said = a.said | b.said
        mine, other = a.question - b.question - said, b.question - a.question - said
        if all(any(word.isdigit() or word in _ORDINALS for word in words) for words in (mine, other)):
            return True
        if a.question == b.question:
            return a.order != b.order
        return any(not self._beside.get(word, set()).isdisjoint(other) for word in mine)

    def _forms(self, a: Asked, b: Asked) -> Forms:
        """What is left of two questions without the names."""
        return frozenset(one.question - self._names(one) for one in (a, b))

    def _names(self, one: Asked) -> Words:
        """Words of a question that are short answers elsewhere: things and values, not turns of phrase."""
        return frozenset(
            word
            for word in one.question
            if word.isdigit() or self._answers[word] >= max(_NAMED, _NAMES * self._questions[word])
        )

    def _likeness(self, a: Words, b: Words) -> float:
        weight = {word: math.log((self._total + 1) / (self._questions[word] + 1)) for word in a | b}
        whole = math.fsum(weight[word] for one in (a, b) for word in one)
        common = [2 * weight[word] for word in a & b]
        for some, others in ((a - b, b - a), (b - a, a - b)):
            common += [weight[word] * self._meant(word, others) for word in some]
        return math.fsum(common) / whole if whole else 1.0

    def _meant(self, word: str, others: Words) -> float:
        """How often a word was put as one of these, 0 to 1."""
        means = self._means.get(word, {})
        return max((share for other, share in means.items() if other in others), default=0.0)
