"""Held-out questions: each answered turn of a row is one, with what was said before it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb

from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool
from gdo.train.evaluate.options import Choice, listed, make_choice, options_in, options_of
from gdo.train.samples import Medium, parse_row
from gdo.train.sources import KNOWN_FILES, Data, read_data

_ROLES = {"human": "user", "gpt": "assistant"}
NO_KIND = "unknown"


@dataclass(frozen=True, slots=True)
class Question:
    """One held-out question.

    Attributes:
        qa_uid: Its key; `::tN` is added where a row asks several.
        kind: What accuracies are told by.
        media: What it shows, before its text.
        text: What is asked.
        answer: What is right.
        history: Questions and right answers of the row's earlier turns.
        choice: What it is chosen from; None where it is answered freely.
        error: Why it cannot be asked; None where it can.
    """

    qa_uid: str
    kind: str
    media: tuple[Medium, ...]
    text: str
    answer: str
    history: tuple[tuple[str, str], ...] = ()
    choice: Choice | None = None
    error: str | None = None


def parse_held_out(text: str) -> Data:
    """`JSONL`, its folder, or `POOL:SUBSET`.

    Raises:
        UsageError: There is no such file.
    """
    if Path(text).exists():
        return Data(Path(text))
    path, colon, subset = text.rpartition(":")
    if not (colon and subset and Path(path).is_file()):
        raise UsageError(f"there is no file {text}; --on takes an exported JSONL, its folder, or POOL:SUBSET")
    return Data(Path(path), subset)


def name_of(data: Data) -> str:
    """What results on this data are called: the subset, the file, or its folder."""
    if data.subset is not None:
        return data.subset
    return file_title(data.path.absolute())


def file_title(path: Path) -> str:
    """What a file of samples is called: by its folder where all such files have the same name."""
    if path.name in KNOWN_FILES:
        return path.parent.name
    return path.stem if path.suffix == ".jsonl" else path.name


def read_questions(data: Data, kind: str | None = None) -> list[Question]:
    """All questions, in order.

    Args:
        data: Rows of the swift or llava export, or a pool's subset.
        kind: Field of the rows, or column of the pool's view `candidate`, that tells kinds apart; without
            it a row's `kind`, else its `data_source`.

    Raises:
        UsageError: There are no rows, or no such field.
        GdoError: A row cannot be understood, or two questions have the same id.
    """
    rows: Iterable[dict[str, Any]] = read_data(data, seed=0)
    if kind is not None and data.subset is not None:
        rows = _with_column(rows, data.path, data.subset, kind)
    made = [question for row in rows for question in _questions_of(row, kind)]
    seen: set[str] = set()
    for question in made:
        if question.qa_uid in seen:
            raise GdoError(f"two questions have the id {question.qa_uid}; ids must differ")
        seen.add(question.qa_uid)
    return made


def _with_column(
    rows: Iterable[dict[str, Any]], path: Path, subset: str, column: str
) -> Iterator[dict[str, Any]]:
    """The rows of a subset with a column of the pool's candidates."""
    with Pool(path).read() as connection:
        members = connection.sql(
            "SELECT * FROM candidate WHERE qa_uid IN (SELECT qa_uid FROM subset_sample WHERE subset = ?)",
            params=[subset],
        )
        if column not in members.columns:
            raise UsageError(f"--kind {column}: the pool's candidates have no such column")
        values = dict(members.select("qa_uid", duckdb.ColumnExpression(column)).fetchall())
    for row in rows:
        yield {**row, column: values[row["id"]]}


def _questions_of(row: Mapping[str, Any], kind: str | None) -> Iterator[Question]:
    """A question for each answer of a row; options of the field `options` are those of its last."""
    if kind is not None and kind not in row:
        raise UsageError(f"--kind {kind}: row {row['id']} has no such field")
    told = row[kind] if kind is not None else row.get("kind") or row.get("data_source")
    turns = parse_row(_as_chat(row)).turns
    if [turn.role for turn in turns] != ["user", "assistant"] * (len(turns) // 2):
        raise GdoError(f"row {row['id']}: held-out rows are questions and answers in turn, nothing else")
    media: tuple[Medium, ...] = ()
    history: list[tuple[str, str]] = []
    for asked, answered in zip(turns[::2], turns[1::2], strict=True):
        media += asked.media
        last = len(history) == len(turns) // 2 - 1
        question = Question(
            f"{row['id']}::t{len(history)}" if len(turns) > 2 else str(row["id"]),
            NO_KIND if told is None else str(told),
            media,
            asked.text.strip(),
            answered.text.strip(),
            tuple(history),
        )
        history.append((question.text, question.answer))
        yield _with_options(question, row.get("options") if last else None)


def _with_options(question: Question, field: Any) -> Question:
    """The question with what it is chosen from; options that it should show and does not are added."""
    try:
        shown = options_in(question.text)
        options = options_of(field) if field else shown
        if not options:
            return question
        choice = make_choice(question.answer, options)
    except GdoError as error:
        return replace(question, error=str(error))
    if choice.asks_letter and not shown:
        return replace(question, text=f"{question.text}\n{listed(options)}", choice=choice)
    return replace(question, choice=choice)


def _as_chat(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the llava export in the form of the swift export; others as they are."""
    if "messages" in row or not isinstance(row.get("conversations"), list):
        return dict(row)
    turns = [(turn.get("from"), turn.get("value")) for turn in row["conversations"]]
    return {**row, "messages": [{"role": _ROLES.get(who, who), "content": text} for who, text in turns]}
