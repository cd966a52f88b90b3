"""One raw row: ids, media, pairs, placeholders, and every way in which a row can be bad."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gdo.errors import UsageError
from gdo.pool.rows import (
    MAX_MEDIA,
    MAX_NAME,
    MAX_TEXT,
    MAX_TURNS,
    SHAPES,
    BadRowError,
    Blob,
    address_of,
    has_video,
    load_row,
    pairs_of,
    parse_row,
    placeholder_trouble,
    shape_of,
)

AUTO = SHAPES["auto"]
U, A = "user", "assistant"


def turns(*turns: tuple[str, str]) -> list[dict[str, str]]:
    return [{"role": role, "content": text} for role, text in turns]


def row(**keys: Any) -> dict[str, Any]:
    return {"id": "a", "images": ["a.jpg"], "messages": turns((U, "q"), (A, "a"))} | keys


def refused(raw: Any) -> BadRowError:
    with pytest.raises(BadRowError) as caught:
        parse_row(raw, AUTO)
    return caught.value


@pytest.mark.parametrize(
    ("messages", "pairs"),
    [
        (turns((U, "q"), (A, "a")), [("q", "a")]),
        (turns((U, "q"), (A, "a"), (U, "r"), (A, "b")), [("q", "a"), ("r", "b")]),
        (turns((U, "q"), (A, " "), (A, "a")), None),
        (turns((U, "q"), (A, ""), (A, "a"), (U, "r"), (A, "b")), [("r", "b")]),
        (turns((U, "q"), (U, "r"), (A, "a")), [("r", "a")]),
        (turns((U, "q"), (U, "<image>\n"), (A, "a")), None),
        (turns((U, "q"), ("system", "s"), ("tool", "t"), (A, "a")), [("q", "a")]),
        (turns(("system", "s"), (U, "q"), (A, "a"), (A, "b")), [("q", "a")]),
        (turns((A, "a"), (U, "q")), None),
        (turns(("User", "q"), (A, "a")), None),
        (turns(("human", "q"), ("gpt", "a")), [("q", "a")]),
        ([{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}], [("q", "a")]),
        (turns((U, " <image>\nq <video> r\ns <audio>"), (A, "a\nb ")), [("q   r\ns", "a\nb")]),
        (turns((U, "<IMAGE> q"), (A, "see <image>")), [("<IMAGE> q", "see <image>")]),
        (
            [{"role": U, "content": [{"type": "image"}, {"type": "text", "text": "q"}]}, *turns((A, "a"))],
            [("q", "a")],
        ),
        ([{"role": U, "content": ["q", {"text": "r"}, 5]}, *turns((A, "a"))], [("q\nr", "a")]),
        ([{"role": U, "content": None, "value": "q"}, *turns((A, "a"))], [("q", "a")]),
        ([], None),
    ],
)
def test_turns_pair_up_as_the_spec_says(
    messages: list[dict[str, Any]], pairs: list[tuple[str, str]] | None
) -> None:
    if pairs is None:
        assert refused(row(messages=messages)).reason == "no question-answer pair"
    else:
        assert parse_row(row(messages=messages), AUTO).pairs == pairs
        assert pairs_of(row(messages=messages), AUTO) == pairs


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"messages": None}, "no question-answer pair"),
        ({"messages": "hello"}, "messages are not a list"),
        ({"messages": {"role": U}}, "messages are not a list"),
        ({"messages": ["hello"]}, "wrong type: message"),
        ({"messages": [{"role": [U], "content": "q"}]}, "wrong type: role"),
        ({"messages": [{"role": U, "content": 5}]}, "wrong type: content"),
        ({"messages": [{"role": U, "content": {"text": "q"}}]}, "wrong type: content"),
        ({"images": None}, "no media"),
        ({"images": []}, "no media"),
        ({"images": [""]}, "no media"),
        ({"images": ["a.jpg", None]}, "no media"),
        ({"images": " "}, "no media"),
        ({"images": 7}, "wrong type: images"),
        ({"images": [["a.jpg"]]}, "wrong type: images"),
        ({"images": [{}]}, "wrong type: images"),
        ({"images": [{"bytes": b"x", "path": None}, "a.jpg"]}, "wrong type: images"),
        ({"images": ["a\0.jpg"]}, "bad path"),
        ({"images": ["file:///d/%00"]}, "bad path"),
        ({"images": ["file://"]}, "bad path"),
        ({"images": ["data:image/png;base64,x"]}, "bad path"),
        ({"images": ["data:image/png;base64,eA==", "a.jpg"]}, "wrong type: images"),
        ({"videos": [[]]}, "no media"),
        ({"videos": [5]}, "wrong type: videos"),
        ({"images": 0}, "wrong type: images"),
        ({"images": None, "videos": False}, "wrong type: videos"),
        ({"videos": [["a.jpg", 3]]}, "wrong type: videos"),
        ({"id": {"x": 1}}, "wrong type: id"),
        ({"id": True}, "wrong type: id"),
        ({"video_id": [1]}, "wrong type: video_id"),
        ({"data_source": {}}, "wrong type: data_source"),
        ({"id": "x" * (MAX_NAME + 1)}, "too large"),
        ({"images": ["a.jpg"] * (MAX_MEDIA + 1)}, "too large"),
        ({"videos": ["a.mp4"] * (MAX_MEDIA + 1)}, "too large"),
        ({"messages": turns((U, "x" * (MAX_TEXT + 1)), (A, "a"))}, "too large"),
        ({"messages": turns(*[(U, "q"), (A, "a")] * (MAX_TURNS + 1))}, "too large"),
    ],
)
def test_a_bad_row_says_why(keys: dict[str, Any], reason: str) -> None:
    assert refused(row(**keys)).reason == reason


@pytest.mark.parametrize("raw", ["text", 7, None, [row()], True, BadRowError("x")])
def test_a_row_is_an_object(raw: Any) -> None:
    assert refused(raw).reason == "not an object"


def test_a_bad_value_is_shown_short_however_deep_or_long() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert len(refused(row(id=deep)).detail) <= 200
    assert len(refused(row(messages="x" * 10_000_000)).detail) <= 200
    assert BadRowError("x", "half \ud800").detail == "half ?"
    while deep:  # freeing it in one go overflows the stack of older interpreters
        deep = deep.pop()


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ("x", "x"),
        (0, "0"),
        (7, "7"),
        (10**40, str(10**40)),
        (1.5, "1.5"),
        (" x", " x"),
        (None, None),
        ("", None),
        (float("nan"), None),
        ([], None),
    ],
)
def test_ids_are_texts(value: Any, name: str | None) -> None:
    parsed = parse_row(row(id=value, video_id=value), AUTO)
    assert (parsed.id, parsed.video_id) == (name, name)


def test_an_empty_data_source_is_kept_apart_from_none() -> None:
    sources = [parse_row(row(data_source=value), AUTO).data_source for value in ("", None, "x", 3)]
    assert sources == ["", None, "x", "3"]


@pytest.mark.parametrize(
    ("keys", "images", "videos", "frame_lists"),
    [
        ({"images": ["a", "b"]}, ["a", "b"], [], []),
        ({"images": "a"}, ["a"], [], []),
        ({"images": ["file:///d/a"]}, ["/d/a"], [], []),
        ({"images": ["file:///d/my%20cat%C3%A9.jpg"]}, ["/d/my caté.jpg"], [], []),
        ({"images": ["my%20cat.jpg"]}, ["my%20cat.jpg"], [], []),
        ({"images": ["https://h/my%20cat.jpg"]}, ["https://h/my%20cat.jpg"], [], []),
        ({"images": ["data:image/png;base64,eA=="]}, [Blob(b"x", "")], [], []),
        ({"images": ["data:a.jpg"]}, ["data:a.jpg"], [], []),
        ({"images": {"url": "a"}}, ["a"], [], []),
        ({"images": None, "image": "a"}, ["a"], [], []),
        ({"images": [], "image": ["a", "b"]}, ["a", "b"], [], []),
        ({"images": None, "video": "a.mp4"}, [], [["a.mp4"]], [False]),
        ({"images": None, "videos": ["a.mp4", "b.mp4"]}, [], [["a.mp4"], ["b.mp4"]], [False, False]),
        ({"images": None, "videos": [["f0", "f1"], "b.mp4"]}, [], [["f0", "f1"], ["b.mp4"]], [True, False]),
        ({"images": ["a"], "videos": "b.mp4"}, ["a"], [["b.mp4"]], [False]),
        ({"images": [{"path": "a", "bytes": None}]}, ["a"], [], []),
        ({"images": [{"path": None, "bytes": b"x"}]}, [Blob(b"x", "")], [], []),
        (
            {"images": None, "videos": [{"path": "a.mp4", "bytes": b"x"}]},
            [],
            [[Blob(b"x", "a.mp4")]],
            [False],
        ),
    ],
)
def test_media_of_all_shapes(
    keys: Any, images: list[Any], videos: list[Any], frame_lists: list[bool]
) -> None:
    parsed = parse_row(row(**keys), AUTO)
    assert (parsed.images, parsed.videos, parsed.frame_lists) == (images, videos, frame_lists)


@pytest.mark.parametrize(
    ("part", "images", "videos"),
    [
        ({"type": "image_url", "image_url": {"url": "a.jpg"}}, ["a.jpg"], []),
        ({"type": "image_url", "image_url": "a.jpg", "text": None}, ["a.jpg"], []),
        ({"type": "image", "image": "file:///a"}, ["/a"], []),
        ({"type": "image_url", "image_url": {"url": "data:;base64,eA=="}}, [Blob(b"x", "")], []),
        ({"type": "video_url", "video_url": {"url": "a.mp4"}}, [], [["a.mp4"]]),
        ({"type": "video", "video": "a.mp4"}, [], [["a.mp4"]]),
        ({"type": "video", "video": ["f0", "f1"]}, [], [["f0", "f1"]]),
    ],
)
def test_media_within_the_messages_count_where_the_row_names_none(
    part: dict[str, Any], images: list[Any], videos: list[Any]
) -> None:
    asked = {"role": U, "content": [part, {"type": "text", "text": "q"}]}
    raw = row(images=None, messages=[asked, *turns((A, "a"))])
    parsed = parse_row(raw, AUTO)
    assert (parsed.images, parsed.videos, parsed.pairs) == (images, videos, [("q", "a")])
    assert placeholder_trouble(parsed) is None
    assert has_video(raw, AUTO) is bool(videos)
    named = raw | {"images": ["named.jpg"]}
    assert (parse_row(named, AUTO).images, parse_row(named, AUTO).videos) == (["named.jpg"], [])
    assert not has_video(named, AUTO)


def test_a_refused_row_tells_what_it_has() -> None:
    assert "keys: ['id', 'picture', 'messages']" in refused({"id": 1, "picture": "a", "messages": []}).detail
    strange = [{"from": "chatgpt", "value": "q"}, {"role": "bing", "content": "a"}, {"role": ["x"]}]
    assert "roles: ['chatgpt', 'bing']" in refused(row(messages=strange[:2])).detail


@pytest.mark.parametrize(
    ("keys", "address"),
    [
        ({}, None),
        ({"images": ["a.jpg", "s3://b/c.jpg", "http://d"]}, "s3://b/c.jpg"),
        ({"images": ["a b://c", "file:///a"]}, None),
        ({"images": None, "videos": [["f0"], ["HTTPS://h/f.jpg"]]}, "HTTPS://h/f.jpg"),
        ({"images": ["data:;base64,eA=="]}, None),
    ],
)
def test_addresses_are_told_from_files(keys: Any, address: str | None) -> None:
    assert address_of(parse_row(row(**keys), AUTO)) == address


def test_a_format_decides_which_key_counts() -> None:
    both = {"image": "one.jpg", "images": ["two.jpg"], "conversations": turns((U, "c"), (A, "c"))}
    both["messages"] = turns((U, "m"), (A, "m"))
    got = {
        name: (parse_row(both, shape).images, parse_row(both, shape).pairs[0][0])
        for name, shape in SHAPES.items()
    }
    assert got == {
        "auto": (["two.jpg"], "m"),
        "llava": (["one.jpg"], "c"),
        "swift": (["two.jpg"], "m"),
        "sharegpt": (["two.jpg"], "c"),
    }
    assert shape_of("parquet") is shape_of("auto")
    with pytest.raises(UsageError, match=r"unknown format 'nope'; known are auto, llava, swift"):
        shape_of("nope")


@pytest.mark.parametrize(
    ("raw", "video"),
    [
        ({"video_id": "v"}, True),
        ({"video_id": 0}, True),
        ({"video": "a.mp4"}, True),
        ({"videos": [["f"]]}, True),
        ({"video_id": None}, False),
        ({"video_id": ""}, False),
        ({"videos": []}, False),
        ({"videos": 0}, True),
        ({"images": ["a"]}, False),
        ({"video_id": float("nan"), "videos": None, "video": ""}, False),
        ("video", False),
        (None, False),
    ],
)
def test_what_marks_a_video_row(raw: Any, video: bool) -> None:
    assert has_video(raw, AUTO) is video


@pytest.mark.parametrize(
    ("text", "keys", "trouble"),
    [
        ("q", {"images": ["a", "b"]}, None),
        ("<image>q", {"images": ["a"]}, None),
        ("<image><image>q", {"images": ["a", "b"]}, None),
        ("<video>q", {"images": ["f0", "f1"], "video_id": "v"}, None),
        ("<image>q", {"images": None, "video": "a.mp4"}, None),
        ("<image>q<video>", {"images": ["a"], "videos": ["b.mp4"]}, None),
        ("<image><image>q", {"images": ["a"]}, "2 <image> and 0 <video> for 1 images and 0 videos"),
        ("<image>q", {"images": ["a", "b"]}, "1 <image> and 0 <video> for 2 images and 0 videos"),
        (
            "<video><video>q",
            {"images": None, "videos": ["b"]},
            "0 <image> and 2 <video> for 0 images and 1 videos",
        ),
        (
            "<image><image>q",
            {"images": None, "video": "b"},
            "2 <image> and 0 <video> for 0 images and 1 videos",
        ),
    ],
)
def test_placeholders_are_counted_against_media(text: str, keys: Any, trouble: str | None) -> None:
    parsed = parse_row(row(messages=turns((U, text), (A, "<image>")), **keys), AUTO)
    assert placeholder_trouble(parsed) == trouble


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"id": 123456789012345678901234567890}', {"id": 123456789012345678901234567890}),
        ('{"id": 18446744073709551615}', {"id": 18446744073709551615}),
        ('{"video_id": 36893488147419103232, "x": [1]}', {"video_id": 36893488147419103232, "x": [1]}),
        ('{"id": 1.0}', {"id": 1.0}),
        ('{"x": -Infinity, "y": 1e400}', {"x": float("-inf"), "y": float("inf")}),
        ('"\\ud83d\\ude00 \\u0000"', "😀 \0"),
        ('{"x": NaN, "y": "\\ud83d\\ude00"}\r', None),
    ],
)
def test_json_is_read_as_python_reads_it(text: str, value: Any) -> None:
    got = load_row(text.encode())
    assert json.dumps(got) == json.dumps(json.loads(text))
    if value is not None:
        assert got == value


@pytest.mark.parametrize(
    "data",
    [
        b"{",
        b"",
        b"{'a': 1}",
        b'{"a": "\xff"}',
        b'{"a": "\\ud800"}',
        b'{"a": NaN, "b": "\\ud800"}',
        b'{"a": "\x00"}',
        b"\xef\xbb\xbf{}",
        b'{"a": NaN, "b": "\xff"}',
        b'{"id": 1' + b"0" * 5000 + b"}",
        b"[" * 5000 + b"]" * 5000,
        b'{"a": NaN, "b": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a": 1} {"a": 2}',
    ],
)
def test_what_is_not_json_says_so(data: bytes) -> None:
    with pytest.raises(BadRowError) as caught:
        load_row(data)
    assert caught.value.reason == "not JSON"
    assert caught.value.detail


_KEYS = st.sampled_from(
    [
        "id",
        "video_id",
        "data_source",
        "images",
        "image",
        "videos",
        "video",
        "messages",
        "conversations",
        "role",
        "from",
        "content",
        "value",
        "text",
        "path",
        "bytes",
        "type",
        "x",
    ]
)
_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.binary(max_size=4)
    | st.sampled_from([U, A, "human", "gpt", "<image>", "<video>", "a.jpg", "", "q"])
)
_ANYTHING = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_KEYS, inner, max_size=5),
    max_leaves=25,
)
_TURN = st.fixed_dictionaries(
    {}, optional={"role": _LEAVES, "from": _LEAVES, "content": _ANYTHING, "value": _LEAVES}
)
_ROW = st.fixed_dictionaries(
    {
        "messages": st.lists(_TURN | _ANYTHING, max_size=5) | _ANYTHING,
        "images": st.lists(_LEAVES, max_size=3),
    },
    optional={
        "id": _ANYTHING,
        "video_id": _LEAVES,
        "data_source": _LEAVES,
        "videos": _ANYTHING,
        "image": _LEAVES,
    },
)


@given(_ANYTHING | _ROW)
@example({"id": float("nan"), "images": ["a"], "messages": [{"role": {}, "content": ""}]})
def test_any_row_is_parsed_or_refused(raw: Any) -> None:
    for shape in SHAPES.values():
        has_video(raw, shape)
        try:
            parsed = parse_row(raw, shape)
        except BadRowError as error:
            assert error.reason
            error.detail.encode()
        else:
            assert parsed.pairs
            assert all(question.strip() and answer.strip() for question, answer in parsed.pairs)
            assert parsed.images or parsed.videos
            placeholder_trouble(parsed)


@given(
    st.binary(max_size=40)
    | st.builds(
        lambda value: json.dumps(value).encode(),
        st.recursive(
            st.none() | st.integers() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["id", "video_id", "x"]), inner)
            ),
            max_leaves=6,
        ),
    )
)
def test_any_bytes_are_json_or_refused(data: bytes) -> None:
    try:
        want = json.loads(data.decode())
        json.dumps(want, ensure_ascii=False).encode()
    except ValueError:
        with pytest.raises(BadRowError):
            load_row(data)
        return
    got = load_row(data)
    if isinstance(want, dict):  # only ids need whole numbers beyond 64 bits
        for name in ("id", "video_id"):
            if isinstance(want.get(name), int | float):
                assert str(got[name]) == str(want[name])
    assert type(got) in (type(want), float)
