"""The small Qwen3-VL models of `convergence.py`: one taught to see and to answer, one that forgot.

    python benchmarks/warm_up.py FOLDER [--seed 1] [--see 3000] [--look-up 200] [--answer 2400] [--real 400]

The one that knows, in half precision, is what self-proxies begin with (`gdo/descriptors/proxy/base`).

Two million parameters do not learn to see from answers alone in any time that a CPU has (LOG.md). So they
learn in steps, each with a target for every token: first the vision tower, to say of each visual token which
words it shows (the words' embeddings are those of the language model); then the language model, to look such
words up; then to answer, first from imagined tokens, at last from pictures.

Nor do a few thousand samples teach it a kind of question that it was never asked. So what fine-tuning begins
with is the same model, the language model's weights blurred by noise: its tower sees, it has lost what it
knew, and the first thousand samples bring some of it back.
"""

import argparse
import math
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
import torch
from exam import Shown, draw, questions
from mosaics import TOKEN, Drill, Words, make_drill, make_mosaic
from pupil import GROUPS, ROW, SMALL, VOCABULARY, Pupil, cut, make_pupil
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForImageTextToText, AutoProcessor

from gdo.descriptors.probe.packing import Branch, Packed, Tree, fill_rows, pack, text_tree
from gdo.descriptors.proxy.language import END, IMAGE, START, VIDEO, VISION_END, VISION_START, make_processor
from gdo.descriptors.proxy.model import save_model
from gdo.descriptors.proxy.shape import PATCH

LEARNING_RATE = 2e-3
SHARPNESS = 16.0
"""Of the likeness between a visual token and a word."""
NORM = 1.5
"""Length of a visual token, in lengths of a word's embedding."""
BLUR = 1.5
"""Noise on the language model's matrices, in spreads of their values, before fine-tuning."""


def told(words: Words) -> Tensor:
    """Which words each visual token shows, float [tokens, words]."""
    number = {word: place for place, word in enumerate(VOCABULARY)}
    table = torch.zeros(len(words), len(VOCABULARY))
    for token, said in enumerate(words):
        for word in said:
            if word.split()[0] in number:
                table[token, number[word.split()[0]]] = 1
    return table


def speak_loss(pupil: Pupil, seen: Tensor, wanted: Tensor) -> Tensor:
    """How far visual tokens are from saying what they show.

    Args:
        pupil: Its embeddings are the words.
        seen: Visual tokens, [tokens, width].
        wanted: See `told`.
    """
    words = pupil.embeddings[pupil.words]
    likeness = SHARPNESS * functional.normalize(seen, dim=1) @ functional.normalize(words, dim=1).T
    length = NORM * words.norm(dim=1).mean().detach()
    total = 0.05 * ((seen.norm(dim=1) - length) ** 2).mean()
    things, grounds = wanted.sum(1) > 1, wanted.sum(1) == 1
    if grounds.any():
        total = total - 0.3 * (likeness[grounds].log_softmax(1) * wanted[grounds]).sum(1).mean()
    if things.any():
        among_all = likeness[things].log_softmax(1) * wanted[things]
        total = total - 0.2 * (among_all.sum(1) / wanted[things].sum(1)).mean()
    for group, weight in zip(GROUPS, (0.5, 1.0, 0.5), strict=True):
        places = torch.tensor([VOCABULARY.index(word) for word in group])
        some = things & (wanted[:, places].sum(1) > 0)
        if some.any():
            right = wanted[some][:, places]
            total = total - weight * (likeness[some][:, places].log_softmax(1) * right).sum(1).mean()
    return total


@dataclass
class Lesson:
    """A batch to learn from.

    Attributes:
        trees: Token trees.
        words: Of the visual tokens of each tree that has some, by its number in `trees`.
        learned: Of a drill's branch, which of its answer's tokens count; by the tree's number.
    """

    trees: list[Tree] = field(default_factory=list)
    words: dict[int, Words] = field(default_factory=dict)
    learned: dict[int, list[bool]] = field(default_factory=dict)


def media_tree(
    pupil: Pupil,
    rows: int,
    columns: int,
    stamps: Sequence[float],
    frames: Sequence[Any],
    asked: Sequence[tuple[str, str]],
) -> Tree:
    """A tree as the probe makes it; without frames it has no pixels, which must be given to the model."""
    count, clip = rows * columns, bool(stamps)
    body = "".join(f"<{time:.1f} seconds>{VISION_START}{VIDEO * count}{VISION_END}" for time in stamps)
    head = f"{START}user\n" + (body or f"{VISION_START}{IMAGE * count}{VISION_END}")
    trunk = pupil.ids(head)
    pad = pupil.ids(VIDEO if clip else IMAGE)[0]
    positions = _positions(trunk, pad, rows, columns)
    branches = [_branch(pupil, VISION_END, question, answer) for question, answer in asked]
    kind = ("video_grid_thw", "pixel_values_videos") if clip else ("image_grid_thw", "pixel_values")
    media = {}
    if frames:
        grid = torch.tensor([[max(1, len(stamps)), 2 * rows, 2 * columns]])
        media = {kind[1]: cut(frames), kind[0]: grid}
    return Tree(trunk[:-1], branches, positions[:, :-1], int(positions[0, -1]), media)


def _branch(pupil: Pupil, before: str, question: str, answer: str) -> Branch:
    prompt = pupil.ids(f"{before}{question}{END}{START}assistant\n")
    return Branch(prompt + pupil.ids(answer + END), len(prompt), 0)


def _positions(ids: Sequence[int], pad: int, rows: int, columns: int) -> Tensor:
    """Positions for rotary embedding, [3, len(ids)]: time, down and right within a frame."""
    places, at, now = np.zeros((3, len(ids)), np.int64), 0, 0
    while at < len(ids):
        if ids[at] != pad:
            places[:, at], at, now = now, at + 1, now + 1
            continue
        frame = slice(at, at + rows * columns)
        places[:, frame] = now
        places[1, frame] += np.repeat(np.arange(rows), columns)
        places[2, frame] += np.tile(np.arange(columns), rows)
        at, now = at + rows * columns, now + max(rows, columns)
    return torch.from_numpy(places)


def drill_lesson(pupil: Pupil, rng: Random, count: int, lesson: Lesson) -> None:
    """Add drills to a lesson."""
    for _ in range(count):
        drill: Drill = make_drill(rng)
        stamps = tuple(0.5 + time for time in range(drill.times)) if drill.times > 1 else ()
        tree = media_tree(pupil, drill.rows, drill.columns, stamps, (), [])
        prompt = pupil.ids(f"{VISION_END}List them.{END}{START}assistant\n")
        said = [int(pupil.words[VOCABULARY.index(word)]) for word in drill.list]
        tree.branches.append(Branch(prompt + said, len(prompt), 0))
        number = len(lesson.trees)
        lesson.trees.append(tree)
        lesson.words[number], lesson.learned[number] = drill.words, drill.learned


def exam_lesson(
    pupil: Pupil,
    rng: Random,
    count: int,
    lesson: Lesson,
    *,
    paint: bool,
    looks: float,
    plain: float,
) -> None:
    """Add stills and clips to a lesson, with four questions each; some are asked without the picture too."""
    for _ in range(count):
        shown: Shown = draw(rng, paint=paint)
        asked = questions(rng, shown.content, 4, looks=looks, plain=plain)
        rows, columns = shown.height // TOKEN, shown.width // TOKEN
        lesson.words[len(lesson.trees)] = shown.words
        lesson.trees.append(media_tree(pupil, rows, columns, shown.stamps, shown.frames, asked))
        if rng.random() < 0.3:
            blind = _branch(pupil, f"{START}user\n", *rng.choice(asked))
            lesson.trees.append(text_tree([], [blind]))


def imagine(pupil: Pupil, words: Words) -> Tensor:
    """Visual tokens that say just these words, one in twenty forgotten."""
    wanted = told(words)
    wanted *= torch.rand(wanted.shape) > 0.05
    embedded = pupil.embeddings[pupil.words]
    summed = wanted @ functional.normalize(embedded, dim=1)
    scaled = summed / summed.norm(dim=1, keepdim=True).clamp(min=0.5)
    return scaled * NORM * embedded.norm(dim=1).mean().detach() + 0.02 * torch.randn_like(scaled)


def look(pupil: Pupil, trees: Sequence[Tree]) -> Tensor:
    """Visual tokens of the trees' pictures, by the tower."""
    pixels = [value for tree in trees for name, value in tree.media.items() if name.startswith("pixel")]
    grids = [value for tree in trees for name, value in tree.media.items() if name.endswith("grid_thw")]
    seen: Tensor = pupil.model.model.visual(
        torch.cat(pixels).float() / 127.5 - 1, grid_thw=torch.cat(grids), return_dict=True
    ).pooler_output
    return seen


def lesson_loss(pupil: Pupil, lesson: Lesson, *, paint: bool) -> Tensor:
    """Loss of the answers and of the drills, and with pictures of what visual tokens say."""
    numbers = {id(tree): number for number, tree in enumerate(lesson.trees)}
    rows = fill_rows(lesson.trees, ROW)
    packed = pack(rows, pupil.forest.pad)
    shown = [tree for row in rows for tree in row if numbers[id(tree)] in lesson.words]
    words = [cell for tree in shown for cell in lesson.words[numbers[id(tree)]]]
    seen = look(pupil, shown) if paint else imagine(pupil, words)
    visual = torch.isin(packed.ids, torch.tensor([pupil.ids(token)[0] for token in (IMAGE, VIDEO)]))
    inputs = pupil.model.get_input_embeddings()(packed.ids).masked_scatter(visual[..., None], seen)
    hidden = pupil.model.model.language_model(
        inputs_embeds=inputs,
        attention_mask=packed.mask(torch.device("cpu")),
        position_ids=pupil.forest.rope(packed.positions),
        use_cache=False,
    ).last_hidden_state
    learned = {id(lesson.trees[number].branches[0]): marks for number, marks in lesson.learned.items()}
    loss = _said_loss(pupil, packed, hidden, learned)
    return loss + 0.3 * speak_loss(pupil, seen, told(words)) if paint else loss


def _said_loss(pupil: Pupil, packed: Packed, hidden: Tensor, learned: dict[int, list[bool]]) -> Tensor:
    """Mean loss of answers, long ones counting less per token, plus that of the drills."""
    rows, columns, targets = list[int](), list[int](), list[int]()
    answers, drills = list[float](), list[float]()
    for place in packed.places:
        said = place.branch.ids[place.branch.answer :]
        first = place.column + place.branch.answer - 1
        rows += [place.row] * len(said)
        columns += range(first, first + len(said))
        targets += said
        marks = learned.get(id(place.branch))
        answers += [0.0 if marks else len(said) ** -0.5] * len(said)
        drills += map(float, marks or [False] * len(said))
    logits = pupil.model.get_output_embeddings()(hidden[rows, columns])
    losses = functional.cross_entropy(logits, torch.tensor(targets), reduction="none")
    weights = (torch.tensor(some) for some in (answers, drills))
    parts = [(losses * weight).sum() / weight.sum() for weight in weights if weight.any()]
    return torch.stack(parts).sum()


def learn(pupil: Pupil, what: str, steps: int, loss_of: Callable[[int], Tensor]) -> None:
    """Take steps down a loss, warming up and cooling down; says how far it is."""
    weights = list(pupil.model.parameters())
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": 0.05},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, betas=(0.9, 0.99))
    mean, started = math.nan, time.monotonic()
    for step in range(steps):
        height = min(1.0, (step + 1) / 100) * (0.03 + 0.97 * (1 + math.cos(math.pi * step / steps)) / 2)
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * height
        loss = loss_of(step)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        value = float(loss.detach())
        mean = value if math.isnan(mean) else 0.98 * mean + 0.02 * value
        if (step + 1) % 100 == 0:
            took = time.monotonic() - started
            print(f"{what}: step {step + 1} of {steps}, loss {mean:.3f}, {took:.0f} s", flush=True)


def see(pupil: Pupil, rng: Random, steps: int) -> None:
    """Teach the tower to say what it sees, and at first where things are in each patch."""
    tower = pupil.model.model.visual
    middle: dict[str, Tensor] = {}
    hook = tower.blocks[1].register_forward_hook(lambda _, __, out: middle.update(out=out))
    where = torch.nn.Linear(SMALL.vision_hidden, 32)
    pupil.model.add_module("where", where)

    def loss_of(_: int) -> Tensor:
        mosaics = [make_mosaic(rng) for _ in range(14)]
        shown = draw(rng, clips=0.6)
        frames = [mosaic.frames for mosaic in mosaics] + [shown.frames]
        pixels = torch.cat([cut(some) for some in frames]).float() / 127.5 - 1
        grid = [[len(some) // 2, some[0].shape[0] // PATCH, some[0].shape[1] // PATCH] for some in frames]
        seen = tower(pixels, grid_thw=torch.tensor(grid), return_dict=True).pooler_output
        masks = torch.cat([cut(mosaic.masks) for mosaic in mosaics]).float()
        shares = masks.reshape(-1, 3, 2, 4, 2, 4, 2)[:, 0].mean((3, 5)).reshape(-1, 32) / 250
        inside = functional.layer_norm(middle["out"][: len(shares)], (SMALL.vision_hidden,))
        covered = functional.binary_cross_entropy_with_logits(where(inside), shares.clamp(0, 1))
        words = [cell for mosaic in mosaics for cell in mosaic.words] + list(shown.words)
        return speak_loss(pupil, seen, told(words)) + 2 * covered

    learn(pupil, "see", steps, loss_of)
    hook.remove()
    del pupil.model.where


def look_up(pupil: Pupil, rng: Random, steps: int) -> None:
    """Teach the language model to find things among imagined tokens."""

    def loss_of(_: int) -> Tensor:
        lesson = Lesson()
        drill_lesson(pupil, rng, 20, lesson)
        return lesson_loss(pupil, lesson, paint=False)

    learn(pupil, "look up", steps, loss_of)


def answer(pupil: Pupil, rng: Random, steps: int, *, paint: bool) -> None:
    """Teach to answer: plain questions first, on imagined tokens; or at once all of them, on pictures."""

    def loss_of(step: int) -> Tensor:
        lesson = Lesson()
        if not paint:
            drill_lesson(pupil, rng, 6, lesson)
        at = 1.0 if paint else step / steps
        looks, plain = max(0.0, 1 - 4 * at), max(0.0, 1 - 2 * at)
        exam_lesson(pupil, rng, 6, lesson, paint=paint, looks=looks, plain=plain)
        return lesson_loss(pupil, lesson, paint=paint)

    learn(pupil, "answer on pictures" if paint else "answer", steps, loss_of)


@dataclass(frozen=True)
class Steps:
    """How long each thing is taught.

    Attributes:
        see: To say what is seen.
        look_up: To find it.
        answer: On imagined tokens.
        real: On pictures.
    """

    see: int = 3000
    look_up: int = 200
    answer: int = 2400
    real: int = 400


FULL, BLURRED = "full", "blurred"
"""One that knows, to probe with; and the same one blurred, to be trained."""


def warm_up(folder: Path, *, seed: int = 1, steps: Steps = Steps(), blur: float = BLUR) -> None:
    """Make both models and save them as `from_pretrained` reads them; those that are there are kept."""
    if not (folder / FULL).exists():
        _save(*_taught(seed, steps), folder / FULL)
    if not (folder / BLURRED).exists():
        model = AutoModelForImageTextToText.from_pretrained(folder / FULL, dtype=torch.float32)
        disturb(model.model.language_model.layers, blur, seed)
        _save(model, AutoProcessor.from_pretrained(folder / FULL), folder / BLURRED)


def _taught(seed: int, steps: Steps) -> tuple[Any, Any]:
    """A model that knows, and its processor."""
    torch.manual_seed(seed)
    pupil = make_pupil(seed)
    pupil.model.train()
    rng = Random(f"lessons/{seed}")
    see(pupil, rng, steps.see)
    look_up(pupil, rng, steps.look_up)
    answer(pupil, rng, steps.answer, paint=False)
    answer(pupil, rng, steps.real, paint=True)
    return pupil.model.eval(), make_processor(pupil.tokenizer, SMALL)


@torch.no_grad()
def disturb(layers: torch.nn.Module, blur: float, seed: int) -> None:
    """Add normal noise to every matrix, `blur` times as wide as the matrix's own values are spread."""
    random = torch.Generator().manual_seed(seed)
    for weight in layers.parameters():
        if weight.ndim > 1:
            weight.add_(blur * weight.std() * torch.randn(weight.shape, generator=random))


def _save(model: Any, processor: Any, folder: Path) -> None:
    part = folder.with_name(f"{folder.name}.part")
    save_model(model, processor, part)
    part.rename(folder)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Teach the small models that convergence.py works with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blur", type=float, default=BLUR, help="of what fine-tuning begins with")
    for name, count in asdict(Steps()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=count, help="steps")
    options = vars(parser.parse_args(arguments))
    torch.set_num_threads(1)
    folder, seed, blur = (options.pop(name) for name in ("folder", "seed", "blur"))
    warm_up(folder, seed=seed, steps=Steps(**options), blur=blur)


if __name__ == "__main__":
    main(sys.argv[1:])
