"""How much faster is the probe than asking one sample at a time? Same model, same machine, same run.

    python benchmarks/probe.py [--videos 16] [--questions 4] [--frames 16] [--plain 3] [--json FILE]

The plain loop does what the released extraction does for every pair: the processor for prompt and full text
and a forward, blind and with the frames; one `generate` for temporal need; five for stability. Frames are in
memory for both, so decoding, which the plain loop would repeat per question, is not counted. Rounds are
interleaved; read the ratios. Where a CUDA GPU is, a model of the size of Qwen3-VL-8B with random weights is
timed too: samples/s, tokens/s, share of the GPU's peak (MFU) and memory.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measure import machine, write_json
from qwen_models import CORPUS, QWEN3_VL_8B, SMALL, Shape, make_model, make_processor
from rich.console import Console
from rich.table import Table

from gdo.descriptors.probe.contract import Asked, Group, ProbeCard, ProbeSettings
from gdo.descriptors.probe.forest import Work
from gdo.descriptors.probe.load import make_probe
from gdo.descriptors.probe.questions import ask_temporal
from gdo.descriptors.probe.scorer import ModelProbe
from gdo.descriptors.probe.vision import group_pictures
from gdo.pool.frames import FrameBudget, Frames, MediaInfo

PEAK = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40": 181e12, "4090": 165e12}
"""Dense bf16 operations a second by the makers' sheets."""
WORDS = CORPUS[0].split(" ")
STAGES = ("losses", "temporal need", "stability")


@dataclass
class Timed:
    """Seconds per stage and the samples they were spent on."""

    samples: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, stage: str, work: Callable[[], Any]) -> Any:
        started = time.perf_counter()
        result = work()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - started
        return result

    def per_sample(self, stages: Sequence[str]) -> float:
        return sum(self.seconds[stage] for stage in stages) / self.samples


def make_groups(videos: int, questions: int, frames: int, side: int, seed: int) -> list[Group]:
    """Clips of noise with questions of 5 to 20 words and answers of 1 to 12."""
    random = np.random.default_rng(seed)

    def words(low: int, high: int) -> str:
        return " ".join(random.choice(WORDS, random.integers(low, high)))

    groups = []
    for video in range(videos):
        pictures = [random.integers(0, 256, (side, side, 3), dtype=np.uint8) for _ in range(frames)]
        clip = Frames(pictures, list(range(frames)), None, MediaInfo("frames", side, side, frames=frames))
        asked = [Asked(f"{video}/{i}", words(5, 21), words(1, 13)) for i in range(questions)]
        groups.append(Group((clip,), tuple(asked)))
    return groups


class PlainLoop:
    """One sample at a time, as the released extraction works."""

    def __init__(self, model: Any, processor: Any, settings: ProbeSettings) -> None:
        self.model, self.processor, self.settings = model, processor, settings

    def inputs(self, question: str, answer: str | None, images: list[Any]) -> Any:
        content = [*({"type": "image"} for _ in images), {"type": "text", "text": question}]
        messages: list[dict[str, Any]] = [{"role": "user", "content": content}]
        if answer is not None:
            messages.append({"role": "assistant", "content": [{"type": "text", "text": answer}]})
        text = self.processor.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=answer is None
        )
        media = {"images": images, "input_data_format": "channels_last"} if images else {}
        return self.processor(text=[text], return_tensors="pt", **media).to(self.model.device)

    @torch.inference_mode()
    def loss(self, asked: Asked, images: list[Any]) -> float:
        prompt = self.inputs(asked.question, None, images)
        full = self.inputs(asked.question, asked.answer, images)
        labels = full["input_ids"].clone()
        labels[:, : prompt["input_ids"].shape[1]] = -100
        return float(self.model(**full, labels=labels).loss)

    @torch.inference_mode()
    def generate(self, question: str, images: list[Any], **options: Any) -> Any:
        return self.model.generate(**self.inputs(question, None, images), **options)

    def stability(self, asked: Asked, images: list[Any]) -> None:
        for _ in range(self.settings.answers):
            self.generate(
                asked.question,
                images,
                do_sample=True,
                temperature=self.settings.temperature,
                top_p=self.settings.top_p,
                max_new_tokens=self.settings.max_new_tokens,
            )

    def run(self, groups: Sequence[Group], timed: Timed) -> list[tuple[float, float]]:
        losses = []
        for group in groups:
            images = group.media[0].images
            for asked in group.samples:
                losses.append(
                    timed.add("losses", lambda a=asked, i=images: (self.loss(a, []), self.loss(a, i)))
                )
                question = ask_temporal(asked.question)
                timed.add(
                    "temporal need",
                    lambda q=question: self.generate(q, [], do_sample=False, max_new_tokens=4),
                )
                timed.add("stability", lambda a=asked, i=images: self.stability(a, i))
                timed.samples += 1
        return losses


def run_probe(probe: ModelProbe, groups: Sequence[Group], timed: Timed) -> list[tuple[float, float]]:
    """The same by the probe; losses and stability in one pass, as `gdo describe` does them."""
    questions = [asked.question for group in groups for asked in group.samples]
    scored = timed.add("losses", lambda: probe.score(groups, losses=True, stability=False))
    timed.add("temporal need", lambda: probe.temporal_need(questions))
    timed.add("together", lambda: probe.score(groups, losses=True, stability=True))
    timed.seconds["stability"] = timed.seconds["together"] - timed.seconds["losses"]
    timed.samples += len(questions)
    return [(one.loss_blind or 0.0, one.loss_video or 0.0) for of_group in scored for one in of_group]


def build(shape: Shape, settings: ProbeSettings, device: str, dtype: torch.dtype) -> ModelProbe:
    """A probe with random weights, made where it will compute."""
    processor = make_processor(shape, settings.budget.max_pixels or 50_176)
    torch.set_default_dtype(dtype)
    with torch.device(device):
        model = make_model(shape, processor.tokenizer, seed=0)
    torch.set_default_dtype(torch.float32)
    group_pictures(model)
    card = ProbeCard("random", "random", "random", str(dtype).removeprefix("torch."), settings)
    return make_probe(card, processor, model)


def compare(arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    """Plain loop on a video, probe on all videos, in turn."""
    settings = ProbeSettings(budget=FrameBudget(frames=arguments.frames, max_pixels=64 * 64))
    device = "cuda" if torch.cuda.is_available() else "cpu"
    probe = build(SMALL, settings, device, torch.float32)
    plain = PlainLoop(probe.forest.model, probe.chat.processor, settings)
    groups = make_groups(arguments.videos, arguments.questions, arguments.frames, 64, seed=1)
    plain.run(groups[:1], Timed())
    run_probe(probe, groups[:1], Timed())
    probe.forest.work = Work()
    slow, fast, worst = Timed(), Timed(), 0.0
    for video in range(arguments.plain):
        want = plain.run(groups[video : video + 1], slow)
        got = run_probe(probe, groups, fast)[video * arguments.questions :]
        pairs = zip(want, got, strict=False)
        worst = max(worst, *(abs(a - b) / a for w, g in pairs for a, b in zip(w, g, strict=True)))
    table = Table(title=f"{arguments.frames} frames, {arguments.questions} questions a video, {device}")
    for name in ("", "plain loop ms", "probe ms", "times faster"):
        table.add_column(name, justify="left" if not name else "right")
    ratios = {}
    for label, stages in [*((stage, [stage]) for stage in STAGES), ("all", list(STAGES))]:
        a, b = slow.per_sample(stages), fast.per_sample(stages)
        ratios[label] = a / b
        table.add_row(f"{label}, per sample", f"{1e3 * a:.1f}", f"{1e3 * b:.1f}", f"{a / b:.1f}x")
    console.print(table)
    work = probe.forest.work
    padding = 1 - work.tokens / work.positions
    console.print(f"largest relative difference of a loss {worst:.1e}, padding {padding:.1%}")
    return {
        "device": device,
        "parameters": probe.card.details["parameters"],
        "plain_seconds_per_sample": {stage: slow.per_sample([stage]) for stage in STAGES},
        "probe_seconds_per_sample": {stage: fast.per_sample([stage]) for stage in STAGES},
        "times_faster": ratios,
        "largest_relative_difference": worst,
        "padding": padding,
    }


def operations(probe: ModelProbe, patches: int) -> float:
    """Operations of the forwards so far that lead to a loss: two per weight and token, and attention."""
    model, work = probe.forest.model, probe.forest.work
    text = model.config.get_text_config()
    vision = sum(p.numel() for p in model.base_model.visual.parameters())
    weights = sum(p.numel() for p in model.base_model.language_model.layers.parameters())
    attention = 4 * text.num_attention_heads * text.head_dim * text.num_hidden_layers * work.pairs / 2
    return 2.0 * weights * work.tokens + attention + 2.0 * vision * patches


def large(shape: Shape, arguments: argparse.Namespace, device: str, console: Console) -> dict[str, Any]:
    """Speed, share of peak and memory of a large model with the frames of the training contract."""
    settings = ProbeSettings()
    probe = build(shape, settings, device, torch.bfloat16)
    frames = settings.budget.frames or 32
    groups = make_groups(arguments.large_videos, arguments.questions, frames, 224, seed=2)
    probe.score(groups[:2], losses=True, stability=True)
    probe.forest.work = Work()
    timed = Timed()
    run_probe(probe, groups, timed)
    half = Work(probe.forest.work.tokens // 2, probe.forest.work.positions // 2, probe.forest.work.pairs // 2)
    probe.forest.work = half
    patches = arguments.large_videos * frames * (224 // shape.patch) ** 2
    name = torch.cuda.get_device_name(0) if device == "cuda" else "cpu"
    peak = next((value for key, value in PEAK.items() if key in name), None)
    rate = operations(probe, patches) / timed.seconds["losses"]
    figures = {
        "gpu": name,
        "parameters": probe.card.details["parameters"],
        "samples_per_second": {stage: timed.samples / timed.seconds[stage] for stage in STAGES},
        "tokens_per_second": half.tokens / timed.seconds["losses"],
        "tflops": rate / 1e12,
        "mfu": rate / peak if peak else None,
        "memory_gb": torch.cuda.max_memory_allocated() / 1e9 if device == "cuda" else None,
        "shares_media": probe.card.details["shares_media"],
        "attention": probe.card.details["attention"],
    }
    table = Table("", "value", title=f"{figures['parameters'] / 1e9:.1f}B parameters on {name}")
    for stage, value in figures["samples_per_second"].items():
        table.add_row(f"{stage}, samples/s", f"{value:.1f}")
    for key in ("tokens_per_second", "tflops", "mfu", "memory_gb"):
        table.add_row(key, "-" if figures[key] is None else f"{figures[key]:.3g}")
    console.print(table)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--videos", type=int, default=16, help="videos that the probe is timed on")
    parser.add_argument("--questions", type=int, default=4, help="questions of each video")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--plain", type=int, default=3, help="videos that the plain loop is timed on")
    parser.add_argument("--large-videos", type=int, default=64, help="videos for the large model on a GPU")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    arguments = parser.parse_args()
    console = Console(width=110)
    figures = {"machine": machine(), "settings": asdict(ProbeSettings()), **compare(arguments, console)}
    if torch.cuda.is_available():
        figures["large"] = large(QWEN3_VL_8B, arguments, "cuda", console)
    write_json(arguments.json, figures)


if __name__ == "__main__":
    main()
