"""Sparrow's readers and rules: what each layout of file gives, what is left out and why."""

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import zstandard
from qwen_models import TINY, make_processor

from gdo.errors import GdoError, UsageError
from gdo.train.sparrow.keep import Limits, estimated_tokens, processor_counts
from gdo.train.sparrow.readers import READERS, BadRow, Document, format_of, read_documents

FAIRY = {
    "story": "the-king",
    "split": "train",
    "sections": [{"section": "1", "text": "Once upon a time"}, {"section": "2", "text": "there was a king."}],
    "questions": [
        {"question": "Who was there?", "answer1": "a king", "answer2": "", "answer4": "the king"},
        {"question": "When?", "answer1": ""},
        {"question": None, "answer1": "x"},
    ],
}
LOOGLE = {
    "title": "A",
    "input": "A long text.",
    "qa_pairs": "[{'Q': 'What is it?', 'A': 'A text.', 'S': ['A long text.']}, {'Q': 'Why?'}]",
    "output": "none",
}
ALPACA = {"instruction": "What happened?", "input": "Much happened.", "output": "Much.", "file": "a.txt"}
QLORA = {"prompt": "What happened?", "input": "Much happened.", "output": "Much.", "source": "booksum"}
PLAIN = {"context": "Some text.", "question": "What?", "answer": "Text."}
ROWS = {"fairytaleqa": FAIRY, "loogle": LOOGLE, "longalpaca": ALPACA, "longqlora": QLORA, "plain": PLAIN}


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def read(path: Path, format: str = "", fields: dict[str, str] | None = None) -> list[Document | BadRow]:
    return list(read_documents(path, format or format_of(path, fields or {}), fields or {}))


def only(path: Path, **options: Any) -> Document:
    (document,) = read(path, **options)
    assert isinstance(document, Document), document
    return document


@pytest.mark.parametrize("name", sorted(READERS))
def test_every_reader_is_found_by_the_rows_and_survives_bad_ones(name: str, tmp_path: Path) -> None:
    file = write(tmp_path / "texts.jsonl", [ROWS[name], 7, {}, None, dict.fromkeys(ROWS[name], 3)])
    with file.open("a") as out:
        out.write('{"broken": \n' + json.dumps(ROWS[name]) + "\n")
    assert format_of(file, {}) == name
    found = read(file)
    assert [type(item) for item in found] == [Document, *[BadRow] * 5, Document]
    assert [item.line for item in found] == [1, 2, 3, 4, 5, 6, 7]
    assert found == read(file)
    assert {item.reason for item in found if isinstance(item, BadRow)} >= {"not an object", "not JSON"}
    (tmp_path / "empty.jsonl").write_text("[]")
    assert read(tmp_path / "empty.jsonl", name) == []


def test_fairytaleqa(tmp_path: Path) -> None:
    document = only(write(tmp_path / "a.jsonl", [FAIRY]))
    assert (document.name, document.context) == ("the-king", "Once upon a time\nthere was a king.")
    assert [(one.id, one.text, one.answer) for one in document.questions] == [
        ("0", "Who was there?", "a king")
    ]
    assert document.bad == [("1", "no answer"), ("2", "no question")]


def test_loogle_reads_a_literal_and_runs_nothing(tmp_path: Path) -> None:
    document = only(write(tmp_path / "a.jsonl", [LOOGLE]))
    assert [(one.text, one.answer) for one in document.questions] == [("What is it?", "A text.")]
    assert document.bad == [("1", "no answer")]
    mark = tmp_path / "mark"
    for evil in (f"[open({str(mark)!r}, 'w')]", "[" * 5000, "{'Q': 1", "f(1)", "'\\d'"):
        (bad,) = read(write(tmp_path / "b.jsonl", [LOOGLE | {"qa_pairs": evil}]))
        assert isinstance(bad, BadRow)
        assert bad.reason in {"qa_pairs are not a literal", "wrong type: qa_pairs"}
    assert not mark.exists()


def test_longalpaca_takes_the_text_from_the_input_or_before_the_question(tmp_path: Path) -> None:
    document = only(write(tmp_path / "a.jsonl", [ALPACA]))
    assert (document.context, document.questions[0].text) == ("Much happened.", "What happened?")
    asked = "Below is a paper.\nThe paper begins.\nWe did it.\nNow the paper ends.\nWhat did they\ndo?"
    inside = only(write(tmp_path / "b.jsonl", [ALPACA | {"input": "", "instruction": asked}]))
    assert " ".join(inside.context.split()) == "Below is a paper. The paper begins. We did it."
    assert inside.questions[0].text == "What did they\ndo?"
    unmarked = only(write(tmp_path / "c.jsonl", [ALPACA | {"input": "", "instruction": "A text.\nWhy?"}]))
    assert (unmarked.context, unmarked.questions[0].text) == ("A text.", "Why?")
    (bad,) = read(write(tmp_path / "d.jsonl", [ALPACA | {"input": ""}]))
    assert isinstance(bad, BadRow)
    assert bad.reason == "no context"


def test_plain_rows_by_field_mapping(tmp_path: Path) -> None:
    file = write(tmp_path / "a.jsonl", [{"text": "Some text.", "q": "What?", "a": "Text."}])
    with pytest.raises(UsageError, match="no reader knows rows with these keys: a, q, text"):
        format_of(file, {})
    document = only(file, fields={"context": "text", "question": "q", "answer": "a"})
    assert (document.context, document.questions[0].answer) == ("Some text.", "Text.")


def test_documents_with_ids_ask_for_the_short_answer_and_the_id(tmp_path: Path) -> None:
    texts = [{"id": 7, "text": "Rome is old."}, {"id": 8, "text": "Paris is large."}]
    row = {"context": texts, "question": "Which is old?", "answer": "Rome", "document": 7}
    document = only(write(tmp_path / "a.jsonl", [row]))
    assert document.context == "Document 7: Rome is old.\n\nDocument 8: Paris is large."
    (question,) = document.questions
    assert question.text == "Which is old?\nGive a short answer and the id of the document that it is in."
    assert question.answer == "Rome (document 7)"
    (bad,) = read(write(tmp_path / "b.jsonl", [row | {"document": None}]))
    assert isinstance(bad, BadRow)
    assert bad.reason == "no document id"


def test_containers_and_compression(tmp_path: Path) -> None:
    text = (json.dumps(FAIRY) + "\n").encode() * 3
    (tmp_path / "a.gz").write_bytes(gzip.compress(text))
    (tmp_path / "a.zst").write_bytes(zstandard.compress(text))
    (tmp_path / "a.json").write_text(json.dumps([FAIRY] * 3))
    for name in ("a.gz", "a.zst", "a.json"):
        assert len(read(tmp_path / name)) == 3
    (tmp_path / "cut.gz").write_bytes(gzip.compress(text * 2000)[:-200])
    found = read(tmp_path / "cut.gz")
    assert isinstance(found[-1], BadRow)
    assert found[-1].reason == "broken file"
    assert all(isinstance(item, Document) for item in found[:-1])


def test_only_long_texts_of_booksum_and_naturalquestions() -> None:
    limits = Limits()
    assert limits.least_words("longqlora", "") == 3000
    assert limits.least_words("longqlora", "kmfoda/booksum") == 3000
    assert limits.least_words("longqlora", "sharegpt") == 0
    assert limits.least_words("plain", "natural_questions_train") == 3000
    assert limits.least_words("fairytaleqa", "") == 0
    assert Limits(min_words=10).least_words("fairytaleqa", "") == 10
    assert limits.text_trouble("longqlora", "nq", 2999) == "text has fewer than 3000 words"
    assert limits.text_trouble("longqlora", "nq", 3000) is None


def test_limits_of_questions_frames_and_tokens() -> None:
    limits = Limits(frame_tokens=96)
    assert limits.question_trouble("longqlora", "w " * 31, 1, 1) == "question has more than 30 words"
    assert limits.question_trouble("longqlora", "w " * 30, 1, 1) is None
    assert limits.question_trouble("longalpaca", "w " * 500, 1, 1) is None
    assert limits.question_trouble("plain", "w " * 5000, 1, 1) is None
    assert limits.frames_trouble(100) is None
    assert limits.frames_trouble(101) == "text has more than 100 pictures"
    assert limits.question_trouble("plain", "q", 640, 100) is None
    assert limits.question_trouble("plain", "q", 641, 100) == "sample has more than 10240 tokens"
    assert estimated_tokens("four") == 2
    assert estimated_tokens("文") == 1


def test_a_processor_that_cannot_be_loaded_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(GdoError, match="give --tokens-per-frame"):
        processor_counts(tmp_path, 448, None)


def test_tokens_of_a_picture_come_from_the_grid_of_the_processor(tmp_path: Path) -> None:
    """Qwen3-VL: a token is 32 x 32 pixels, so 64 of them at 256 x 256 (spec/sparrow.md, 5)."""
    make_processor(replace(TINY, patch=16), 1 << 20).save_pretrained(tmp_path)
    count, whole = processor_counts(tmp_path, 448, None)
    assert whole == 14 * 14
    assert processor_counts(tmp_path, 448, 256 * 256)[1] == 64
    assert 1 < count("What is in the picture?") <= len("What is in the picture?")
