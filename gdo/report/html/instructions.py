"""How diverse the instructions are, by source and before and after mixing: as `gdo diversity` last told."""

from collections.abc import Mapping, Sequence
from typing import Any

from gdo.pool.candidate import literal
from gdo.pool.rows import SYNTHETIC
from gdo.report.html.blocks import Block, Chart, Grid, Note, Section, Tiles
from gdo.report.html.charts import bars, scatters
from gdo.report.html.source import Source

MOST_SOURCES = 10
"""Sources with a colour of their own on the map; the others share one."""
BARS = 20
_COMMAND = "gdo diversity POOL --mix sparrow/sparrow.jsonl"


def instructions_section(source: Source, found: Mapping[str, Any] | None) -> Section:
    """Figures and map of the instructions.

    Args:
        source: The pool.
        found: A `Diversity` of gdo/train/sparrow/diversity.py as a mapping; None where none was measured.
    """
    title = "Instructions"
    if found is None:
        missing = Note("How diverse the instructions are was not measured yet.", _COMMAND)
        return Section("instructions", title, "", [missing])
    overall = [found["before"], found["after"]] if found["after"] else [found["before"]]
    by_size = sorted(found["sources"], key=lambda one: (not one["mixed_in"], -one["instructions"]))
    blocks: list[Block] = [
        *_stale(source, found["before"]["instructions"]),
        _tiles(overall),
        *_map(found, by_size),
        *_bars([*overall, *by_size[:BARS]]),
        Grid("All instructions, equally many of each", *_table(overall)),
        Grid("Instructions by source", *_table(by_size)),
    ]
    intro = (
        "How far questions stand apart, and what mixing other data in does to it. The distance is the cosine "
        "distance to the nearest other question; the Vendi score is the effective number of different ones. "
        f"Both are of vectors of the questions: {found['embedding']}."
    )
    return Section("instructions", title, intro, blocks)


def _stale(source: Source, measured: int) -> list[Block]:
    """A note where samples came or went since; those that are mixed in do not count."""
    now = source.rows(f"SELECT count(*) FROM sample WHERE bucket <> {literal(SYNTHETIC)}")[0][0]
    if now == measured:
        return []
    told = f"Measured when the pool had {measured:,} instructions of its own; it has {now:,} now."
    return [Note(told, _COMMAND)]


def _tiles(overall: Sequence[Mapping[str, Any]]) -> Tiles:
    told = (("distance", "neighbour"), ("Vendi score", "vendi"))
    return Tiles([(f"{what}, {one['source']}", one[key]) for one in overall for what, key in told])


def _map(found: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> list[Block]:
    """Panels before and after; the sources mixed in and the largest ones have colours of their own."""
    names = {one["source"]: _name(one) for one in reversed(sources)}  # mixed in wins over the pool's own
    mixed = {_name(one) for one in sources if one["mixed_in"]}
    own = list(dict.fromkeys(names[one["source"]] for one in sources))[:MOST_SOURCES]
    rest = f"{len(names) - MOST_SOURCES:,} others"
    order = [*([rest] if len(names) > MOST_SOURCES else []), *sorted(own, key=lambda name: name in mixed)]
    panels = {}
    for side in ("before", "after"):
        if not found[side]:
            continue
        places: dict[str, list[tuple[float, float]]] = {name: [] for name in order}
        shown = [point for point in found["points"] if point[side]]
        for point in shown:
            name = names[point["source"]]
            places[name if name in own else rest].append((round(point["x"], 4), round(point["y"], 4)))
        panels[f"{found[side]['source']}: {len(shown):,} instructions"] = places
    note = (
        "Each dot is a question, placed by the two directions in which the vectors differ most; drawn by a "
        "hash of the ids, equally many before and after."
    )
    return [Chart("Map of the instructions", scatters(panels, others=rest, large=mixed), note, wide=True)]


def _bars(spreads: Sequence[Mapping[str, Any]]) -> list[Block]:
    def figure(key: str, axis: str) -> dict[str, Any]:
        values = {_name(one): one[key] for one in spreads if one[key] is not None}
        return bars({"instructions": values}, axis=axis)

    note = "More instructions stand closer together: hold only sets of like size against each other."
    return [
        Chart("Distance to the nearest instruction", figure("neighbour", "mean cosine distance"), note),
        Chart("Vendi score", figure("vendi", "different instructions, effectively"), note),
    ]


def _table(spreads: Sequence[Mapping[str, Any]]) -> tuple[list[str], list[list[Any]]]:
    keys = ("instructions", "measured", "neighbour", "vendi")
    columns = ["source", "instructions>", "measured>", "distance>", "Vendi score>"]
    return columns, [[_name(one), *(one[key] for key in keys)] for one in spreads]


def _name(spread: Mapping[str, Any]) -> str:
    mixed = spread["mixed_in"] and spread["source"] != "after mixing"
    return f"{spread['source']} (mixed in)" if mixed else str(spread["source"])
