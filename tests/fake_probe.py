"""A probe for tests: its values are hashes of what it is shown, and some questions make it fail."""

import hashlib
import math
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.engine.models import Proxy, Told
from gdo.descriptors.engine.work import Medium, Seen, see_medium
from gdo.descriptors.probe.contract import Asked, Group, ProbeCard, ProbeSettings, Scored
from gdo.pool.frames import FrameBudget, Frames
from gdo.pool.store import Pool

SETTINGS = ProbeSettings(budget=FrameBudget(frames=4, max_pixels=400), frames_as="video")


def number(*parts: object) -> float:
    """A number from 0 to 1 that tells the parts."""
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:6]) / 2**48


def shown(group: Group) -> str:
    digest = hashlib.sha256()
    for frames in group.media:
        for image in frames.images:
            digest.update(image.tobytes())
    return digest.hexdigest()


@dataclass
class FakeProbe:
    card: ProbeCard
    log: Path | None = None
    seconds: float = 0.0

    def cost(self, group: Group) -> int:
        return 1000 + 10 * len(group.samples)

    def score(self, groups: Sequence[Group], *, losses: bool, stability: bool) -> list[list[Scored]]:
        time.sleep(self.seconds * len(groups))
        self.write(f"score {losses:d}{stability:d} " + ",".join(str(len(g.samples)) for g in groups))
        return [[self.one(group, asked, losses, stability) for asked in group.samples] for group in groups]

    def one(self, group: Group, asked: Asked, losses: bool, stability: bool) -> Scored:
        fail(asked.question)
        text = (self.card.fingerprint, asked.question, asked.answer, asked.history)
        said = Scored(error=group.error)
        if losses:
            said.loss_blind = 1 + number(*text)
            if group.media:
                said.loss_video = math.nan if "nan" in asked.question else number(shown(group), *text)
        if stability and group.media:
            said.self_consistency = number("stable", shown(group), *text)
        return said

    def temporal_need(self, questions: Sequence[str]) -> list[float | None]:
        self.write(f"temporal {len(questions)}")
        return [None if "nan" in question else number("time", question) for question in questions]

    def write(self, line: str) -> None:
        if self.log:
            with self.log.open("a") as out:
                out.write(line + "\n")


def fail(question: str) -> None:
    if "raise" in question:
        raise RuntimeError("out of order\nfor good")
    if "die" in question:
        os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True)
class FakeModels:
    """Any name is a model, and its own fingerprint."""

    log: Path | None = None
    seconds: float = 0.0

    def make_proxy(
        self, pool: Pool, *, minutes: float | None, device: str, workers: int, progress: Told | None
    ) -> Proxy:
        folder = pool.folder / "proxy"
        if not folder.exists():
            folder.mkdir(parents=True)
            (folder / "minutes").write_text(str(minutes))
            if progress:
                progress("training the self-proxy", 1, 2, "loss 3.0")
        return Proxy(folder, "The proxy learned something.", {"steps": 7})

    def find_proxy(self, pool: Pool) -> Path | None:
        folder = pool.folder / "proxy"
        return folder if folder.is_dir() else None

    def imitate_proxy(self, pool: Pool, folder: Path, *, device: str) -> tuple[Path, float]:
        return folder, 4.0

    def read_card(self, model: str, *, device: str, settings: ProbeSettings | None) -> ProbeCard:
        name = "self" if model.endswith("proxy") else model
        return ProbeCard(name, model, f"digest of {name}", "float32", settings or SETTINGS)

    def load(self, card: ProbeCard, *, device: str) -> FakeProbe:
        if self.log:
            with self.log.open("a") as out:
                out.write(f"load {device}\n")
        return FakeProbe(replace(card, details={"attention": "none"}), self.log, self.seconds)

    def embedder(self, card: ProbeCard) -> "FakeEmbedder":
        return FakeEmbedder(card)


@dataclass(frozen=True)
class FakeEmbedder:
    """Vectors that tell pictures and texts: of the same ones the same."""

    card: ProbeCard
    size: int = 8

    @property
    def budget(self) -> FrameBudget:
        return self.card.settings.budget

    def prepare(self, frames: Frames) -> NDArray[np.uint8]:
        return np.stack(frames.images)

    def load(self, device: str) -> "FakeEmbedder":
        return self

    def media(self, prepared: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
        return np.stack([self.vector(pictures.tobytes()) for pictures in prepared])

    def texts(self, texts: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        for question, _ in texts:
            fail(question)
        return np.stack([self.vector(repr(text).encode()) for text in texts])

    def vector(self, content: bytes) -> NDArray[np.float32]:
        seed = int.from_bytes(hashlib.sha256(content).digest()[:8])
        vector = np.random.default_rng(seed).standard_normal(self.size).astype(np.float32)
        return vector / np.linalg.norm(vector)


def see_with_trouble(budget: FrameBudget, time_limit: float, medium: Medium) -> Seen:
    """Reads media, but two of them are too much for it."""
    if medium.paths[0].startswith("001"):
        time.sleep(600)
    if medium.paths[0].startswith("003"):
        os.kill(os.getpid(), signal.SIGKILL)
    return see_medium(budget, time_limit, medium)
