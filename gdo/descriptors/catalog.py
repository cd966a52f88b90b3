"""Which descriptors there are. To add one: write its class in a file of its own, and name it here."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from gdo.descriptors.base import AnyDescriptor, Descriptor, DeviceDescriptor, ProbedDescriptor
from gdo.descriptors.coverage.clusters import Coverage
from gdo.descriptors.dependency import Dependency
from gdo.descriptors.fingerprint import Fingerprint
from gdo.descriptors.motion import Motion
from gdo.descriptors.motion_torch import MotionOnDevice
from gdo.descriptors.stability import Stability
from gdo.descriptors.temporal import TemporalAsked, TemporalText, TemporalWords
from gdo.errors import UsageError
from gdo.pool.store import Pool

DESCRIPTORS: dict[str, Descriptor] = {
    "fingerprint": Fingerprint(),
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

ON_GPU: dict[str, DeviceDescriptor] = {"motion": MotionOnDevice()}
"""Those that a GPU computes where there is one."""

TEXT_RULES: dict[str, Descriptor] = {"text": DESCRIPTORS["temporal"], "words": TemporalWords()}
"""Probes of `temporal` that are no models."""


COVERAGE = Coverage()
"""Made of vectors of all media and samples, which some model gives (gdo/descriptors/coverage)."""


def names_a_model(probe: str | None) -> bool:
    """Whether `probe` is the name of a model, `self` included."""
    return probe is not None and probe not in TEXT_RULES


def find_descriptors(names: Sequence[str], probe: str | None = None) -> list[AnyDescriptor | Coverage]:
    """The descriptors of these names, in this order, each once.

    Args:
        names: Their names.
        probe: Who is asked: a model, or a rule for texts; None for what each does by itself.

    Raises:
        UsageError: A name is unknown.
    """
    known = sorted({*DESCRIPTORS, *PROBED, COVERAGE.name})
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UsageError(f"unknown descriptor {', '.join(map(repr, unknown))}; known are {', '.join(known)}")
    return [_find(name, probe) for name in dict.fromkeys(names)]


def _find(name: str, probe: str | None) -> AnyDescriptor | Coverage:
    if name == COVERAGE.name:
        return COVERAGE
    if name in PROBED and (name not in DESCRIPTORS or names_a_model(probe)):
        return PROBED[name]()
    rule = TEXT_RULES.get(probe or "")
    return rule if rule and rule.name == name else DESCRIPTORS[name]


def backend_of(
    pool: Pool, descriptor: Descriptor | DeviceDescriptor, gpus: Sequence[str]
) -> tuple[Descriptor | DeviceDescriptor, Sequence[str]]:
    """What computes a descriptor, and where: on GPUs if there are any and it was not begun without.

    Values of two backends differ in their last digits, so a pool keeps to the one that it began with.

    Args:
        pool: The pool.
        descriptor: By its name, from `find_descriptors`.
        gpus: Those that are there.
    """
    other = ON_GPU.get(descriptor.name)
    if other is None:
        return descriptor, ()
    with pool.read() as connection:
        rows = connection.execute(
            "SELECT probe FROM description WHERE name = ? AND version = ?",
            [descriptor.name, descriptor.version],
        ).fetchall()
    begun = {probe for (probe,) in rows}
    if descriptor.probe in begun or not (gpus or other.probe in begun):
        return descriptor, ()
    return other, gpus or ["cpu"]


def can_ask_models() -> bool:
    """Whether the packages are there that a model needs."""
    return all(find_spec(package) for package in ("torch", "transformers"))


def can_cluster() -> bool:
    """Whether FAISS is there, of whichever of its packages."""
    return find_spec("faiss") is not None


def usual_names() -> list[str]:
    """What is computed where no names are given: all that this machine can.

    But for the dear `stability`, and `fingerprint`, which only the search for duplicates wants.
    """
    models = can_ask_models()
    return [
        *(name for name in DESCRIPTORS if name != Fingerprint.name),
        *(["dependency"] if models else []),
        *([COVERAGE.name] if models and can_cluster() else []),
    ]
