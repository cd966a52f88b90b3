"""Which descriptors there are. To add one: write its class in a file of its own, and name it here."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from gdo.descriptors.base import AnyDescriptor, Descriptor, ProbedDescriptor
from gdo.descriptors.dependency import Dependency
from gdo.descriptors.motion import Motion
from gdo.descriptors.stability import Stability
from gdo.descriptors.temporal import TemporalAsked, TemporalText, TemporalWords
from gdo.errors import UsageError

DESCRIPTORS: dict[str, Descriptor] = {
    "motion": Motion(),
    "temporal": TemporalText(),
}
"""Those that need no model."""

PROBED: dict[str, type[ProbedDescriptor[Any]]] = {
    "dependency": Dependency,
    "stability": Stability,
    "temporal": TemporalAsked,
}
"""Those whose values a probe tells; one of both kinds asks a model where one is named."""

TEXT_RULES: dict[str, Descriptor] = {"text": DESCRIPTORS["temporal"], "words": TemporalWords()}
"""Probes of `temporal` that are no models."""


def names_a_model(probe: str | None) -> bool:
    """Whether `probe` is the name of a model, `self` included."""
    return probe is not None and probe not in TEXT_RULES


def find_descriptors(names: Sequence[str], probe: str | None = None) -> list[AnyDescriptor]:
    """The descriptors of these names, in this order, each once.

    Args:
        names: Their names.
        probe: Who is asked: a model, or a rule for texts; None for what each does by itself.

    Raises:
        UsageError: A name is unknown.
    """
    known = sorted({*DESCRIPTORS, *PROBED})
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown descriptor {', '.join(map(repr, unknown))}; known are {', '.join(known)}")
    return [_find(name, probe) for name in dict.fromkeys(names)]


def _find(name: str, probe: str | None) -> AnyDescriptor:
    if name in PROBED and (name not in DESCRIPTORS or names_a_model(probe)):
        return PROBED[name]()
    rule = TEXT_RULES.get(probe or "")
    return rule if rule and rule.name == name else DESCRIPTORS[name]


def can_ask_models() -> bool:
    """Whether the packages are there that a model needs."""
    return all(find_spec(package) for package in ("torch", "transformers"))


def usual_names() -> list[str]:
    """What is computed where no names are given: all that this machine can, but for the dear `stability`."""
    return [*DESCRIPTORS, *(["dependency"] if can_ask_models() else [])]
