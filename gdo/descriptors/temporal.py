"""Whether a question needs the order of time, told from its words; no model is asked."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from gdo.descriptors.base import Column, Values

if TYPE_CHECKING:
    import pyarrow as pa


class Temporal:
    """`tnc` by the released word list: 1 where the sample's temporal category is Temporal, else 0.

    Source: the word list of spec/selection.md section 2. The released TNC asks a model; that one has a
    probe of its own.
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
