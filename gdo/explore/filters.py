"""What people ask to see, and the condition in SQL by which the pool itself gives the same."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal

import duckdb
import orjson
from pydantic import BaseModel, ConfigDict, Field

from gdo.errors import UsageError
from gdo.explore.columns import Facet
from gdo.pool.candidate import literal, quoted
from gdo.pool.store import scalar

Role = Literal["chosen", "uniform"]


class Membership(BaseModel):
    """In a subset, or not.

    Attributes:
        subset: Its name.
        role: Its chosen samples, or its uniform control.
        inside: False for the samples that are not in it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    subset: str
    role: Role = "chosen"
    inside: bool = True


class Filter(BaseModel):
    """Which samples are asked for: all conditions hold.

    Attributes:
        facets: Column to the values that it may have; null is a missing value.
        subsets: Subsets that samples are in, or not in.
        where: A condition in SQL over `candidate`; empty for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    facets: dict[str, Annotated[list[str | int | None], Field(max_length=1000)]] = {}
    subsets: Annotated[list[Membership], Field(max_length=20)] = []
    where: Annotated[str, Field(max_length=10_000)] = ""

    def without(self, facet: str) -> "Filter":
        """The same but for one facet, whose values are counted."""
        return self.model_copy(update={"facets": {k: v for k, v in self.facets.items() if k != facet}})


def condition(wanted: Filter, facets: Sequence[Facet]) -> str:
    """The condition of a filter; `true` where it asks for nothing.

    A person's own part stands in brackets on lines of its own: see `check_where` for what makes that safe.

    Raises:
        UsageError: There is no such facet, or a value is not of its type.
    """
    known = {facet.name: facet for facet in facets}
    parts = []
    for name, values in wanted.facets.items():
        if name not in known:
            raise UsageError(f"there is no facet {name!r}; there are {', '.join(known)}")
        if values:
            parts.append(_one_of(known[name], values))
    parts += [_membership(member) for member in wanted.subsets]
    if wanted.where.strip():
        parts.append(f"(\n{wanted.where}\n)")
    return "\n    AND ".join(parts) or "true"


def _one_of(facet: Facet, values: Sequence[str | int | None]) -> str:
    column = quoted(facet.name)
    there = ", ".join(_value(facet, value) for value in values if value is not None)
    tests = [f"{column} IN ({there})"] if there else []
    if None in values:
        tests.append(f"{column} IS NULL")
    return f"({' OR '.join(tests)})"


def _value(facet: Facet, given: str | int | None) -> str:
    value = facet.value(given)
    return literal(value) if isinstance(value, str) else str(value).lower()


def _membership(member: Membership) -> str:
    return (
        f"qa_uid {'' if member.inside else 'NOT '}IN (SELECT qa_uid FROM subset_sample "
        f"WHERE subset = {literal(member.subset)} AND role = {literal(member.role)})"
    )


def check_subset(connection: duckdb.DuckDBPyConnection, subset: str) -> None:
    """See that there is a subset of this name.

    Raises:
        UsageError: There is none.
    """
    names = [name for (name,) in connection.execute("SELECT subset FROM subset ORDER BY subset").fetchall()]
    if subset not in names:
        raise UsageError(f"there is no subset {subset!r}; there are: {', '.join(names) or 'none yet'}")


def check_where(connection: duckdb.DuckDBPyConnection, where: str) -> None:
    """See that a person's condition is one expression, and no bracket of it closes ours.

    Raises:
        UsageError: It is something else.
    """
    if not where.strip():
        return
    for query in (f"SELECT\n{where}\n", f"SELECT (\n{where}\n)"):
        tree = orjson.loads(scalar(connection, "SELECT json_serialize_sql(?)", [query]))
        if tree["error"]:
            raise UsageError(f"the condition is wrong: {tree['error_message']}")
        if len(tree["statements"]) != 1 or not _is_bare(tree["statements"][0]["node"]):
            raise UsageError("give one condition, as it stands after WHERE: amm > 2 AND mcq")


def _is_bare(node: dict[str, Any]) -> bool:
    """Whether a parsed statement is SELECT, one expression, and nothing else."""
    return (
        node["type"] == "SELECT_NODE"
        and len(node["select_list"]) == 1
        and node["from_table"]["type"] == "EMPTY"
        and not any(_rest(node))
    )


def _rest(node: dict[str, Any]) -> Iterator[Any]:
    for name in ("where_clause", "group_expressions", "having", "qualify", "sample", "modifiers"):
        yield node.get(name)
    yield node.get("cte_map", {}).get("map")
