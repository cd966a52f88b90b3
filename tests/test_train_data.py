"""Samples on their way to the model: read, placed, ordered, dealt, encoded, packed."""

import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from qwen_models import save_qwen
from torch.utils.flop_counter import FlopCounterMode
from train_data import make_rows, read_rows, smoke, write_rows

os.environ["HF_HUB_OFFLINE"] = "1"

from gdo.demo.make import make_example_pool
from gdo.errors import GdoError, UsageError
from gdo.export.run import export
from gdo.pool.ingest import ingest
from gdo.selectors.select import select
from gdo.train import prepare
from gdo.train.batches import PackedRow
from gdo.train.encode import NOT_LEARNED, Encoder, TooLongError
from gdo.train.ledger import Entry, read_ledger
from gdo.train.lengths import Measure
from gdo.train.meter import Meter, Totals, count_work, peak_flops
from gdo.train.model import can_pack, keeps_logits, load_model
from gdo.train.order import deal, make_order
from gdo.train.prepare import read_run
from gdo.train.recipe import load_recipe
from gdo.train.rows import pack_row, summed_loss
from gdo.train.samples import Medium, Turn, parse_row, placed
from gdo.train.session import _teller
from gdo.train.sources import Data, file_rows, parse_mix, read_data
from gdo.train.sparrow.pages import Recipe
from gdo.train.sparrow.run import make_sparrow

CHAT = {
    "id": "chat",
    "source": "subset",
    "messages": [
        {"role": "system", "content": "Be short."},
        {"role": "user", "content": "Is <image> before <image>?"},
        {"role": "assistant", "content": "It is."},
        {"role": "user", "content": "<video>And this?"},
        {"role": "assistant", "content": "A ball,\nred."},
    ],
    "images": ["/a.png", "/b.png"],
    "videos": [["/c.png", "/d.png"]],
}
A, B = Medium("image", ("/a.png",)), Medium("image", ("/b.png",))
CLIP = Medium("frames", ("/c.png", "/d.png"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rows(tmp_path_factory.mktemp("rows"), 9)


def test_placeholders_stand_for_the_media_in_order() -> None:
    sample = parse_row(CHAT)
    assert sample.turns[1].parts == ("Is ", A, " before ", B, "?")
    assert sample.turns[3].parts == (CLIP, "And this?")
    assert sample.kind == "video"


def test_media_without_placeholder_come_first() -> None:
    row = {**CHAT, "messages": CHAT["messages"][1:3], "videos": [], "images": ["/x.png", "/y.png", "/z.png"]}
    parts = parse_row(row).turns[0].parts
    assert parts[0] == Medium("image", ("/z.png",))
    assert parts[1] == "Is "


def test_placement_keeps_all_media_and_all_text() -> None:
    sample = parse_row(CHAT)
    front = placed(sample, "front", 0)
    assert front.turns[1].parts == (A, B, CLIP, "Is ", " before ", "?")
    assert front.turns[3].parts == ("And this?",)
    assert placed(sample, "in_place", 0) is sample
    mixed = {placed(sample, "mixed", seed).turns[3].parts for seed in range(20)}
    assert mixed == {(CLIP, "And this?"), ("And this?",)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": ["/a.png"]}, "chat: more placeholders <image> than entries"),
        ({"images": [{"bytes": "x"}, "/b.png"]}, "chat: an entry of `images`"),
        ({"messages": CHAT["messages"][:2]}, "chat: its last message is not the assistant's"),
        ({"messages": [{"role": "robot", "content": "x"}]}, "chat: a message has role 'robot'"),
    ],
)
def test_bad_rows_are_refused_by_name(change: dict[str, object], message: str) -> None:
    with pytest.raises(GdoError, match=message):
        parse_row({**CHAT, **change})


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A pool with the subset `diverse` of 12 samples."""
    folder = tmp_path_factory.mktemp("pool")
    made = make_example_pool(folder / "files", samples=60, workers=1)
    ingest(folder / "pool.duckdb", made.files, media_root=made.media_root, workers=1)
    select(folder / "pool.duckdb", "diverse", count=12)
    return folder / "pool.duckdb"


@pytest.mark.slow
def test_pool_and_export_give_the_same_samples(pool: Path, tmp_path: Path) -> None:
    for uniform in (False, True):
        out = tmp_path / f"out{uniform}"
        export(pool, "diverse", out, uniform=uniform)
        from_pool = [parse_row(row) for row in read_data(Data(pool, "diverse", uniform=uniform), 0)]
        from_file = [parse_row(row) for row in read_data(Data(out), 0)]
        assert len(from_pool) == (len(from_file)) >= 12
        assert from_pool == from_file
        assert all(Path(path).is_file() for s in from_pool for medium in s.media for path in medium.paths)


def test_sparrow_is_the_same_by_its_folder_by_a_pool_and_by_its_export(tmp_path: Path) -> None:
    """All pictures of a text are shown, as images: more than the recipe's frames of a video."""
    text = " ".join(f"word{number}" for number in range(40))
    texts = [
        {"context": f"{n} {text}", "question": f"What is {n}?", "answer": f"It is {n}."} for n in range(3)
    ]
    write_rows(tmp_path / "texts.jsonl", texts)
    one_word = Recipe(words=1)
    made = make_sparrow([tmp_path / "texts.jsonl"], tmp_path / "sparrow", recipe=one_word, workers=1)
    assert made.samples == 3
    videos = read_rows(make_rows(tmp_path / "videos", 3, ["video"]))
    write_rows(tmp_path / "videos" / "data.jsonl", [{**row, "video_id": row["id"]} for row in videos])
    pool = tmp_path / "pool.duckdb"
    ingest(pool, [tmp_path / "sparrow" / "sparrow.jsonl", tmp_path / "videos" / "data.jsonl"], workers=1)
    select(pool, "diverse", count=6)
    export(pool, "diverse", tmp_path / "out")

    def read(data: Data) -> tuple[list[str], set[tuple[Turn, ...]]]:
        rows = [row for row in read_data(data, 0) if row["bucket"] == "synthetic_text_video"]
        samples = [parse_row(row) for row in rows]
        return [sample.kind for sample in samples], {sample.turns for sample in samples}

    by_folder = read(Data(tmp_path / "sparrow"))
    assert by_folder[0] == ["image"] * 3
    assert {sum(isinstance(part, Medium) for part in turns[0].parts) for turns in by_folder[1]} == {41}
    assert read(Data(pool, "diverse")) == by_folder
    assert read(Data(tmp_path / "out")) == by_folder
    shown = [parse_row(row).kind for row in read_data(Data(pool, "diverse"), 0)]
    assert set(shown) == {"image", "video"}


def exported_ids(file: Path) -> list[str]:
    """The ids of an exported file in its order, read without a line of ours."""
    if file.suffix == ".txt":
        return file.read_text().split()
    if file.suffix == ".parquet":
        return pl.read_parquet(file)["id"].to_list()
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else None
    return [row["id"] for row in (map(json.loads, lines) if lines else json.loads(file.read_text()))]


@pytest.mark.slow
def test_what_is_trained_is_what_each_format_exports(pool: Path, model: Path, tmp_path: Path) -> None:
    """The ledger of a run on the pool and of one on the swift export, and the ids of all formats."""
    settings = ("checkpoints=1", "frames=2", "holdout=0")
    smoke(Data(pool, "diverse"), tmp_path / "of_pool", model, *settings)
    export(pool, "diverse", tmp_path / "swift")
    smoke(tmp_path / "swift", tmp_path / "of_file", model, *settings)
    ledgers = [read_ledger(tmp_path / name) for name in ("of_pool", "of_file")]
    assert ledgers[0].equals(ledgers[1])
    trained = ledgers[0]["qa_uid"].to_list()
    assert len(trained) == 12
    for format, name in (
        ("swift", "data.jsonl"),
        ("llamafactory", "data.json"),
        ("llava", "data.json"),
        ("parquet", "data.parquet"),
        ("ids", "data.txt"),
    ):
        export(pool, "diverse", tmp_path / format, format=format)
        assert sorted(exported_ids(tmp_path / format / name)) == sorted(trained), format


@pytest.mark.slow
def test_the_ledger_is_held_against_the_pool(
    pool: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not against the run's own copy, which lacks a sample here; held-out ones are named apart."""
    copied = pool.with_name("copied.duckdb")
    shutil.copy(pool, copied)
    extra = make_rows(tmp_path / "subset", 8, ["text"])
    data = Data(copied, "diverse", mix=((extra.parent, 0.25),))
    settings = ("checkpoints=1", "frames=2", "holdout=0.2", "epochs=2")
    said: list[str] = []
    whole = smoke(data, tmp_path / "whole", model, *settings, say=said.append).check
    assert whole.against == f"the chosen samples of subset diverse in {copied}"
    assert said[-1] == f"the ledger was held against {whole.against}"
    assert len(whole.held_out) == 3
    assert sum(told["wanted"] for told in whole.counts.values()) == 2 * (12 + 4 - 3)
    assert read_run(tmp_path / "whole")["ledger"]["held_out"] == whole.held_out

    lost: list[str] = []

    def losing(*given: Any) -> Iterator[dict[str, Any]]:
        for number, row in enumerate(read_data(*given)):
            if number == 5:
                lost.append(row["id"])
            else:
                yield row

    with monkeypatch.context() as patch:
        patch.setattr(prepare, "read_data", losing)
        with pytest.raises(GdoError, match=r"1 missing \(.*\); held against the chosen samples") as caught:
            smoke(data, tmp_path / "short", model, *settings)
    assert f"({lost[0]})" in str(caught.value)

    select(copied, "diverse", count=10)
    again = smoke(data, tmp_path / "whole", model, *settings).check
    assert (
        again.against
        == f"the run's own copy of subset diverse: it was selected anew in {copied} after the run began"
    )
    copied.unlink()
    assert "the pool cannot be read now" in smoke(data, tmp_path / "whole", model, *settings).check.against


def test_a_mix_has_its_share_of_the_total_and_is_seeded(tmp_path: Path) -> None:
    main = make_rows(tmp_path / "main", 20, ["text"])
    extra = make_rows(tmp_path / "extra", 30, ["text"])
    write_rows(extra, [{**row, "id": "x" + row["id"]} for row in read_rows(extra)])
    data = Data(main, mix=((tmp_path / "extra", 1 / 3),))
    drawn = [list(read_data(data, seed)) for seed in (1, 1, 2)]
    assert Counter(row["source"] for row in drawn[0]) == {"subset": 20, "extra": 10}
    assert drawn[0] == drawn[1] != drawn[2]
    (tmp_path / "extra" / "data.jsonl").rename(tmp_path / "extra" / "sparrow.jsonl")
    (tmp_path / "extra" / "left_out.jsonl").write_text('{"reason": "too short"}')
    assert list(read_data(data, 2)) == drawn[2]
    with pytest.raises(UsageError, match="asks for 80 samples and it holds 30"):
        list(read_data(Data(main, mix=((tmp_path / "extra", 0.8),)), 1))


def test_wrong_data_is_named(tmp_path: Path) -> None:
    assert parse_mix("a:b/c.jsonl:0.33") == (Path("a:b/c.jsonl"), 0.33)
    for text in ("sparrow", "sparrow:", ":0.3", "sparrow:much"):
        with pytest.raises(UsageError, match="DIR_OR_JSONL:SHARE"):
            parse_mix(text)
    with pytest.raises(UsageError, match="below 1 together"):
        Data(tmp_path, mix=((tmp_path, 0.5), (tmp_path, 0.5)))
    with pytest.raises(UsageError, match="give POOL SUBSET"):
        Data(tmp_path, uniform=True)
    with pytest.raises(UsageError, match="it holds none"):
        list(file_rows(tmp_path))
    (tmp_path / "bad.jsonl").write_text('{"id": 1}\n{')
    with pytest.raises(GdoError, match=r"bad\.jsonl, line 2: not JSON"):
        list(file_rows(tmp_path))


@pytest.mark.parametrize("batches", ["mixed", "one_kind"])
def test_every_sample_has_its_place_once_an_epoch(batches: str) -> None:
    kinds = ["image"] * 60 + ["video"] * 30 + ["text"] * 11
    order = make_order(kinds, seed=3, batch=8, epochs=2, batches=batches, holdout=0.05)  # type: ignore[arg-type]
    trained = Counter(np.concatenate(order.steps).tolist())
    assert len(order.held_out) == 5
    assert set(trained.values()) == {2}
    assert set(trained) | set(order.held_out.tolist()) == set(range(101))
    again = make_order(kinds, seed=3, batch=8, epochs=2, batches=batches, holdout=0.05)  # type: ignore[arg-type]
    assert all(np.array_equal(a, b) for a, b in zip(order.steps, again.steps, strict=True))
    of_steps = [Counter(kinds[i] for i in step) for step in order.steps]
    if batches == "one_kind":
        assert all(len(counts) == 1 for counts in of_steps)
    else:
        assert all(
            3 <= counts["image"] <= 6 and 1 <= counts["video"] <= 4
            for counts in of_steps
            if counts.total() == 8
        )


@given(st.lists(st.integers(1, 100), max_size=40), st.integers(1, 5), st.sampled_from([0, 50, 100, 300]))
def test_rows_hold_each_sample_once_and_ranks_have_equally_many(
    lengths: list[int], world: int, limit: int
) -> None:
    ranks = deal(lengths, world, limit)
    assert len({len(rows) for rows in ranks}) == 1
    rows = [row for rank in ranks for row in rank]
    assert sorted(number for row in rows for number in row) == list(range(len(lengths)))
    for row in rows:
        assert len(row) <= 1 or sum(lengths[number] for number in row) <= limit
    if len(lengths) >= world:
        assert all(row for rank in ranks for row in rank[:1])


@pytest.mark.parametrize("frames_as", ["images", "video"])
def test_answers_alone_are_learned_and_ids_are_the_processors(
    model: Path, rows: Path, frames_as: str
) -> None:
    encoder = Encoder(model, load_recipe("smoke", settings=[f"frames_as={frames_as}"]))
    folder = rows.parent
    chat = {**CHAT, "images": [f"{folder}/1_0.png", f"{folder}/4_0.png"]}
    chat["videos"] = [[f"{folder}/2_{i}.png" for i in range(3)]]
    encoded = encoder.encode(parse_row(chat))
    tokenizer = encoder.processor.tokenizer
    learned = tokenizer.decode(encoded.labels[encoded.labels != NOT_LEARNED])
    assert learned == "It is.<|im_end|>A ball,\nred.<|im_end|>"
    assert encoded.frames == 5
    assert tokenizer.decode(encoded.ids).endswith("red.<|im_end|>")
    content = [{"type": "image"}, {"type": "text", "text": " x"}]
    row = {
        **CHAT,
        "messages": [{"role": "user", "content": "<image> x"}, {"role": "assistant", "content": "y"}],
    }
    one = encoder.encode(parse_row({**row, "images": chat["images"][:1], "videos": []}))
    text = encoder.processor.apply_chat_template(
        [
            {"role": "user", "content": content},
            {"role": "assistant", "content": [{"type": "text", "text": "y"}]},
        ],
        tokenize=False,
    )
    image = torch.from_numpy(np.zeros((3, 40, 56), dtype=np.uint8))
    whole = encoder.processor(text=[text.rstrip("\n")], images=[image], return_tensors="pt")["input_ids"][0]
    assert one.ids.tolist() == whole.tolist()


def test_too_long_samples_are_dropped_or_cut_but_never_lose_media(model: Path, rows: Path) -> None:
    long = {**CHAT, "messages": [*CHAT["messages"][1:2], {"role": "assistant", "content": "red " * 100}]}
    long |= {"images": [f"{rows.parent}/1_0.png", f"{rows.parent}/4_0.png"], "videos": []}
    dropping = Encoder(model, load_recipe("smoke", settings=["max_length=90"]))
    with pytest.raises(TooLongError, match=r"\d+ tokens; max_length is 90"):
        dropping.encode(parse_row(long))
    cutting = Encoder(model, load_recipe("smoke", settings=["max_length=90", "too_long=cut"]))
    cut = cutting.encode(parse_row(long))
    assert (len(cut.ids), cut.positions.shape[1], cut.cut) == (90, 90, True)
    assert cut.answers > 0
    shorter = Encoder(model, load_recipe("smoke", settings=["max_length=20", "too_long=cut"]))
    with pytest.raises(TooLongError):
        shorter.encode(parse_row(long))


def test_what_would_be_read_wrongly_is_refused(model: Path, rows: Path) -> None:
    encoder = Encoder(model, load_recipe("smoke"))
    text = {**CHAT, "messages": [{"role": "user", "content": "<|image_pad|>"}, *CHAT["messages"][2:3]]}
    with pytest.raises(GdoError, match="image_pad"):
        encoder.encode(parse_row({**text, "images": [], "videos": []}))
    with pytest.raises(GdoError, match=r"a\.png: no such file"):
        encoder.encode(parse_row(CHAT))
    encoder.processor.chat_template = "{{ messages | length }}: {{ messages[0]['content'][0]['text'] }}"
    with pytest.raises(GdoError, match="writes earlier turns anew"):
        encoder.encode(
            parse_row(
                {**CHAT, "messages": CHAT["messages"][:1] + CHAT["messages"][2:3], "images": [], "videos": []}
            )
        )


@pytest.mark.parametrize("frames_as", ["images", "video"])
def test_estimated_lengths_are_near_and_hardly_below(model: Path, rows: Path, frames_as: str) -> None:
    encoder = Encoder(model, load_recipe("smoke", settings=[f"frames_as={frames_as}", "max_pixels=2240"]))
    samples = [parse_row({**row, "source": "s"}) for row in file_rows(rows)]
    true = [len(encoder.encode(sample).ids) for sample in samples]
    for have, want in zip(Measure(encoder)(samples), true, strict=True):
        assert want - 4 <= have <= want * 1.35 + 4


@pytest.mark.parametrize("frames_as", ["images", "video"])
def test_packed_loss_and_gradients_are_those_of_single_samples(
    model: Path, rows: Path, frames_as: str
) -> None:
    recipe = load_recipe("smoke", settings=[f"frames_as={frames_as}"])
    encoder, trained = Encoder(model, recipe), load_model(str(model), recipe, cuda=False)
    assert can_pack(trained)
    assert keeps_logits(trained)
    encoded = [encoder.encode(parse_row({**row, "source": "s"})) for row in file_rows(rows)]
    stand_ins = encoder.stand_ins()
    assert len(stand_ins) == (2 if frames_as == "video" else 1)

    def loss_and_gradient(packs: list[list[int]], keeps: bool) -> tuple[float, torch.Tensor]:
        trained.zero_grad()
        total = 0.0
        for numbers in packs:
            row, targets = pack_row([encoded[i] for i in numbers], stand_ins if len(numbers) > 1 else [])
            loss = summed_loss(trained, row, targets, keeps=keeps)
            loss.backward()
            total += loss.item()
        gradients = [p.grad.flatten() for p in trained.parameters() if p.grad is not None]
        return total, torch.cat(gradients)

    alone, gradient = loss_and_gradient([[i] for i in range(9)], keeps=False)
    for packs in (
        [list(range(9))],
        [[3, 1, 8], [0, 6], [2, 4, 5, 7]],
    ):  # [0, 6] are text alone: with stand-ins
        loss, packed_gradient = loss_and_gradient(packs, keeps=True)
        assert loss == pytest.approx(alone, rel=1e-5)
        assert float((packed_gradient - gradient).norm() / gradient.norm()) < 1e-5


def test_a_row_of_nothing_still_touches_every_weight(model: Path) -> None:
    recipe = load_recipe("smoke")
    trained = load_model(str(model), recipe, cuda=False)
    row, targets = pack_row([], Encoder(model, recipe).stand_ins())
    loss = summed_loss(trained, row, targets, keeps=True)
    loss.backward()
    assert loss.item() == 0.0
    assert all(p.grad is not None and not p.grad.any() for p in trained.parameters())


def test_activations_are_computed_again_with_the_same_gradients(model: Path, rows: Path) -> None:
    found: dict[bool, tuple[int, torch.Tensor]] = {}
    for again in (False, True):
        recipe = load_recipe("smoke", settings=[f"gradient_checkpointing={str(again).lower()}"])
        trained, encoder, calls = load_model(str(model), recipe, cuda=False), Encoder(model, recipe), []
        trained.train().model.language_model.layers[0].mlp.register_forward_pre_hook(
            lambda *_, calls=calls: calls.append(1)
        )
        one = [encoder.encode(parse_row({**row, "source": "s"})) for row in file_rows(rows)][1]
        summed_loss(trained, *pack_row([one], []), keeps=True).backward()
        gradient = torch.cat([p.grad.flatten() for p in trained.parameters() if p.grad is not None])
        found[again] = len(calls), gradient
    assert (found[False][0], found[True][0]) == (1, 2)
    torch.testing.assert_close(found[True][1], found[False][1])


def test_image_tokens_stand_where_the_recipe_wants_them(model: Path, rows: Path) -> None:
    row = {**CHAT, "messages": [{"role": "user", "content": "One <image> two."}, CHAT["messages"][2]]}
    sample = parse_row({**row, "images": [f"{rows.parent}/1_0.png"], "videos": []})
    texts = []
    for place in ("in_place", "front"):
        encoder = Encoder(model, load_recipe("smoke", settings=[f"image_place={place}"]))
        texts.append(encoder.processor.tokenizer.decode(encoder.encode(sample).ids))
    order = [[text.index(piece) for piece in ("One", "<|image_pad|>", "two")] for text in texts]
    assert order[0] == sorted(order[0])
    assert order[1][1] < order[1][0] < order[1][2]


def test_mfu_is_the_share_of_the_peak_and_is_told(tmp_path: Path) -> None:
    meter, notes = Meter(tmp_path, Totals(), 0.0, 1e9), []
    figures = meter.step(Totals(samples=2, tokens=10, answer_tokens=4, frames=0, flops=1e6))
    assert figures["mfu"] == pytest.approx(1e6 / meter.seconds / 1e9, abs=1e-4)
    tell = _teller(lambda what, step, steps, note: notes.append(note), 5)
    tell(1, {**figures, "loss": 2.0, "mfu": 0.415})
    tell(2, {**figures, "loss": 2.0, "mfu": None})
    assert ", MFU 41.5%, " in notes[0]
    assert "MFU" not in notes[1]


@pytest.mark.parametrize("freeze", ["[]", '["vision"]', '["language"]'])
def test_counted_work_is_about_what_torch_counts(model: Path, rows: Path, freeze: str) -> None:
    recipe = load_recipe("smoke", settings=[f"freeze={freeze}"])
    trained, encoder = load_model(str(model), recipe, cuda=False), Encoder(model, recipe)
    encoded = [encoder.encode(parse_row({**row, "source": "s"})) for row in file_rows(rows)]
    encoded = [one for one in encoded if one.media]
    told, counted = 0.0, 0
    for one in encoded:
        inputs, targets = pack_row([one], [])
        with FlopCounterMode(display=False) as counter:
            summed_loss(trained, inputs, targets, keeps=True).backward()
        entry = Entry(0, "", "", "trained", None, len(one.ids), one.answers)
        patches = int(inputs["image_grid_thw"].prod(-1).sum())
        told += count_work(trained).of([PackedRow(inputs, targets, [entry], [len(one.ids)], patches)])
        counted += counter.get_total_flops()
    assert told == pytest.approx(counted, rel=0.2)


def test_peaks_are_known_by_the_devices_name() -> None:
    assert peak_flops("NVIDIA H200") == 9.89e14
    assert peak_flops("NVIDIA A100-SXM4-80GB") == 3.12e14
    assert peak_flops("NVIDIA L40S") == 3.62e14
    assert peak_flops("Some CPU") is None
