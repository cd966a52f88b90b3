"""Which descriptors there are. To add one: write its class in a file of its own, and name it here."""

from collections.abc import Sequence

from gdo.descriptors.base import Descriptor
from gdo.descriptors.motion import Motion
from gdo.descriptors.temporal import Temporal
from gdo.errors import UsageError

DESCRIPTORS: dict[str, Descriptor] = {
    "motion": Motion(),
    "temporal": Temporal(),
}


def find_descriptors(names: Sequence[str]) -> list[Descriptor]:
    """The descriptors of these names, in this order, each once.

    Raises:
        UsageError: A name is unknown.
    """
    unknown = [name for name in names if name not in DESCRIPTORS]
    if unknown:
        raise UsageError(
            f"unknown descriptor {', '.join(map(repr, unknown))}; known are {', '.join(sorted(DESCRIPTORS))}"
        )
    return [DESCRIPTORS[name] for name in dict.fromkeys(names)]
