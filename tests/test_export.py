"""Exports are loaded with the library that trainers load them with, and compared with what was selected."""

import hashlib
import json
import os
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
from datasets import Dataset, Image, disable_progress_bars, load_dataset

from gdo.errors import GdoError, UsageError
from gdo.export import rows as export_rows
from gdo.export import run, webdataset
from gdo.export.formats import FORMATS
from gdo.export.rows import read_rows
from gdo.export.run import export
from gdo.pool.frames import uniform_indices
from gdo.pool.store import Pool

disable_progress_bars()

QUESTION = 'Wie viele Bären?\nA. „zwei“\u2028B. "drei" 🐻'
FRAMES = [f"clip/{i:03d}.jpg" for i in range(40)]
IMAGE = ("image", ["images/bär 1.jpg"])
TWO_IMAGES = [("image", ["images/a.png"]), ("image", ["images/b.png"])]
FRAME_LIST = ("frames", FRAMES)
VIDEO = ("video", ["videos/v.mp4"])

Media = list[tuple[str, list[str]]]


def make_pool(folder: Path, members: list[Media], root: str | list[str] = "media", copies: int = 0) -> Path:
    """A pool whose subset `s` has the given members in reverse of the order of ingestion.

    The uniform control of `s` is the same samples in the order of ingestion, `copies` times as many.
    """
    folder.mkdir(exist_ok=True)
    path = folder / "pool.duckdb"
    samples, media = [], dict[Any, int]()
    for number, shown in enumerate(members * max(copies, 1)):
        place = root if isinstance(root, str) else root[number % len(root)]
        keys = [(kind, place, tuple(paths)) for kind, paths in shown]
        for key in keys:
            media.setdefault(key, len(media) + 1)
        bucket = "image_qa" if shown[0][0] == "image" else "short_video"
        text = f"{number}: {QUESTION}"
        samples.append(
            (f"id::{number}", number, bucket, "src(a)", "src", text, "yes", [media[k] for k in keys])
        )
    chosen = [("s", "chosen", f"id::{len(members) - 1 - rank}", rank) for rank in range(len(members))]
    control = [("s", "uniform", f"id::{rank}", rank) for rank in range(len(samples) if copies else 0)]
    tables = {
        "sample": (
            ["qa_uid", "ordinal", "bucket", "data_source", "source_group", "question", "answer", "media_ids"],
            samples,
        ),
        "media": (
            ["media_id", "kind", "root", "paths"],
            [(i, k, r, list(p)) for (k, r, p), i in media.items()],
        ),
        "subset_sample": (["subset", "role", "qa_uid", "rank"], chosen + control),
    }
    with Pool(path, create=True).write() as connection:
        connection.execute(
            "INSERT INTO subset VALUES ('s', 'minloss', '{\"seed\": 7}', 7, 'abc', '{\"gdo\": \"0\"}', '{}', "
            "TIMESTAMP '2026-01-02 03:04:05'), ('empty', 'temp', '{}', 1, 'abc', '{}', '{}', NULL)"
        )
        for table, (columns, rows) in tables.items():
            connection.register("made", pl.DataFrame(rows, schema=columns, orient="row"))
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM made")
    return path


def make_files(folder: Path, members: list[Media]) -> None:
    """Files of a few bytes at every path; the images are images."""
    from PIL import Image as Picture

    for _, paths in (medium for shown in members for medium in shown):
        for path in paths:
            place = folder / "media" / path
            place.parent.mkdir(parents=True, exist_ok=True)
            if place.suffix == ".mp4":
                place.write_bytes(b"film of " + path.encode())
            else:
                Picture.new("RGB", (4, 3), (len(path), 0, 0)).save(place)


def load(report_path: Path, format: str, tmp_path: Path) -> list[dict[str, Any]]:
    """The rows of an export as `datasets` gives them."""
    cache = str(tmp_path / "cache")
    if report_path.is_dir():
        loaded = load_dataset(str(report_path), split="train", cache_dir=cache)
    else:
        kind = {"parquet": "parquet", "ids": "text"}.get(format, "json")
        loaded = load_dataset(kind, data_files=str(report_path), split="train", cache_dir=cache)
    assert isinstance(loaded, Dataset)
    if format == "webdataset":
        return [row["json"] for row in loaded.select_columns(["json"])]
    return list(loaded)


def ids(rows: list[dict[str, Any]], format: str) -> list[str]:
    return [row["text" if format == "ids" else "id"] for row in rows]


def texts(row: dict[str, Any]) -> tuple[str, str]:
    """The user's text and the answer, whatever the format calls them."""
    if "messages" in row:
        assert [message["role"] for message in row["messages"]] == ["user", "assistant"]
        return row["messages"][0]["content"], row["messages"][1]["content"]
    assert [turn["from"] for turn in row["conversations"]] == ["human", "gpt"]
    return row["conversations"][0]["value"], row["conversations"][1]["value"]


POOLS = {
    "images": [[IMAGE], TWO_IMAGES, [IMAGE]],
    "frames": [[FRAME_LIST], [IMAGE], TWO_IMAGES],
    "videos": [[VIDEO], [IMAGE], [VIDEO, VIDEO]],
    "all": [[VIDEO], [IMAGE], [FRAME_LIST], TWO_IMAGES],
    "one": [[FRAME_LIST]],
}


@pytest.mark.parametrize("members", POOLS.values(), ids=POOLS)
@pytest.mark.parametrize("format", FORMATS)
def test_loaded_rows_are_the_selected_ones(tmp_path: Path, format: str, members: list[Media]) -> None:
    pool = make_pool(tmp_path, members)
    make_files(tmp_path, members)
    report = export(pool, "s", tmp_path / "out", format=format)
    rows = load(report.path, format, tmp_path)
    wanted = [f"id::{number}" for number in reversed(range(len(members)))]
    assert ids(rows, format) == wanted
    assert report.samples == len(members)
    if format == "ids":
        return
    for number, row in zip(reversed(range(len(members))), rows, strict=True):
        question, answer = texts(row)
        assert question.endswith(f"{number}: {QUESTION}")
        assert answer == "yes"
        assert question.count("<image>") == len(row["images"])
        assert question.count("<video>") == len(row["videos"])
        assert row["data_source"] == "src(a)"
        assert len(row["images"]) + len(row["videos"]) > 0
    assert report.images == sum(len(row["images"]) for row in rows)
    assert report.videos == sum(len(row["videos"]) for row in rows)


@pytest.mark.parametrize("format", ["swift", "llamafactory", "parquet"])
def test_media_as_trainers_take_them(tmp_path: Path, format: str) -> None:
    def rows(members: list[Media], name: str) -> list[tuple[str, Any, Any]]:
        pool = make_pool(tmp_path / name, members)
        loaded = load(export(pool, "s", tmp_path / name / "out", format=format).path, format, tmp_path)
        return [(texts(row)[0].split("0: ")[0][:16], row["images"], row["videos"]) for row in loaded]

    assert rows([[FRAME_LIST]], "lists") == [("<video>", [], [FRAMES])]
    assert rows([[VIDEO]], "files") == [("<video>", [], ["videos/v.mp4"])]
    assert rows([TWO_IMAGES], "images") == [("<image><image>", ["images/a.png", "images/b.png"], [])]
    mixed = rows([[FRAME_LIST], [VIDEO]], "mixed")
    assert [row[1:] for row in mixed] == [([], ["videos/v.mp4"]), (FRAMES, [])]


def test_llava_keys(tmp_path: Path) -> None:
    members: list[Media] = [[IMAGE], [VIDEO]]
    pool = make_pool(tmp_path, members)
    rows = json.loads((export(pool, "s", tmp_path / "a.json", format="llava").path).read_bytes())
    assert [row.get("image") for row in rows] == [None, "images/bär 1.jpg"]
    assert [row.get("video") for row in rows] == ["videos/v.mp4", None]
    assert "image" not in rows[0]
    assert texts(rows[1])[0] == f"<image>\n0: {QUESTION}"
    rows = json.loads(
        export(
            make_pool(tmp_path / "b", [[IMAGE], [FRAME_LIST]]), "s", tmp_path / "b.json", format="llava"
        ).path.read_bytes()
    )
    assert [row["image"] for row in rows] == [FRAMES, ["images/bär 1.jpg"]]


def test_llamafactory_is_told_how_to_read_it(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, POOLS["images"], copies=2)
    export(pool, "s", tmp_path / "out", format="llamafactory", uniform=True)
    info = json.loads((tmp_path / "out" / "dataset_info.json").read_bytes())["s_uniform"]
    row = json.loads((tmp_path / "out" / info["file_name"]).read_bytes())[0]
    assert info["formatting"] == "sharegpt"
    assert set(info["columns"].values()) <= set(row)
    assert set(row["messages"][0]) == {info["tags"]["role_tag"], info["tags"]["content_tag"]}
    assert [info["tags"]["user_tag"], info["tags"]["assistant_tag"]] == [m["role"] for m in row["messages"]]


@pytest.mark.parametrize("format", ["swift", "webdataset"])
def test_another_export_to_the_same_folder_is_loaded_anew(tmp_path: Path, format: str) -> None:
    """`datasets` keeps what it loaded by the folder's name and its card."""
    for answer in ("yes", "no"):
        pool = make_pool(tmp_path / answer, [[IMAGE]])
        make_files(tmp_path / answer, [[IMAGE]])
        with Pool(pool).write() as connection:
            connection.execute("UPDATE sample SET answer = ?", [answer])
        (row,) = load(export(pool, "s", tmp_path / "out", format=format).path, format, tmp_path)
        assert texts(row)[1] == answer


@pytest.mark.parametrize("late", ["images", "videos"])
def test_a_kind_that_comes_late_is_still_loaded(tmp_path: Path, late: str) -> None:
    """10 MB of rows without videos make `datasets` take `videos` for always empty; so one comes first."""
    early: Media = [FRAME_LIST] if late == "images" else [IMAGE]
    rare: Media = [IMAGE] if late == "images" else [FRAME_LIST]
    pool = make_pool(tmp_path, [rare, *[early] * 5200])
    with Pool(pool).write() as connection:
        connection.execute("UPDATE sample SET answer = repeat('yes ', 600)")
    report = export(pool, "s", tmp_path / "out.jsonl")
    assert report.path.stat().st_size > 12e6
    rows = load(report.path, "swift", tmp_path)
    assert ids(rows, "swift") == ["id::0"] + [f"id::{number}" for number in range(5200, 0, -1)]
    assert len(rows[0][late]) == 1
    assert report.notes == ("rank 5200 is written first, so that loaders see the types of all columns",)


def test_frames_are_thinned_by_the_released_rule(tmp_path: Path) -> None:
    members: list[Media] = [[FRAME_LIST], [("frames", FRAMES[:5])], TWO_IMAGES]
    pool = make_pool(tmp_path, members)
    rows = load(export(pool, "s", tmp_path / "out", frames=8).path, "swift", tmp_path)
    assert rows[2]["videos"] == [[FRAMES[i] for i in uniform_indices(40, 8)]]
    assert rows[1]["videos"] == [FRAMES[:5]]
    assert len(rows[0]["images"]) == 2
    one = load(export(pool, "s", tmp_path / "one", frames=1).path, "swift", tmp_path)
    assert one[2]["videos"] == [[FRAMES[0]]]
    with pytest.raises(UsageError, match="frames must be"):
        export(pool, "s", tmp_path / "none", frames=0)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "ids"])
def test_pictures_of_text_are_images_all_there_and_told_by_bucket(tmp_path: Path, format: str) -> None:
    """A Sparrow sample is a frame list in the pool; beside videos and frame lists it stays as it was made."""
    for name, other in (("lists", ("frames", FRAMES[:3])), ("files", VIDEO)):
        members: list[Media] = [[other], [FRAME_LIST], [("frames", FRAMES[:1])]]
        pool = make_pool(tmp_path / name, members)
        make_files(tmp_path / name, members)
        with Pool(pool).write() as connection:
            connection.execute("UPDATE sample SET bucket = 'synthetic_text_video' WHERE ordinal > 0")
        report = export(pool, "s", tmp_path / name / "out", format=format, frames=2)
        rows = load(report.path, format, tmp_path)
        assert [row["bucket"] for row in rows] == ["synthetic_text_video"] * 2 + ["short_video"]
        assert [len(row["images"]) for row in rows[:2]] == [1, len(FRAMES)]
        assert [row["videos"] for row in rows[:2]] == [[], []]
        assert texts(rows[1])[0].count("<image>") == len(FRAMES)
        as_images = name == "lists" and format == "llava"
        assert (len(rows[2]["images"]), len(rows[2]["videos"])) == ((2, 0) if as_images else (0, 1))
        assert (report.images, report.videos) == ((43, 0) if as_images else (41, 1))
        if format == "llava":
            assert rows[1]["image"] == FRAMES
        elif format != "webdataset":
            assert rows[1]["images"] == FRAMES


def test_absolute_paths(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [[IMAGE], [("image", ["/elsewhere/x.jpg"])]])
    report = export(pool, "s", tmp_path / "out", absolute=True)
    rows = load(report.path, "swift", tmp_path)
    assert [row["images"] for row in rows] == [
        ["/elsewhere/x.jpg"],
        [str(tmp_path / "media" / "images/bär 1.jpg")],
    ]
    assert json.loads(report.manifest.read_bytes())["media_root"] is None


def test_several_roots_are_told_apart(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [[IMAGE], [IMAGE], [IMAGE]], root=["media/a", "/srv/b", "media"])
    report = export(pool, "s", tmp_path / "out")
    rows = load(report.path, "swift", tmp_path)
    root = json.loads(report.manifest.read_bytes())["media_root"]
    found = [os.path.normpath(Path(root, row["images"][0])) for row in rows]
    assert found == [
        str(tmp_path / "media/images/bär 1.jpg"),
        "/srv/b/images/bär 1.jpg",
        str(tmp_path / "media/a/images/bär 1.jpg"),
    ]


URLS = [
    "https://example.org/cat.jpg",
    "s3://bucket/cat.jpg",
    "file:///srv/cat.jpg",
    "data:image/png;base64,AA==",
]


@pytest.mark.parametrize("absolute", [False, True])
def test_no_folder_comes_before_a_url(tmp_path: Path, absolute: bool) -> None:
    pool = make_pool(tmp_path, [[("image", [path])] for path in [*URLS, "odd:name.jpg"]], root=["a", "b"])
    report = export(pool, "s", tmp_path / "out.jsonl", absolute=absolute)
    before = f"{tmp_path}/" if absolute else ""
    rows = [json.loads(line)["images"] for line in report.path.read_bytes().splitlines()]
    assert rows == [[path] for path in [f"{before}a/odd:name.jpg", *reversed(URLS)]]


def test_media_tags_in_texts_are_no_placeholders(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [[IMAGE]])
    with Pool(pool).write() as connection:
        connection.execute("UPDATE sample SET answer = 'HTML has <video> and <b>, not <image>'")
    report = export(pool, "s", tmp_path / "out")
    (row,) = load(report.path, "swift", tmp_path)
    assert texts(row)[1] == "HTML has < video> and <b>, not < image>"
    assert "1 samples have a media tag" in report.notes[0]


def test_ids_tell_nothing_of_texts_and_media(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [[FRAME_LIST], [VIDEO]])
    with Pool(pool).write() as connection:
        connection.execute("UPDATE sample SET answer = '<image>'")
    assert len(export(pool, "s", tmp_path / "a.jsonl").notes) == 2
    assert export(pool, "s", tmp_path / "a.txt", format="ids").notes == ()


def test_control_and_its_prefixes(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, POOLS["frames"], copies=10)

    def exported(multiple: float | None) -> list[str]:
        name = str(multiple)
        report = export(pool, "s", tmp_path / name, format="ids", uniform=True, multiple=multiple)
        assert json.loads(report.manifest.read_bytes())["role"] == "uniform"
        return (tmp_path / name / "data.txt").read_text().splitlines()

    whole = exported(None)
    assert whole == [f"id::{number}" for number in range(30)]
    assert exported(10) == whole
    assert exported(1) == whole[:3]
    assert exported(0.5) == whole[:2]
    with pytest.raises(UsageError, match=r"11 x 3 samples are 33, but the control holds 30"):
        exported(11)
    with pytest.raises(UsageError, match="above 0"):
        exported(0)
    with pytest.raises(UsageError, match="export with --uniform"):
        export(pool, "s", tmp_path / "x", multiple=1)


def test_windows_of_ranks_join_without_a_seam(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool(tmp_path, [[IMAGE], TWO_IMAGES, [FRAME_LIST]] * 5)
    export(pool, "s", tmp_path / "a.jsonl")
    monkeypatch.setattr(export_rows, "WINDOW", 4)
    monkeypatch.setattr(export_rows, "BATCH_ROWS", 3)
    export(pool, "s", tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_webdataset_holds_the_media(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(webdataset, "SHARD_SAMPLES", 2)
    members: list[Media] = [[IMAGE], TWO_IMAGES, [("frames", FRAMES[:2])]]
    pool = make_pool(tmp_path, members)
    make_files(tmp_path, members)
    export(pool, "s", tmp_path / "out", format="webdataset")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        *("README.md", "manifest.json", "shard-000000.tar", "shard-000001.tar")
    ]
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        assert tar.getnames() == [
            *("00000000.json", "00000000.000.jpg", "00000000.001.jpg"),
            *("00000001.json", "00000001.000.png", "00000001.001.png"),
        ]
        row = json.load(tar.extractfile("00000000.json") or pytest.fail("no row"))
        assert row["videos"] == [["00000000.000.jpg", "00000000.001.jpg"]]
        packed = tar.extractfile("00000001.000.png") or pytest.fail("no image")
        assert packed.read() == (tmp_path / "media" / "images/a.png").read_bytes()
    loaded = load_dataset(str(tmp_path / "out"), split="train", cache_dir=str(tmp_path / "cache"))
    assert loaded.features["jpg"] == Image()
    assert [row["jpg"] and row["jpg"].size for row in loaded] == [None, None, (4, 3)]
    assert [row["000.png"] and row["000.png"].size for row in loaded] == [None, (4, 3), None]


def test_webdataset_of_one_kind_loads_without_its_card(tmp_path: Path) -> None:
    members: list[Media] = [[IMAGE], [IMAGE]]
    pool = make_pool(tmp_path, members)
    make_files(tmp_path, members)
    export(pool, "s", tmp_path / "out", format="webdataset")
    shards = str(tmp_path / "out" / "*.tar")
    loaded = load_dataset("webdataset", data_files=shards, split="train", cache_dir=str(tmp_path / "cache"))
    assert [row["json"]["id"] for row in loaded] == ["id::1", "id::0"]
    assert loaded[0]["jpg"].size == (4, 3)


def test_a_missing_media_file_is_named_and_leaves_nothing(tmp_path: Path) -> None:
    members: list[Media] = [[IMAGE], [("frames", FRAMES[:2])]]
    pool = make_pool(tmp_path, members)
    make_files(tmp_path, members)
    (tmp_path / "media" / IMAGE[1][0]).unlink()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(GdoError, match=r"sample id::0: .*bär 1.jpg cannot be read: No such file"):
        export(pool, "s", tmp_path / "out", format="webdataset")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("format", FORMATS)
def test_same_input_same_bytes_and_a_true_manifest(tmp_path: Path, format: str) -> None:
    members = POOLS["all"]
    pool = make_pool(tmp_path, members)
    make_files(tmp_path, members)

    def files(name: str) -> dict[str, bytes]:
        report = export(pool, "s", tmp_path / name, format=format, frames=4)
        return {path.name: path.read_bytes() for path in report.path.iterdir()}

    first = files("a")
    assert files("b") == first
    assert files("a") == first
    manifest = json.loads(first.pop("manifest.json"))
    assert {file["name"]: (file["bytes"], file["sha256"]) for file in manifest["files"]} == {
        name: (len(content), hashlib.sha256(content).hexdigest()) for name, content in first.items()
    }
    assert (manifest["subset"], manifest["role"], manifest["preset"]) == ("s", "chosen", "minloss")
    assert (manifest["seed"], manifest["parameters"]) == (7, {"seed": 7})
    assert (manifest["pool_fingerprint"], manifest["selected_with"]) == ("abc", {"gdo": "0"})
    assert manifest["selected"] == "2026-01-02T03:04:05"
    assert manifest["format"] == format
    assert manifest["options"] == {"frames": 4, "absolute": False, "multiple": None}
    assert manifest["counts"] == {
        "samples": 4,
        "images": 7,
        "videos": 1,
        "bucket": {"image_qa": 2, "short_video": 2},
        "source_group": {"src": 4},
    }


@pytest.mark.parametrize(("format", "suffix"), [(name, form.suffix) for name, form in FORMATS.items()])
def test_a_file_or_a_folder(tmp_path: Path, format: str, suffix: str | None) -> None:
    pool = make_pool(tmp_path, POOLS["images"])
    make_files(tmp_path, POOLS["images"])
    if suffix is None:
        with pytest.raises(UsageError, match="writes a folder"):
            export(pool, "s", tmp_path / "train.jsonl", format=format)
        return
    report = export(pool, "s", tmp_path / "new" / f"train{suffix}", format=format)
    assert {path.name for path in (tmp_path / "new").iterdir()} == {
        *(f"train{suffix}", f"train{suffix}.manifest.json")
    }
    assert json.loads(report.manifest.read_bytes())["files"][0]["name"] == f"train{suffix}"
    assert ids(load(report.path, format, tmp_path), format) == ["id::2", "id::1", "id::0"]
    wrong = ".json" if suffix != ".json" else ".jsonl"
    with pytest.raises(UsageError, match=f"ends in {suffix} or a folder"):
        export(pool, "s", tmp_path / f"train{wrong}", format=format)


def test_only_an_earlier_export_is_replaced(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, POOLS["images"])
    folder = tmp_path / "out"
    export(pool, "s", folder, format="parquet")
    export(pool, "s", folder, format="ids")
    assert sorted(path.name for path in folder.iterdir()) == ["README.md", "data.txt", "manifest.json"]
    (folder / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match=r"notes\.txt is not from one"):
        export(pool, "s", folder)
    file = tmp_path / "train.jsonl"
    file.write_text("mine")
    with pytest.raises(UsageError, match="not an earlier export"):
        export(pool, "s", file)
    assert file.read_text() == "mine"
    (folder / "notes.txt").unlink()
    (folder / "manifest.json").write_text('{"files": [{"name": "data.txt"}]}')
    with pytest.raises(UsageError, match="not an earlier export"):
        export(pool, "s", folder)
    (tmp_path / "bare").mkdir()
    assert export(pool, "s", tmp_path / "bare").samples == 3


class Killed(BaseException):
    """Instead of a signal: nothing is tidied up either."""


def kill_at_rename(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    rename, done = Path.replace, list[Path]()

    def replace(path: Path, to: Path) -> Path:
        done.append(path)
        if len(done) == number:
            raise Killed
        return rename(path, to)

    monkeypatch.setattr(Path, "replace", replace)
    monkeypatch.setattr("shutil.rmtree", lambda *_, **__: None)


@pytest.mark.parametrize("name", ["out.jsonl", "out"])
@pytest.mark.parametrize("earlier", [False, True])
def test_killed_as_it_takes_its_place_it_is_exported_again(
    tmp_path: Path, name: str, earlier: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, POOLS["images"])
    output = tmp_path / name
    if earlier:
        export(pool, "s", output, absolute=True)
    with monkeypatch.context() as patch:
        kill_at_rename(2 if earlier or name == "out.jsonl" else 1, patch)
        with pytest.raises(Killed):
            export(pool, "s", output)
    assert export(pool, "s", output).samples == 3
    assert not list(tmp_path.glob(".*"))


def test_what_a_killed_export_had_put_away_is_put_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, POOLS["images"])
    export(pool, "s", tmp_path / "out")
    before = (tmp_path / "out" / "manifest.json").read_bytes()
    with monkeypatch.context() as patch, pytest.raises(Killed):
        kill_at_rename(2, patch)
        export(pool, "s", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(UsageError, match="no subset gone"):
        export(pool, "gone", tmp_path / "out")
    assert (tmp_path / "out" / "manifest.json").read_bytes() == before


def break_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the reading of the second row fail."""
    whole: Callable[..., Any] = export_rows._row
    done: list[int] = []

    def broken(*arguments: Any) -> Any:
        done.append(1)
        if len(done) > 1:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(export_rows, "_row", broken)


@pytest.mark.parametrize("format", FORMATS)
def test_broken_off_midway_leaves_what_was_there(
    tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, POOLS["images"])
    make_files(tmp_path, POOLS["images"])
    export(pool, "s", tmp_path / "old", format=format)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with monkeypatch.context() as patch:
        break_second(patch)
        for name in ("old", "new"):
            with pytest.raises(KeyboardInterrupt):
                export(pool, "s", tmp_path / name, format=format)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before
    with Pool(pool).write() as connection:  # the pool was let go
        connection.execute("UPDATE sample SET answer = 'x'")
    assert export(pool, "s", tmp_path / "new", format=format).samples == 3


def test_a_failing_writer_lets_go_of_the_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = make_pool(tmp_path, POOLS["images"])
    with Pool(pool).write() as connection:
        connection.execute("UPDATE sample SET qa_uid = replace(qa_uid, ':', '\n')")
        connection.execute("UPDATE subset_sample SET qa_uid = replace(qa_uid, ':', '\n')")
    readers = []
    monkeypatch.setattr(run, "read_rows", lambda *given: readers.append(read_rows(*given)) or readers[-1])
    with pytest.raises(GdoError, match="has a line break"):
        export(pool, "s", tmp_path / "out", format="ids")
    assert readers[0].gi_frame is None  # closed, although still held; open, the next connect would hang
    assert export(pool, "s", tmp_path / "out").samples == 3


@pytest.mark.parametrize("format", FORMATS)
def test_nothing_to_export(tmp_path: Path, format: str) -> None:
    pool = make_pool(tmp_path, POOLS["one"])
    before = sorted(tmp_path.iterdir())
    with pytest.raises(UsageError, match="has no chosen samples"):
        export(pool, "empty", tmp_path / "out", format=format)
    with pytest.raises(UsageError, match="has no uniform samples"):
        export(pool, "s", tmp_path / "out", format=format, uniform=True)
    assert sorted(tmp_path.iterdir()) == before


def test_wrong_names_list_the_known_ones(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, POOLS["one"])
    with pytest.raises(UsageError, match="there is no subset t; there are: empty, s"):
        export(pool, "t", tmp_path / "out")
    with pytest.raises(UsageError, match="no export format csv; there are swift, llamafactory"):
        export(pool, "s", tmp_path / "out", format="csv")


def test_a_pool_that_lost_something(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, POOLS["images"])
    with Pool(pool).write() as connection:
        connection.execute("DELETE FROM sample WHERE qa_uid = 'id::0'")
    with pytest.raises(GdoError, match="names 3 samples, the pool holds 2"):
        export(pool, "s", tmp_path / "out")
    with Pool(pool).write() as connection:
        connection.execute("DELETE FROM media")
    with pytest.raises(GdoError, match=r"sample id::\d shows medium \d+, which the pool lacks"):
        export(pool, "s", tmp_path / "out")
