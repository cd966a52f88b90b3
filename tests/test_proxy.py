"""The self-proxy: it is shown what a probe shows it, killed it goes on, and it says what it learned."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib import resources
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from safetensors.torch import load
from tokenizers import Tokenizer

from gdo.demo.make import make_example_pool
from gdo.descriptors.probe.chat import Chat, show_media
from gdo.descriptors.probe.contract import Asked, Group
from gdo.descriptors.probe.forest import Forest
from gdo.descriptors.probe.load import load_probe, read_card
from gdo.descriptors.probe.packing import Packed, Tree, fill_rows, pack
from gdo.descriptors.probe.questions import STATIC, TEMPORAL, ask_temporal
from gdo.descriptors.proxy import make, sample, train
from gdo.descriptors.proxy.base import LANGUAGE, WEIGHTS, known_words, start_from_base
from gdo.descriptors.proxy.course import batches
from gdo.descriptors.proxy.language import SPECIAL, fit_tokenizer, make_processor
from gdo.descriptors.proxy.lessons import Lessons, make_lessons, to_pixels
from gdo.descriptors.proxy.make import HELD_OUT, ensure_proxy, proxy_folder, untrained_proxy
from gdo.descriptors.proxy.model import CONTEXT, build_model
from gdo.descriptors.proxy.report import Losses, ProxyReport, load_report
from gdo.descriptors.proxy.sample import Draw, draw_sample
from gdo.descriptors.proxy.shape import CPU, CUDA, Shape
from gdo.descriptors.proxy.sight import read_media
from gdo.errors import GdoError, UsageError
from gdo.pool.frames import Frames
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool

TINY = replace(
    CPU,
    hidden=32,
    layers=1,
    heads=1,
    vision_hidden=32,
    vision_layers=1,
    vision_heads=1,
    batch_tokens=512,
    taught=False,
)
STEPS = 6


@pytest.fixture(scope="module", autouse=True)
def quiet() -> Iterator[None]:
    """Few threads, no hub, a tiny model."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setattr(make, "CPU", TINY)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An example pool's files."""
    return make_example_pool(tmp_path_factory.mktemp("files"), samples=60, workers=1).folder


def new_pool(folder: Path, files: Path) -> Pool:
    path = folder / "pool.duckdb"
    ingest(path, [files / "images.jsonl", files / "videos.jsonl"], media_root=files)
    return Pool(path)


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Pool:
    """A pool with a trained proxy."""
    pool = new_pool(tmp_path_factory.mktemp("pool"), files)
    ensure_proxy(pool, workers=0, _steps=STEPS)
    return pool


@dataclass
class School:
    """What a training works with."""

    draw: Draw
    frames: dict[int, Frames]
    chat: Chat
    lessons: Lessons
    new_forest: Callable[[], Forest]


@pytest.fixture(scope="module")
def school(pool: Pool) -> School:
    draw = draw_sample(pool, 42, 100)
    tokenizer = fit_tokenizer((row.question for row in draw.rows), 1000)
    frames = read_media(draw.media, TINY.settings.budget, 0, lambda done: None)

    def new_forest() -> Forest:
        return Forest(build_model(TINY, tokenizer, 1), torch.device("cpu"), 0, 256, 2048)

    chat = Chat(make_processor(tokenizer, TINY), new_forest().model, TINY.settings, CONTEXT)
    return School(draw, frames, chat, make_lessons(chat, draw.rows, frames), new_forest)


def test_it_is_trained_once_and_loads_by_the_ordinary_way(pool: Pool) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    folder = proxy_folder(pool)
    report, stamp = load_report(folder), (folder / "model.safetensors").stat().st_mtime_ns
    assert report.steps == report.kept_step == STEPS and report.seconds > 0 and report.seed == 42
    assert report.samples + report.held_out == 60 and report.held_out > 0 and report.unreadable == 0
    assert ensure_proxy(pool, seed=7) == report
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp
    assert not (pool.folder / "proxy.part").exists()
    model = AutoModelForImageTextToText.from_pretrained(folder)
    assert sum(weight.numel() for weight in model.parameters()) == report.parameters
    assert AutoProcessor.from_pretrained(folder).chat_template


def test_a_probe_takes_its_settings_from_it(pool: Pool) -> None:
    card = read_card(str(proxy_folder(pool)), device="cpu")
    assert card.model == "self" and card.settings == TINY.settings
    assert card.settings.frames_as == "video"
    assert load_probe(card, device="cpu").shares


def test_it_is_shown_what_the_processor_of_the_saved_proxy_shows(pool: Pool) -> None:
    """Ids and pixels of the training are those of the probe's processor, for one sample at a time."""
    probe = load_probe(read_card(str(proxy_folder(pool)), device="cpu"), device="cpu")
    draw = draw_sample(pool, 42, TINY.samples)
    frames = read_media(draw.media, TINY.settings.budget, 0, lambda done: None)
    model, processor = make._new_model(draw, TINY, 42)
    lessons = make_lessons(Chat(processor, model, TINY.settings, CONTEXT), draw.rows, frames)
    seen = set[str]()
    for tree in lessons.shown:
        for branch in tree.branches:
            row = draw.rows[branch.sample]
            media = [frames[key] for key in row.media]
            shown = show_media(media, probe.card.settings)
            prompt, full = probe.chat.texts(Asked(row.qa_uid, row.question, row.answer), shown.parts)
            inputs = probe.chat.process(full, shown)
            assert inputs["input_ids"][0].tolist() == tree.trunk + branch.ids
            prompt_ids = probe.chat.process(prompt, shown)["input_ids"][0].tolist()
            assert len(prompt_ids) == len(tree.trunk) + branch.answer
            for name, value in to_pixels(tree.media).items():
                torch.testing.assert_close(value, inputs[name], rtol=0, atol=1e-6)
            seen.update(one.info.kind for one in media)
    assert seen == {"image", "video"}
    answered = sorted(branch.sample for tree in lessons.shown for branch in tree.branches)
    assert answered == list(range(len(draw.rows)))


def test_pictures_are_as_sharp_as_its_processor_makes_them(school: School) -> None:
    """Read as large as the model sees them they would be scaled twice: signs blur, or have other sides."""
    processor = school.chat.processor.image_processor
    stills = [medium for medium in school.draw.media.values() if medium.kind == "image"]
    assert len(stills) > 5
    for medium in stills:
        with Image.open(Path(medium.root, medium.paths[0])) as picture:
            whole = processor([picture.convert("RGB")], return_tensors="pt")
        read = processor(school.frames[medium.media_id].images, return_tensors="pt")
        assert read["image_grid_thw"].tolist() == whole["image_grid_thw"].tolist()
        assert float((read["pixel_values"] - whole["pixel_values"]).abs().mean()) < 1 / 127.5


def test_it_is_taught_to_tell_temporal_questions(school: School) -> None:
    decode = school.chat.processor.tokenizer.decode
    for n, tree in school.lessons.temporal.items():
        (branch,) = tree.branches
        row = school.draw.rows[n]
        assert ask_temporal(row.question) in decode(branch.ids[: branch.answer])
        word = TEMPORAL if row.temporal else STATIC
        assert decode(branch.ids[branch.answer :]) == f"{word}<|im_end|>"
    assert {row.temporal for row in school.draw.rows} == {True, False}


def test_the_sample_is_uniform_and_its_held_out_media_are_not_learned_from(
    pool: Pool, school: School
) -> None:
    rows = school.draw.rows
    assert draw_sample(pool, 42, 100) == school.draw
    assert [row.qa_uid for row in draw_sample(pool, 42, 20).rows] == [row.qa_uid for row in rows[:20]]
    assert [row.qa_uid for row in draw_sample(pool, 43, 100).rows] != [row.qa_uid for row in rows]
    held_out = {key for row in rows if row.held_out for key in row.media[:1]}
    assert held_out
    assert held_out.isdisjoint(key for row in rows if not row.held_out for key in row.media[:1])
    told = json.loads((proxy_folder(pool) / HELD_OUT).read_text())
    assert sorted(told) == sorted(row.qa_uid for row in rows if row.held_out)
    learned = {
        branch.sample
        for batch in islice(batches(school.lessons, 1, 512), 50)
        for tree in batch
        for branch in tree.branches
    }
    assert learned == {n for n, row in enumerate(rows) if not row.held_out}


def test_batches_depend_on_the_seed_alone_and_keep_to_their_size(school: School) -> None:
    def branches(seed: int) -> list[list[list[int]]]:
        made = islice(batches(school.lessons, seed, 512), 20)
        return [[tree.trunk + branch.ids for tree in batch for branch in tree.branches] for batch in made]

    assert branches(1) == branches(1) != branches(2)
    for batch in islice(batches(school.lessons, 1, 512), 20):
        assert len(batch) == 1 or sum(tree.length for tree in batch) <= 512


def test_the_training_loss_is_that_of_the_probe(school: School) -> None:
    forest = school.new_forest()
    packed: Packed = pack(fill_rows(list(school.lessons.blind.values())[:7], 256), 0)
    states = forest.forward(packed)
    mean = sum(forest.answer_losses(states)) / 7
    loss = train.answer_loss(forest, packed, states.hidden)
    assert loss.item() == pytest.approx(mean, rel=1e-5)


def test_a_killed_training_goes_on_and_ends_the_same(
    school: School, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = train.Plan(60, STEPS, 1e-3, 512, 1, "key")
    whole = school.new_forest()
    train.train(whole, school.lessons, plan, tmp_path / "nowhere", lambda state, loss: None)

    monkeypatch.setattr(train, "KEEP_EVERY", -1)
    steps = list[int]()

    def dies(state: train.State, loss: float) -> None:
        steps.append(state.step)
        if state.step == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train(school.new_forest(), school.lessons, plan, tmp_path, dies)
    later = school.new_forest()
    train.train(later, school.lessons, plan, tmp_path, lambda state, loss: steps.append(state.step))
    assert steps == [1, 2, 3, 4, 4, 5, 6]
    torch.testing.assert_close(dict(later.model.state_dict()), dict(whole.model.state_dict()))

    other = replace(plan, key="of another pool")
    train.train(school.new_forest(), school.lessons, other, tmp_path, lambda s, loss: steps.append(s.step))
    assert steps[7:] == [1, 2, 3, 4, 5, 6]


def test_the_clock_ends_the_training(school: School, tmp_path: Path) -> None:
    forest = school.new_forest()
    plan = train.Plan(0.3, None, 1e-3, 512, 1, "key")
    state = train.train(forest, school.lessons, plan, tmp_path, lambda state, loss: None)
    assert state.step >= 1 and state.seconds >= 0.3
    assert not forest.model.training


def test_a_killed_call_is_gone_on_with(tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "KEEP_EVERY", -1)
    pool, told = new_pool(tmp_path, files), list[tuple[str, int]]()

    def dies(what: str, done: int, total: int | None, note: str) -> None:
        told.append((what, done))
        if what == "training the self-proxy" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_proxy(pool, workers=0, progress=dies, _steps=4)
    assert not proxy_folder(pool).exists()
    told.clear()
    report = ensure_proxy(pool, workers=0, progress=lambda *args: told.append(args[:2]), _steps=4)
    assert report.steps == 4
    assert [done for what, done in told if what == "training the self-proxy"] == [3, 4]


def test_a_killed_call_begins_anew_where_texts_were_replaced(
    tmp_path: Path, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "KEEP_EVERY", -1)
    pool, steps = new_pool(tmp_path, files), list[int]()

    def dies(what: str, done: int, total: int | None, note: str) -> None:
        if what == "training the self-proxy" and done == 3:
            raise KeyboardInterrupt

    def note(what: str, done: int, total: int | None, note: str) -> None:
        if what == "training the self-proxy":
            steps.append(done)

    with pytest.raises(KeyboardInterrupt):
        ensure_proxy(pool, workers=0, progress=dies, _steps=4)
    with pool.write() as connection:
        connection.execute("UPDATE sample SET answer = 'quite other words ' || turn")
    ensure_proxy(pool, workers=0, progress=note, _steps=4)
    assert steps[0] < 3


def test_training_lowers_the_loss(school: School, tmp_path: Path) -> None:
    losses = list[float]()
    plan = train.Plan(60, 40, 3e-3, 1024, 1, "key")
    train.train(school.new_forest(), school.lessons, plan, tmp_path, lambda s, loss: losses.append(loss))
    assert losses[-1] < losses[0] - 1


def test_it_ends_where_it_learns_no_more_and_keeps_the_best(
    school: School, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = iter([4.0, 3.0, 1.0, 2.0, 2.0, 2.0])
    monkeypatch.setattr(train, "held_out_loss", lambda forest, lessons: next(held_out))
    monkeypatch.setattr(train, "CHECK_EVERY", 2)
    monkeypatch.setattr(train, "PATIENCE", 3)
    weights = dict[int, torch.Tensor]()
    forest = school.new_forest()

    def look(state: train.State, loss: float) -> None:
        weights[state.step] = forest.model.lm_head.weight.detach().clone()

    plan = train.Plan(60, 100, 1e-3, 512, 1, "key")
    state = train.train(forest, school.lessons, plan, tmp_path, look)
    assert (state.step, state.best_step, state.best) == (8, 4, 1.0)
    assert torch.equal(forest.model.lm_head.weight, weights[4])
    assert not torch.equal(weights[4], weights[8])


def test_what_it_began_with_is_kept_where_the_pool_teaches_nothing(
    school: School, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held_out = iter([1.0, 2.0, 1.5])
    monkeypatch.setattr(train, "held_out_loss", lambda forest, lessons: next(held_out))
    monkeypatch.setattr(train, "CHECK_EVERY", 3)
    forest = school.new_forest()
    before = {name: value.clone() for name, value in forest.model.state_dict().items()}
    plan = train.Plan(60, 5, 1e-3, 512, 1, "key")
    state = train.train(forest, school.lessons, plan, tmp_path, lambda state, loss: None)
    assert (state.step, state.best_step, state.best) == (5, 0, 1.0)
    assert all(torch.equal(value, before[name]) for name, value in forest.model.state_dict().items())


def test_media_that_the_processor_refuses_are_left_out(
    school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Chat.media_trees

    def picky(self: Chat, group: Group, samples: list[int], *, answer: bool) -> list[Tree]:
        if group.media[0].info.kind == "video":
            raise ValueError("no videos")
        return whole(self, group, samples, answer=answer)

    monkeypatch.setattr(Chat, "media_trees", picky)
    lessons = make_lessons(school.chat, school.draw.rows, school.frames)
    assert 0 < len(lessons.blind) < len(school.draw.rows)
    assert {branch.sample for tree in lessons.shown for branch in tree.branches} == set(lessons.blind)


def test_unreadable_media_are_left_out_and_counted(tmp_path: Path, files: Path) -> None:
    for name in ("images", "videos"):
        (tmp_path / name).mkdir()
        for number, file in enumerate(sorted((files / name).iterdir())):
            data = file.read_bytes() if number % 3 else b"not a picture"
            (tmp_path / name / file.name).write_bytes(data)
    for file in files.glob("*.jsonl"):
        (tmp_path / file.name).write_bytes(file.read_bytes())
    report = ensure_proxy(new_pool(tmp_path, tmp_path), workers=0, _steps=1)
    assert report.unreadable > 0
    assert report.samples + report.held_out + report.unreadable == 60


def test_media_are_read_alike_by_workers(school: School) -> None:
    media = dict(list(school.draw.media.items())[-4:])
    by_workers = read_media(media, TINY.settings.budget, 2, lambda done: None)
    assert list(by_workers) == list(media)
    for key, frames in by_workers.items():
        assert frames.indices == school.frames[key].indices
        assert all((a == b).all() for a, b in zip(frames.images, school.frames[key].images, strict=True))


def test_an_untrained_proxy_has_the_same_words_and_shape(pool: Pool, tmp_path: Path) -> None:
    folder = untrained_proxy(pool, tmp_path / "new")
    trained = proxy_folder(pool)
    for name in ("config.json", "tokenizer.json", "processor_config.json"):
        assert (folder / name).read_text() == (trained / name).read_text()
    assert (folder / "model.safetensors").read_bytes() != (trained / "model.safetensors").read_bytes()


def test_the_tokenizer_keeps_every_text_and_spends_little_on_time_stamps() -> None:
    tokenizer = fit_tokenizer(["What colour is the ball?"] * 9, 4096)
    for text in ("What colour is the ball?", " émigré 数\n\tA. 12.75 % <b>", "", "\x00\x7f", "a  b   c"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    assert len(tokenizer("What colour is the ball?")["input_ids"]) == 6
    for stamp in ("<0.0 seconds>", "<7.5 seconds>", "<99.9 seconds>"):
        assert len(tokenizer(stamp)["input_ids"]) == 3
    for word in (TEMPORAL, STATIC, *SPECIAL):
        assert len(tokenizer(word)["input_ids"]) == 1


@pytest.mark.parametrize("shape", [CPU, CUDA, TINY])
def test_every_shape_makes_a_model(shape: Shape) -> None:
    tokenizer = fit_tokenizer(["a"], 300)
    small = replace(shape, layers=1, vision_layers=1)
    one, same, other = (build_model(small, tokenizer, seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_texts_with_special_tokens_are_left_out(
    pool: Pool, school: School, monkeypatch: pytest.MonkeyPatch
) -> None:
    word = "colour"
    monkeypatch.setattr(sample, "SPECIAL", (word,))
    kept = draw_sample(pool, 42, 100).rows
    assert {row.qa_uid for row in kept} == {
        row.qa_uid for row in school.draw.rows if word not in row.question + row.answer
    }
    assert 0 < len(kept) < len(school.draw.rows)


LOSSES = Losses(with_frames=1.0, without_frames=2.0, unigram=3.0, gain=0.9, gain_error=0.1)


@pytest.mark.parametrize(
    ("losses", "learned", "said"),
    [
        (LOSSES, True, "Frames help it by 0.900"),
        (replace(LOSSES, gain=0.1), False, "learned nothing from the frames"),
        (replace(LOSSES, gain=-0.5), False, "learned nothing from the frames"),
        (replace(LOSSES, unigram=1.5), False, "It learned nothing:"),
        (None, False, "could not be measured"),
    ],
)
def test_it_says_plainly_whether_it_learned(
    pool: Pool, tmp_path: Path, losses: Losses | None, learned: bool, said: str
) -> None:
    report = replace(load_report(proxy_folder(pool)), losses=losses)
    assert report.learned is learned and said in report.sentence
    report.save(tmp_path)
    told: dict[str, Any] = json.loads((tmp_path / "gdo.json").read_text())
    assert told["learned"] is learned and told["sentence"] == report.sentence
    assert load_report(tmp_path) == report


def test_a_report_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(GdoError, match="delete it"):
        load_report(tmp_path)
    (tmp_path / "gdo.json").write_text('{"seed": 1}')
    with pytest.raises(GdoError, match="delete it"):
        load_report(tmp_path)


def test_wrong_use_is_refused(tmp_path: Path, pool: Pool) -> None:
    with pytest.raises(UsageError, match="minutes"):
        ensure_proxy(pool, minutes=0)
    with Pool(tmp_path / "empty.duckdb", create=True).write():
        pass
    with pytest.raises(GdoError, match="too few samples"):
        ensure_proxy(Pool(tmp_path / "empty.duckdb"))


def test_the_report_needs_no_torch() -> None:
    """The command line can read a proxy's report without loading torch."""
    code = "import sys, gdo.descriptors.proxy.make as m; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_reports_are_plain_json(pool: Pool) -> None:
    report: ProxyReport = load_report(proxy_folder(pool))
    assert set(report.versions) == {"gdo", "torch", "transformers"}
    assert report.tnc_taught_by == "gdo.descriptors.temporal_text"


def test_a_proxy_begins_with_what_the_base_knows_in_its_own_language() -> None:
    tokenizer = fit_tokenizer(["What colour is the zyxzyx?"] * 9, 4096)
    model = build_model(CPU, tokenizer, 1)
    start_from_base(model, tokenizer)
    folder = resources.files("gdo.descriptors.proxy") / "base"
    taught = {name: value.float() for name, value in load((folder / WEIGHTS).read_bytes()).items()}
    known = taught.pop("model.language_model.embed_tokens.weight")
    assert all(torch.equal(model.state_dict()[name], value) for name, value in taught.items())
    language = Tokenizer.from_str((folder / LANGUAGE).read_text())
    vectors = model.get_input_embeddings().weight
    same = tokenizer.convert_tokens_to_ids("Ġcolour")
    assert torch.equal(vectors[same], known[language.token_to_id("Ġcolour")])
    new = next(token for token in tokenizer.get_vocab() if "zyx" in token)
    pieces = language.encode(tokenizer.convert_tokens_to_string([new]), add_special_tokens=False).ids
    assert len(pieces) > 1
    assert torch.allclose(vectors[tokenizer.convert_tokens_to_ids(new)], known[pieces].mean(0))


def test_a_pools_language_keeps_the_words_that_the_base_knows(school: School) -> None:
    words = known_words()
    assert {" red", " barrel", " 57", "Blue"} <= set(words) and not any("<|" in word for word in words)
    _, processor = make._new_model(school.draw, replace(CPU, layers=1, vision_layers=1, taught=False), 1)
    _, taught = make._new_model(school.draw, CPU, 1)
    few, all_of_them = (
        sum(len(one.tokenizer(word)["input_ids"]) == 1 for word in words) for one in (processor, taught)
    )
    assert few < 0.8 * all_of_them and all_of_them > 0.95 * len(words)
