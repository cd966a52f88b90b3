"""Batched values of a probe against the plain way: the processor on one sample, the model's own loss."""

import json
import math
import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from qwen_models import save_qwen

from gdo.descriptors.probe import scorer
from gdo.descriptors.probe.contract import Asked, Group, ProbeSettings
from gdo.descriptors.probe.load import load_probe, read_card
from gdo.descriptors.probe.questions import ask_temporal
from gdo.descriptors.probe.sampling import TRIES, jaccard, pick
from gdo.descriptors.probe.scorer import ModelProbe
from gdo.descriptors.probe.states import embed_media
from gdo.errors import GdoError
from gdo.pool.frames import FrameBudget, Frames, MediaInfo
from gdo.pool.media import read_frames

TEXT = "what which colour is the ball before after it stops red left right how many shapes émigré 数 ?"
WORDS = TEXT.split(" ")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen(tmp_path_factory.mktemp("tiny") / "model")


def probe_of(folder: Path, **settings: object) -> ModelProbe:
    budget = FrameBudget(frames=32, max_pixels=4096)
    return load_probe(
        read_card(str(folder), device="cpu", settings=ProbeSettings(**{"budget": budget} | settings)),  # type: ignore[arg-type]
        device="cpu",
    )


def words(random: np.random.Generator, low: int, high: int) -> str:
    return " ".join(random.choice(WORDS, random.integers(low, high)))


def frames_of(
    random: np.random.Generator, count: int, kind: str, height: int = 40, width: int = 56
) -> Frames:
    pictures = [random.integers(0, 256, (height, width, 3), dtype=np.uint8) for _ in range(count)]
    times = [i * 0.5 for i in range(count)] if kind == "video" else None
    info = MediaInfo(kind, width, height, fps=8.0 if times else None, frames=count * 4)  # type: ignore[arg-type]
    return Frames(pictures, list(range(count)), times, info)


def mixed_groups(seed: int, *, history: bool = False) -> list[Group]:
    """Stills, frame lists and videos of 1 to 32 frames, 1 to 6 questions each, short and long texts."""
    random = np.random.default_rng(seed)
    groups = []
    for number, count in enumerate((1, 1, 2, 3, 8, 17, 32)):
        kind = ("image", "frames", "video")[number % 3] if count > 1 else "image"
        size = (int(random.integers(24, 64)), int(random.integers(24, 80)))
        media = [frames_of(random, count, kind, *size)]
        if number == 1:
            media.append(frames_of(random, 1, "image", 33, 71))
        samples = []
        for turn in range(int(random.integers(1, 7))):
            past = tuple((words(random, 1, 9), words(random, 1, 5)) for _ in range(turn if history else 0))
            samples.append(Asked(f"{number}/{turn}", words(random, 1, 60), words(random, 1, 40), past))
        groups.append(Group(tuple(media), tuple(samples)))
    return groups


def reference(probe: ModelProbe, group: Group, asked: Asked, *, blind: bool) -> float:
    """The plain way, written from spec/descriptors.md alone."""
    processor, model = probe.chat.processor, probe.forest.model
    images, videos, metadata, parts = [], [], [], []
    for frames in () if blind else group.media:
        if probe.card.settings.frames_as == "video" and len(frames.images) > 1:
            parts.append({"type": "video"})
            videos.append(np.stack(frames.images))
            fps = frames.info.fps or 1.0
            indices = [round(t * fps) for t in frames.times] if frames.times else frames.indices
            metadata.append({"fps": fps, "total_num_frames": frames.info.frames, "frames_indices": indices})
        else:
            parts += [{"type": "image"}] * len(frames.images)
            images += frames.images
    messages = []
    for number, (question, answer) in enumerate([*asked.history, (asked.question, asked.answer)]):
        before = parts if number == 0 else []
        messages.append({"role": "user", "content": [*before, {"type": "text", "text": question}]})
        messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
    prompt = processor.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    full = processor.apply_chat_template(messages, tokenize=False)
    media = {"images": images} if images else {}
    if videos:
        media |= {"videos": videos, "video_metadata": metadata, "do_sample_frames": False}
    inputs, begin = (
        processor(text=[text], return_tensors="pt", input_data_format="channels_last", **media)
        for text in (full, prompt)
    )
    labels = inputs["input_ids"].clone()
    labels[:, : begin["input_ids"].shape[1]] = -100
    with torch.inference_mode():
        return float(model(**inputs, labels=labels).loss)


@pytest.mark.parametrize("frames_as", ["images", "video"])
@pytest.mark.parametrize("history", [False, True])
def test_batched_losses_are_those_of_single_samples(folder: Path, frames_as: str, history: bool) -> None:
    probe = probe_of(folder, frames_as=frames_as, context=history)
    assert probe.shares
    groups = mixed_groups(1, history=history)
    scored = probe.score(groups, losses=True, stability=False)
    for group, of_group in zip(groups, scored, strict=True):
        for asked, got in zip(group.samples, of_group, strict=True):
            assert got.error is None
            assert got.loss_blind == pytest.approx(reference(probe, group, asked, blind=True), rel=1e-4)
            assert got.loss_video == pytest.approx(reference(probe, group, asked, blind=False), rel=1e-4)
    shown = [got.loss_video for of_group in scored for got in of_group]
    blind = [got.loss_blind for of_group in scored for got in of_group]
    assert max(abs(a - b) for a, b in zip(shown, blind, strict=True)) > 0.05  # the pictures do matter


def test_pictures_are_seen_together_as_one_by_one(folder: Path) -> None:
    from transformers import AutoModelForImageTextToText

    probe, alone = probe_of(folder), AutoModelForImageTextToText.from_pretrained(folder).eval()
    random = np.random.default_rng(10)
    images = [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((40, 56), (56, 40), (40, 56))]
    inputs = probe.chat.processor.image_processor(images, return_tensors="pt")
    with torch.inference_mode():
        got, want = (
            model.base_model.get_image_features(inputs["pixel_values"], inputs["image_grid_thw"])
            for model in (probe.forest.model, alone)
        )
    assert probe.forest.model.base_model.visual.config._attn_implementation != "sdpa"
    for name in ("pooler_output", "deepstack_features"):
        parts = [part for value in (got[name], want[name]) for part in value]
        flat = [torch.cat(list(part)) if isinstance(part, tuple | list) else part for part in parts]
        half = len(flat) // 2
        for a, b in zip(flat[:half], flat[half:], strict=True):
            assert torch.allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_real_images_and_video_files(folder: Path, shared: Path) -> None:
    pool = shared / "data" / "realpool"
    files = [*sorted((pool / "images").iterdir())[:4], *sorted((pool / "videos").glob("*.mp4"))[:4]]
    probe = probe_of(folder, budget=FrameBudget(frames=6, max_pixels=4096))
    groups = []
    for file in files:
        kind = "video" if file.suffix == ".mp4" else "image"
        frames = read_frames(kind, [file], probe.card.settings.budget)  # type: ignore[arg-type]
        asked = tuple(
            Asked(f"{file.name}/{i}", f"What is shown? {i}", "A " + "ball " * i) for i in range(1, 4)
        )
        groups.append(Group((frames,), asked))
    for group, of_group in zip(groups, probe.score(groups, losses=True, stability=False), strict=True):
        for asked, got in zip(group.samples, of_group, strict=True):
            assert got.loss_video == pytest.approx(reference(probe, group, asked, blind=False), rel=1e-4)


def test_values_do_not_depend_on_batches(folder: Path) -> None:
    probe = probe_of(folder)
    groups = mixed_groups(2)
    together = probe.score(groups, losses=True, stability=True)
    probe.forest.budget = probe.forest.row = 64
    alone = [probe.score([group], losses=True, stability=True)[0] for group in groups]
    for of_group, of_alone in zip(together, alone, strict=True):
        for a, b in zip(of_group, of_alone, strict=True):
            assert a.loss_video == pytest.approx(b.loss_video, rel=1e-5)
            assert a.self_consistency == pytest.approx(b.self_consistency)


def test_threads_that_make_tensors_change_nothing(folder: Path) -> None:
    probe, groups = probe_of(folder), mixed_groups(2) * 3
    probe.ahead = 5
    media = [group.media[0] for group in groups]
    alone, vectors = probe.score(groups, losses=True, stability=False), embed_media(probe, media)
    probe.threads = 4
    assert probe.score(groups, losses=True, stability=False) == alone
    assert np.array_equal(embed_media(probe, media), vectors)


def test_threads_that_make_tensors_leave_torch_its_own(folder: Path) -> None:
    probe, before = probe_of(folder), torch.get_num_threads()
    probe.threads = 2
    torch.set_num_threads(3)
    try:
        probe.score(mixed_groups(2), losses=True, stability=False)
        with ThreadPoolExecutor(1) as fresh:
            assert fresh.submit(torch.get_num_threads).result() == torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_little_is_padding(folder: Path) -> None:
    probe = probe_of(folder)
    probe.forest.work = type(probe.forest.work)()
    random = np.random.default_rng(3)
    groups = [
        Group(
            (frames_of(random, int(random.integers(1, 20)), "frames"),),
            tuple(Asked(f"{i}/{j}", words(random, 1, 30), words(random, 1, 30)) for j in range(4)),
        )
        for i in range(60)
    ]
    probe.score(groups, losses=True, stability=False)
    assert probe.forest.work.tokens / probe.forest.work.positions > 0.9


def test_logits_are_made_of_answers_alone(folder: Path) -> None:
    probe, rows = probe_of(folder), list[int]()
    group = mixed_groups(4)[0]
    head = probe.forest.model.get_output_embeddings()
    with head.register_forward_hook(lambda _, given, __: rows.append(given[0].shape[0])):
        probe.score([group], losses=True, stability=False)
    tokenizer = probe.chat.processor.tokenizer
    answers = [len(tokenizer(asked.answer)["input_ids"]) for asked in group.samples]
    assert 2 * sum(answers) <= sum(rows) <= 2 * sum(count + 2 for count in answers)
    assert sum(rows) < probe.forest.work.tokens / 2


def test_answers_are_sampled_from_the_model(folder: Path) -> None:
    """At a temperature near 0 every sampled answer is the greedy one, whatever else is in the batch."""
    probe = probe_of(folder, temperature=1e-6, max_new_tokens=7, answers=2)
    groups = mixed_groups(4)
    seen: dict[str, list[list[int]]] = {}
    original = scorer.sample_answers

    def spy(forest, states, places, names, settings, ends):  # type: ignore[no-untyped-def]
        made = original(forest, states, places, names, settings, ends)
        seen.update(zip(names, made, strict=True))
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "sample_answers", spy)
        scored = probe.score(groups, losses=True, stability=True)
    assert all(got.self_consistency == 1.0 for of_group in scored for got in of_group)
    processor, model = probe.chat.processor, probe.forest.model
    for group in groups:
        images = [image for frames in group.media for image in frames.images]
        for asked in group.samples:
            content = [*({"type": "image"} for _ in images), {"type": "text", "text": asked.question}]
            text = processor.apply_chat_template(
                [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
            )
            inputs = processor(
                text=[text], images=images, return_tensors="pt", input_data_format="channels_last"
            )
            made = model.generate(**inputs, do_sample=False, max_new_tokens=7)
            want = made[0, inputs["input_ids"].shape[1] :].tolist()
            want = want[: next((i for i, token in enumerate(want) if token in probe.ends), len(want))]
            assert seen[asked.qa_uid] == [want, want]


def test_sampled_tokens_follow_the_distribution() -> None:
    """The last token is out: those before it reach 0.9."""
    logits = torch.log(torch.tensor([[0.3, 0.05, 0.5, 0.15]]))
    uniform = torch.tensor(np.random.default_rng(0).random((20_000, TRIES)))
    tokens = pick(logits.expand(20_000, -1), uniform, 1.0, 0.9)
    counts = torch.bincount(tokens, minlength=4) / 20_000
    assert counts.tolist() == pytest.approx([0.3 / 0.95, 0.0, 0.5 / 0.95, 0.15 / 0.95], abs=0.015)
    warm = torch.bincount(pick(logits.expand(20_000, -1), uniform, 2.0, 1.0), minlength=4) / 20_000
    want = torch.softmax(logits[0] / 2, -1)
    assert warm.tolist() == pytest.approx(want.tolist(), abs=0.015)
    assert pick(logits, uniform[:1], 1.0, 0.4).tolist() == [2]


def test_jaccard_of_token_sets() -> None:
    assert jaccard([[1, 2], [1, 2, 2], [3]]) == pytest.approx((1 + 0 + 0) / 3)
    assert jaccard([[], []]) == 1.0
    assert jaccard([[1, 2, 3], [2, 3, 4]]) == pytest.approx(0.5)


def test_temporal_need_is_the_share_of_the_first_token(folder: Path) -> None:
    probe = probe_of(folder)
    random = np.random.default_rng(5)
    questions = [words(random, 1, 40) for _ in range(30)] + ['"quoted" <|im_end|>', "数" * 50]
    got = probe.temporal_need(questions)
    processor, model = probe.chat.processor, probe.forest.model
    for question, need in zip(questions, got, strict=True):
        message = {"role": "user", "content": [{"type": "text", "text": ask_temporal(question)}]}
        text = processor.apply_chat_template([message], tokenize=False, add_generation_prompt=True)
        with torch.inference_mode():
            logits = model(**processor(text=[text], return_tensors="pt")).logits[0, -1]
        first = [processor.tokenizer(word)["input_ids"][0] for word in ("Temporal", "Static")]
        share = torch.softmax(logits, -1)[first]
        assert need == pytest.approx(float(share[0] / share.sum()), rel=1e-4)


def test_bad_samples_cost_themselves_only(folder: Path) -> None:
    probe = probe_of(folder)
    random = np.random.default_rng(6)
    clip = frames_of(random, 2, "frames")
    narrow = frames_of(random, 1, "image", height=2, width=900)
    good = Asked("good", "What is it?", "A ball")
    groups = [
        Group(
            (clip,), (good, Asked("media", "Is <|image_pad|> here?", "No"), Asked("long", "a " * 5000, "b"))
        ),
        Group((narrow,), (replace(good, qa_uid="narrow"),)),
        Group((), (replace(good, qa_uid="gone"),), "no such file"),
    ]
    (fine, tagged, long), (thin,), (gone,) = probe.score(groups, losses=True, stability=True)
    assert fine.error is None and fine.loss_video and fine.self_consistency is not None
    assert tagged.loss_blind is None and "<|image_pad|>" in (tagged.error or "")
    assert long.loss_video is None and long.loss_blind is None and "too long" in (long.error or "")
    assert thin.loss_video is None and thin.loss_blind == pytest.approx(fine.loss_blind, rel=1e-5)
    assert "processor refuses" in (thin.error or "")
    assert gone.loss_video is None and gone.loss_blind is not None and gone.error == "no such file"


def test_a_sample_whose_values_are_no_numbers_spoils_no_other(folder: Path) -> None:
    """The model gives NaN wherever it sees a certain token; rows are shared with other samples."""
    probe, sound = probe_of(folder), probe_of(folder)
    groups = mixed_groups(7)
    bad = replace(groups[4].samples[0], question="~~~ " + groups[4].samples[0].question)
    groups[4] = replace(groups[4], samples=(bad, *groups[4].samples[1:]))
    (token,) = {i for i in probe.chat.ids("~~~") if probe.chat.processor.decode([i]) == "~"}
    with torch.no_grad():
        embeddings = probe.forest.model.get_input_embeddings()
        embeddings.weight = torch.nn.Parameter(embeddings.weight.clone())
        embeddings.weight[token] = math.nan
    want = sound.score(groups, losses=True, stability=True)
    got = probe.score(groups, losses=True, stability=True)
    for group, of_got, of_want in zip(groups, got, want, strict=True):
        for asked, one, other in zip(group.samples, of_got, of_want, strict=True):
            if asked is bad:
                assert one.loss_video is one.loss_blind is one.self_consistency is None
                assert "not a number" in (one.error or "")
            else:
                assert one.error is None
                assert one.loss_video == pytest.approx(other.loss_video, rel=1e-4)
                assert one.self_consistency == pytest.approx(other.self_consistency)
    assert probe.temporal_need(["~", "What?"])[0] is None
    assert probe.temporal_need(["~", "What?"])[1] == pytest.approx(
        sound.temporal_need(["What?"])[0], rel=1e-4
    )


def test_what_a_model_raises_is_the_error_of_one_sample(folder: Path) -> None:
    probe, sound = probe_of(folder), probe_of(folder)
    groups = mixed_groups(11)
    blamed = groups[2].samples[0]
    forward = type(probe.forest).forward

    def failing(self, packed, **options):  # type: ignore[no-untyped-def]
        asked = [place.branch.sample for place in packed.places]
        if self is probe.forest and number in asked:
            raise IndexError("index out of range in self")
        return forward(self, packed, **options)

    number = [asked for group in groups for asked in group.samples].index(blamed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(probe.forest), "forward", failing)
        got = [one for of_group in probe.score(groups, losses=True, stability=False) for one in of_group]
    want = [one for of_group in sound.score(groups, losses=True, stability=False) for one in of_group]
    assert got[number].loss_video is None and "IndexError" in (got[number].error or "")
    rest = [n for n in range(len(got)) if n != number]
    assert [got[n].loss_video for n in rest] == pytest.approx([want[n].loss_video for n in rest], rel=1e-5)
    assert probe.forest.budget == sound.forest.budget


def test_out_of_memory_halves_the_batch(folder: Path) -> None:
    probe, small = probe_of(folder), probe_of(folder)
    groups = mixed_groups(8)
    forward, sizes = type(small.forest).forward, []

    def tight(self, packed, **options):  # type: ignore[no-untyped-def]
        if self is small.forest and len(packed.places) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        sizes.append(packed.ids.numel())
        return forward(self, packed, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(small.forest), "forward", tight)
        got = small.score(groups, losses=True, stability=False)
    want = probe.score(groups, losses=True, stability=False)
    flat = [[value for of_group in scored for value in of_group] for scored in (got, want)]
    assert [a.loss_video for a in flat[0]] == pytest.approx([b.loss_video for b in flat[1]], rel=1e-5)
    assert small.forest.budget < probe.forest.budget


def test_a_model_without_shared_media_is_scored_one_by_one(folder: Path) -> None:
    probe = probe_of(folder)
    groups = mixed_groups(9)[:3]
    want = probe.score(groups, losses=True, stability=False)
    probe.shares = False
    got = probe.score(groups, losses=True, stability=True)
    for of_got, of_want in zip(got, want, strict=True):
        for a, b in zip(of_got, of_want, strict=True):
            assert a.loss_video == pytest.approx(b.loss_video, rel=1e-4)
            assert a.loss_blind == pytest.approx(b.loss_blind, rel=1e-4)
            assert a.self_consistency is not None and 0 <= a.self_consistency <= 1


def test_labels_tell_probes_apart(folder: Path, tmp_path: Path) -> None:
    other = save_qwen(tmp_path / "model", seed=1)
    cards = [
        read_card(str(folder), device="cpu"),
        read_card(str(folder), device="cpu", settings=ProbeSettings(answers=4)),
        read_card(str(folder), device="cuda"),
        read_card(str(other), device="cpu"),
    ]
    assert len({card.label for card in cards}) == 4
    assert read_card(str(folder), device="cpu").label == cards[0].label


def test_models_that_cannot_score_are_refused(folder: Path, tmp_path: Path) -> None:
    mute = save_qwen(tmp_path / "mute", chat_template=None)
    with pytest.raises(GdoError, match="no chat template"):
        load_probe(read_card(str(mute), device="cpu"), device="cpu")
    tight = save_qwen(tmp_path / "tight", context=256)
    with pytest.raises(GdoError, match=r"context is 256; lower --frames or --max-pixels"):
        load_probe(read_card(str(tight), device="cpu"), device="cpu")
    blind = Path(shutil.copytree(folder, tmp_path / "blind"))
    (blind / "config.json").write_text('{"model_type": "qwen2"}')
    for file in blind.glob("*processor_config.json"):
        file.unlink()
    told = json.loads((blind / "tokenizer_config.json").read_text())
    told.pop("processor_class", None)
    (blind / "tokenizer_config.json").write_text(json.dumps(told))
    with pytest.raises(GdoError, match="cannot be loaded: Unrecognized configuration class"):
        load_probe(read_card(str(blind), device="cpu"), device="cpu")
    (tmp_path / "empty").mkdir()
    with pytest.raises(GdoError, match="no processor"):
        load_probe(read_card(str(tmp_path / "empty"), device="cpu"), device="cpu")
