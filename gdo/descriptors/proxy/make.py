"""The self-proxy of a pool: made once, kept beside the pool, used again."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gdo.descriptors.engine.local import usable_cores
from gdo.descriptors.proxy.report import Losses, ProxyReport, load_report, package_versions
from gdo.descriptors.proxy.sample import HELD_OUT_SHARE, Draw, draw_sample
from gdo.descriptors.proxy.shape import CPU, CUDA, Shape
from gdo.descriptors.proxy.sight import read_media
from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool, locked
from gdo.pool.text import hash64

if TYPE_CHECKING:
    from gdo.descriptors.proxy.lessons import Lessons
    from gdo.descriptors.proxy.train import Plan, State

Progress = Callable[[str, int, int | None, str], None]
"""Told what is done, how much of it, out of how much, and a note."""

HELD_OUT = "held_out.json"
KNOWN = 20
"""How often each word that the base knows counts when a tokenizer is fitted, beside the pool's texts."""


def proxy_folder(pool: Pool) -> Path:
    """Where a pool's self-proxy stands."""
    return pool.folder / "proxy"


def ensure_proxy(
    pool: Pool,
    *,
    minutes: float | None = None,
    seed: int = 42,
    device: str = "cpu",
    workers: int | None = None,
    progress: Progress | None = None,
    _steps: int | None = None,
) -> ProxyReport:
    """Train the self-proxy of a pool, or find the one that was trained before.

    A run that is killed is gone on with by the next call, for the time that is left. Worker processes are
    spawned, so a script that calls this needs the usual `if __name__ == "__main__":`.

    Args:
        pool: The pool.
        minutes: Time to train for; default by the device. Reading the media comes on top.
        seed: Of the sample, the weights and the order of learning.
        device: Where to train: cpu, cuda or cuda:N.
        workers: Processes that read media; default all cores, 0 reads in this process.
        progress: Told how far it is.
        _steps: Steps to train for, whatever time they take.

    Returns:
        How it was made and what it learned. The model stands in `proxy_folder(pool)`, to be loaded by
        `AutoProcessor` and `AutoModelForImageTextToText`.

    Raises:
        UsageError: `minutes` is not positive.
        GdoError: The pool has too little to learn from, or the saved proxy cannot be read.
    """
    if minutes is not None and not minutes > 0:
        raise UsageError(f"the proxy's minutes must be more than 0; they are {minutes}")
    target, part = proxy_folder(pool), pool.folder / "proxy.part"
    if target.exists():
        return load_report(target)
    part.mkdir(parents=True, exist_ok=True)
    with locked(part):
        if target.exists():
            return load_report(target)
        shape = _shape(device)
        job = _Job(pool, shape, seed, device, minutes or shape.minutes, _steps, progress or _silent)
        report = job.run(part, usable_cores() if workers is None else workers)
        (part / "model").replace(target)
        shutil.rmtree(part)
    return report


def untrained_proxy(pool: Pool, folder: Path, seed: int = 42, device: str = "cpu") -> Path:
    """Write a proxy as it is before its training: it sees, and knows nothing of the pool.

    To time a probe by, or to train on a subset.

    Args:
        pool: The pool whose text the tokenizer is fitted on.
        folder: Where to; made if missing.
        seed: Of the sample and of what the base leaves random.
        device: Where it is to compute, which decides on how much of the pool its language is fitted on.

    Returns:
        The folder.
    """
    from gdo.descriptors.proxy.model import save_model

    shape = _shape(device)
    model, processor = _new_model(draw_sample(pool, seed, shape.samples), shape, seed)
    save_model(model, processor, folder)
    return folder


def _shape(device: str) -> Shape:
    return CUDA if device.startswith("cuda") else CPU


def _silent(what: str, done: int, total: int | None, note: str) -> None:
    """Show nothing."""


def _new_model(draw: Draw, shape: Shape, seed: int) -> tuple[Any, Any]:
    """A model in the language of the samples, and its processor."""
    from gdo.descriptors.proxy.base import known_words, start_from_base
    from gdo.descriptors.proxy.language import fit_tokenizer, make_processor
    from gdo.descriptors.proxy.model import build_model

    texts = [text for row in draw.rows for text in (row.question, row.answer)]
    if shape.taught:
        texts += known_words() * KNOWN
    tokenizer = fit_tokenizer(texts, shape.vocabulary)
    model = build_model(shape, tokenizer, seed)
    if shape.taught:
        start_from_base(model, tokenizer)
    return model, make_processor(tokenizer, shape)


@dataclass(frozen=True, slots=True)
class _Job:
    """One making of a proxy."""

    pool: Pool
    shape: Shape
    seed: int
    device: str
    minutes: float
    steps: int | None
    progress: Progress

    def run(self, part: Path, workers: int) -> ProxyReport:
        """Train, measure, and leave the finished folder in `part/model`."""
        import torch

        from gdo.descriptors.probe.forest import Forest
        from gdo.descriptors.probe.vision import group_pictures
        from gdo.descriptors.proxy.measure import measure
        from gdo.descriptors.proxy.model import save_model
        from gdo.descriptors.proxy.train import ROW, train

        draw = draw_sample(self.pool, self.seed, self.shape.samples)
        model, processor = _new_model(draw, self.shape, self.seed)
        lessons = self._lessons(draw, model, processor, workers)
        group_pictures(model)
        pad = processor.tokenizer.pad_token_id
        device, budget = torch.device(self.device), 4 * self.shape.batch_tokens
        forest = Forest(model.to(device), device, pad, ROW, budget)
        state = train(forest, lessons, self._plan(draw), part, self._show)
        report = self._report(lessons, model, state, measure(forest, lessons))
        folder = part / "model"
        shutil.rmtree(folder, ignore_errors=True)
        save_model(model, processor, folder)
        held_out = [row.qa_uid for row in draw.rows if row.held_out]
        (folder / HELD_OUT).write_text(json.dumps(held_out, indent=0) + "\n")
        report.save(folder)
        return report

    def _lessons(self, draw: Draw, model: Any, processor: Any, workers: int) -> "Lessons":
        """Read the media and make token trees of the samples."""
        from gdo.descriptors.probe.chat import Chat
        from gdo.descriptors.proxy.lessons import make_lessons
        from gdo.descriptors.proxy.model import CONTEXT

        settings, media = self.shape.settings, len(draw.media)
        frames = read_media(
            draw.media,
            settings.budget,
            workers,
            lambda done: self.progress("reading media for the self-proxy", done, media, ""),
        )
        chat = Chat(processor, model, settings, CONTEXT)
        lessons = make_lessons(chat, draw.rows, frames)
        if all(draw.rows[n].held_out for n in lessons.blind):
            raise GdoError(f"no sample of {self.pool.path} can be trained on: no media can be read")
        return lessons

    def _plan(self, draw: Draw) -> "Plan":
        from gdo.descriptors.proxy.train import Plan

        shape = self.shape
        rows = hash64("\n".join(map(repr, draw.rows)))
        key = repr((self.seed, shape, package_versions(), rows))
        return Plan(self.minutes * 60, self.steps, shape.rate, shape.batch_tokens, self.seed, key)

    def _show(self, state: "State", loss: float) -> None:
        seconds = round(self.minutes * 60)
        done, total = (round(state.seconds), seconds) if self.steps is None else (state.step, self.steps)
        self.progress("training the self-proxy", done, total, f"step {state.step:,}, loss {loss:.2f}")

    def _report(self, lessons: "Lessons", model: Any, state: "State", losses: Losses | None) -> ProxyReport:
        held_out = sum(lessons.rows[n].held_out for n in lessons.blind)
        return ProxyReport(
            versions=package_versions(),
            seed=self.seed,
            device=self.device,
            minutes=self.minutes,
            seconds=round(state.seconds, 1),
            steps=state.step,
            kept_step=state.best_step,
            parameters=sum(weight.numel() for weight in model.parameters()),
            samples=len(lessons.blind) - held_out,
            held_out=held_out,
            drawn=f"at most {self.shape.samples:,} by a hash of (seed, qa_uid); {HELD_OUT_SHARE:.0%} of the "
            "media held out with all their samples",
            unreadable=len(lessons.rows) - len(lessons.blind),
            tnc_taught_by="gdo.descriptors.temporal_text",
            settings=self.shape.settings,
            losses=losses,
        )
