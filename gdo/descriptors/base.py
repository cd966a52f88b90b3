"""What a descriptor is: a name, a version, its columns, and a function from a batch to their values.

A descriptor knows nothing of files, databases or progress; the engine gives it frames of media or columns
of samples and stores what it returns. Stored values carry the version, so a change of meaning is a new
version, never an edit.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from gdo.pool.frames import FrameBudget, Frames

if TYPE_CHECKING:
    import pyarrow as pa

Values = Mapping[str, Sequence[Any]]
"""Column name to one value per row of the batch, in its order; None is missing."""


@dataclass(frozen=True, slots=True)
class Column:
    """A stored column.

    Attributes:
        type: SQL type: DOUBLE, FLOAT, BIGINT, INTEGER, BOOLEAN or VARCHAR; or BLOB, or a vector such as
            FLOAT[64], which view `candidate` leaves in the descriptor's own table.
        unit: Unit of the values, empty where they have none.
        doc: What the value says, and its range.
    """

    type: str
    unit: str
    doc: str


class Kept(Protocol):
    """What the pool has to know of a descriptor to keep its values; see those that follow."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def version(self) -> int: ...  # noqa: D102
    @property
    def probe(self) -> str: ...  # noqa: D102
    @property
    def subject(self) -> Literal["media", "sample"]: ...  # noqa: D102
    @property
    def columns(self) -> Mapping[str, Column]: ...  # noqa: D102


class MediaDescriptor(Protocol):
    """A descriptor of images, frame lists and videos: computed once for each, however many samples show it.

    Attributes:
        name: Name of the descriptor and of its table.
        version: Raised whenever values change their meaning.
        probe: The model that makes the values; empty where there is none.
        subject: `media`.
        columns: What it computes.
        frames: The frames it needs.
        needs_stills: False where still images are only checked by their headers; it then gets them without
            pictures.
    """

    name: str
    version: int
    probe: str
    subject: Literal["media"]
    columns: Mapping[str, Column]
    frames: FrameBudget
    needs_stills: bool

    def compute(self, batch: Sequence[Frames]) -> Values:
        """Values of each medium; they do not depend on its neighbours in the batch."""


class SampleDescriptor(Protocol):
    """A descriptor of question-answer pairs.

    Attributes:
        name: Name of the descriptor and of its table.
        version: Raised whenever values change their meaning.
        probe: The model that makes the values; empty where there is none.
        subject: `sample`.
        columns: What it computes.
        inputs: The columns of view `candidate` that it needs.
    """

    name: str
    version: int
    probe: str
    subject: Literal["sample"]
    columns: Mapping[str, Column]
    inputs: Sequence[str]

    def compute(self, batch: "pa.Table") -> Values:
        """Values of each sample; they do not depend on its neighbours in the batch."""


class DeviceDescriptor(ABC):
    """A descriptor of media in two halves: readers prepare pictures, a device computes many media at once.

    It can be pickled, and loads nothing before `load`.

    Attributes:
        name: Name of the descriptor and of its table.
        version: Raised whenever values change their meaning.
        probe: What makes the values; they differ from those of other makers, so it is never empty.
        subject: `media`.
        columns: What it computes.
        frames: The frames it needs.
        needs_stills: False where still images are only checked by their headers; it then gets them without
            pictures.
    """

    name: str
    version: int
    probe: str
    subject: Literal["media"] = "media"
    columns: Mapping[str, Column]
    frames: FrameBudget
    needs_stills: bool

    @abstractmethod
    def prepare(self, frames: Frames) -> Any:
        """What the device needs of one medium, small and picklable; runs in a reader's process."""

    @abstractmethod
    def load(self, device: str) -> Callable[[Sequence[Any]], Values]:
        """Load what the device half needs (`cpu`, `cuda:N`).

        Returns:
            The device half: from what was prepared of some media to their values, in that order. They do
            not depend on their neighbours in the batch but for rounding.
        """


Said = TypeVar("Said")
"""What a probe says of one sample."""


class ProbedDescriptor(ABC, Generic[Said]):
    """A descriptor of question-answer pairs whose values are what a probe model says of them.

    Attributes:
        name: Name of the descriptor and of its table.
        version: Raised whenever values change their meaning.
        probe: Label of the model's card; empty as long as no model is chosen.
        subject: `sample`.
        columns: What it computes.
        asks: What the model is asked for: losses of the answer, stability of sampled answers, or, of the
            question alone, whether it needs time.
    """

    name: str
    version: int
    subject: Literal["sample"] = "sample"
    columns: Mapping[str, Column]
    asks: Literal["losses", "stability", "time"]

    def __init__(self, probe: str = "") -> None:
        self.probe = probe

    @abstractmethod
    def row(self, said: Said) -> Mapping[str, float | str | None]:
        """The sample's values; where one is missing also `error`, the reason."""


Descriptor = MediaDescriptor | SampleDescriptor
AnyDescriptor = Descriptor | DeviceDescriptor | ProbedDescriptor[Any]
