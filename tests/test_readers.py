"""Every container gives the same raw rows with the same line numbers; breaks are told, not raised."""

import gzip
import io
import json
import zlib
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from containers import CONTAINERS, JPEG, MP4, SHAPES, Rows, dataset, lines, tar, ten_rows
from hypothesis import given
from hypothesis import strategies as st

from gdo.errors import UsageError
from gdo.pool import readers, shards
from gdo.pool.readers import READERS, detect
from gdo.pool.rows import SHAPES as ROW_SHAPES
from gdo.pool.rows import BadRowError, Blob, parse_row

Told = list[tuple[int, Any]]


def read(path: Path) -> Told:
    return [item for block in READERS[detect(path)](path) for item in block.rows()]


def told(items: Told) -> list[tuple[int, str]]:
    """Lines, with the reason of bad rows and `id` of good ones."""
    return [(line, raw.reason if isinstance(raw, BadRowError) else _id(raw)) for line, raw in items]


def _id(raw: Any) -> str:
    return str(raw.get("id") if isinstance(raw, dict) else raw)


def parsed(items: Told) -> list[tuple[int, Any]]:
    return [(line, parse_row(raw, ROW_SHAPES["auto"])) for line, raw in items]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("container", CONTAINERS)
def test_every_container_gives_the_same_rows(container: str, shape: str, tmp_path: Path) -> None:
    rows = ten_rows(shape)
    path = CONTAINERS[container](tmp_path, rows)
    want = [(line, parse_row(row, ROW_SHAPES["auto"])) for line, row in enumerate(rows, 1)]
    assert parsed(read(path)) == want


SPLIT = {"hf", "hf dict", "parquet folder"}  # these need some rows for each of their files


@pytest.mark.parametrize("container", sorted(set(CONTAINERS) - SPLIT))
def test_one_row(container: str, tmp_path: Path) -> None:
    rows = ten_rows("paper image")[:1]
    assert told(read(CONTAINERS[container](tmp_path, rows))) == [(1, "r0")]


@pytest.mark.parametrize("container", sorted(set(CONTAINERS) - SPLIT))
def test_no_rows(container: str, tmp_path: Path) -> None:
    path = CONTAINERS[container](tmp_path, [])
    if path.suffix in {".jsonl", ".gz", ".zst"} and not path.name.startswith(("rows.json.", "rows.tar")):
        with pytest.raises(UsageError, match="is empty"):
            read(path)
    else:
        assert [tell for _, tell in told(read(path))] in ([], ["broken file"], ["not JSON"])


@pytest.mark.parametrize("size", [1, 7, 64, 1000])
@pytest.mark.parametrize("container", ["jsonl", "jsonl.gz", "jsonl.zst", "json", "json.gz"])
def test_where_blocks_are_cut_changes_nothing(
    container: str, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = CONTAINERS[container](tmp_path, ten_rows("swift frames"))
    whole = read(path)
    monkeypatch.setattr(readers, "BLOCK_BYTES", size)
    assert len(list(READERS[detect(path)](path))) > 2
    assert read(path) == whole


BAD_LINES = [
    (b'{"id": "a"}', "a"),
    (b"", None),
    (b" \t", None),
    (b"{", "not JSON"),
    (b'"text"', "text"),
    (b"7", "7"),
    (b"null", "None"),
    (b"[1]", "[1]"),
    (b'{"id": "\xff\xfe"}', "not JSON"),
    (b'{"id": "\\ud800"}', "not JSON"),
    (b'{"id": "\x00"}', "not JSON"),
    (b"\x00\x00", "not JSON"),
    (b'{"id": "n", "x": NaN, "y": -Infinity}', "n"),
    (b'{"id": 123456789012345678901234567890}', "123456789012345678901234567890"),
    (b'{"id": 0}', "0"),
    (b"[" * 5000, "not JSON"),
    (b'{"id": "b"}', "b"),
]


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("last", [b"", b"\n"])
@pytest.mark.parametrize("size", [1, 13, 1 << 20])
def test_bad_lines_are_told_by_number(
    end: bytes, start: bytes, last: bytes, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", size)
    path = tmp_path / "rows.jsonl"
    path.write_bytes(start + end.join(line for line, _ in BAD_LINES) + last)
    want = [(number, told) for number, (_, told) in enumerate(BAD_LINES, 1) if told is not None]
    assert told(read(path)) == want


def test_a_bad_element_of_an_array_is_told_by_number(tmp_path: Path) -> None:
    path = tmp_path / "rows.json"
    elements = [line for line, _ in BAD_LINES if line.strip() and line not in {b"{", b"[" * 5000}]
    path.write_bytes(
        b"\xef\xbb\xbf\n [" + b" ,\n".join(elements) + b', ,{"id": "]},[{\\""}, {\'id\': 1}]\n\n'
    )
    want = [tell for line, tell in BAD_LINES if line in elements]
    assert told(read(path)) == list(enumerate([*want, "not JSON", ']},[{"', "not JSON"], 1))


@pytest.mark.parametrize("size", [64, 500, 1 << 20])
@pytest.mark.parametrize("compress", [lambda data: data, gzip.compress, zstandard.compress])
def test_a_line_that_is_too_long_is_skipped(
    compress: Any, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", size)
    monkeypatch.setattr(readers, "MAX_LINE", 1000)
    long = json.dumps({"id": "x" * 3000}).encode()
    edge = json.dumps({"id": "y" * 991}).encode()
    assert len(edge) == 1001
    path = tmp_path / "rows.jsonl"
    path.write_bytes(
        compress(b"\n".join([b'{"id":1}', long, b'{"id":3}', b"", edge, b'{"id":6}', long, long]))
    )
    want = [
        (1, "1"),
        (2, "too large"),
        (3, "3"),
        (5, "too large"),
        (6, "6"),
        (7, "too large"),
        (8, "too large"),
    ]
    assert sorted(told(read(path))) == want


def test_an_array_element_that_is_too_long_ends_the_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", 100)
    monkeypatch.setattr(readers, "MAX_LINE", 1000)
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([{"id": 1}, {"id": "x" * 3000}, {"id": 3}]))
    assert told(read(path)) == [(1, "1"), (2, "too large")]


@pytest.mark.slow
def test_a_line_of_70_megabytes(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(b'{"id": 1}\n{"id": "' + b"x" * (70 << 20) + b'"}\n{"id": 3}\n')
    assert sorted(told(read(path))) == [(1, "1"), (2, "too large"), (3, "3")]


def _many(count: int = 2000) -> Rows:
    """Rows that do not compress well."""
    return [
        {"id": f"r{n}", "images": ["a"], "x": zlib.crc32(b"%d" % n), "y": zlib.adler32(b"%d" % n)}
        for n in range(count)
    ]


@pytest.mark.parametrize("compress", [gzip.compress, zstandard.compress])
@pytest.mark.parametrize("encode", [lines, lambda rows: json.dumps(rows, indent=1).encode()])
@pytest.mark.parametrize("left", [0.3, 0.9, 0.999])
def test_what_precedes_the_break_of_a_compressed_file_is_kept(
    compress: Any, encode: Any, left: float, tmp_path: Path
) -> None:
    path = tmp_path / "rows"
    data = compress(encode(_many(20_000)))
    path.write_bytes(data[: int(len(data) * left)])
    *good, (line, last) = told(read(path))
    assert good == [(number, f"r{number - 1}") for number in range(1, len(good) + 1)]
    assert len(good) > 20_000 * left - 3500  # Zstandard gives whole blocks of 128 KB
    assert (line, last) == (len(good) + 1, "broken file")


def test_damage_within_a_gzip_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.gz"
    data = bytearray(gzip.compress(lines(_many())))
    data[-5] ^= 0xFF  # in the checksum
    path.write_bytes(data)
    items = told(read(path))
    assert [tell for _, tell in items[:-1]] == [f"r{n}" for n in range(2000)]
    assert items[-1] == (2001, "broken file")
    path.write_bytes(gzip.compress(lines(_many())) + b"and more")
    assert told(read(path))[-1] == (2001, "broken file")
    path.write_bytes(gzip.compress(lines(_many()[:5])) + gzip.compress(lines(_many()[5:9])))
    assert told(read(path)) == [(n + 1, f"r{n}") for n in range(9)]


def test_zstandard_frames_follow_each_other(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl.zst"
    parts = [zstandard.compress(lines(_many()[start : start + 3])) for start in (0, 3, 6)]
    path.write_bytes(b"".join(parts))
    assert [tell for _, tell in told(read(path))] == [f"r{n}" for n in range(9)]
    streamed = io.BytesIO()
    with zstandard.ZstdCompressor().stream_writer(streamed, closefd=False) as writer:
        writer.write(lines(_many()))
    path.write_bytes(streamed.getvalue())
    assert len(read(path)) == 2000


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ('[{"id": 1}, {"id": 2}, {"id', [(1, "1"), (2, "2"), (3, "not JSON")]),
        ('[{"id": 1}, {"id": 2}', [(1, "1"), (2, "not JSON")]),
        ('[{"id": 1}, {"id": "2}]', [(1, "1"), (2, "not JSON")]),
        ('[{"id": 1}, {"id": 2}] [{"id": 3}]', [(1, "1"), (2, "2"), (3, "not JSON")]),
        ('[{"id": 1}, {"id": 2},]', [(1, "1"), (2, "2")]),
        ('[{"id": 1}, 5, "a", null, {"id": 2}]', [(1, "1"), (2, "5"), (3, "a"), (4, "None"), (5, "2")]),
        ("[", [(1, "not JSON")]),
        ("[]", []),
        (" [ ] ", []),
    ],
)
@pytest.mark.parametrize("size", [1, 1000])
def test_arrays_that_end_early_or_oddly(
    text: str, want: Told, size: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", size)
    path = tmp_path / "rows.json"
    path.write_text(text)
    assert told(read(path)) == want


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.sampled_from('a"\\[]{},:\né'), max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.sampled_from('a"]},'), max_size=3), inner)
    ),
    max_leaves=8,
)


@given(st.lists(_VALUES, max_size=6), st.sampled_from([None, 1]), st.integers(1, 60))
def test_any_array_is_cut_into_its_elements(values: list[Any], indent: int | None, size: int) -> None:
    class File:
        trouble = ""

        def __init__(self, data: bytes) -> None:
            self.data = io.BytesIO(data)

        def read(self, _: int) -> bytes:
            return self.data.read(size)

    file: Any = File(json.dumps(values, indent=indent).encode())
    assert [json.loads(element) for element in readers._elements(file)] == values


def test_a_parquet_file_without_its_end_is_told_and_the_next_is_read(tmp_path: Path) -> None:
    folder = CONTAINERS["parquet folder"](tmp_path, ten_rows("paper image"))
    first = min(folder.rglob("*.parquet"))
    first.write_bytes(first.read_bytes()[:-20])
    items = told(read(folder))
    assert items == [(1, "broken file"), *((n - 1, f"r{n}") for n in range(3, 10))]


def test_a_damaged_row_group_costs_its_rows_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    rows = [{"id": f"r{n}", "images": ["a"], "text": "x" * 50 + str(n)} for n in range(30)]
    pq.write_table(
        pa.Table.from_pylist(rows), path, row_group_size=10, compression="zstd", use_dictionary=False
    )
    column = pq.ParquetFile(path).metadata.row_group(1).column(2)
    data = bytearray(path.read_bytes())
    data[column.data_page_offset : column.data_page_offset + 60] = b"\xff" * 60
    path.write_bytes(data)
    ids = [f"r{n}" for n in range(30)]
    want = list(enumerate(ids, 1))
    assert told(read(path)) == [*want[:10], (11, "broken file"), *want[20:]]


def test_a_value_that_is_no_text_costs_its_row_only(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    texts = pa.array([b"a", b"\xff\xfe", b"c"], pa.binary()).cast(pa.string(), safe=False)
    pq.write_table(pa.table({"id": pa.array(["1", "2", "3"]), "text": texts}), path)
    assert told(read(path)) == [(1, "1"), (2, "not UTF-8"), (3, "3")]


def test_pictures_in_tables_are_decoded_few_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [
        row | {"images": [{"bytes": b"%d" % n * 1000, "path": None}]}
        for n, row in enumerate(ten_rows("paper image"))
    ]
    sizes = list[int]()
    decode = readers._decode

    def counted(batch: Any) -> list[Any]:
        sizes.append(batch.num_rows)
        return decode(batch)

    monkeypatch.setattr(readers, "_decode", counted)
    monkeypatch.setattr(readers, "TABLE_BYTES", 3000)
    got = read(CONTAINERS["parquet"](tmp_path, rows)) + read(CONTAINERS["arrow"](tmp_path, rows))
    assert max(sizes) <= 3
    assert [raw["images"][0]["bytes"] for _, raw in got] == [b"%d" % n * 1000 for n in range(10)] * 2


@pytest.mark.parametrize("left", [0.52, 0.93])
def test_what_precedes_the_break_of_an_arrow_stream_is_kept(left: float, tmp_path: Path) -> None:
    path = tmp_path / "rows.arrow"
    table = pa.Table.from_pylist(_many())
    with pa.ipc.new_stream(path, table.schema) as writer:
        writer.write_table(table, max_chunksize=100)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    *good, (line, last) = told(read(path))
    assert good == [(n + 1, f"r{n}") for n in range(len(good))]
    assert len(good) >= 2000 * left - 101
    assert (line, last) == (len(good) + 1, "broken file")


def test_images_embedded_as_the_hub_has_them(tmp_path: Path) -> None:
    import datasets
    from PIL import Image

    pictures = [tmp_path / f"{n}.png" for n in range(10)]
    for n, picture in enumerate(pictures):
        Image.new("RGB", (4, 4), (n, 0, 0)).save(picture)
    embedded = [[{"bytes": picture.read_bytes(), "path": picture.name}] * 2 for picture in pictures]
    rows = [row | {"images": images} for row, images in zip(ten_rows("paper image"), embedded, strict=True)]
    made = dataset(rows, images=datasets.List(datasets.Image()))
    made.save_to_disk(tmp_path / "saved")
    made.to_parquet(tmp_path / "rows.parquet")
    for path in (tmp_path / "saved", tmp_path / "rows.parquet"):
        got = [row.images for _, row in parsed(read(path))]
        assert got == [[Blob(picture.read_bytes(), picture.name)] * 2 for picture in pictures]


def _shard(number: int) -> list[tuple[str, bytes]]:
    row = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}
    key = f"data/{number:04d}"
    return [(f"{key}.json", json.dumps(row).encode()), (f"{key}.jpg", JPEG % (number, 0))]


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tgz", "tar.zst"])
def test_shards_bring_their_media(suffix: str, tmp_path: Path) -> None:
    members = [member for number in range(3) for member in _shard(number)]
    members += [("data/0003.MP4", MP4 % 3), ("data/0003.json", _shard(3)[0][1])]
    members += [(f"data/0004.{n}.jpg", JPEG % (4, n)) for n in (10, 9, 0, 11)] + [
        ("data/0004.json", _shard(4)[0][1])
    ]
    frames = json.loads(_shard(5)[0][1]) | {"videos": [["old/0.jpg", "old/1.jpg"]]}
    members += [("data/0005.json", json.dumps(frames).encode())]
    members += [(f"data/0005.frame{n}.jpg", JPEG % (5, n)) for n in range(2)]
    astray = json.loads(_shard(6)[0][1]) | {"id": "mine", "image": "elsewhere.jpg", "video": "elsewhere.mp4"}
    members += [("data/0006.json", json.dumps(astray).encode()), ("data/0006.png", b"\x89PNG")]
    path = tar(tmp_path / f"rows.{suffix}", members)
    for container in (path, tmp_path):
        for shape in ("auto", "llava"):
            rows = [parse_row(raw, ROW_SHAPES[shape]) for _, raw in read(container)]
            assert [row.id for row in rows] == [*(f"data/{n:04d}" for n in range(6)), "mine"]
            assert rows[2].images == [Blob(JPEG % (2, 0), "data/0002.jpg")]
            assert rows[3].videos == [[Blob(MP4 % 3, "data/0003.mp4")]]
            assert rows[3].images == []
            named = [Blob(JPEG % (4, n), f"data/0004.{n}.jpg") for n in (0, 9, 10, 11)]
            assert rows[4].images == named
            assert rows[5].videos == [[Blob(JPEG % (5, n), f"data/0005.frame{n}.jpg") for n in range(2)]]
            assert (rows[5].images, rows[5].frame_lists) == ([], [True])
            assert (len(rows[6].images), rows[6].videos) == (1, [])


def test_odd_shards_are_told(tmp_path: Path) -> None:
    row = _shard(1)[0][1]
    members = [
        ("._0000.json", b"junk of a Mac"),
        ("README", b"no suffix"),
        ("a.jpg", b"x"),
        ("b.json", b"{"),
        ("c.json", b"[]"),
        *_shard(1),
        ("sub/0001.json", row),
    ]
    path = tar(tmp_path / "rows.tar", members)
    want = [
        (1, "no question-answer pair"),
        (2, "not JSON"),
        (3, "not an object"),
        (4, "data/0001"),
        (5, "sub/0001"),
    ]
    assert told(read(path)) == want


@pytest.mark.parametrize("suffix", ["tar", "tar.gz", "tar.zst"])
@pytest.mark.parametrize("left", [0.3, 0.6, 0.93])
def test_what_precedes_the_break_of_a_shard_is_kept(suffix: str, left: float, tmp_path: Path) -> None:
    noise = [(f"{n:04d}.{kind}", data) for n in range(50) for kind, data in _noise(n)]
    path = tar(tmp_path / f"rows.{suffix}", noise)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * left)])
    *good, (line, last) = read(path)
    assert told(good) == [(n + 1, f"{n:04d}") for n in range(len(good))]
    assert 50 * left - 12 < len(good) <= 50 * left + 2
    assert all(len(raw["images"]) == 1 for _, raw in good)
    assert (line, last.reason) == (len(good) + 1, "broken file")


def _noise(number: int) -> list[tuple[str, bytes]]:
    picture = b"".join(zlib.crc32(b"%d %d" % (number, n)).to_bytes(4, "big") for n in range(2000))
    return [("json", _shard(0)[0][1]), ("jpg", picture)]


def test_a_damaged_header_within_a_shard_is_told(tmp_path: Path) -> None:
    path = tar(tmp_path / "rows.tar", [m for n in range(9) for m in _shard(n)])
    data = bytearray(path.read_bytes())
    data[4 * 2 * 1024 : 4 * 2 * 1024 + 512] = b"\x55" * 512
    path.write_bytes(data)
    *good, bad = told(read(path))
    assert [tell for _, tell in good] == [f"data/{n:04d}" for n in range(3)]
    assert bad == (4, "broken file")


def test_shards_have_lines_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "SHARD_LINES", 5)
    monkeypatch.setattr(shards, "SHARD_LINES", 5)
    for shard, count in (("0", 2), ("1", 4), ("2", 5)):
        tar(tmp_path / f"{shard}.tar", [(f"{shard}{n}.json", b"{}") for n in range(count)])
    want = [
        (1, "00"),
        (2, "01"),
        (6, "10"),
        (7, "11"),
        (8, "12"),
        (9, "13"),
        *((11 + n, f"2{n}") for n in range(4)),
    ]
    assert told(read(tmp_path)) == [*want, (15, "broken file")]


def test_a_folder_of_several_kinds_is_refused_unless_one_is_asked_for(tmp_path: Path) -> None:
    parquet = CONTAINERS["parquet"](tmp_path, ten_rows("paper image"))
    (tmp_path / "state.json").write_text('{"rows": 10}')
    assert detect(tmp_path) == "parquet"
    lines = tmp_path / "rows.jsonl"
    lines.write_text("{}")
    with pytest.raises(
        UsageError, match=r"1 of parquet, 1 of JSON, such as .*rows\.jsonl.*--format parquet takes"
    ):
        detect(tmp_path)
    assert detect(tmp_path, "parquet") == "parquet"
    lines.rename(tmp_path / "rows.json")
    assert detect(tmp_path) == "parquet"
    (tmp_path / "rows.json").write_text("[{}]")
    with pytest.raises(UsageError, match=r"1 of JSON, such as .*rows\.json"):
        detect(tmp_path)
    parquet.unlink()
    with pytest.raises(UsageError, match=r"\(1 of JSON, such as .*rows\.json\); name the files$"):
        detect(tmp_path)


def test_what_cannot_be_ingested_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no file or folder .*nothing"):
        detect(tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"holds no \.arrow, \.parquet or \.tar files"):
        detect(tmp_path)
    for content in (b"", b"\n \n", b"\xef\xbb\xbf", gzip.compress(b"")):
        (tmp_path / "empty").write_bytes(content)
        with pytest.raises(UsageError, match="is empty"):
            detect(tmp_path / "empty")
    (tmp_path / "cut").write_bytes(gzip.compress(b"x" * 100)[:8])
    with pytest.raises(UsageError, match="cannot be read"):
        detect(tmp_path / "cut")
