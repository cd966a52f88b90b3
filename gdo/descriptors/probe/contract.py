"""What the engine and a probe model agree on: samples that show the same media are asked together."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from gdo.errors import UsageError
from gdo.pool.frames import FrameBudget, Frames

CONTRACT_BUDGET = FrameBudget(frames=32, max_pixels=50_176)
"""Frames and pixels of the training contract (spec/training.md): 32 frames of 224 x 224."""


@dataclass(frozen=True, slots=True)
class ProbeSettings:
    """What the values of a probe depend on, beside its weights.

    Attributes:
        budget: The frames that it is shown.
        frames_as: Frames stand in the prompt as single images, as released, or as one video.
        context: Earlier turns of the sample's row come before its question; released: each pair alone.
        answers: Answers sampled per question for stability.
        temperature: Of the sampling, above 0.
        top_p: Share of the probability that is sampled from, above 0, at most 1.
        max_new_tokens: Of one sampled answer.
        seed: Of the sampling.
    """

    budget: FrameBudget = CONTRACT_BUDGET
    frames_as: Literal["images", "video"] = "images"
    context: bool = False
    answers: int = 5
    temperature: float = 0.8
    top_p: float = 0.9
    max_new_tokens: int = 32
    seed: int = 42

    def __post_init__(self) -> None:
        if self.answers < 2:
            raise UsageError(f"stability compares at least 2 answers; answers is {self.answers}")
        if not self.temperature > 0:
            raise UsageError(f"temperature must be above 0; it is {self.temperature}")
        if not 0 < self.top_p <= 1:
            raise UsageError(f"top_p must be above 0 and at most 1; it is {self.top_p}")
        if self.max_new_tokens < 1:
            raise UsageError(f"max_new_tokens must be 1 or more; it is {self.max_new_tokens}")


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Which model made a value, and how; stands in table `probe`.

    Attributes:
        model: Name at a hub, `self`, or the folder's name.
        source: Where it was loaded from.
        fingerprint: Digest of its configuration and weights.
        dtype: What it computed in.
        settings: What the values depend on beside the weights, a dataclass.
        details: What else is worth knowing (versions, attention, losses of a self-proxy).
    """

    model: str
    source: str
    fingerprint: str
    dtype: str
    settings: Any
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The name that stands in the column `probe`: the model, and a digest of all that tells it apart."""
        parts = [self.model, self.fingerprint, self.dtype, asdict(self.settings)]
        digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
        return f"{self.model}@{digest[:8]}"


@dataclass(frozen=True, slots=True)
class ProbeCard(ModelCard):
    """The card of a probe."""

    settings: ProbeSettings


@dataclass(frozen=True, slots=True)
class Asked:
    """One sample, as the model is asked about it.

    Attributes:
        qa_uid: Its key.
        question: Without media tags.
        answer: What the pool says.
        history: Question and answer of the earlier turns of its row; empty unless the settings want them.
    """

    qa_uid: str
    question: str
    answer: str
    history: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """Samples that show the same media in the same order.

    Attributes:
        media: The frames of each medium; empty where they cannot be had.
        samples: The samples.
        error: Why there are no media; None where there are.
    """

    media: tuple[Frames, ...]
    samples: tuple[Asked, ...]
    error: str | None = None


@dataclass(slots=True)
class Scored:
    """What a probe says of one sample; None is missing, and then `error` tells why.

    Attributes:
        loss_blind: Mean cross-entropy in nats of the answer's tokens, the media not shown.
        loss_video: The same with the media shown.
        self_consistency: Mean pairwise Jaccard similarity of sampled answers' token sets, 0 to 1.
        error: The reason, where something asked for is missing.
    """

    loss_blind: float | None = None
    loss_video: float | None = None
    self_consistency: float | None = None
    error: str | None = None


class Probe(Protocol):
    """A loaded model that samples are asked of.

    Attributes:
        card: What it is.
    """

    card: ProbeCard

    def cost(self, group: Group) -> int:
        """Token positions that the group takes up, media included: what batches are cut by."""

    def score(self, groups: Sequence[Group], *, losses: bool, stability: bool) -> list[list[Scored]]:
        """Losses and stability of every sample, group by group, in order; never raises for a bad sample."""

    def temporal_need(self, questions: Sequence[str]) -> list[float | None]:
        """P(Temporal) / (P(Temporal) + P(Static)) of the first answer token, 0 to 1; None where not finite.

        The question alone is asked, as released.
        """
