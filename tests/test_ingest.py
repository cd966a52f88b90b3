"""Ingest: the same samples whatever the container, bad rows told by line, and nothing done by halves."""

import gzip
import json
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from containers import CONTAINERS, JPEG, lines, tar, ten_rows

from gdo.errors import GdoError, UsageError
from gdo.pool import commit, readers
from gdo.pool import ingest as module
from gdo.pool.commit import IngestReport
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def ask(query: str, pool: str = "p.duckdb") -> list[tuple[Any, ...]]:
    with Pool(pool).read() as connection:
        return connection.execute(query).fetchall()


def content(pool: str = "p.duckdb") -> dict[str, list[tuple[Any, ...]]]:
    """Every table's rows but the times, in an order of their own."""
    return {
        "sample": ask("SELECT * FROM sample ORDER BY ordinal", pool),
        "media": ask("SELECT * FROM media ORDER BY media_id", pool),
        "bad_row": ask("SELECT * FROM bad_row ORDER BY ALL", pool),
        "source": ask("SELECT * EXCLUDE (ingested) FROM source ORDER BY source_id", pool),
    }


def write(name: str, rows: list[Any]) -> Path:
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(lines(rows))
    return path


def one(*files: Path | str, **options: Any) -> IngestReport:
    (report,) = ingest("p.duckdb", list(files), **options)
    return report


def image_row(name: Any, **keys: Any) -> dict[str, Any]:
    return ten_rows("paper image")[0] | {"id": name, "images": [f"{name}.jpg"]} | keys


SAMPLE_COLUMNS = (
    "qa_uid, ordinal, line, turn, source_group, question, answer, media_ids, listed_frames, text_hash"
)


@pytest.mark.parametrize("shape", ["paper video", "swift images"])
def test_every_container_gives_the_same_samples(shape: str, tmp_path: Path) -> None:
    rows, got = ten_rows(shape), {}
    (tmp_path / "media").mkdir()
    for name, container in CONTAINERS.items():
        folder = tmp_path / name.replace(" ", "_")
        folder.mkdir()
        report = one(container(folder, rows), media_root=tmp_path / "media", source_name=name)
        assert (report.rows_read, report.rows_bad, report.samples) == (10, 0, 19)
        got[name] = [
            (uid.replace(f"{name}:", ""), ordinal & 0xFFFFFFFFFFF, *fields)
            for uid, ordinal, *fields in ask(
                f"SELECT {SAMPLE_COLUMNS} FROM sample WHERE source_id = {report.source_id} ORDER BY ordinal"
            )
        ]
    for name, samples in got.items():
        assert samples == got["jsonl"], name
    assert ask("SELECT count(*) FROM media") == [(10 if shape == "paper video" else 20,)]


def test_pairs_have_the_ids_and_fields_of_the_spec() -> None:
    video = [row | {"images": [f"{n}.jpg" for n in range(40)]} for row in ten_rows("paper video")[:2]]
    video[1] = {key: value for key, value in video[1].items() if key not in {"id", "video_id"}}
    nameless = {"images": ["x"], "messages": video[0]["messages"]}
    one(write("image.jsonl", [*ten_rows("paper image")[:2], nameless]))
    one(write("video.jsonl", video))
    fields = "qa_uid, bucket, video_uid, data_source, source_group, listed_frames"
    assert ask(f"SELECT {fields} FROM sample ORDER BY ordinal") == [
        ("ov::r0::t0", "image_qa", "", "coco(2017)", "coco", 1),
        ("ov::r1::t0", "image_qa", "", "coco(2017)", "coco", 1),
        ("ov::r1::t1", "image_qa", "", "coco(2017)", "coco", 1),
        ("ov::onevision-3::t0", "image_qa", "", "onevision", "onevision", 1),
        ("vv::r0::t0", "short_video", "v0", "llava_video", "llava_video", 40),
        ("vv::video-2::t0", "short_video", "video-2", "llava_video", "llava_video", 40),
        ("vv::video-2::t1", "short_video", "video-2", "llava_video", "llava_video", 40),
    ]
    assert ask("SELECT kind, len(paths), root FROM media ORDER BY kind DESC, len(paths)") == [
        *[("image", 1, ".")] * 3,
        ("frames", 40, "."),
    ]
    assert ask("SELECT source_id, kind, rows_read, rows_bad, samples FROM source") == [
        (1, "image", 3, 0, 4),
        (2, "video", 2, 0, 3),
    ]


def test_images_of_a_row_are_all_kept_unless_the_first_is_asked_for() -> None:
    path = write("a.jsonl", ten_rows("swift images"))
    one(path)
    assert ask("SELECT DISTINCT len(media_ids), listed_frames FROM sample") == [(2, 2)]
    assert one(path, first_image_only=True, replace=True).media == 10
    assert ask("SELECT DISTINCT len(media_ids), listed_frames FROM sample") == [(1, 1)]
    assert ask("SELECT count(*) FROM media") == [(10,)]


def test_media_paths_start_from_the_media_root() -> None:
    one(write("in/a.jsonl", [image_row("a")]))
    with pytest.raises(UsageError, match=r"media root in/\.\./pictures is no folder"):
        one(write("in/b.jsonl", [image_row("b")]), media_root="in/../pictures")
    Path("pictures").mkdir()
    one("in/b.jsonl", media_root="in/../pictures")
    one(write("in/c.jsonl", [image_row("c")]), media_root="/")
    roots = ask("SELECT root, paths FROM media ORDER BY paths")
    assert roots == [("in", ["a.jpg"]), ("pictures", ["b.jpg"]), ("/", ["c.jpg"])]


def test_embedded_media_are_written_once_beside_the_pool() -> None:
    rows = [(f"{n}.json", json.dumps(image_row(n)).encode()) for n in range(3)]
    pictures = [(f"{n}.jpg", JPEG % (min(n, 1), 0)) for n in range(3)]
    tar(Path("a.tar"), [member for pair in zip(rows, pictures, strict=True) for member in pair])
    report = one("a.tar")
    assert (report.samples, report.media) == (3, 2)
    files = sorted(path for path in Path("p.duckdb.d/media").rglob("*") if path.is_file())
    assert sorted(file.read_bytes() for file in files) == [JPEG % (0, 0), JPEG % (1, 0)]
    stored = ask("SELECT root, paths[1] FROM media")
    assert {Path(root) / path for root, path in stored} == set(files)


BAD = [
    (json.dumps(image_row("ok")), None),
    ("", None),
    ("{", "not JSON"),
    ("[]", "not an object"),
    (json.dumps(image_row("a", images=[])), "no media"),
    (json.dumps(image_row("b", images=5)), "wrong type: images"),
    (json.dumps(image_row("c", messages="x")), "messages are not a list"),
    (json.dumps(image_row("d", messages=[])), "no question-answer pair"),
    (json.dumps(image_row("e", messages=[{"role": {"x": 1}}])), "wrong type: role"),
    (json.dumps(image_row("f" * 2000)), "too large"),
    (json.dumps(image_row("ok")), "duplicate id"),
    (json.dumps(image_row(0)), None),
    (json.dumps(image_row(10**30)), None),
    (json.dumps(image_row("nul\0 \x1f", images=["n.jpg"], data_source="\0")), None),
    (json.dumps(image_row("half")).replace("half", "\\ud83d"), "not JSON"),
]


def test_bad_rows_are_told_by_line_and_never_stop_a_load() -> None:
    Path("a.jsonl").write_text("\r\n".join(line for line, _ in BAD), newline="")
    report = one("a.jsonl")
    want = [(line, reason) for line, (_, reason) in enumerate(BAD, 1) if reason]
    assert ask("SELECT line, reason FROM bad_row ORDER BY line") == want
    assert report.reasons == Counter(reason for _, reason in want)
    assert (report.rows_read, report.rows_bad, report.samples) == (14, len(want), 4)
    assert ask("SELECT id, line FROM sample ORDER BY ordinal") == [
        ("ok", 1),
        ("0", 12),
        (str(10**30), 13),
        ("nul\0 \x1f", 14),
    ]
    assert ask("SELECT detail FROM bad_row WHERE reason = 'duplicate id'") == [("ok, first at line 1",)]


def test_placeholders_that_differ_from_media_are_counted_and_kept_or_not() -> None:
    rows = ten_rows("swift images")
    rows[3]["images"] = rows[3]["images"][:1]
    rows[4] = rows[3]
    report = one(write("a.jsonl", rows))
    assert (report.notes, report.reasons) == ({"placeholders differ from media": 1}, {"duplicate id": 1})
    assert (report.rows_bad, ask("SELECT count(DISTINCT line) FROM sample")) == (1, [(9,)])
    assert ask("SELECT line, reason, kept FROM bad_row ORDER BY line") == [
        (4, "placeholders differ from media", True),
        (5, "duplicate id", False),
    ]
    strict = one("a.jsonl", strict=True, replace=True)
    assert (strict.notes, strict.reasons) == ({}, {"placeholders differ from media": 2})
    assert ask("SELECT count(DISTINCT line) FROM sample") == [(8,)]
    assert ask("SELECT count(*) FROM media") == [(16,)]


def test_duplicate_ids_across_files_and_the_way_out() -> None:
    one(write("a.jsonl", [image_row("a"), image_row("b")]))
    report = one(write("b.jsonl", [image_row("b"), image_row("c")]))
    assert (report.reasons, report.samples) == ({"duplicate id": 1}, 1)
    assert (
        ask("SELECT detail FROM bad_row")[0][0] == f"b, in the pool from {Path('a.jsonl').absolute()} line 2"
    )
    before = content()
    with pytest.raises(
        GdoError, match=r"c.jsonl gives no sample \(1 x duplicate id, .*a.jsonl line 1\); .*: --source-name N"
    ):
        one(write("c.jsonl", [image_row("a")]))
    assert content() == before
    named = one("c.jsonl", source_name="N")
    assert named.samples == 1
    assert ask("SELECT qa_uid, id FROM sample WHERE source_id = 3") == [("ov::N:a::t0", "a")]
    one(write("v.jsonl", [image_row("a", video_id=None, video="x.mp4")]), source_name="N")
    assert ask("SELECT qa_uid, video_uid FROM sample WHERE source_id = 4") == [("vv::N:a::t0", "N:a")]


@pytest.mark.parametrize("rows", [[{"id": "a"}], [], [5]])
def test_a_file_that_gives_no_sample_is_an_error_and_leaves_the_pool(rows: list[Any]) -> None:
    with pytest.raises(GdoError, match="is empty" if not rows else r"a.jsonl gives no sample \(1 x "):
        one(write("a.jsonl", rows))
    one(write("b.jsonl", [image_row("a")]))
    before = content()
    with pytest.raises(GdoError, match=r"no sample|empty"):
        one("a.jsonl")
    assert content() == before
    with pytest.raises(GdoError, match=r"no sample|empty"):
        one(write("b.jsonl", rows), replace=True)
    assert content() == before
    assert list(Path("p.duckdb.d").iterdir()) == []


def test_wrong_use_says_so() -> None:
    path = write("a.jsonl", [image_row("a")])
    for options, match in [
        ({"kind": "audio"}, "unknown kind 'audio'; known are auto, image, video"),
        ({"format": "csv"}, "unknown format 'csv'; known are"),
    ]:
        with pytest.raises(UsageError, match=match):
            one(path, **options)
    with pytest.raises(UsageError, match="there is no file or folder"):
        one("missing", format="parquet")
    with pytest.raises(UsageError, match=r"nowhere does not exist"):
        ingest("nowhere/p.duckdb", [path])
    assert not Path("p.duckdb").exists()


def test_the_kind_is_the_files_even_where_it_shows_late(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readers, "BLOCK_BYTES", 2000)
    rows = [image_row(n) for n in range(500)]
    rows.append(image_row("v", images=None, video="v.mp4"))
    path = write("a.jsonl", rows)
    assert one(path).kind == "video"
    assert ask("SELECT DISTINCT bucket, qa_uid[:4] FROM sample") == [("short_video", "vv::")]
    assert ask("SELECT kind, count(*) FROM media GROUP BY ALL ORDER BY ALL") == [
        ("frames", 500),
        ("video", 1),
    ]
    forced = one(path, kind="image", replace=True)
    assert (forced.kind, forced.samples, forced.media) == ("image", 501, 501)
    assert ask("SELECT DISTINCT bucket FROM sample") == [("image_qa",)]
    assert ask("SELECT kind, count(*) FROM media GROUP BY ALL ORDER BY ALL") == [("image", 500), ("video", 1)]
    assert one(write("b.jsonl", [image_row("b")]), kind="video").kind == "video"


def test_pictures_that_become_frames_because_of_a_video_are_told() -> None:
    rows = [
        image_row("a"),
        image_row("b", images=["1.jpg", "2.jpg"]),
        image_row("v", images=None, video="v.mp4"),
    ]
    rows += [image_row("f", video_id="f"), image_row("s", bucket="synthetic_text_video")]
    report = one(write("a.jsonl", rows))
    assert (report.kind, report.samples, report.notes) == ("video", 5, {"pictures in a video file": 2})
    assert ask("SELECT line, detail FROM bad_row WHERE kept ORDER BY line") == [
        (1, "taken for frames of a clip: 1"),
        (2, "taken for frames of a clip: 2"),
    ]
    assert [hint for hint in report.hints if "into a file of their own" in hint]
    forced = one("a.jsonl", kind="video", replace=True)
    assert (forced.samples, forced.notes, forced.hints) == (5, {}, [])


def test_media_at_addresses_are_told() -> None:
    report = one(write("a.jsonl", [image_row("a", images=["https://h/cat.jpg"]), image_row("b")]))
    assert (report.samples, report.notes) == (2, {"media at an address": 1})
    assert ask("SELECT line, detail FROM bad_row") == [(1, "https://h/cat.jpg")]
    assert "Nothing is downloaded" in report.hints[0]


def test_hints_tell_why_ids_are_equal() -> None:
    nameless = {key: value for key, value in image_row("a").items() if key != "id"}
    (within,) = one(write("a.jsonl", [image_row("a"), image_row("a"), nameless])).hints
    assert within.startswith("Equal ids within one file") and "--source-name" not in within
    (across,) = one(write("b.jsonl", [image_row("a"), image_row("b")])).hints
    assert across.startswith("Equal ids in two files: --source-name N makes them ov::N:ID::t0")
    (made_up,) = one(write("c.jsonl", [image_row("c"), image_row("d"), nameless])).hints
    assert made_up.startswith("Rows without an id are numbered") and "--source-name N" in made_up


def test_texts_and_lists_of_frames_are_compressed_by_zstd() -> None:
    """Unless another thread's query has locked the settings of the file."""
    rows = [image_row(f"{row}", images=[f"{row}/{frame}.jpg" for frame in range(9)]) for row in range(40)]
    assert one(write("rows.jsonl", rows)).samples == 40
    info = "FROM pragma_storage_info('{}') WHERE column_name = '{}' AND segment_type = 'VARCHAR'"
    for table, column in (("sample", "qa_uid"), ("media", "paths")):
        assert ("ZSTD",) in ask(f"SELECT compression {info.format(table, column)}")
    with Pool("p.duckdb").write() as connection:
        connection.execute("SET lock_configuration = true")
        commit.compress_quickly(connection)
        assert connection.execute("SELECT count(*) FROM sample").fetchall() == [(40,)]


def test_the_same_file_again_changes_nothing_and_a_changed_one_is_refused() -> None:
    path = write("a.jsonl", [image_row("a"), {"id": "bad"}])
    first = one(path)
    before, runs = content(), ask("SELECT count(*) FROM run")
    for same in ("a.jsonl", "../" + Path.cwd().name + "/a.jsonl", path.absolute()):
        again = one(same)
        assert again.unchanged
        assert (again.samples, again.rows_bad, again.source_id) == (first.samples, 1, 1)
    assert (content(), ask("SELECT count(*) FROM run")) == (before, runs)
    with pytest.raises(UsageError, match=r"was read with other options .*--replace"):
        one(path, kind="video")
    write("a.jsonl", [image_row("b")])
    with pytest.raises(UsageError, match=r"has changed since it was ingested \(source 1\); --replace"):
        one(path)
    assert content() == before


def test_replace_takes_a_file_in_place_of_its_old_rows() -> None:
    one(write("a.jsonl", [image_row("a"), image_row("b"), image_row("x", images=["shared.jpg"])]))
    one(write("c.jsonl", [image_row("c"), image_row("d", images=["shared.jpg"])]))
    with Pool("p.duckdb").write() as connection:
        connection.execute(
            "INSERT INTO descriptor VALUES ('ppl', 'sample', 1, '', '{}'), ('m', 'media', 1, '', '{}')"
        )
        connection.execute(
            "CREATE TABLE ppl AS SELECT qa_uid, 1 AS version, '' AS probe, NULL::VARCHAR AS error FROM sample"
        )
        connection.execute(
            "CREATE TABLE m AS SELECT media_id, 1 AS version, '' AS probe, NULL::VARCHAR AS error FROM media"
        )
        connection.execute("UPDATE media SET width = 7")
    write("a.jsonl", [image_row("b"), image_row("e"), {"id": "bad"}, image_row("c")])
    report = one("a.jsonl", replace=True)
    assert (report.source_id, report.samples, report.reasons) == (1, 2, {"no media": 1, "duplicate id": 1})
    assert ask("SELECT qa_uid FROM candidate ORDER BY ordinal") == [
        ("ov::b::t0",),
        ("ov::e::t0",),
        ("ov::c::t0",),
        ("ov::d::t0",),
    ]
    assert ask("SELECT qa_uid FROM ppl ORDER BY 1") == [("ov::c::t0",), ("ov::d::t0",)]
    assert ask("SELECT paths[1], width FROM media ORDER BY 1") == [
        ("b.jpg", 7),
        ("c.jpg", 7),
        ("e.jpg", None),
        ("shared.jpg", 7),
    ]
    assert ask("SELECT source_id, samples, rows_bad FROM source ORDER BY 1") == [(1, 2, 2), (2, 2, 0)]


def test_workers_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [image_row(n % 900, data_source=f"s{n % 7}") if n % 11 else {"id": n} for n in range(1000)]
    path = write("in/a.jsonl", rows)
    made = []
    for number, (workers, block, pairs) in enumerate(
        [(1, 8 << 20, 50_000), (1, 999, 50_000), (2, 5000, 50_000), (2, 40_000, 7)]
    ):
        monkeypatch.setattr(module, "SMALL_FILE", 0)
        monkeypatch.setattr(readers, "BLOCK_BYTES", block)
        monkeypatch.setattr("gdo.pool.samples.PART_PAIRS", pairs)
        ingest(f"{number}.duckdb", [path], workers=workers)
        made.append(content(f"{number}.duckdb"))
    assert len(made[0]["sample"]) > 800
    assert made[1:] == [made[0]] * 3


def test_several_files_keep_their_order_and_progress_is_told() -> None:
    files = [write(f"{name}.jsonl", [image_row(name)]) for name in "zab"]
    told = list[tuple[str, int, int]]()
    reports = ingest("p.duckdb", [*files], progress=lambda *what: told.append(what))
    assert [report.source_id for report in reports] == [1, 2, 3]
    assert ask("SELECT id FROM sample ORDER BY ordinal") == [("z",), ("a",), ("b",)]
    assert told[:2] == [("reading z.jsonl", 1, 1), ("storing z.jsonl", 1, 1)]
    assert ask("SELECT command, arguments->>'path' FROM run ORDER BY run_id")[0] == (
        "ingest",
        str(files[0].absolute()),
    )


def test_a_file_that_stops_a_load_says_which_rows_and_what_else_was_not_read() -> None:
    bad = [
        image_row("a", images=None, picture="a.jpg"),
        image_row("b", images=None),
        image_row("c", messages=5),
    ]
    files = [
        write("a.jsonl", [image_row("a")]),
        write("b.jsonl", [*bad, *bad]),
        write("c.jsonl", [image_row("c")]),
    ]
    taken = list[IngestReport]()
    with pytest.raises(GdoError) as caught:
        ingest("p.duckdb", [*files], taken=taken.append)
    assert [report.path for report in taken] == [str(files[0].absolute())]
    told = str(caught.value)
    assert "4 x no media, first line 1: none in images" in told and "'picture'" in told
    assert "2 x messages are not a list, first line 3: 5" in told
    assert told.endswith(f"Not read after it: {files[2].absolute()}.")
    assert ask("SELECT source_id FROM source") == [(1,)]
    with pytest.raises(UsageError, match="there is no file"):
        ingest("other.duckdb", [files[0], "missing.jsonl"])
    assert not Path("other.duckdb").exists()


def _mutants(shared: Path, count: int) -> Iterator[bytes]:
    """Real rows with bytes, keys and types changed at random."""
    chance = random.Random(42)
    path = shared / "golden/selection/llava_video.jsonl.gz"
    with gzip.open(path) as file:
        real = [next(file) for _ in range(300)]
    rubbish: list[Any] = [
        None,
        "",
        5,
        -1.5,
        True,
        [],
        {},
        [[]],
        {"x": [1]},
        "x" * 3000,
        [None],
        "\0",
        "�",
        10**25,
    ]
    for number in range(count):
        line = real[number % 300].rstrip()
        if number % 3 == 0:
            data = bytearray(line)
            for _ in range(chance.randint(1, 4)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            yield bytes(data)
            continue
        row = json.loads(line)
        row["id"] = f"m{number}"
        place: Any = (
            chance.choice([row, row, *row["messages"]]) if isinstance(row.get("messages"), list) else row
        )
        if not isinstance(place, dict):
            place = row
        key = chance.choice(list(place))
        if number % 3 == 1:
            place[key] = chance.choice(rubbish)
        else:
            place[chance.choice(["video", "videos", "image", "from", "value", "conversations"])] = place.pop(
                key
            )
        yield json.dumps(row, ensure_ascii=chance.random() < 0.5).encode()


def test_every_line_of_a_damaged_file_is_accounted_for(shared: Path) -> None:
    data = b"\n".join(_mutants(shared, 3000))
    Path("a.jsonl").write_bytes(data)
    report = one("a.jsonl", kind="video")
    whole = {line for line, text in enumerate(data.split(b"\n"), 1) if text.strip()}
    kept = {line for (line,) in ask("SELECT DISTINCT line FROM sample")}
    bad = {line for (line,) in ask("SELECT line FROM bad_row WHERE NOT kept")}
    assert kept | bad == whole
    assert not kept & bad
    assert report.rows_bad == len(bad)
    assert len(kept) > 1000 < report.rows_bad + 500
    assert {reason.split(":")[0] for reason in report.reasons} > {
        "not JSON",
        "wrong type",
        "no media",
        "too large",
    }
