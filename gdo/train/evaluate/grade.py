"""When two short answers say the same: case, articles, punctuation and ways of writing a number aside."""

import re
import unicodedata

_NUMBERS = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen"
_NUMBERS += " sixteen seventeen eighteen nineteen twenty"
NUMBER_WORDS = {word: str(number) for number, word in enumerate(_NUMBERS.split())}
"""Words that are read as numbers, zero to twenty."""
_LEAD = re.compile(
    r"^\W*(?:so|therefore|thus)?\W*(?:(?:the|my)\s+)?(?:(?:final|correct|right|best)\s+)?"
    r"(?:answer|option|choice)\s*(?:is|:|=)\s*:?\s*",
    re.IGNORECASE,
)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_WORD = re.compile(r"[+-]?\d+(?:\.\d+)?|[^\W_]+")
_ARTICLES = {"a", "an", "the"}


def without_lead(answer: str) -> str:
    """An answer without `The answer is` and its kin in front."""
    return _LEAD.sub("", answer, count=1).strip()


def normal_form(answer: str) -> str:
    """What two answers that say the same have in common.

    Case, white space, punctuation and articles go, `The answer is` in front too; `1,000`, `3.0` and `three`
    become 1000, 3 and 3. An answer of nothing but such words keeps them.
    """
    text = unicodedata.normalize("NFKC", without_lead(answer)).casefold().replace("'", "").replace("’", "")
    words = [_number(word) for word in _WORD.findall(_THOUSANDS.sub("", text))]
    return " ".join([word for word in words if word not in _ARTICLES] or words)


def same_answer(said: str, answer: str) -> bool:
    """Whether two short answers say the same; an empty one says nothing."""
    form = normal_form(said)
    return bool(form) and form == normal_form(answer)


def _number(word: str) -> str:
    if not word.lstrip("+-")[0].isdecimal():
        return NUMBER_WORDS.get(word, word)
    whole, _, part = word.lstrip("+").partition(".")
    part = part.rstrip("0")
    digits = f"{whole.rstrip('0123456789')}{whole.lstrip('-').lstrip('0') or '0'}"
    return f"{digits}.{part}" if part else digits
