"""Questions that need no picture: the answer follows from the words of the question alone."""

from collections.abc import Callable
from random import Random

from gdo.demo.words import Fact

_NAMES = ("Ada", "Ben", "Chloe", "Dan", "Eva", "Finn", "Greta", "Hugo", "Ines", "Jon", "Kira", "Liam")
_THINGS = ("apples", "books", "stamps", "marbles", "pencils", "shells", "tickets", "buttons")
_WORDS = ("window", "garden", "bottle", "planet", "silver", "market", "winter", "button", "candle", "river")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September")
_ANIMALS = (
    ("horse", "legs", 4),
    ("spider", "legs", 8),
    ("bird", "wings", 2),
    ("fly", "legs", 6),
    ("cat", "ears", 2),
)


def text_fact(rng: Random) -> Fact:
    """Draw a question whose answer stands in its text, or is common knowledge."""
    return rng.choice(_MAKERS)(rng)


def _fact(
    key: str,
    wordings: tuple[str, ...],
    answer: object,
    others: tuple[object, ...],
    sentence: str = "The answer is {}.",
) -> Fact:
    wrong = tuple(dict.fromkeys(str(other) for other in others if other != answer))
    return Fact(f"text/{key}", "text_only", wordings, str(answer), wrong, sentence)


def _larger(rng: Random) -> Fact:
    a, b = rng.sample(range(2, 100), 2)
    wordings = (
        f"Is {a} larger than {b}?",
        f"Of the two numbers {a} and {b}, is {a} the larger one?",
        f"Would you get something above zero if you took {b} away from {a}?",
    )
    answer, other = ("yes", "no") if a > b else ("no", "yes")
    return _fact(f"larger/{a}/{b}", wordings, answer, (other,), f"{{}}, compare {a} with {b}.")


def _sum(rng: Random) -> Fact:
    a, b = rng.randint(2, 40), rng.randint(2, 40)
    wordings = (
        f"What is {a} plus {b}?",
        f"Add {b} to {a}. What do you get?",
        f"Leave the picture aside for a moment: how much are {a} and {b} together?",
    )
    return _fact(
        f"sum/{a}/{b}", wordings, a + b, (a + b + 1, a + b - 2, a + b + 10), f"{a} plus {b} is {{}}."
    )


def _gift(rng: Random) -> Fact:
    (giver, taker), thing = rng.sample(_NAMES, 2), rng.choice(_THINGS)
    a, b = rng.randint(6, 30), rng.randint(1, 5)
    wordings = (
        f"{giver} has {a} {thing} and then gives {taker} {b} of them. How many {thing} are left to {giver}?",
        f"After {giver} gave {taker} {b} of {a} {thing}, how many {thing} did {giver} still have?",
        f"{taker} is handed {b} {thing} by {giver}, who had {a} before. How many remain with {giver}?",
    )
    key = f"gift/{giver}/{taker}/{thing}/{a}/{b}"
    return _fact(key, wordings, a - b, (a + b, a, a - b - 1), f"{giver} has {{}} {thing} left.")


def _next_day(rng: Random) -> Fact:
    day, person = rng.randrange(7), rng.choice(_NAMES)
    wordings = (
        f"{person} says that today is {_DAYS[day]}. Which day of the week is tomorrow?",
        f"If today is {_DAYS[day]}, what day will {person} call tomorrow?",
        f"Which day of the week comes after {_DAYS[day]} in {person}'s diary?",
    )
    others = tuple(_DAYS[(day + step) % 7] for step in (2, 6, 3))
    return _fact(f"day/{day}/{person}", wordings, _DAYS[(day + 1) % 7], others, "The next day is {}.")


def _earlier_month(rng: Random) -> Fact:
    a, b = rng.sample(range(len(_MONTHS)), 2)
    wordings = (
        f"Which month is earlier in the year, {_MONTHS[a]} or {_MONTHS[b]}?",
        f"A year begins in January. Does {_MONTHS[a]} or {_MONTHS[b]} come first in it?",
    )
    early, late = _MONTHS[min(a, b)], _MONTHS[max(a, b)]
    return _fact(f"month/{a}/{b}", wordings, early, (late,), "It is {}.")


def _letters(rng: Random) -> Fact:
    word, place = rng.choice(_WORDS), rng.randrange(4)
    turn = ("first", "second", "third", "fourth")[place]
    wordings = (
        f'What is the {turn} letter of the word "{word}"?',
        f'Spell the word "{word}". Which letter is the {turn}?',
    )
    others = tuple(dict.fromkeys(letter for letter in word if letter != word[place]))[:3]
    return _fact(f"letter/{word}/{place}", wordings, word[place], others, "It is the letter {}.")


def _body(rng: Random) -> Fact:
    (animal, part, count), person = rng.choice(_ANIMALS), rng.choice(_NAMES)
    wordings = (
        f"{person} asks how many {part} a healthy {animal} has. What do you say?",
        f"How many {part} would {person} count on a {animal}?",
    )
    others = tuple(n for n in (1, 2, 3, 4, 6, 8) if n != count)[-3:]
    return _fact(f"body/{animal}/{person}", wordings, count, others, f"A {animal} has {{}} {part}.")


def _told(rng: Random) -> Fact:
    person, other = rng.sample(_NAMES, 2)
    mine, yours = rng.sample(_THINGS, 2)
    wordings = (
        f"{person} collects {mine} while {other} collects {yours}. What does {person} collect?",
        f"It is known that {other} likes {yours} and {person} likes {mine}. What is it that {person} likes?",
    )
    key = f"told/{person}/{other}/{mine}/{yours}"
    rest = tuple(thing for thing in _THINGS if thing not in (mine, yours))[:2]
    return _fact(key, wordings, mine, (yours, *rest), "According to the text it is {}.")


_MAKERS: tuple[Callable[[Random], Fact], ...] = (
    _larger,
    _sum,
    _gift,
    _next_day,
    _earlier_month,
    _letters,
    _body,
    _told,
)
