"""Embeddings by the probe: where no weights of open_clip can be had, its states stand in for them."""

from collections.abc import Sequence
from dataclasses import dataclass

from gdo.descriptors.coverage.embedder import Towers, Vectors
from gdo.descriptors.probe.contract import ProbeCard
from gdo.pool.frames import FrameBudget, Frames


@dataclass(frozen=True, slots=True)
class ProbeStates:
    """The probe as an embedder; see `embedder.Embedder`.

    Attributes:
        card: The probe.
        size: Width of its states.
    """

    card: ProbeCard
    size: int

    @property
    def budget(self) -> FrameBudget:
        """The frames that the probe is shown."""
        return self.card.settings.budget

    def prepare(self, frames: Frames) -> Frames:
        """The frames as they are: they were read at the probe's size."""
        return frames

    def load(self, device: str) -> Towers:
        """Load the probe.

        Raises:
            GdoError: It cannot be loaded.
        """
        return _ProbeTowers(self.card, device)


class _ProbeTowers:
    """A loaded probe."""

    def __init__(self, card: ProbeCard, device: str) -> None:
        from gdo.descriptors.probe.load import load_probe

        self.probe = load_probe(card, device=device)

    def media(self, prepared: Sequence[Frames]) -> Vectors:
        """Means of the states at the pieces of pictures."""
        from gdo.descriptors.probe.states import embed_media

        return embed_media(self.probe, prepared)

    def texts(self, texts: Sequence[tuple[str, str]]) -> Vectors:
        """Means of the states over question and answer."""
        from gdo.descriptors.probe.states import embed_texts

        return embed_texts(self.probe, texts)


def width_of(card: ProbeCard) -> int:
    """Width of a model's states, from its configuration alone."""
    from transformers import AutoConfig

    return int(AutoConfig.from_pretrained(card.source).get_text_config().hidden_size)
