"""Whether a question needs the order of time: told from its words, by two rules, or by a model."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from gdo.descriptors.base import Column, ProbedDescriptor, Values
from gdo.descriptors.dependency import finite

if TYPE_CHECKING:
    import pyarrow as pa


class TemporalWords:
    """`tnc` by the released word list: 1 where the sample's temporal category is Temporal, else 0.

    Source: the word list of spec/selection.md section 2.
    """

    name = "temporal"
    version = 1
    probe = "words"
    subject: Literal["sample"] = "sample"
    columns: Mapping[str, Column] = {
        "tnc": Column("DOUBLE", "", "need for temporal reasoning; 0 no, 1 yes"),
    }
    inputs: Sequence[str] = ("temporal_category",)

    def compute(self, batch: "pa.Table") -> Values:
        """Read off each sample's category."""
        return {"tnc": [float(category == "Temporal") for category in batch["temporal_category"].to_pylist()]}


class TemporalText:
    """`tnc` by a small rule over words and word pairs: the probability that a question needs several frames.

    A still image has no time, so its questions get 0. Source: ours, in place of TNC of arXiv 2603.12478
    where no model is asked (gdo/descriptors/temporal_text.py).
    """

    name = "temporal"
    version = 1
    probe = "text"
    subject: Literal["sample"] = "sample"
    columns: Mapping[str, Column] = {
        "tnc": Column(
            "DOUBLE", "", "need for temporal reasoning: probability by the question's words; 0 to 1"
        ),
    }
    inputs: Sequence[str] = ("question", "bucket")

    def compute(self, batch: "pa.Table") -> Values:
        """Weigh each question's words."""
        from gdo.descriptors.temporal_text import temporal_probabilities

        stills = [bucket == "image_qa" for bucket in batch["bucket"].to_pylist()]
        told = temporal_probabilities(batch["question"].to_pylist())
        return {"tnc": [0.0 if still else value for still, value in zip(stills, told, strict=True)]}


class TemporalAsked(ProbedDescriptor[float | None]):
    """`tnc` as a model tells it of the question alone: the probability that it says Temporal, not Static.

    Source: TNC of arXiv 2603.12478, as told in spec/descriptors.md; the released 1 or 0 is this above 0.5.
    """

    name = "temporal"
    version = 1
    asks: Literal["time"] = "time"
    columns: Mapping[str, Column] = {
        "tnc": Column("DOUBLE", "", "need for temporal reasoning: P(Temporal) against P(Static); 0 to 1"),
    }

    def row(self, said: float | None) -> Mapping[str, float | str | None]:
        """The probability, or why there is none."""
        value = finite(said)
        return {
            "tnc": value,
            "error": None
            if value is not None
            else "no probability (the question is too long for the model, or its answer is no number)",
        }
