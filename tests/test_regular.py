"""Rows taken all at once mean what they mean one by one."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gdo.pool import typed
from gdo.pool.readers import Lines
from gdo.pool.regular import RegularReader
from gdo.pool.rows import shape_of
from gdo.pool.samples import BlockResult, Settings, parse_block

SETTINGS = Settings(
    shape=shape_of("auto"),
    kind="image",
    forced=True,
    root="media",
    blob_root="blobs",
    blob_folder=Path("blobs"),
)
SPACES = [" ", "  ", "\n", "\t", "\r\n", "\x1c", "\x1f", "\x85", "\xa0", "\u2003", "\u3000", "\u200b", "\x00"]
WORDS = [
    "before",
    "Then",
    "FIRST",
    "choices",
    "choice",
    "A.",
    "B)",
    "naïve",
    "北京",
    "İstanbul",
    "K",
    "ſequence",
]
WORDS += [
    "éafter",
    "after_",
    "afteré",
    "<image>",
    "<video>",
    "<Image>",
    "3.14",
    "x_1",
    "Σίσυφος",
    "½",
    "A",
    "it's",
]


def table(result: BlockResult, kind: str) -> list[dict[str, Any]]:
    parts = [pl.read_parquet(part) for part in result.parts if part.name.endswith(f".{kind}.parquet")]
    rows = [row for part in parts for row in part.to_dicts()]
    return sorted(rows, key=lambda row: json.dumps(row, default=str, sort_keys=True))


def assert_same(data: bytes, given_settings: Settings, folder: Path) -> int:
    """Both ways give the same parts; how many rows went the fast way."""
    folder.mkdir(parents=True, exist_ok=True)
    block = Lines(7, data)
    reader = RegularReader()
    try:
        fast = reader.parse_block(block, given_settings, folder / "fast")
    finally:
        reader.close()
    slow = parse_block(block, given_settings, folder / "slow")
    assert (fast.rows, fast.pairs, fast.saw_video) == (slow.rows, slow.pairs, slow.saw_video)
    for kind in ("sample", "bad"):
        assert table(fast, kind) == table(slow, kind)
    # The same medium may stand in both of the fast way's parts, for other rows.
    media = {row["media_id"]: row for row in reversed(table(fast, "media"))}
    first = {row["media_id"]: row["line"] for row in sorted(table(fast, "media"), key=lambda r: -r["line"])}
    expected = {row["media_id"]: row for row in table(slow, "media")}
    assert {key: row | {"line": first[key]} for key, row in media.items()} == expected
    done = [part for part in fast.parts if part.name.endswith("-regular.sample.parquet")]
    return pl.read_parquet(done)["line"].n_unique() if done else 0


def text(rng: random.Random) -> str:
    parts = [rng.choice(WORDS) + rng.choice(SPACES) for _ in range(rng.randint(0, 8))]
    return rng.choice(["", *SPACES]) + "".join(parts)


def row(rng: random.Random, number: int) -> Any:
    odd = rng.random() < 0.25
    plain = [
        {"role": rng.choice(["user", "assistant"]), "content": text(rng)} for _ in range(rng.randint(0, 6))
    ]
    plain += [{"role": "user", "content": text(rng)}, {"role": "assistant", "content": text(rng)}]
    said = [
        {"from": rng.choice(["human", "gpt", "system"]), "value": text(rng)} for _ in range(rng.randint(0, 6))
    ]
    made: dict[str, Any] = {
        "id": f"row{number}",
        "data_source": rng.choice(["a_b_c_d_e", "x(y)", "", " ", "é"]),
        rng.choice(["messages", "conversations"]): rng.choice([plain, said, plain + said]),
        rng.choice(["images", "videos"]): [f"{rng.randint(0, 9)}.jpg" for _ in range(rng.randint(0, 3))],
    }
    if odd:
        values = [
            None,
            "",
            3,
            2.5,
            True,
            [],
            {},
            ["x"],
            [None],
            ["", "x"],
            ["file:///x%20y"],
            ["x.jpg", "https://h/x.jpg"],
            ["s3://b/x"],
            ["data:;base64,eA=="],
            ["data:x"],
            [["f", "g"]],
            "v.mp4",
        ]
        values += [[{"role": "user", "content": ["x"]}], [None, {"role": "user"}], ["a\x00b"], [" "], "\x1cx"]
        keys = [
            "id",
            "video_id",
            "data_source",
            "images",
            "image",
            "videos",
            "video",
            "messages",
            "conversations",
        ]
        for key in rng.sample(keys, rng.randint(1, 3)):
            made[key] = rng.choice(values)
    if rng.random() < 0.1:
        del made[rng.choice(list(made))]
    return made


@pytest.mark.parametrize("kind", ["image", "video"])
@pytest.mark.parametrize("format", ["auto", "llava", "swift", "sharegpt"])
def test_a_thousand_rows_of_every_sort(kind: str, format: str, tmp_path: Path) -> None:
    rng = random.Random(f"{kind} {format}")
    lines = [json.dumps(row(rng, number), ensure_ascii=rng.random() < 0.5) for number in range(1000)]
    lines[3], lines[5], lines[7], lines[9] = "", "not json", '"text"', '{"id": "x", "n": NaN}'
    lines[11] = '{"id": "t", "images": ["a.jpg"], "messages": [{"role": "user", "content": "q"},]}'
    lines[13] = '{"id": "k", "id": "l", "images": ["a.jpg"], "messages": []}'
    for first_only, strict in ((False, False), (True, True)):
        chosen = replace(
            SETTINGS, kind=kind, shape=shape_of(format), name="N" if strict else None,
            first_image_only=first_only, strict=strict, forced=kind == "image" or strict,
            blob_folder=tmp_path / "blobs",
        )  # fmt: skip
        taken = assert_same("\n".join(lines).encode(), chosen, tmp_path / str(strict))
        assert taken > 50, "the fast way takes next to nothing, so this test shows nothing"


@given(st.lists(st.tuples(st.text(max_size=30), st.text(max_size=30)), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_texts_of_any_characters(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    rows = [
        {
            "id": str(number),
            "images": ["a.jpg"],
            "messages": [{"role": "user", "content": question}, {"role": "assistant", "content": answer}],
        }
        for number, (question, answer) in enumerate(pairs)
    ]
    data = "\n".join(json.dumps(made) for made in rows).encode()
    assert_same(data, SETTINGS, tmp_path_factory.mktemp("texts"))


def test_a_video_in_a_file_taken_for_images_is_seen(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    rows = [
        {"id": "1", "images": ["x.jpg"], "messages": talk},
        {"id": "2", "video": "v.mp4", "messages": talk},
    ]
    data = "\n".join(map(json.dumps, rows)).encode()
    reader = RegularReader()
    seen = reader.parse_block(Lines(1, data), replace(SETTINGS, forced=False), tmp_path / "x")
    reader.close()
    assert seen.saw_video


def test_lines_that_are_not_utf8_are_told(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]
    good = json.dumps({"id": "1", "images": ["x.jpg"], "messages": talk}).encode()
    assert assert_same(b"\n".join([good, b'{"id": "\xff"}', good]), SETTINGS, tmp_path) == 0


GOOD = {
    "id": "1",
    "images": ["x.jpg"],
    "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
}


@pytest.mark.parametrize(
    "odd",
    [
        b'{"id": "2", "n": Inf}',
        b'{"id": "2", "n": -NaN}',
        b'{"id": "2", "n": NaN}',
        b'{"id": "2", "n": Infinity}',
        b'{"id": "2", "n": 01}',
        b'{"id": "2", "n": 1e999}',
        b'{"id": "2"}{"id": "3"}',
        b'{"id": "2"}{"id": "3"}\n',
        b'{"id": "2",\n"n": 1}',
        b'{"id": "2", "n": {"x": 1}\n}',
        b'{"z":{"q":\n{"b":1}}}\n{"id": "2"}{"id": "3"}',
        b'\xef\xbb\xbf{"id": "2"}',
        b'{"id": "2"}\r',
        b' {"id": "2"} ',
        b'{"id": "2", "id": "3"}',
        b'{"id": "2", "i\\u0064": "3"}',
        b'{"id": "2", "n": "\\ud800"}',
        b'{"id": "2", "n": "\xff"}',
        b'{"id": "2", "n": "a\tb"}',
        b"",
        b"[]",
        b"null",
        b"{}",
        b"{",
    ],
)
def test_one_odd_line_among_good_ones(odd: bytes, tmp_path: Path) -> None:
    good = json.dumps(GOOD).encode()
    odd = odd.replace(b'{"id"', json.dumps(GOOD)[:-1].replace('"id": "1", ', "").encode() + b', "id"')
    assert_same(b"\n".join([good, odd, good]), SETTINGS, tmp_path)


def test_both_typed_readers_mean_the_same() -> None:
    rng = random.Random(5)
    rows = [{**GOOD, "data_source": text(rng), "video_id": text(rng)} for _ in range(200)]
    for number, made in enumerate(rows):
        if number % 3 == 0:
            made["messages"] = [None, {}, {"from": "human", "value": text(rng), "x": 1}]
        if number % 5 == 0:
            made["images"], made["bucket"] = [None, "a"], "synthetic_text_video"
    block = Lines(3, "\n".join(map(json.dumps, rows)).encode())
    shape = shape_of("auto")
    whole = typed._whole_block(block, shape)
    with duckdb.connect() as connection:
        usual = typed._usual_rows(block, shape, connection)
    assert whole is not None
    assert whole.select(usual.columns).to_dicts() == usual.to_dicts()
