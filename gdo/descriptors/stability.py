"""Whether a model gives the same answer when it is asked again."""

from collections.abc import Mapping
from typing import Literal

from gdo.descriptors.base import Column, ProbedDescriptor
from gdo.descriptors.dependency import finite
from gdo.descriptors.probe.contract import Scored


class Stability(ProbedDescriptor[Scored]):
    """`self_consistency`: how much sampled answers to a question have in common.

    Source: SC of arXiv 2603.12478: 5 answers at temperature 0.8 and top-p 0.9, of at most 32 tokens.
    """

    name = "stability"
    version = 1
    asks: Literal["stability"] = "stability"
    columns: Mapping[str, Column] = {
        "self_consistency": Column(
            "DOUBLE", "", "mean pairwise Jaccard similarity of sampled answers' token sets; 0 to 1"
        ),
    }

    def row(self, said: Scored) -> Mapping[str, float | str | None]:
        """The similarity, or why there is none."""
        value = finite(said.self_consistency)
        error = None if value is not None else said.error or "the similarity is not finite"
        return {"self_consistency": value, "error": error}
