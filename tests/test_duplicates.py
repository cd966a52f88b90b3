"""Near-duplicates: what is planted is found, nothing else, whatever the order; and selection goes by it."""

import io
import itertools
import json
import os
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image, ImageDraw, ImageFont
from typer.testing import CliRunner

import gdo
from gdo.cli.main import app
from gdo.demo.make import ExamplePool, make_example_pool
from gdo.descriptors.duplicates import closer, find, look, neighbours
from gdo.descriptors.duplicates.align import similarity
from gdo.descriptors.duplicates.components import components
from gdo.descriptors.duplicates.evidence import Evidence
from gdo.descriptors.duplicates.find import find_duplicates, sweep_duplicates
from gdo.descriptors.duplicates.look import LIMIT, CloseLook, difference, same_clip
from gdo.descriptors.duplicates.neighbours import close_pairs
from gdo.descriptors.duplicates.questions import Sample, same_questions
from gdo.descriptors.duplicates.words import Asked, agree, asked
from gdo.descriptors.fingerprint import pack, spectra, unpack
from gdo.errors import GdoError, UsageError
from gdo.pool import store
from gdo.pool.ingest import ingest
from gdo.pool.query import run_sql
from gdo.pool.store import Pool
from gdo.selectors.explain import explain
from gdo.selectors.select import select

FONT = Path(gdo.__file__).parent / "train" / "sparrow" / "fonts" / "DejaVuSans.ttf"
SAMPLES = 600
NEAR = ["dedup=near"]


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> ExamplePool:
    return make_example_pool(tmp_path_factory.mktemp("example"), samples=SAMPLES, seed=7, workers=1)


@pytest.fixture(scope="module")
def pool(example: ExamplePool) -> Path:
    path = example.folder / "pool.duckdb"
    ingest(path, example.files)
    find_duplicates(path, workers=0)
    return path


def rows(pool: Path, query: str) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in run_sql(pool, query).rows]


def grouped(pool: Path) -> set[tuple[str, ...]]:
    groups = defaultdict(list)
    for uid, group in rows(pool, "SELECT qa_uid, duplicate_group FROM sample_duplicate ORDER BY ALL"):
        groups[group].append(uid)
    return {tuple(sorted(uids)) for uids in groups.values()}


def pairs_in(groups: set[tuple[str, ...]]) -> set[tuple[str, str]]:
    return {pair for group in groups for pair in itertools.combinations(group, 2)}


def test_planted_duplicates_are_found(example: ExamplePool, pool: Path) -> None:
    truth = {row["qa_uid"]: row for row in pl.read_parquet(example.truth).iter_rows(named=True)}
    planted = defaultdict(list)
    for uid, row in truth.items():
        if row["duplicate_group"]:
            planted[row["duplicate_group"]].append(uid)
    wanted = pairs_in({tuple(sorted(uids)) for uids in planted.values()})
    found = pairs_in(grouped(pool))
    assert len(wanted) > 40
    assert len(found & wanted) >= 0.98 * len(wanted)
    assert len(found & wanted) >= 0.98 * len(found)
    media = {row["media"]: row["duplicate_of_media"] for row in truth.values() if row["duplicate_of_media"]}
    stored = rows(
        pool,
        "SELECT list(paths[1] ORDER BY paths[1]) FROM media_duplicate JOIN media USING (media_id) "
        "GROUP BY duplicate_group",
    )
    assert {tuple(paths) for (paths,) in stored} == {tuple(sorted(pair)) for pair in media.items()}


def test_groups_do_not_depend_on_the_order_of_ingestion(example: ExamplePool, pool: Path) -> None:
    other = example.folder / "other.duckdb"
    ingest(other, example.files[::-1])
    find_duplicates(other, workers=0)
    assert grouped(other) == grouped(pool)
    query = "SELECT * FROM media_duplicate ORDER BY media_id"
    assert rows(other, query) == rows(pool, query)


def test_a_sweep_stores_nothing_and_draws(pool: Path, tmp_path: Path) -> None:
    tables = ("media_duplicate", "sample_duplicate", "duplicate_search", "run")
    before = [rows(pool, f"SELECT * FROM {name} ORDER BY ALL") for name in tables]
    sweep = sweep_duplicates(pool, threshold=0.992, workers=0)
    assert [rows(pool, f"SELECT * FROM {name} ORDER BY ALL") for name in tables] == before
    assert [row.threshold for row in sweep.rows] == sorted({*(row.threshold for row in sweep.rows), 0.992})
    in_groups = [row.media_in_groups for row in sweep.rows]
    assert in_groups == sorted(in_groups, reverse=True)
    assert in_groups[-1] > 0
    assert all(Path(file).exists() for one in sweep.examples for file in (*one.first, *one.second))
    picture = tmp_path / "sweep.png"
    arguments = ["duplicates", str(pool), "--sweep", "--workers", "0", "-o", str(picture)]
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    assert "samples removed" in result.output
    assert picture.read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "x.png"], "--sweep"),
        (["--threshold", "0.5"], "from 0.96"),
        (["--sweep", "-o", "x.jpg"], ".png"),
    ],
)
def test_wrong_use_is_told(pool: Path, arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CliRunner().invoke(app, ["duplicates", str(pool), *arguments], catch_exceptions=False)


def test_selection_takes_the_best_of_each_group(pool: Path) -> None:
    exact = select(pool, "diverse", count=400, name="exact")
    near = select(pool, "diverse", count=400, name="near", settings=NEAR)
    assert exact.fingerprint != near.fingerprint
    assert "near_duplicates" not in exact.report
    told = near.report["near_duplicates"]
    assert (
        told["kept_out"]
        == rows(pool, "SELECT count(*) - count(DISTINCT duplicate_group) FROM sample_duplicate")[0][0]
    )
    chosen = dict(
        rows(pool, "SELECT qa_uid, score FROM subset_sample WHERE subset = 'near' AND role = 'chosen'")
    )
    twice = rows(pool, "SELECT qa_uid, score FROM subset_sample WHERE subset = 'exact' AND role = 'chosen'")
    scores = dict(twice) | chosen
    groups = grouped(pool)
    assert any(len(set(group) & set(dict(twice))) > 1 for group in groups)
    for group in groups:
        taken = set(group) & set(chosen)
        assert len(taken) <= 1
        assert all(scores[uid] >= scores.get(other, -9) for uid in taken for other in group)
    members = rows(pool, "SELECT qa_uid FROM subset_sample WHERE subset = 'near' AND role = 'uniform'")
    assert len({uid for (uid,) in members}) == len(members)


def test_a_near_duplicate_is_explained(pool: Path) -> None:
    select(pool, "diverse", count=400, name="near", settings=NEAR)
    told = {uid: explain(pool, "near", uid) for group in sorted(grouped(pool))[:6] for uid in group}
    out = {uid: one.verdict for uid, one in told.items() if "near-duplicate" in one.verdict}
    for group in sorted(grouped(pool))[:6]:
        kept = [uid for uid in group if uid not in out]
        assert len(kept) == 1
        assert all(out[uid] == f"near-duplicate of {kept[0]} (kept)" for uid in group if uid in out)


def test_copies_of_a_video_share_one_cap(pool: Path) -> None:
    settings = [*NEAR, "max_qa_per_video=1", "max_video_ratio=-1", "min_video_ratio=0.9"]
    select(pool, "diverse", count=200, name="capped", settings=settings)
    shown = rows(
        pool,
        "SELECT duplicate_group, count(*) FROM subset_sample JOIN sample USING (qa_uid) "
        "JOIN media_duplicate ON media_id = media_ids[1] "
        "WHERE subset = 'capped' AND role = 'chosen' AND bucket = 'short_video' GROUP BY ALL",
    )
    assert shown
    assert {count for _, count in shown} == {1}


def test_near_needs_a_search_and_tells_when_it_is_old(example: ExamplePool) -> None:
    path = example.folder / "grows.duckdb"
    ingest(path, example.files[:1])
    with pytest.raises(UsageError, match="gdo duplicates"):
        select(path, "minloss", count=20, settings=NEAR)
    find_duplicates(path, workers=0)
    assert select(path, "minloss", count=20, settings=NEAR).report["near_duplicates"]["ingested_since"] == 0
    ingest(path, example.files[1:])
    since = rows(path, "SELECT count(*) FROM sample WHERE source_id = 2")[0][0]
    report = select(path, "minloss", count=20, settings=NEAR).report
    assert report["near_duplicates"]["ingested_since"] == since > 0


@pytest.mark.slow
def test_the_real_pool_has_its_pairs_and_no_others(shared: Path, tmp_path: Path) -> None:
    real = shared / "data" / "realpool"
    odd = tmp_path / "odd.jsonl"
    row = '{{"id": "odd{}", "video": "videos/odd/{}", "conversations": [{}]}}\n'
    turns = '{"from": "human", "value": "What happens?"}, {"from": "gpt", "value": "A ball rolls."}'
    names = sorted(path.name for path in (real / "videos" / "odd").iterdir() if path.is_file())
    odd.write_text("".join(row.format(number, name, turns) for number, name in enumerate(names)))
    pool = tmp_path / "pool.duckdb"
    ingest(pool, [real / "pool_image.jsonl", real / "pool_video.jsonl", odd], media_root=real)
    report = find_duplicates(pool, workers=0)
    stored = rows(
        pool,
        "SELECT list(paths[1] ORDER BY paths[1]) FROM media_duplicate JOIN media USING (media_id) "
        "GROUP BY duplicate_group",
    )
    told = [json.loads(line) for line in (real / "near_duplicates.jsonl").read_text().splitlines()]
    assert {tuple(paths) for (paths,) in stored} == {tuple(sorted((one["a"], one["b"]))) for one in told}
    assert report.found.media_unseen == 10


def never(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return False


def always(first: tuple[int, ...], second: tuple[int, ...]) -> bool:
    return True


def counted(*texts: Asked) -> Evidence:
    """What a pool of these tells, each from a maker of its own."""
    return Evidence([text] for text in texts)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def planted(rows: int, seed: int) -> tuple[np.ndarray, set[tuple[int, int]]]:
    rng = np.random.default_rng(seed)
    vectors = unit(rng.standard_normal((rows, 96)))
    copies = rng.permutation(rows)[: rows // 10].reshape(-1, 2)
    vectors[copies[:, 1]] = unit(vectors[copies[:, 0]] + 0.02 * rng.standard_normal((len(copies), 96)))
    return vectors, {(min(a, b), max(a, b)) for a, b in copies.tolist()}


@pytest.mark.parametrize("all_with_all", [100, 20_000])
def test_close_vectors_are_found_with_lists_and_without(
    monkeypatch: pytest.MonkeyPatch, all_with_all: int
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(neighbours, "ALL_WITH_ALL", all_with_all)
    vectors, wanted = planted(6000, 3)
    pairs = close_pairs(vectors, 0.9)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    assert found <= wanted
    assert len(found) >= (0.99 if all_with_all == 100 else 1) * len(wanted)
    again = close_pairs(vectors, 0.9)
    assert again.first.tolist() == pairs.first.tolist()
    assert again.second.tolist() == pairs.second.tolist()
    exact = (vectors[pairs.first].astype(float) * vectors[pairs.second]).sum(axis=1)
    assert np.abs(pairs.products - exact).max() < 1e-12


def test_an_index_goes_to_gpus_that_take_it() -> None:
    """The decision alone: no GPU computes anything here."""

    def refuse(index: object) -> object:
        raise RuntimeError("out of memory")

    index = object()
    without = SimpleNamespace(get_num_gpus=lambda: 0, index_cpu_to_all_gpus=refuse)
    assert neighbours.on_gpus(index, without) is index
    takes = SimpleNamespace(get_num_gpus=lambda: 2, index_cpu_to_all_gpus=lambda one: [one])
    assert neighbours.on_gpus(index, takes) == [index]
    refuses = SimpleNamespace(get_num_gpus=lambda: 1, index_cpu_to_all_gpus=refuse)
    with pytest.warns(UserWarning, match="on the CPU.*out of memory"):
        assert neighbours.on_gpus(index, refuses) is index


def test_no_vectors_and_one_have_no_pairs() -> None:
    for count in (0, 1):
        assert not len(close_pairs(np.ones((count, 4), np.float32) / 2, 0.9).first)


def test_components_are_joined_by_way_of_others() -> None:
    first, second = np.array([5, 1, 6]), np.array([1, 3, 7])
    assert components(9, first, second).tolist() == [0, 1, 2, 1, 4, 1, 6, 6, 8]


def picture(seed: int, size: int = 200) -> np.ndarray:
    import cv2

    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (9, 12, 3), dtype=np.uint8)
    return cv2.resize(coarse, (size * 4 // 3, size), interpolation=cv2.INTER_CUBIC)


def test_a_cropped_copy_is_laid_on_its_original() -> None:
    whole = picture(1)
    height, width = whole.shape[:2]
    cropped = whole[4 : height - 8, 12 : width - 6]
    a, b, other = (spectra([one]) for one in (whole, cropped, picture(2)))
    assert similarity(a, a)[0] == pytest.approx(1)
    assert similarity(a, b)[0] > 0.99 > float((a * b).sum())
    assert similarity(a, other)[0] < 0.9
    assert similarity(np.concatenate([a, a]), np.concatenate([other, b]))[1] == similarity(a, b)[0]


def test_spectra_survive_packing_and_flat_frames_are_left_out() -> None:
    waves = spectra([picture(1), np.full((40, 60, 3), 90, np.uint8), picture(2)])
    assert waves.shape == (2, 24, 24)
    assert np.abs(unpack(pack(waves)) - waves).max() < 0.01
    assert pack(spectra([np.zeros((8, 8, 3), np.uint8)])) == b""


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("Which is it?\nA. Red\nB. Two boxes\nAnswer with the letter.", "B"), ("Which is it?", "two boxes")),
        (("How many cats are there?", "Four"), ("How many cats are there?", "4.")),
        (("In this picture, what does the dog do?", "It runs"), ("What is the dog doing?", "It runs")),
    ],
)
def test_words_see_through_form(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert asked(*one).answer == asked(*other).answer


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("画面中有什么？", "一只猫"), ("天气怎么样？", "晴天")),
        (("What is it?", "?!"), ("What is it?", "...")),
        (("Is it red?", "Yes"), ("Is it red?", "No")),
    ],
)
def test_different_texts_have_different_words(one: tuple[str, str], other: tuple[str, str]) -> None:
    assert asked(*one) != asked(*other)


def test_questions_of_one_maker_are_told_apart_and_those_of_two_matched() -> None:
    texts = {
        "a0": ("x", "What colour is the ball?", "Red"),
        "a1": ("x", "What colour is the box?", "Red"),
        "a2": ("x", "In the image, what colour is the box?", "red."),
        "b0": ("y", "Tell me the colour of the box.", "It is red."),
        "b1": ("y", "How does the sky look?", "Grey"),
    }
    words = {uid: asked(question, answer) for uid, (_, question, answer) in texts.items()}
    filler = [asked(f"Where is thing {n}?", f"place {n} street") for n in range(50)]
    samples = [
        Sample(uid, (ord(maker),), "source", words[uid], number)
        for number, (uid, (maker, _, _)) in enumerate(texts.items())
    ]
    evidence = counted(*words.values(), *filler)
    assert same_questions(samples, evidence, never) == [["a1", "a2", "b0"]]
    assert same_questions(samples[::-1], evidence, never) == [["a1", "a2", "b0"]]


@pytest.mark.parametrize("media", [(1, 1), (1, 2)])
@pytest.mark.parametrize(
    ("one", "other"),
    [
        (("What is the man holding?", "An umbrella"), ("What is the man wearing?", "A jacket")),
        (("What color is the bus?", "Red"), ("What color is the sky?", "Blue")),
        (("Is the dog sitting?", "Yes"), ("Is the dog wearing a collar?", "No")),
        (("Is there a tree?", "Yes"), ("Is there a car?", "Yes")),
        (("How many chairs are there?", "2"), ("How many cups are there?", "2")),
        (("What is the total amount?", "12.40"), ("What is the total amount?", "7.90")),
    ],
)
def test_two_sources_that_share_pictures_ask_for_themselves(
    one: tuple[str, str], other: tuple[str, str], media: tuple[int, int]
) -> None:
    filler = [asked(f"Where is thing {n}?", f"place {n} street") for n in range(50)]
    a, b = asked(*one), asked(*other)
    samples = [Sample("a", (media[0],), "vqa", a, 1), Sample("b", (media[1],), "gqa", b, 2)]
    assert same_questions(samples, counted(a, b, *filler), always) == []


def test_pages_of_one_form_are_told_apart_by_what_they_say() -> None:
    words = [asked("What is the total amount?", f"{n}.40") for n in range(4)]
    samples = [Sample(str(n), (n,), "receipts", one, n) for n, one in enumerate(words)]
    assert same_questions(samples, counted(*words), never) == []
    shop = asked("What is the shop called?", "Miller")
    samples += [Sample(f"s{n}", (n,), "receipts", shop, 10) for n in range(4)]
    assert same_questions(samples, counted(*words, shop), never) == [["s0", "s1", "s2", "s3"]]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("What colour is the bus?", "Red"), ("Tell me the colour of the bus.", "Blue"), True),
        (("How many cups are there?", "2"), ("Count the cups. How many?", "Three"), True),
        (("Is it May or June?", "May"), ("Which is it, May or June?", "June"), True),
        (("Where does the baby sit?", "On a bed"), ("What colour is the baby's top?", "Blue"), False),
        (("What is the man holding?", "An umbrella"), ("What is the man wearing?", "A jacket"), False),
        (("How many cups are there?", "2"), ("Which cups are there?", "Red ones"), False),
    ],
)
def test_a_wrong_answer_is_seen_through_where_the_media_are_copies(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    colours = asked("Which one?\nA. Red\nB. Blue\nC. Green", "A")
    filler = [asked(f"Where is thing {n}?", f"place {n} street") for n in range(50)]
    a, b = asked(*one), asked(*other)
    samples = [Sample("a", (1,), "source", a, 1), Sample("b", (2,), "source", b, 2)]
    evidence = counted(a, b, colours, *filler)
    assert same_questions(samples, evidence, always) == ([["a", "b"]] if same else [])
    assert same_questions(samples, evidence, never) == []


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (
            ("Does the star swing up and down or left and right?", "It goes left and right."),
            ("Along which line does the star go to and fro?", "Left and right"),
            True,
        ),
        (
            ("Count the round trips of the star.", "It goes there and back three times in all."),
            ("How many times does the star go there and back?", "Three"),
            True,
        ),
        (
            ("Which number belongs to Oat?", "The value for Oat is 4."),
            ("Which is the highest?", "Oat"),
            False,
        ),
    ],
)
def test_answers_that_repeat_their_question_say_the_same(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    a, b = asked(*one), asked(*other)
    assert agree(a, b) == agree(b, a) == same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What colour is the bus?", "What colour is the bus? Answer in a word or two."),
        ("Which one is red?", "In this picture, which is red? Please answer with a single word."),
        ("Which is it?\nA. Red\nB. Blue\nWhich of these choices is right?", "Which is it?"),
        ("A. Red\nB. Blue\nWhich colour has the bus?", "Which colour has the bus?"),
    ],
)
def test_what_is_said_of_the_form_of_the_answer_is_no_part_of_the_question(one: str, other: str) -> None:
    assert asked(one, "Red").question == asked(other, "Red").question


COLOURS = "A. Red\nB. Blue\nC. Green"
THINGS_NAMED = [asked(f"Which object is {n}?\nA. The box\nB. The ball\nC. The barrel", "B") for n in range(9)]
COLOURS_NAMED = [asked(f"What colour is thing {n}?\n{COLOURS}", "A") for n in range(9)]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (("What colour is the ball?", "Red"), ("Tell me the colour of the ball.", "It is red."), True),
        (("What colour is the ball?", "Red"), ("What colour is the box?", "Red"), False),
        (
            ("Which object is blue?", "The blue object is the box."),
            ("What colour is the box?", "Blue"),
            False,
        ),
        (("Is the ball above the box?", "Yes"), ("In the image, is the ball above the box?", "Yes."), True),
        (("Is the ball above the box?", "Yes"), ("Is the box above the ball?", "Yes"), False),
        (("What does the first sign say?", "Open"), ("What does the second sign say?", "Open"), False),
    ],
)
def test_questions_on_copies_of_other_things_are_told_apart(
    one: tuple[str, str], other: tuple[str, str], same: bool
) -> None:
    a, b = asked(*one), asked(*other)
    filler = [asked(f"Where is thing {n}?", f"place {n} street") for n in range(50)]
    evidence = counted(a, b, *THINGS_NAMED, *COLOURS_NAMED, *filler)
    samples = [Sample("a", (1,), "source", a, 1), Sample("b", (2,), "source", b, 2)]
    assert same_questions(samples, evidence, always) == ([["a", "b"]] if same else [])


def test_a_question_turned_round_is_another_one_of_the_same_maker() -> None:
    words = [asked("Is the ball above the box?", "Yes"), asked("Is the box above the ball?", "Yes")]
    samples = [Sample(str(n), (1,), "source", one, n) for n, one in enumerate(words)]
    assert same_questions(samples, counted(*words), always) == []


def test_questions_that_somebody_asks_side_by_side_differ_in_meaning() -> None:
    a, b = asked("How many shapes are there?", "Three"), asked("How many of the shapes move?", "Three")
    filler = [asked(f"Where is thing {n}?", f"place {n} street") for n in range(50)]
    samples = [Sample("a", (1,), "source", a, 1), Sample("b", (2,), "source", b, 2)]
    alone = [[one] for one in (*[a] * 9, *[b] * 9, *filler)]
    assert same_questions(samples, Evidence(alone), always) == [["a", "b"]]
    together = [*[[a, b]] * 9, *([one] for one in filler)]
    assert same_questions(samples, Evidence(together), always) == []


def test_what_is_left_over_where_all_others_are_matched_needs_less() -> None:
    words = [asked("How many objects stand here?", "Four"), asked("Count what throws a shadow.", "Four")]
    shared = [asked(f"Where is thing {n}?", f"place {n} street") for n in range(50)]
    often = [[asked(f"How {way} is thing {n}?", "4") for way in ("old", "tall")] for n in range(9)]
    evidence = Evidence([*([one] for one in (*words, *shared)), *often])
    samples = [Sample(str(medium), (medium,), "source", words[medium], medium) for medium in (0, 1)]
    assert same_questions(samples, evidence, always) == []
    samples += [
        Sample(f"{medium}-{n}", (medium,), "source", shared[n], 9 + n) for medium in (0, 1) for n in range(6)
    ]
    assert ["0", "1"] in same_questions(samples, evidence, always)


def test_rewordings_that_were_found_teach_what_words_stand_for_each_other() -> None:
    texts = [("How many things cast a shadow?", "Two"), ("Count the objects on the ground.", "Three")]
    a, b = (asked(*text) for text in texts)
    evidence = counted(a, b, *(asked(f"Where is thing {n}?", f"place {n}") for n in range(50)))
    assert evidence.likeness(a, b) < 0.1
    reworded = [
        (asked(f"Thing {n} casts shadows?", "x"), asked(f"Object {n} on grounds?", "x")) for n in range(3)
    ]
    evidence.learn(reworded[:1])
    assert evidence.likeness(a, b) < 0.1
    evidence.learn(reworded)
    assert evidence.likeness(a, b) > 0.5


def receipt(total: str) -> np.ndarray:
    font = ImageFont.truetype(str(FONT), 24)
    image = Image.new("RGB", (480, 640), "white")
    draw = ImageDraw.Draw(image)
    for line, words in enumerate(
        ["MILLER & SON", "Milk 1.20", "Bread 2.60", "Coffee 8.60", f"TOTAL {total}"]
    ):
        draw.text((60, 60 + 100 * line), words, font=font, fill="black")
    return np.asarray(image)


def copied(image: np.ndarray, scale: float, crop: int) -> np.ndarray:
    kept = Image.fromarray(image[crop : len(image) - crop, crop : image.shape[1] - crop])
    buffer = io.BytesIO()
    kept.resize((round(kept.width * scale), round(kept.height * scale))).save(buffer, "JPEG", quality=50)
    return np.asarray(Image.open(buffer).convert("RGB"))


@pytest.mark.parametrize(("scale", "crop"), [(1.0, 0), (0.5, 0), (1.3, 0), (0.8, 16)])
def test_a_close_look_tells_copies_from_pages_of_one_form(scale: float, crop: int) -> None:
    one, other = receipt("12.40"), receipt("7.95")
    assert similarity(spectra([one]), spectra([copied(other, 1.0, 0)]))[0] > 0.993
    assert difference(one, copied(one, scale, crop)) < LIMIT < difference(one, copied(other, scale, crop))
    assert difference(copied(one, scale, crop), one) < LIMIT < difference(copied(other, scale, crop), one)
    assert difference(one, picture(3)) > LIMIT


def test_clips_are_looked_at_where_they_show_the_same() -> None:
    clip = [np.roll(picture(5), 12 * step, axis=1) for step in range(12)]
    assert same_clip(clip, [copied(frame, 0.75, 0) for frame in clip[2:10]])
    other = [frame.copy() for frame in clip]
    for frame in other:
        frame[80:130, 100:150] = 255 - frame[80:130, 100:150]
    assert not same_clip(clip, other)


def test_media_that_are_gone_are_not_known_to_be_the_same(example: ExamplePool, tmp_path: Path) -> None:
    shutil.copytree(example.folder / "images", tmp_path / "images")
    pool = tmp_path / "pool.duckdb"
    ingest(pool, example.files[:1], media_root=tmp_path)
    (a,), (b,) = rows(pool, "SELECT media_id FROM media ORDER BY media_id LIMIT 2")
    look = CloseLook(Pool(pool))
    assert look((a, b), (a, b))
    assert not look((a,), (b,))
    shutil.rmtree(tmp_path / "images")
    assert not CloseLook(Pool(pool))((a,), (b,))


def stills_pool(folder: Path, stills: dict[str, np.ndarray]) -> Path:
    """A pool of pictures, each with a question of its own."""
    lines = []
    for name, picture in stills.items():
        Image.fromarray(picture).save(folder / f"{name}.jpg", quality=90)
        turns = [{"from": "human", "value": f"<image>What is {name}?"}, {"from": "gpt", "value": name}]
        lines.append(json.dumps({"id": name, "image": f"{name}.jpg", "conversations": turns}))
    (folder / "rows.jsonl").write_text("\n".join(lines))
    ingest(folder / "pool.duckdb", [folder / "rows.jsonl"])
    return folder / "pool.duckdb"


def embed(pool: Path, vectors: dict[str, list[float]]) -> None:
    """Give media of a pool the vectors of an embedder."""
    columns = {"embedding": {"type": "FLOAT[3]", "unit": "", "doc": "what it looks like"}}
    with Pool(pool).write() as connection:
        connection.execute(
            "CREATE TABLE media_embedding (media_id UBIGINT, version INTEGER, probe VARCHAR, "
            "embedding FLOAT[3], error VARCHAR)"
        )
        connection.execute(
            "INSERT INTO descriptor VALUES ('media_embedding', 'media', 1, '<p>', ?)", [json.dumps(columns)]
        )
        for name, vector in vectors.items():
            unit = [float(number) for number in np.array(vector) / np.linalg.norm(vector)]
            connection.execute(
                "INSERT INTO media_embedding "
                "SELECT media_id, 1, '<p>', ?, NULL FROM media WHERE paths[1] = ?",
                [unit, f"{name}.jpg"],
            )


def joined(pool: Path) -> list[tuple[str, str]]:
    return rows(
        pool,
        "SELECT paths[1], found_by FROM media_duplicate JOIN media USING (media_id) ORDER BY ALL",
    )


def test_texts_that_are_replaced_during_the_search_are_in_no_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool, file = stills_pool(tmp_path, {"a": picture(1), "b": picture(1)}), tmp_path / "rows.jsonl"
    group = find.group_samples

    def replace(*told: Any) -> Any:
        file.write_text(file.read_text().replace("What is b?", "Who made it?"))
        ingest(pool, [file], replace=True)
        return group(*told)

    with monkeypatch.context() as patch:
        patch.setattr(find, "group_samples", replace)
        with pytest.raises(GdoError, match="were replaced during the search; search again"):
            find_duplicates(pool, workers=0)
    assert rows(pool, "SELECT count(*) FROM duplicate_search") == [(0,)]
    find_duplicates(pool, workers=0)
    assert [path for path, _ in joined(pool)] == ["a.jpg", "b.jpg"]


def cut(image: np.ndarray, share: float) -> np.ndarray:
    down, across = (round(share * side) for side in image.shape[:2])
    return image[down:-down, across:-across]


@pytest.fixture(scope="module")
def crops(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Crops by 2, 5 and 8 % of each side, and two receipts that the embedder takes for one."""
    whole = {name: picture(seed, 400) for seed, name in enumerate(("slight", "some", "much"), start=1)}
    copies = {
        f"{name}_cut": cut(whole[name], share) for name, share in zip(whole, (0.02, 0.05, 0.08), strict=True)
    }
    receipts = {"receipt": receipt("12.40"), "receipt_other": receipt("7.95")}
    pool = stills_pool(tmp_path_factory.mktemp("crops"), whole | copies | receipts)
    embed(
        pool,
        {
            "much": [1, 0, 0],
            "much_cut": [1, 0.1, 0],
            "receipt": [0, 1, 0],
            "receipt_other": [0, 1, 0.01],
            "slight": [0, 0, 1],
            "some": [0, 0.1, 1],
        },
    )
    return pool


THINGS = [
    "cups",
    "chairs",
    "lamps",
    "trees",
    "boats",
    "birds",
    "dogs",
    "cars",
    "books",
    "hats",
    "keys",
    "balls",
]


def test_a_killed_search_goes_on_with_what_it_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []
    for number, thing in enumerate(THINGS):
        wordings = (f"How many {thing} are there?", "2"), (f"Count the {thing}. How many?", "Three")
        for name, (question, answer) in zip((f"{number:02}a", f"{number:02}b"), wordings, strict=True):
            Image.fromarray(picture(number)).save(tmp_path / f"{name}.jpg", quality=90)
            turns = [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
            lines.append(json.dumps({"id": name, "image": f"{name}.jpg", "conversations": turns}))
    (tmp_path / "rows.jsonl").write_text("\n".join(lines))
    pool = tmp_path / "pool.duckdb"
    ingest(pool, [tmp_path / "rows.jsonl"])
    at, ahead, alone = CloseLook.at, list[int](), list[int]()

    def note(look: CloseLook, pairs: list[tuple[int, int]], *tell: Any) -> list[bool]:
        (ahead if tell else alone).append(len({*pairs} - {*look._known}))
        return at(look, pairs, *tell)

    def killed(*_: object, **__: object) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(CloseLook, "at", note)
        patch.setattr(find, "_store", killed)
        with pytest.raises(InterruptedError):
            find_duplicates(pool, workers=0)
    assert sum(ahead) == len(alone) // 2 == 12
    assert not any(alone)
    kept = tmp_path / "pool.duckdb.d" / "duplicates" / "looked_at.jsonl"
    with kept.open("a") as file:
        file.write("[1, 2, tr[3, 4, true]\n[1, 2, tr")
    monkeypatch.setattr(look, "read_frames", killed)
    find_duplicates(pool, workers=0)
    assert grouped(pool) == {(f"ov::{number:02}a::t0", f"ov::{number:02}b::t0") for number in range(12)}
    assert not kept.exists()


SLIGHT = [("slight.jpg", "fingerprint"), ("slight_cut.jpg", "fingerprint")]
SOME = [("some.jpg", "close look"), ("some_cut.jpg", "close look")]
MUCH = [("much.jpg", "embedding"), ("much_cut.jpg", "embedding")]


def test_crops_below_the_threshold_are_joined_by_a_close_look(crops: Path) -> None:
    found = find_duplicates(crops, threshold=0.999, workers=0).found
    assert joined(crops) == [*MUCH, *SLIGHT, *SOME]
    assert (found.media_by_close_look, found.media_by_embedding, found.not_looked_at) == (2, 2, 0)
    told = json.loads(rows(crops, "SELECT parameters FROM duplicate_search")[0][0])
    assert told["embedding"] == "<p>"


def test_the_close_look_can_be_turned_off(crops: Path) -> None:
    arguments = ["duplicates", str(crops), "--threshold", "0.999", "--no-close-look", "--workers", "0"]
    assert CliRunner().invoke(app, arguments, catch_exceptions=False).exit_code == 0
    assert joined(crops) == SLIGHT
    assert "embedding" not in json.loads(rows(crops, "SELECT parameters FROM duplicate_search")[0][0])


def test_without_embeddings_fingerprints_alone_propose(crops: Path, tmp_path: Path) -> None:
    shutil.copytree(crops.parent, tmp_path / "copy")
    pool = tmp_path / "copy" / crops.name
    with Pool(pool).write() as connection:
        connection.execute("DELETE FROM descriptor WHERE name = 'media_embedding'")
    find_duplicates(pool, threshold=0.999, workers=0)
    assert joined(pool) == [*SLIGHT, *SOME]


def test_no_more_is_looked_at_than_agreed(crops: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(closer, "FEWEST_LOOKS", 1)
    monkeypatch.setattr(closer, "LOOKS_PER_MEDIUM", 0.0)
    found = find_duplicates(crops, threshold=0.999, workers=0).found
    assert found.not_looked_at > 0
    assert found.media_by_close_look + found.media_by_embedding <= 2


def test_groups_of_an_older_pool_were_found_by_fingerprints(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = store._migrations()
    monkeypatch.setattr(store, "_migrations", lambda: [one for one in known if one[0] <= 5])
    monkeypatch.setattr(store, "words_script", lambda: "")
    pool = stills_pool(tmp_path, {"a": picture(1)})
    with Pool(pool).write() as connection:
        connection.execute("INSERT INTO media_duplicate SELECT media_id, 0, 0.995 FROM media")
    monkeypatch.undo()
    Pool(pool).upgrade()
    assert joined(pool) == [("a.jpg", "fingerprint")]


@pytest.mark.slow
def test_thousands_of_pages_of_one_form_fit_in_memory() -> None:
    """All pairs would be 98 million, 2.4 GB; the limit is of the process, what it holds already set aside."""
    script = """
import resource
import numpy as np
from gdo.descriptors.duplicates.components import components
from gdo.descriptors.duplicates.neighbours import close_pairs

rng = np.random.default_rng(0)
vectors = 1 + 0.02 * rng.standard_normal((14_000, 8), dtype=np.float32)
vectors[-1] = [1, 0, 0, 0, 0, 0, 0, 0]
vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
vectors[7] = vectors[13_000]
resource.setrlimit(resource.RLIMIT_DATA, (1 << 30, 1 << 30))
pairs = close_pairs(vectors, 0.9)
assert (7, 13_000) in set(zip(pairs.first.tolist(), pairs.second.tolist()))
assert components(14_000, pairs.first, pairs.second).tolist() == [0] * 13_999 + [13_999]
assert len(pairs.first) < 64 * 2 * 14_000
"""
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_two_halves_of_a_large_group_stay_joined() -> None:
    rng = np.random.default_rng(1)
    half = np.zeros((2, 64))
    half[:, 0], half[0, 1], half[1, 1] = 0.9747, 0.2236, -0.2236
    vectors = np.repeat(half, 100, axis=0) + rng.normal(scale=1e-3, size=(200, 64))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    pairs = close_pairs(vectors, 0.75)
    assert (components(200, pairs.first, pairs.second) == 0).all()
    assert len(pairs.first) < 200 * 64 + 200


def test_groups_of_random_pairs() -> None:
    rng = np.random.default_rng(2)
    first, second = rng.integers(0, 300, size=(2, 140))
    root = components(300, first, second)
    members = [{row} for row in range(300)]
    for a, b in zip(first.tolist(), second.tolist(), strict=True):
        joined = members[a] | members[b]
        for row in joined:
            members[row] = joined
    assert root.tolist() == [min(group) for group in members]
