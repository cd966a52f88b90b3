"""Text features and strata equal a plain reading of the spec with Python's `re`, whatever the script."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from containers import lines
from hypothesis import given
from hypothesis import strategies as st

from gdo.pool.byte_texts import ByteTexts
from gdo.pool.ingest import ingest
from gdo.pool.rows import SHAPES
from gdo.pool.samples import Settings, parse_block
from gdo.pool.store import Pool
from gdo.pool.text import hash64, source_group, text_hash

WORDS = [
    "before", "after", "then", "while", "during", "first", "next", "finally", "sequence", "later", "earlier",
    "transition", "happen",
]  # fmt: skip
TEMPORAL = re.compile(rf"\b(?:{'|'.join(WORDS)})\b", re.IGNORECASE)
CHOICE = re.compile(r"\bchoices?\b", re.IGNORECASE)
OPTION = re.compile(r"\n\s*A[.)]")
TOKEN = re.compile(r"[A-Za-z0-9_]+")


def normal(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def expected(question: str, answer: str) -> dict[str, Any]:
    normal_question, normal_answer = normal(question), normal(answer)
    tokens = TOKEN.findall(normal_answer.lower())
    choice = bool(CHOICE.search(normal_question))
    return {
        "question": question.strip(),
        "answer": answer.strip(),
        "question_tokens": len(TOKEN.findall(normal_question.lower())),
        "answer_tokens": len(tokens),
        "answer_distinct": len(set(tokens)),
        "temporal_words": bool(TEMPORAL.search(normal_question)),
        "mcq": choice,
        "mcq_raw": choice or bool(OPTION.search(question.strip())),
        "text_hash": text_hash(normal_question, normal_answer),
        "question_hash": hash64(normal_question),
    }


@dataclass
class Rows:
    """A block of given pairs."""

    pairs: list[tuple[str, str]]

    def rows(self) -> Iterator[tuple[int, Any]]:
        for line, (question, answer) in enumerate(self.pairs, 1):
            turns = [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]
            yield line, {"images": ["a"], "messages": turns}


def features(pairs: list[tuple[str, str]]) -> pl.DataFrame:
    with TemporaryDirectory() as folder:
        settings = Settings(SHAPES["auto"], "image", True, ".", "", Path())
        parts = parse_block(Rows(pairs), settings, Path(folder) / "part").parts
        tables = [pl.read_parquet(part) for part in parts if part.name.endswith(".sample.parquet")]
    return pl.concat(tables) if tables else pl.DataFrame()


_PIECES = st.sampled_from(
    [*WORDS, "choice", "Choices", "FIRST", "fırst", "fİnally", "firſt", "ﬁrst", "K", "A.", " A)", "\nA.",
     "\n\x1dA)", "\n ", "_", "é", "e\u0301", "²", "½", "\u200d", "‿", "ẞ", "Σ", "ς", "北京", "\x1c", "\x85",
     "\u2028", "\xa0", "\u180e", "\ufeff", "\0", "०", "Ⅷ", "😀", "a", "a_b", "9", " ", ",", "-"]
)  # fmt: skip
_TEXT = st.lists(_PIECES | st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).map("".join)


@given(st.lists(st.tuples(_TEXT, _TEXT), min_size=1, max_size=20))
def test_text_features_equal_a_plain_reading_of_the_spec(pairs: list[tuple[str, str]]) -> None:
    frame = features(pairs)
    want = [expected(*pair) for pair in pairs if normal(pair[0]) and normal(pair[1])]
    assert frame.height == len(want)
    if want:
        assert frame.select(list(want[0])).to_dicts() == want


def test_long_tokens_are_told_apart_wherever_they_differ() -> None:
    """They are hashed eight bytes at a time."""
    long = "abcdefghijklmnopqrstuvwxyz"
    cut = [long[:size] for size in range(1, 27)]
    changed = [long[:place] + "_" + long[place + 1 :] for place in range(26)]
    swapped = [long[8:16] + long[:8] + long[16:], long[:8] + long[16:24] + long[8:16] + long[24:]]
    told = [*cut, *changed, *swapped]
    texts = [" ".join(told), " ".join([*told, *told]), *told]
    seen = ByteTexts(pl.Series(texts), distinct=True)
    assert seen.tokens.tolist() == [len(told), 2 * len(told), *[1] * len(told)]
    assert seen.distinct.tolist() == [len(told), len(told), *[1] * len(told)]


@pytest.mark.slow
@pytest.mark.parametrize(
    "form", ["{}first", "then{}", "f{}rst", "fir{}t", "{}choice", "cho{}ces", "choice{} A", "\n{}A."]
)
def test_every_character_bounds_words_as_in_python(form: str) -> None:
    ranges = [range(0x3100), range(0xA640, 0xAC00), range(0xFB00, 0x10000), range(0x1D400, 0x1D800)]
    known = [chr(code) for part in ranges for code in part if unicodedata.category(chr(code)) != "Cn"]
    texts = ["q " + form.replace("{}", char) for char in known]
    frame = features([(text, text) for text in texts])
    names = ["question_tokens", "answer_distinct", "temporal_words", "mcq", "mcq_raw", "text_hash"]
    want = [tuple(expected(text, text)[name] for name in names) for text in texts]
    got = frame.select(names).rows()
    assert [text for text, a, b in zip(texts, got, want, strict=True) if a != b] == []


@pytest.mark.parametrize(
    ("data_source", "group"),
    [
        ("coco", "coco"), ("coco(2017)", "coco"), ("a_b_c_d_e (x)", "a_b_c_d_e"), (" coco (a) (b)", "coco"),
        ("(x)", "unknown"), (" (x)", "unknown"), ("", "unknown"), ("a_b_c", "a_b_c"), ("a_b_c_d", "a_b_c_d"),
        ("1_2_m_youtube_v0_1", "1_2_m_youtube"), ("____", "___"), ("\0", "\0"),
    ],
)  # fmt: skip
def test_source_groups(data_source: str, group: str) -> None:
    assert source_group(data_source) == group


def _bucket(value: int, bounds: dict[str, int], last: str) -> str:
    return next((name for name, bound in bounds.items() if value <= bound), last)


DURATIONS = {"image": 1, "very_short": 8, "short": 24, "medium": 64, "long": 160}
Q_LENGTHS = {"q_tiny": 6, "q_short": 14, "q_medium": 30, "q_long": 60}
A_LENGTHS = {"a_tiny": 2, "a_short": 8, "a_medium": 24, "a_long": 64}


def _pair(questions: int, answers: int, more: str = "") -> list[dict[str, str]]:
    return [
        {"role": "user", "content": " ".join([more, *["w"] * questions]) + "?"},
        {"role": "assistant", "content": " ".join(["w"] * answers) + "."},
    ]


def test_strata_of_candidates_agree_with_the_spec(tmp_path: Path) -> None:
    sizes = [(1, 1), (6, 2), (7, 3), (14, 8), (15, 9), (30, 24), (31, 25), (60, 64), (61, 65)]
    frames = [1, 2, 8, 9, 24, 25, 31, 32, 33, 64, 65, 200]
    images = [{"id": f"i{n}", "images": ["a"], "messages": _pair(*size)} for n, size in enumerate(sizes)]
    images.append({"id": "mcq", "images": ["a"], "messages": _pair(2, 2, "which choices happen first")})
    images.append({"id": "raw", "images": ["a", "b"], "messages": _pair(2, 2, "which\nA. this")})
    videos = [{"id": f"v{n}", "video_id": "v", "images": ["f"] * n, "messages": _pair(1, 1)} for n in frames]
    videos.append({"id": "then", "video_id": "v", "images": ["f"] * 9, "messages": _pair(1, 1, "what then")})
    videos.append({"id": "file", "video": "a.mp4", "messages": _pair(1, 1)})
    videos.append({"id": "probed", "video": "b.mp4", "messages": _pair(1, 1)})
    for name, rows in (("images", images), ("videos", videos)):
        (tmp_path / f"{name}.jsonl").write_bytes(lines(rows))
        ingest(tmp_path / "p.duckdb", [tmp_path / f"{name}.jsonl"])
    pool = Pool(tmp_path / "p.duckdb")
    with pool.write() as connection:
        connection.execute("UPDATE media SET frames = 7 WHERE paths = ['b.mp4']")
        macro = "SELECT list(duration_of(n)) FROM (SELECT unnest(range(0, 300)) AS n)"
        durations = connection.execute(macro).fetchall()[0][0]
    assert durations == [_bucket(n, DURATIONS, "very_long") for n in range(300)]
    with pool.read() as connection:
        fields = "bucket, duration_bucket, temporal_category, question_form, q_len_bucket, a_len_bucket"
        got = {
            row[0]: row[1:] for row in connection.execute(f"SELECT id, {fields} FROM candidate").fetchall()
        }
    image, video = ("image_qa", "image", "Static"), "short_video"
    want = {
        f"i{n}": (*image, "Open", _bucket(q, Q_LENGTHS, "q_very_long"), _bucket(a, A_LENGTHS, "a_very_long"))
        for n, (q, a) in enumerate(sizes)
    }
    want["mcq"] = (*image, "MCQ", "q_tiny", "a_tiny")
    want["raw"] = (*image, "Open", "q_tiny", "a_tiny")
    for n in frames:
        want[f"v{n}"] = (video, _bucket(min(n, 32), DURATIONS, ""), "Mixed", "Open", "q_tiny", "a_tiny")
    want["then"] = (video, "short", "Temporal", "Open", "q_tiny", "a_tiny")
    want["file"] = (video, "medium", "Mixed", "Open", "q_tiny", "a_tiny")
    want["probed"] = (video, "very_short", "Mixed", "Open", "q_tiny", "a_tiny")
    assert got == want
