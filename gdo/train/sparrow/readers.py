"""Readers of long texts with questions, by name: from a file's rows to documents.

Any container that ingest reads will do (JSONL, JSON, compressed, Parquet...). A row or question that gives
nothing is handed on with its reason and never stops a run. To add a layout: write a function from a row to a
document, and name it in `READERS` with the keys that tell it.
"""

import ast
import re
import reprlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from gdo.errors import UsageError
from gdo.pool.readers import READERS as CONTAINERS
from gdo.pool.readers import detect
from gdo.pool.rows import BadRowError

PEEK_ROWS = 20
"""Rows looked at to tell what a file holds."""
ASK_FOR_DOCUMENT = "\nGive a short answer and the id of the document that it is in."
"""Put behind a question on documents with ids (spec/sparrow.md, 4)."""

Fields = Mapping[str, str]
"""What a plain row calls its context, question, answer, and document id: our name -> its key."""

_NAMED = ("source", "dataset", "dataset_name", "task", "data_source")
_TEXT_ENDS = re.compile(r"\bNow the (?:\w+ ){1,4}ends?\.\s*")


@dataclass(frozen=True, slots=True)
class Question:
    """A question on a text; `id` tells it from the text's others."""

    id: str
    text: str
    answer: str


@dataclass(slots=True)
class Document:
    """A text with its questions.

    Attributes:
        name: Title, where there is one.
        context: The text.
        questions: In the order of the file.
        family: Name of the data it is from, where the row tells; rules of length go by it.
        line: Line, row or element of the file, from 1.
        bad: Questions that are none: id and reason.
    """

    name: str
    context: str
    questions: list[Question]
    family: str = ""
    line: int = 0
    bad: list[tuple[str, str]] = field(default_factory=list)

    def add(self, key: str, question: Any, answer: Any) -> None:
        """Take a question, or note why it is none."""
        if not isinstance(question, str) or not question.strip():
            self.bad.append((key, "no question"))
        elif not isinstance(answer, str) or not answer.strip():
            self.bad.append((key, "no answer"))
        else:
            self.questions.append(Question(key, question.strip(), answer.strip()))


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that gave no document."""

    line: int
    reason: str
    detail: str


def read_documents(path: Path, format: str, fields: Fields) -> Iterator[Document | BadRow]:
    """Read a file's documents in order.

    Args:
        path: A file, or a folder of Parquet or Arrow files.
        format: A name of `READERS`; see `format_of`.
        fields: Of plain rows; see `Fields`.
    """
    read = READERS[format].read
    for line, raw in _rows(path):
        try:
            if isinstance(raw, BadRowError):
                raise raw
            if not isinstance(raw, dict):
                raise BadRowError("not an object", reprlib.repr(raw))
            document = read(raw, fields)
            if not document.context.strip():
                raise BadRowError("no context")
        except BadRowError as error:
            yield BadRow(line, error.reason, error.detail)
        else:
            document.line = line
            yield document


def format_of(path: Path, fields: Fields) -> str:
    """The reader for a file, told from the keys of its first rows.

    Raises:
        UsageError: There is no such file, or no reader knows its rows.
    """
    if fields:
        return "plain"
    seen = set[str]()
    for _, raw in islice(_rows(path), PEEK_ROWS):
        keys = set(raw) if isinstance(raw, dict) else set[str]()
        seen |= keys
        for name, reader in READERS.items():
            if reader.keys <= keys:
                return name
    keys_told = ", ".join(sorted(seen)) or "none"
    raise UsageError(
        f"{path}: no reader knows rows with these keys: {keys_told}; name one with --format "
        f"({', '.join(READERS)}), or give --field context=KEY question=KEY answer=KEY"
    )


def count_rows(path: Path) -> int:
    """Rows of a file, bad ones among them."""
    return sum(1 for _ in _rows(path))


def _rows(path: Path) -> Iterator[tuple[int, Any]]:
    for block in CONTAINERS[detect(path)](path):
        yield from block.rows()


def _fairytaleqa(raw: dict[str, Any], _: Fields) -> Document:
    """FairytaleQA: the sections in order are the text; the first answer of the first annotator counts."""
    sections = _objects(raw, "sections")
    if not all(isinstance(section.get("text"), str) for section in sections):
        raise BadRowError("wrong type: sections", "a section without text")
    document = Document(_name(raw, "story"), "\n".join(section["text"] for section in sections), [])
    for number, asked in enumerate(_objects(raw, "questions")):
        document.add(f"{number}", asked.get("question"), asked.get("answer1"))
    return document


def _loogle(raw: dict[str, Any], _: Fields) -> Document:
    """LooGLE: `qa_pairs` is a Python literal in a string, read as a literal and never run."""
    document = Document(_name(raw, "title"), _text(raw, "input"), [])
    pairs = raw.get("qa_pairs")
    if isinstance(pairs, str):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                pairs = ast.literal_eval(pairs)
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
            raise BadRowError("qa_pairs are not a literal", str(error)) from error
    if not isinstance(pairs, list):
        raise BadRowError("wrong type: qa_pairs", reprlib.repr(pairs))
    for number, pair in enumerate(pairs):
        asked = pair if isinstance(pair, dict) else {}
        document.add(f"{number}", asked.get("Q"), asked.get("A"))
    return document


def _instructed(raw: dict[str, Any], _: Fields) -> Document:
    """LongAlpaca and LongQLoRA: the text in `input`, or before the question in the instruction itself."""
    asked, context = raw.get("instruction") or raw.get("prompt"), raw.get("input")
    if not isinstance(asked, str):
        raise BadRowError("wrong type: instruction", reprlib.repr(asked))
    if not isinstance(context, str) or not context.strip():
        context, asked = _parted(asked.strip())
    family = next((raw[key] for key in _NAMED if isinstance(raw.get(key), str)), "")
    document = Document(_name(raw, "file"), context, [], family)
    document.add("0", asked, raw.get("output"))
    return document


def _parted(text: str) -> tuple[str, str]:
    """Text and question of an instruction that holds both: LongAlpaca says where the text ends."""
    ends = list(_TEXT_ENDS.finditer(text))
    if ends:
        return text[: ends[-1].start()], text[ends[-1].end() :]
    context, _, question = text.rpartition("\n")
    if not context.strip():
        raise BadRowError("no context", "input is empty, and the instruction has but one line")
    return context, question


def _plain(raw: dict[str, Any], fields: Fields) -> Document:
    """One text and question a row; a list of texts with ids asks for the id too (spec/sparrow.md, 4)."""
    key = {name: fields.get(name, name) for name in PLAIN_FIELDS}
    context, question, answer = raw.get(key["context"]), raw.get(key["question"]), raw.get(key["answer"])
    if isinstance(context, list):
        context = "\n\n".join(_numbered(entry) for entry in context)
        named = raw.get(key["document"])
        if named is None or named == "":
            raise BadRowError("no document id", f"the context is a list, and {key['document']!r} is empty")
        if isinstance(question, str) and question.strip() and isinstance(answer, str) and answer.strip():
            question = question.strip() + ASK_FOR_DOCUMENT
            answer = f"{answer.strip()} (document {named})"
    if not isinstance(context, str):
        raise BadRowError(f"wrong type: {key['context']}", reprlib.repr(context))
    family = next((raw[name] for name in _NAMED if isinstance(raw.get(name), str)), "")
    document = Document(_name(raw, "title"), context, [], family)
    document.add("0", question, answer)
    return document


def _numbered(entry: Any) -> str:
    """A document of a list, headed by its id."""
    if (
        isinstance(entry, dict)
        and isinstance(entry.get("text"), str)
        and isinstance(entry.get("id"), str | int)
    ):
        return f"Document {entry['id']}: {entry['text']}"
    raise BadRowError("wrong type: context", "its documents need an id and a text")


def _objects(raw: dict[str, Any], key: str) -> list[dict[str, Any]]:
    value = raw.get(key)
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise BadRowError(f"wrong type: {key}", reprlib.repr(value))
    return value


def _text(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    if not isinstance(value, str):
        raise BadRowError(f"wrong type: {key}", reprlib.repr(value))
    return value


def _name(raw: dict[str, Any], key: str) -> str:
    value = raw.get(key)
    return value[:200] if isinstance(value, str) else ""


@dataclass(frozen=True, slots=True)
class Reader:
    """How rows of one layout are read, and the keys that tell it."""

    read: Callable[[dict[str, Any], Fields], Document]
    keys: frozenset[str]


PLAIN_FIELDS = ("context", "question", "answer", "document")

READERS = {
    "fairytaleqa": Reader(_fairytaleqa, frozenset({"sections", "questions"})),
    "loogle": Reader(_loogle, frozenset({"input", "qa_pairs"})),
    "longalpaca": Reader(_instructed, frozenset({"instruction", "output"})),
    "longqlora": Reader(_instructed, frozenset({"prompt", "output"})),
    "plain": Reader(_plain, frozenset({"context", "question", "answer"})),
}
