"""Which model is asked, and where it comes from: the self-proxy, a folder, the hub.

Nothing here loads torch before a model is wanted.
"""

import json
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Protocol

from gdo.descriptors.catalog import TEXT_RULES, can_ask_models, names_a_model
from gdo.descriptors.coverage.embedder import Embedder
from gdo.descriptors.probe.contract import Probe, ProbeCard, ProbeSettings
from gdo.errors import UsageError
from gdo.pool.store import Pool

SELF = "self"
"""The name of the model that is trained on the pool itself."""

Told = Callable[[str, int, int | None, str], None]
"""Called with what is being done, how much of it is done, of how much, and a note."""
Say = Callable[[str], None]
"""Called with a sentence that a person should read."""


@dataclass(frozen=True, slots=True)
class Proxy:
    """A trained self-proxy.

    Attributes:
        folder: Where it stands.
        sentence: What it learned, for people.
        details: How it was made and what it learned.
    """

    folder: Path
    sentence: str
    details: Mapping[str, Any]


class Models(Protocol):
    """Where models come from. It can be pickled: of several devices each has a process of its own."""

    def make_proxy(
        self, pool: Pool, *, minutes: float | None, device: str, workers: int, progress: Told | None
    ) -> Proxy:
        """The self-proxy of a pool; it is trained now if it was not before."""

    def find_proxy(self, pool: Pool) -> Path | None:
        """The folder of the self-proxy; None where it was not trained yet."""

    def imitate_proxy(self, pool: Pool, folder: Path, *, device: str) -> tuple[Path, float]:
        """A self-proxy as it is before its training on the pool; and the minutes that it would train."""

    def read_card(self, model: str, *, device: str, settings: ProbeSettings | None) -> ProbeCard:
        """What a model is, without loading it."""

    def load(self, card: ProbeCard, *, device: str) -> Probe:
        """Load a model."""

    def embedder(self, card: ProbeCard) -> Embedder:
        """A model as an embedder, without loading it."""


class LocalModels:
    """Models that transformers loads, from a folder or from the hub."""

    def make_proxy(
        self, pool: Pool, *, minutes: float | None, device: str, workers: int, progress: Told | None
    ) -> Proxy:
        """The self-proxy of a pool; it is trained now if it was not before."""
        from gdo.descriptors.proxy.make import ensure_proxy, proxy_folder

        report = ensure_proxy(pool, minutes=minutes, device=device, workers=workers, progress=progress)
        return Proxy(proxy_folder(pool), report.sentence, asdict(report))

    def find_proxy(self, pool: Pool) -> Path | None:
        """The folder of the self-proxy; None where it was not trained yet."""
        from gdo.descriptors.proxy.make import proxy_folder

        return proxy_folder(pool) if proxy_folder(pool).is_dir() else None

    def imitate_proxy(self, pool: Pool, folder: Path, *, device: str) -> tuple[Path, float]:
        """A self-proxy as it is before its training on the pool; and the minutes that it would train."""
        from gdo.descriptors.probe.load import PROXY_FILE
        from gdo.descriptors.proxy.make import untrained_proxy
        from gdo.descriptors.proxy.shape import CPU, CUDA

        made = untrained_proxy(pool, folder / "proxy", device=device)
        shape = CUDA if device.startswith("cuda") else CPU
        (made / PROXY_FILE).write_text(json.dumps({"settings": asdict(shape.settings)}))
        return made, shape.minutes

    def read_card(self, model: str, *, device: str, settings: ProbeSettings | None) -> ProbeCard:
        """What a model is, without loading it."""
        from gdo.descriptors.probe.load import read_card

        return read_card(model, device=device, settings=settings)

    def load(self, card: ProbeCard, *, device: str) -> Probe:
        """Load a model."""
        from gdo.descriptors.probe.load import load_probe

        return load_probe(card, device=device)

    def embedder(self, card: ProbeCard) -> Embedder:
        """A model as an embedder, without loading it."""
        from gdo.descriptors.coverage.probe_states import ProbeStates, width_of

        return ProbeStates(card, width_of(card))


@dataclass(frozen=True, slots=True)
class ProbeChoice:
    """What a person says of the model to be asked; None leaves it to the model.

    Attributes:
        probe: `self`, a folder, or a name at the hub; a rule for texts stands for `self` where a model is
            needed all the same.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, or several with commas between.
        context: Earlier turns of a sample's row come before its question.
        frames: Most frames of a medium.
        max_pixels: Most pixels of a frame.
        frames_as: Frames stand in the prompt as single `images` or as one `video`.
        proxy_minutes: Time to train the self-proxy for.
    """

    probe: str | None = None
    device: str = "auto"
    context: bool = False
    frames: int | None = None
    max_pixels: int | None = None
    frames_as: Literal["images", "video"] | None = None
    proxy_minutes: float | None = None

    def __post_init__(self) -> None:
        if self.proxy_minutes is not None and not self.proxy_minutes > 0:
            raise UsageError(f"proxy_minutes must be more than 0; it is {self.proxy_minutes}")
        self.settle(ProbeSettings())

    @property
    def model(self) -> str:
        """The model's name."""
        return self.probe if self.probe and names_a_model(self.probe) else SELF

    def settle(self, settings: ProbeSettings) -> ProbeSettings:
        """A model's settings with what was said put in."""
        budget = settings.budget
        budget = replace(
            budget,
            frames=self.frames if self.frames is not None else budget.frames,
            max_pixels=self.max_pixels if self.max_pixels is not None else budget.max_pixels,
        )
        frames_as = self.frames_as or settings.frames_as
        return replace(settings, budget=budget, frames_as=frames_as, context=self.context or settings.context)


class Chosen:
    """The model that was chosen: its card, and its weights once they are needed.

    Attributes:
        choice: What was said.
        devices: Where it computes.
        home: The device of this machine that the self-proxy is trained on.
        models: Where it comes from.
    """

    def __init__(
        self,
        pool: Pool,
        choice: ProbeChoice,
        devices: list[str],
        home: str,
        models: Models,
        workers: int,
        progress: Told | None,
        say: Say,
    ) -> None:
        self.choice = choice
        self.devices = devices
        self.home = home
        self.models = models
        self.say = say
        self._pool = pool
        self._workers = workers
        self._progress = progress
        self._heard = False

    @cached_property
    def card(self) -> ProbeCard:
        """What it is; the self-proxy is trained now if it was not before."""
        if self.choice.model != SELF:
            return read_card(self.models, self.choice.model, self.devices[0], self.choice)
        proxy = self.models.make_proxy(
            self._pool,
            minutes=self.choice.proxy_minutes,
            device=self.home,
            workers=self._workers,
            progress=self._progress,
        )
        self.say(proxy.sentence)
        card = read_card(self.models, str(proxy.folder), self.devices[0], self.choice)
        return replace(card, details={"proxy": proxy.details})

    def hear(self, loaded: ProbeCard) -> None:
        """Take over what is known once the weights are there, and say who is asked, once."""
        if not self._heard:
            self._heard = True
            self.card = replace(self.card, details={**self.card.details, **loaded.details})
            self.say(tell_card(self.card, self.devices))

    @cached_property
    def loaded(self) -> Probe:
        """The model on its only device."""
        return self.models.load(self.card, device=self.devices[0])

    def let_go(self) -> None:
        """Free the weights' memory."""
        self.__dict__.pop("loaded", None)


def read_card(models: Models, name: str, device: str, choice: ProbeChoice) -> ProbeCard:
    """A model's card, with the settings that were chosen."""
    card = models.read_card(name, device=device, settings=None)
    settings = choice.settle(card.settings)
    return card if settings == card.settings else models.read_card(name, device=device, settings=settings)


def require_packages() -> None:
    """See that models can be asked here.

    Raises:
        UsageError: What they need is not installed.
    """
    if not can_ask_models():
        raise UsageError(
            "a model has to be asked, but torch and transformers are not installed: pip install 'gdo[train]'"
        )


def refuse_misspelt(choice: ProbeChoice) -> None:
    """See that the model can be a folder's or the hub's name, before anything is asked for it.

    Raises:
        UsageError: It is neither; the hub's names have an owner.
    """
    if choice.model != SELF and "/" not in choice.model and not Path(choice.model).is_dir():
        raise UsageError(
            f"there is no probe {choice.model!r}; known are {SELF}, {', '.join(TEXT_RULES)} (rules for "
            "temporal), a folder, or a model of the hub as OWNER/NAME"
        )


def tell_card(card: ProbeCard, devices: list[str]) -> str:
    """A sentence on which model is asked, how and where."""
    budget = card.settings.budget
    facts = [
        card.dtype,
        f"on {', '.join(f'{device} x {n}' if n > 1 else device for device, n in Counter(devices).items())}",
        f"at most {budget.frames} frames of {budget.max_pixels} pixels as {card.settings.frames_as}",
        *(
            f"{name.replace('_', ' ')} {value}"
            for name, value in card.details.items()
            if not isinstance(value, Mapping)
        ),
    ]
    return f"probe {card.label}: {'; '.join(facts)}"
