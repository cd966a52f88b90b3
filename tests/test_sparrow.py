"""Sparrow from files to samples: the rows, the pictures, the pool that takes them; killed and resumed."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
from PIL import Image

from gdo.errors import GdoError, UsageError
from gdo.pool.ingest import ingest
from gdo.pool.rows import SHAPES, parse_row, placeholder_trouble
from gdo.selectors.select import select
from gdo.train.sparrow.keep import Limits
from gdo.train.sparrow.pages import Recipe
from gdo.train.sparrow.run import Progress, SparrowReport, make_sparrow
from gdo.train.sparrow.words import words_of


def row(number: int, words: int = 300, **more: Any) -> dict[str, Any]:
    context = " ".join(f"word{number}x{place}" for place in range(words))
    return {"context": context, "question": f"What is in text {number}?", "answer": f"number {number}"} | more


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "sparrow.jsonl").read_text().splitlines()]


def left_out(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "left_out.jsonl").read_text().splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_rows_read_like_video_samples(tmp_path: Path) -> None:
    file = write(tmp_path / "texts.jsonl", [row(1), "bad", row(2, question="Is <image> a tag?")])
    report = make_sparrow([file], tmp_path / "out", workers=1)
    first, second = rows_of(tmp_path / "out")
    assert first["messages"] == [
        {"role": "user", "content": "<image><image><image>What is in text 1?"},
        {"role": "assistant", "content": "number 1"},
    ]
    assert first["bucket"] == "synthetic_text_video"
    assert (first["data_source"], first["videos"]) == ("sparrow_texts", [])
    assert first["origin"] == {"file": "texts.jsonl", "line": 1, "document": "", "question": "0"}
    assert second["messages"][0]["content"].endswith("Is < image> a tag?")
    assert first["id"] != second["id"]
    assert placeholder_trouble(parse_row(first, SHAPES["auto"])) is None
    for one in (first, second):
        for path in one["images"]:
            with Image.open(tmp_path / "out" / path) as image:
                assert image.size == (448, 448)
                assert np.asarray(image.convert("L")).min() == 0
    assert (report.rows_read, report.rows_bad, report.samples, report.pictures) == (3, 1, 2, 6)
    assert left_out(tmp_path / "out") == [
        {"file": "texts.jsonl", "line": 2, "question": "", "reason": "not an object", "detail": "'bad'"}
    ]


def test_many_questions_share_pictures_in_one_row_and_in_several(tmp_path: Path) -> None:
    story = {
        "story": "s",
        "sections": [{"text": row(1)["context"]}],
        "questions": [{"question": f"Q{n}?", "answer1": f"A{n}"} for n in range(5)],
    }
    stories = write(tmp_path / "stories.jsonl", [story])
    plain = write(tmp_path / "plain.jsonl", [row(1), row(1, question="And?")])
    report = make_sparrow([stories, plain], tmp_path / "out", workers=2)
    assert (report.samples, report.texts, report.pictures, report.drawn) == (7, 1, 3, 3)
    assert len({tuple(one["images"]) for one in rows_of(tmp_path / "out")}) == 1
    assert len(list((tmp_path / "out" / "pictures").rglob("*.png"))) == 3


def test_what_another_process_draws_meanwhile_is_not_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(tmp_path / "t.jsonl", [row(1)])
    make_sparrow([file], tmp_path / "other", workers=1)

    @contextmanager
    def waiting(folder: Path) -> Iterator[bool]:
        shutil.copytree(tmp_path / "other" / "pictures", tmp_path / "out" / "pictures", dirs_exist_ok=True)
        yield True

    monkeypatch.setattr("gdo.train.sparrow.pages.locked", waiting)
    report = make_sparrow([file], tmp_path / "out", workers=1)
    assert (report.samples, report.pictures, report.drawn) == (1, 3, 0)


def test_the_same_bytes_whatever_the_number_of_processes(tmp_path: Path) -> None:
    texts = [
        row(0, answer=""),
        7,
        *(row(number, 150 + 40 * number) for number in range(4)),
        row(9, answer=""),
        8,
    ]
    files = [write(tmp_path / name, texts) for name in ("b.jsonl", "a.jsonl")]
    for workers in (1, 2):
        make_sparrow(files, tmp_path / f"out{workers}", workers=workers)
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2")
    places = [(one["file"], one["line"]) for one in left_out(tmp_path / "out2")]
    assert places == [(name, line) for name in ("b.jsonl", "a.jsonl") for line in (1, 2, 7, 8)]


def test_rules_leave_out_and_say_why(tmp_path: Path) -> None:
    booksum = row(3, source="kmfoda/booksum")
    long_question = row(4, question="w " * 20)
    file = write(tmp_path / "t.jsonl", [row(1, 60), row(2, 900), booksum, long_question, row(5, answer=" ")])
    limits = Limits(question_words=15, max_frames=5, max_tokens=300, frame_tokens=90)
    make_sparrow([file], tmp_path / "out", recipe=Recipe(limits=limits), workers=1)
    assert [(one["line"], one["question"], one["reason"]) for one in left_out(tmp_path / "out")] == [
        (2, "", "text has more than 5 pictures"),
        (3, "", "text has fewer than 3000 words"),
        (4, "0", "question has more than 15 words"),
        (5, "0", "no answer"),
    ]
    assert [one["origin"]["line"] for one in rows_of(tmp_path / "out")] == [1]
    tight = Recipe(limits=Limits(max_tokens=100))
    report = make_sparrow([write(tmp_path / "u.jsonl", [row(1)])], tmp_path / "two", recipe=tight, workers=1)
    assert report.left_out == {"sample has more than 100 tokens": 1}
    assert not (tmp_path / "two" / "pictures").exists()


def test_a_text_that_no_font_shows_is_left_out_or_stops_a_strict_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gdo.train.sparrow.glyphs._machine_fonts", tuple)
    file = write(tmp_path / "t.jsonl", [row(1), row(2, context="The sign 国 of a country")])
    report = make_sparrow([file], tmp_path / "out", workers=1)
    assert report.left_out == {"no font has its characters": 1}
    assert left_out(tmp_path / "out")[0]["detail"] == "国 (U+56FD)"
    with pytest.raises(GdoError, match=r"t\.jsonl, line 2: no font has its characters: 国 .U\+56FD.*--font"):
        make_sparrow([file], tmp_path / "strict", recipe=Recipe(strict=True), workers=1)


KILLED = """
import os, signal, sys
from gdo.train.sparrow import pages
from gdo.train.sparrow.run import make_sparrow
write, done = pages._write_folder, []
def killing(folder, names, contents):
    if len(done) == 3:
        aside = folder.with_name(f".{folder.name}.{os.getpid()}.part")
        aside.mkdir()
        (aside / names[0]).write_bytes(contents[0][:50])
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(folder)
    write(folder, names, contents)
pages._write_folder = killing
make_sparrow([sys.argv[1]], sys.argv[2], workers=1)
"""


def test_killed_it_goes_on_where_it_was_with_the_same_bytes(tmp_path: Path) -> None:
    file = write(tmp_path / "texts.jsonl", [row(number) for number in range(8)])
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, str(file), str(out)]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    before = {path: path.stat().st_mtime_ns for path in out.glob("pictures/??/[0-9a-f]*/*.png")}
    assert len(before) == 9
    assert not (out / "sparrow.jsonl").exists()
    assert list(out.glob("pictures/*/.*.part"))
    report = make_sparrow([file], out, workers=2)
    assert (report.pictures, report.drawn) == (24, 15)
    assert {path: path.stat().st_mtime_ns for path in before} == before
    make_sparrow([file], tmp_path / "whole", workers=1)
    assert contents(out) == contents(tmp_path / "whole")
    assert make_sparrow([file], out, workers=1).drawn == 0


def test_a_folder_belongs_to_one_run(tmp_path: Path) -> None:
    file = write(tmp_path / "t.jsonl", [row(1)])
    make_sparrow([file], tmp_path / "out", workers=1)
    with pytest.raises(UsageError, match=r"holds a run with other settings \(recipe"):
        make_sparrow([file], tmp_path / "out", recipe=Recipe(words=50), workers=1)
    write(file, [row(2)])
    with pytest.raises(UsageError, match=r"other settings \(inputs"):
        make_sparrow([file], tmp_path / "out", workers=1)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "sparrow.jsonl").write_text("mine")
    with pytest.raises(UsageError, match="in the way"):
        make_sparrow([file], tmp_path / "other", workers=1)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"format": "nonsense"}, "unknown format 'nonsense'; known are auto, fairytaleqa"),
        ({"workers": 0}, "workers must be at least 1"),
        ({"recipe": Recipe(words=0)}, "words must be at least 1"),
        ({"recipe": Recipe(picture="gif")}, "pictures can be png, jpg, webp"),
        ({"recipe": Recipe(fonts=(Path("missing.ttf"),))}, "missing.ttf is not a TrueType"),
        ({"frame_tokens": 0}, "frame_tokens must be at least 1"),
        ({"fields": {"text": "x"}}, "unknown field 'text'; known are context"),
        ({"fields": {"context": "x"}, "format": "loogle"}, "fields are of the format plain"),
    ],
)
def test_wrong_use_is_told_before_anything_is_written(
    options: dict[str, Any], says: str, tmp_path: Path
) -> None:
    file = write(tmp_path / "t.jsonl", [row(1)])
    with pytest.raises(UsageError, match=says):
        make_sparrow([file], tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    for format in ("auto", "plain"):
        with pytest.raises(UsageError, match=r"no file or folder .*missing"):
            make_sparrow([tmp_path / "missing"], tmp_path / "out", format=format)


def test_progress_and_equal_names(tmp_path: Path) -> None:
    files = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        files.append(write(tmp_path / name / "t.jsonl", [row(1), 3]))
    seen = list[Progress]()
    report = make_sparrow(files, tmp_path / "out", workers=1, progress=seen.append)
    assert (seen[-1].rows, seen[-1].total, seen[-1].pictures) == (4, 4, 3)
    assert report.samples == 2
    ids, origins = zip(
        *((one["id"], one["origin"]["file"]) for one in rows_of(tmp_path / "out")), strict=True
    )
    assert len(set(ids)) == len(set(origins)) == 2


@pytest.mark.parametrize("workers", [1, 2])
def test_a_pool_takes_the_rows_with_their_bucket(workers: int, tmp_path: Path) -> None:
    """Once by the fast way of ingest, once (an odd row first) row by row."""
    file = write(tmp_path / "t.jsonl", [row(number) for number in range(6)])
    out = tmp_path / "out"
    make_sparrow([file], out, workers=1)
    rows = out / "sparrow.jsonl"
    if workers == 1:
        odd = [json.dumps({"id": str(number), "messages": [7]}) for number in range(8)]
        rows = out / "odd.jsonl"
        rows.write_text("\n".join([*odd, (out / "sparrow.jsonl").read_text()]))
    other = [{"id": f"v{n}", "bucket": "my_own", "videos": [f"{n}.mp4"], "messages": [
        {"role": "user", "content": f"<video>What {n}?"}, {"role": "assistant", "content": "It."}]}
        for n in range(4)]  # fmt: skip
    pool = tmp_path / "pool.duckdb"
    ingest(pool, [write(tmp_path / "videos.jsonl", other), rows], workers=workers)
    with duckdb.connect(str(pool), read_only=True) as connection:
        found = connection.execute(
            "SELECT bucket, duration_bucket, count(*), min(listed_frames), count(DISTINCT video_uid) "
            "FROM candidate GROUP BY ALL ORDER BY bucket"
        ).fetchall()
        kinds = connection.execute("SELECT kind, count(*) FROM media GROUP BY ALL ORDER BY 1").fetchall()
    assert found == [("short_video", "medium", 4, None, 4), ("synthetic_text_video", "very_short", 6, 3, 6)]
    assert kinds == [("frames", 6), ("video", 4)]
    chosen = select(pool, "diverse", count=5)
    assert chosen.report["selected_count"] == 5
    assert set(chosen.report["profiles"]["pool"]["bucket"]) == {"short_video", "synthetic_text_video"}


def test_a_field_that_maps_nothing_is_wrong_use(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gdo.cli.main", "sparrow", "t.jsonl", "-o", str(tmp_path / "out")]
    done = subprocess.run([*command, "--field", "context"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--field takes NAME=KEY" in done.stderr


@pytest.fixture(scope="module")
def real_run(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Real texts through the whole command."""
    folder = tmp_path_factory.mktemp("real")
    files = sorted((shared / "data" / "longtext").glob("*.gz"))
    command = [sys.executable, "-m", "gdo.cli.main", "sparrow", *map(str, files), "-o", str(folder), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


@pytest.mark.slow
def test_real_long_texts_through_the_whole_command(
    shared: Path, real_run: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    import gzip

    folder, report = real_run
    assert (report["rows_read"], report["rows_bad"], report["questions"]) == (288, 0, 10_703)
    rows = rows_of(folder)
    assert len(rows) == report["samples"] >= 10_580
    with gzip.open(shared / "data" / "longtext" / "fairytaleqa_all.jsonl.gz", "rt") as file:
        stories = [json.loads(line) for line in file]
    by_line = {one["origin"]["line"]: one for one in rows if one["data_source"] == "sparrow_fairytaleqa"}
    for line, story in enumerate(stories, 1):
        words = len(words_of("\n".join(section["text"] for section in story["sections"])))
        assert len(by_line[line]["images"]) >= -(-words // 115)
    asked = [(one["question"], one["answer1"]) for story in stories for one in story["questions"]]
    told = [
        tuple(message["content"].replace("<image>", "").strip() for message in one["messages"])
        for one in rows
        if one["data_source"] == "sparrow_fairytaleqa"
    ]
    assert told == [(question.strip(), answer.strip()) for question, answer in asked]
    (ingested,) = ingest(tmp_path / "pool.duckdb", [folder / "sparrow.jsonl"])
    assert (ingested.samples, ingested.rows_bad, ingested.notes) == (len(rows), 0, {})


def test_the_report_is_plain_data(tmp_path: Path) -> None:
    report = make_sparrow([write(tmp_path / "t.jsonl", [row(1)])], tmp_path / "out", workers=1)
    assert isinstance(report, SparrowReport)
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert manifest["counts"]["samples"] == report.samples == 1
    assert [one["name"] for one in manifest["files"]] == ["sparrow.jsonl", "left_out.jsonl"]
    assert [font["file"] for font in manifest["fonts"]] == ["DejaVuSans.ttf"]
    assert manifest["recipe"]["words"] == 115
