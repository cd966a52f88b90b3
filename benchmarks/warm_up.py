"""The small Qwen3-VL models of `convergence.py`: one taught to see and to answer, one that forgot.

    python benchmarks/warm_up.py FOLDER [--seed 1] [--see 3600] [--look-up 200] [--read 1000] [--answer 4000]
        [--real 1200] [--go-on] [--base DIR]

With `--base gdo/descriptors/proxy/base` the one that knows is written there in half precision: it is what
self-proxies begin with. What stands there was taught over several days, as these lessons became what they
are: 9,000 steps to see, about 16,000 of thin lessons to answer and 4,200 on pictures; at last `--go-on
--see 0 --read 1000 --answer 4450 --real 0`, in six sittings, after each of which the mean of two models was
taken. Until the last of them the rule of `temporal_text`, not the truth, said which questions need time.

Two million parameters do not learn to see from answers alone in any time that a CPU has (LOG.md). So they
learn in steps: the vision tower, to say of each visual token which words and numbers it shows and where it
is (the words' embeddings are those of the language model); beside it, in a process of its own, the language
model, to look such words up, then to answer from imagined tokens; at last both, from pictures.

Nor do a few thousand samples teach it a kind of question that it was never asked. So what fine-tuning begins
with is the same model, the language model's weights blurred by noise: its tower sees, it has lost what it
knew, and the first thousand samples bring some of it back.
"""

import argparse
import math
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random
from typing import Any

import torch
from exam import draw, show_still
from lessons import (
    Lesson,
    dense_lesson,
    drill_lesson,
    exam_lesson,
    lesson_loss,
    speak_loss,
    told,
    words_lesson,
)
from mosaics import make_mosaic
from muon import Muon
from pupil import SMALL, Pupil, cut, make_pupil, shipped_pupil
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional
from transformers import AutoModelForImageTextToText, AutoProcessor

from gdo.demo.stills import Style, make_still
from gdo.descriptors.proxy.base import LANGUAGE, WEIGHTS
from gdo.descriptors.proxy.language import make_processor
from gdo.descriptors.proxy.model import save_model
from gdo.descriptors.proxy.shape import PATCH

LEARNING_RATE = 2e-3
"""Of vectors and embeddings."""
MATRIX_RATE = 4e-3
GO_ON = 0.6
"""How wide the steps of one are that has been taught before."""
STILLS: tuple[Style, ...] = ("photo", "heap", "chart", "chart", "sign", "sign")
"""What a lesson in seeing shows beside mosaics and a clip: what is written is slow to be learned."""
BLUR = 1.5
"""Noise on the language model's matrices, in spreads of their values, before fine-tuning."""


def learn(pupil: Pupil, what: str, steps: int, loss_of: Callable[[int], Tensor], pace: float) -> None:
    """Take steps down a loss, at `pace` times the usual rates, warming up and cooling down."""
    weights = [weight for weight in pupil.model.parameters() if weight.requires_grad]
    matrices = [w for w in weights if w.ndim == 2 and w is not pupil.embeddings]
    others = [w for w in weights if w.ndim != 2 or w is pupil.embeddings]
    optimizers = [
        Muon(matrices, MATRIX_RATE),
        torch.optim.AdamW(others, lr=LEARNING_RATE, betas=(0.9, 0.99), weight_decay=0.0),
    ]
    groups = [(group, group["lr"]) for optimizer in optimizers for group in optimizer.param_groups]
    mean, started = math.nan, time.monotonic()
    for step in range(steps):
        height = min(1.0, (step + 1) / 100) * (0.03 + 0.97 * (1 + math.cos(math.pi * step / steps)) / 2)
        for group, rate in groups:
            group["lr"] = pace * rate * height
        loss = loss_of(step)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        value = float(loss.detach())
        mean = value if math.isnan(mean) else 0.98 * mean + 0.02 * value
        if (step + 1) % 100 == 0:
            took = time.monotonic() - started
            print(f"{what}: step {step + 1} of {steps}, loss {mean:.3f}, {took:.0f} s", flush=True)


def see(pupil: Pupil, rng: Random, steps: int, pace: float) -> None:
    """Teach the tower to say what it sees, and at first where things are in each patch."""
    tower = pupil.model.model.visual
    middle: dict[str, Tensor] = {}
    hook = tower.blocks[1].register_forward_hook(lambda _, __, out: middle.update(out=out))
    where = torch.nn.Linear(SMALL.vision_hidden, 32)
    pupil.model.add_module("where", where)

    def loss_of(_: int) -> Tensor:
        mosaics = [make_mosaic(rng) for _ in range(4)]
        shown = [show_still(make_still(rng, style)) for style in STILLS] + [draw(rng, clips=1.0)]
        frames = [some.frames for some in (*mosaics, *shown)]
        pixels = torch.cat([cut(some) for some in frames]).float() / 127.5 - 1
        grid = [[len(some) // 2, some[0].shape[0] // PATCH, some[0].shape[1] // PATCH] for some in frames]
        seen = tower(pixels, grid_thw=torch.tensor(grid), return_dict=True).pooler_output
        masks = torch.cat([cut(mosaic.masks) for mosaic in mosaics]).float()
        shares = masks.reshape(-1, 3, 2, 4, 2, 4, 2)[:, 0].mean((3, 5)).reshape(-1, 32) / 250
        inside = functional.layer_norm(middle["out"][: len(shares)], (SMALL.vision_hidden,))
        covered = functional.binary_cross_entropy_with_logits(where(inside), shares.clamp(0, 1))
        wanted = [told(some.words, some.rows, some.columns) for some in (*mosaics, *shown)]
        return speak_loss(pupil, seen, torch.cat(wanted)) + 2 * covered

    learn(pupil, "see", steps, loss_of, pace)
    hook.remove()
    del pupil.model.where


def look_up(pupil: Pupil, rng: Random, steps: int) -> None:
    """Teach the language model to find things among imagined tokens."""

    def loss_of(_: int) -> Tensor:
        lesson = Lesson()
        drill_lesson(pupil, rng, 20, lesson)
        return lesson_loss(pupil, lesson, paint=False)

    learn(pupil, "look up", steps, loss_of, pace=1.0)


def read(pupil: Pupil, rng: Random, steps: int, pace: float) -> None:
    """Teach the language model to read imagined charts and signs, by ever less plain questions."""

    def loss_of(step: int) -> Tensor:
        lesson = Lesson()
        dense_lesson(pupil, rng, 6, lesson, plain=0.9 - 0.5 * step / steps, read=True)
        exam_lesson(pupil, rng, 1, lesson, paint=False, looks=0.0, plain=0.2)
        return lesson_loss(pupil, lesson, paint=False)

    learn(pupil, "read", steps, loss_of, pace)


def answer(pupil: Pupil, rng: Random, steps: int, pace: float, *, fresh: bool) -> None:
    """Teach the language model to answer about imagined pictures; a fresh one is asked about looks first."""

    def loss_of(step: int) -> Tensor:
        lesson = Lesson()
        plain = max(0.0, 0.7 - step / steps)
        looks = max(0.0, 1 - 4 * step / steps) if fresh else 0.0
        if fresh:
            drill_lesson(pupil, rng, 4, lesson)
        dense_lesson(pupil, rng, 6, lesson, plain=plain, read=False)
        exam_lesson(pupil, rng, 2, lesson, paint=False, looks=looks, plain=plain)
        words_lesson(pupil, rng, 6, lesson)
        return lesson_loss(pupil, lesson, paint=False)

    learn(pupil, "answer", steps, loss_of, pace)


def answer_on_pictures(pupil: Pupil, rng: Random, steps: int, pace: float) -> None:
    """Teach tower and language model together."""

    def loss_of(_: int) -> Tensor:
        lesson = Lesson()
        exam_lesson(pupil, rng, 6, lesson, paint=True, looks=0.0, plain=0.0)
        return lesson_loss(pupil, lesson, paint=True)

    learn(pupil, "answer on pictures", steps, loss_of, pace)


@dataclass(frozen=True)
class Steps:
    """How long each thing is taught.

    Attributes:
        see: To say what is seen.
        look_up: To find it.
        read: Charts and signs, on imagined tokens.
        answer: On imagined tokens.
        real: On pictures.
    """

    see: int = 3600
    look_up: int = 200
    read: int = 1000
    answer: int = 4000
    real: int = 1200


FULL, BLURRED = "full", "blurred"
"""One that knows, to probe with; and the same one blurred, to be trained."""


def warm_up(
    folder: Path, *, seed: int = 1, steps: Steps = Steps(), blur: float = BLUR, fresh: bool = True
) -> None:
    """Make both models and save them as `from_pretrained` reads them; those that are there are kept."""
    if not (folder / FULL).exists():
        _save(*_taught(folder, seed, steps, fresh), folder / FULL)
        for half in folder.glob("*.pt"):
            half.unlink()
    if not (folder / BLURRED).exists():
        model = AutoModelForImageTextToText.from_pretrained(folder / FULL, dtype=torch.float32)
        disturb(model.model.language_model.layers, blur, seed)
        _save(model, AutoProcessor.from_pretrained(folder / FULL), folder / BLURRED)


def _taught(folder: Path, seed: int, steps: Steps, fresh: bool) -> tuple[Any, Any]:
    """A model that knows, and its processor; its two halves, once taught, are kept in the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    halves = [folder / "tower.pt", folder / "language.pt"]
    with ProcessPoolExecutor(
        len(halves), get_context("spawn"), initializer=torch.set_num_threads, initargs=(1,)
    ) as pool:
        for done in [pool.submit(_half, half, seed, steps, fresh) for half in halves]:
            done.result()
    torch.manual_seed(seed)
    pupil = make_pupil(seed) if fresh else shipped_pupil(seed)
    for half in halves:
        pupil.model.load_state_dict(torch.load(half, weights_only=True), strict=False)
    pupil.model.train()
    answer_on_pictures(pupil, Random(f"pictures/{seed}"), steps.real, 1.0 if fresh else GO_ON)
    return pupil.model.eval(), make_processor(pupil.tokenizer, SMALL)


def _half(path: Path, seed: int, steps: Steps, fresh: bool) -> None:
    """Teach the tower or the language model by itself, and save its weights."""
    if path.exists():
        return
    torch.manual_seed(seed)
    pupil = make_pupil(seed) if fresh else shipped_pupil(seed)
    pupil.model.train()
    rng = Random(f"{path.stem}/{seed}")
    tower, pace = path.stem == "tower", 1.0 if fresh else GO_ON
    for name, weight in pupil.model.named_parameters():
        weight.requires_grad_(("visual" in name) == tower)
    if tower:
        see(pupil, rng, steps.see, pace)
    else:
        if fresh:
            look_up(pupil, rng, steps.look_up)
        read(pupil, rng, steps.read, pace)
        answer(pupil, rng, steps.answer, pace, fresh=fresh)
    learned = {name: value for name, value in pupil.model.state_dict().items() if ("visual" in name) == tower}
    aside = path.with_suffix(".part")
    torch.save(learned, aside)
    aside.replace(path)


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


def ship(full: Path, base: Path) -> None:
    """Write a model's weights in half precision, and its language."""
    model = AutoModelForImageTextToText.from_pretrained(full, dtype=torch.float16)
    kept = {name: value for name, value in model.state_dict().items() if name != "lm_head.weight"}
    base.mkdir(parents=True, exist_ok=True)
    save_file(kept, base / WEIGHTS)
    shutil.copy(full / LANGUAGE, base / LANGUAGE)


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Teach the small models that convergence.py works with.")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blur", type=float, default=BLUR, help="of what fine-tuning begins with")
    parser.add_argument("--go-on", action="store_true", help="begin with what is shipped")
    parser.add_argument("--base", type=Path, help="write there what self-proxies begin with")
    for name, count in asdict(Steps()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=count, help="steps")
    options = vars(parser.parse_args(arguments))
    torch.set_num_threads(1)
    folder, seed, blur = (options.pop(name) for name in ("folder", "seed", "blur"))
    base, fresh = options.pop("base"), not options.pop("go_on")
    warm_up(folder, seed=seed, steps=Steps(**options), blur=blur, fresh=fresh)
    if base:
        ship(folder / FULL, base)


if __name__ == "__main__":
    main(sys.argv[1:])
