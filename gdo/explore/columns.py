"""Which columns of `candidate` samples are filtered and sorted by, and what is known of each."""

import json
import re
from dataclasses import dataclass
from typing import Any

import duckdb

from gdo.errors import UsageError
from gdo.pool.candidate import VALUE_COLUMNS, quoted

MOST_VALUES = 100
"""Values of a column that is offered as a facet without being named here."""

_FACETS = {
    "bucket": "Modality",
    "source_group": "Source group",
    "data_source": "Source",
    "duration_bucket": "Length of the media",
    "temporal_category": "Temporal",
    "question_form": "Form of the question",
    "q_len_bucket": "Length of the question",
    "a_len_bucket": "Length of the answer",
    "cluster_id": "Cluster",
    "media_error": "Trouble with the media",
    "turn": "Turn",
}
_NO_FACETS = {"qa_uid", "id", "question", "answer", "video_uid", "temporal_words", "mcq", "mcq_raw"}
_NUMBERS = ("DOUBLE", "FLOAT", "BIGINT", "INTEGER")
_NO_NUMBERS = {"ordinal", "source_id", "line", "cluster_id"}
_TRUTH = {"true": True, "false": False}
_UNIT = re.compile(r"^(.*) \[([^\]]+)\]$")


@dataclass(frozen=True, slots=True)
class Facet:
    """A column with few values.

    Attributes:
        name: The column.
        label: What people read.
        kind: VARCHAR, BOOLEAN, or a type of whole numbers.
    """

    name: str
    label: str
    kind: str

    def value(self, given: str | int | None) -> str | int | bool | None:
        """A value as the column has it.

        Raises:
            UsageError: It is of another type.
        """
        if given is None or self.kind == "VARCHAR":
            return None if given is None else str(given)
        try:
            return _TRUTH[str(given).lower()] if self.kind == "BOOLEAN" else int(given)
        except (ValueError, KeyError):
            raise UsageError(f"{given!r} is no value of {self.name}, which is {self.kind}") from None


@dataclass(frozen=True, slots=True)
class Told:
    """What is known of a column of `candidate`.

    Attributes:
        name: The column.
        type: SQL type.
        words: What its values say; empty where nobody said it.
        unit: Unit of the values, empty where they have none.
        descriptor: What computes them; empty for others.
        maker: The same with its version and probe.
        value: Whether it is a descriptor's value.
    """

    name: str
    type: str
    words: str
    unit: str
    descriptor: str
    maker: str
    value: bool


def told_columns(connection: duckdb.DuckDBPyConnection) -> list[Told]:
    """All columns of `candidate` in its order, with the words of descriptors or the pool's comments."""
    made: dict[str, tuple[Any, str, str]] = {}
    rows = connection.execute("SELECT name, version, probe, columns FROM descriptor").fetchall()
    for name, version, probe, columns in rows:
        maker = f"{name} {version}" + (f" by {probe}" if probe else "")
        made |= {column: (told, name, maker) for column, told in json.loads(columns).items()}
    columns = connection.execute(
        "SELECT column_name, data_type, comment FROM duckdb_columns() "
        "WHERE database_name = current_database() AND table_name = 'candidate' ORDER BY column_index"
    ).fetchall()
    return [_tell(name, kind, comment or "", made.get(name)) for name, kind, comment in columns]


def _tell(name: str, kind: str, comment: str, made: tuple[dict[str, str], str, str] | None) -> Told:
    if made:
        column, descriptor, maker = made
        return Told(name, kind, column["doc"], column["unit"], descriptor, maker, value=True)
    with_unit = _UNIT.match(comment)
    words, unit = with_unit.groups() if with_unit else (comment, "")
    return Told(name, kind, words, unit, "", "", value=name in VALUE_COLUMNS)


def find_facets(connection: duckdb.DuckDBPyConnection, columns: list[Told]) -> list[Facet]:
    """The columns with few values, and those that are always wanted; none that has the same for all."""
    asked = [c for c in columns if c.name in _FACETS or _may_be_facet(c)]
    counts = ", ".join(
        f"approx_count_distinct({quoted(c.name)}), count({quoted(c.name)}) < count(*)" for c in asked
    )
    told = connection.execute(f"SELECT {counts} FROM candidate").fetchall()[0]
    found = []
    for column, values, gaps in zip(asked, told[::2], told[1::2], strict=True):
        if values + gaps > 1 and (column.name in _FACETS or values <= MOST_VALUES):
            label = _FACETS.get(column.name, column.name.replace("_", " "))
            found.append(Facet(column.name, label, column.type))
    order = list(_FACETS)
    return sorted(found, key=lambda f: order.index(f.name) if f.name in order else len(order))


def _may_be_facet(column: Told) -> bool:
    return column.type in ("VARCHAR", "BOOLEAN") and column.name not in _NO_FACETS


def find_numbers(columns: list[Told]) -> list[str]:
    """The columns that samples can be sorted by: descriptor values first."""
    numbers = [c for c in columns if c.type in _NUMBERS and c.name not in _NO_NUMBERS]
    return [c.name for c in sorted(numbers, key=lambda c: not c.value)]
