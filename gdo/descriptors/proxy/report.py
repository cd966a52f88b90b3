"""What is known of a trained proxy: how it was made, and whether it learned anything."""

import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from gdo import __version__
from gdo.descriptors.probe.contract import ProbeSettings
from gdo.errors import GdoError
from gdo.pool.frames import FrameBudget

REPORT = "gdo.json"
AGAIN = "name a --probe, or delete POOL.d/proxy and give it more --proxy-minutes"


@dataclass(frozen=True, slots=True)
class Losses:
    """Mean cross-entropy in nats per token over the answers of the held-out samples.

    Attributes:
        with_frames: The media shown.
        without_frames: Not shown.
        unigram: Of a model that only knows how often each token stands in an answer.
        gain: `without_frames` less `with_frames`, sample by sample: the mean of it.
        gain_error: Standard error of that mean.
    """

    with_frames: float
    without_frames: float
    unigram: float
    gain: float
    gain_error: float


@dataclass(frozen=True, slots=True)
class ProxyReport:
    """How a self-proxy was made and what it learned; stands beside its weights as `gdo.json`.

    Attributes:
        versions: Of gdo, torch and transformers.
        seed: Of the sample, the weights and the order of learning.
        device: What it was trained on.
        minutes: Time it was given.
        seconds: Time it trained.
        steps: Steps it took.
        kept_step: The step whose weights were kept: those of the least held-out loss.
        parameters: Number of weights.
        samples: Samples it was trained on.
        held_out: Samples that were kept back.
        drawn: How they were drawn.
        unreadable: Samples left out because their media cannot be read.
        tnc_taught_by: The rule that says which questions need time, for the instruction it was taught.
        settings: What a probe must show it.
        losses: What the held-out samples say; None where there are none with media.
    """

    versions: dict[str, str]
    seed: int
    device: str
    minutes: float
    seconds: float
    steps: int
    kept_step: int
    parameters: int
    samples: int
    held_out: int
    drawn: str
    unreadable: int
    tnc_taught_by: str
    settings: ProbeSettings
    losses: Losses | None

    @property
    def learned(self) -> bool:
        """It beats the unigram model, and frames help it by more than twice the error of that figure."""
        losses = self.losses
        if losses is None:
            return False
        return losses.without_frames < losses.unigram and losses.gain > 2 * losses.gain_error

    @property
    def sentence(self) -> str:
        """What there is to say about it, for people."""
        losses = self.losses
        if losses is None:
            return "The self-proxy could not be measured: no held-out sample has media that can be read."
        told = (
            f"Held-out loss of the self-proxy in nats per token: {losses.with_frames:.2f} with frames, "
            f"{losses.without_frames:.2f} without, {losses.unigram:.2f} by word frequency alone."
        )
        if losses.without_frames >= losses.unigram:
            return f"{told} It learned nothing: {AGAIN}."
        if not self.learned:
            return f"{told} It learned nothing from the frames, so vds says nothing: {AGAIN}."
        return f"{told} Frames help it by {losses.gain:.3f} +- {losses.gain_error:.3f} a sample."

    def save(self, folder: Path) -> None:
        """Write it into the proxy's folder."""
        told = asdict(self) | {"learned": self.learned, "sentence": self.sentence}
        (folder / REPORT).write_text(json.dumps(told, indent=2) + "\n")


def load_report(folder: Path) -> ProxyReport:
    """Read the report of the proxy in a folder.

    Raises:
        GdoError: It is not there or not one of this version.
    """
    try:
        told: dict[str, Any] = json.loads((folder / REPORT).read_text())
        budget = FrameBudget(**told["settings"].pop("budget"))
        settings = ProbeSettings(budget=budget, **told.pop("settings"))
        losses = told.pop("losses")
        told = {name: value for name, value in told.items() if name not in ("learned", "sentence")}
        return ProxyReport(**told, settings=settings, losses=Losses(**losses) if losses else None)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise GdoError(
            f"{folder} holds no self-proxy of this gdo ({error}); delete it to train anew"
        ) from error


def package_versions() -> dict[str, str]:
    """The versions that a proxy depends on."""
    return {"gdo": __version__} | {name: version(name) for name in ("torch", "transformers")}
