"""Lists of samples: a page of those that a filter lets through, and how many there are of each kind."""

from typing import Any, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from gdo.explore.arrays import Mask, Rows
from gdo.explore.filters import Filter, condition
from gdo.explore.snapshot import Snapshot
from gdo.pool.candidate import quoted

SHOWN_VALUES = 30
"""Values of a facet that are listed; the others are counted together."""
_SHOWN_TEXT = 400
_SHOWN_MEDIA = 8
_LISTED = ("qa_uid", "question", "answer", "bucket", "data_source", "cluster_id", "media_error", "media_ids")
_AT_ONCE = 4096


class Order(BaseModel):
    """What samples are sorted by; equal ones, and all where `by` is empty, come in the order of ingestion.

    Attributes:
        by: A column of numbers; samples without a value come last.
        direction: Smallest or largest first.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    by: str = ""
    direction: Literal["asc", "desc"] = "desc"


class ListAsked(BaseModel):
    """A list of samples.

    Attributes:
        filter: Which samples.
        order: In which order.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: Filter = Filter()
    order: Order = Order()


class PageAsked(ListAsked):
    """A page of a list.

    Attributes:
        after: Where the page before ended; 0 for the first page.
        size: Samples on the page.
    """

    after: int = Field(default=0, ge=0)
    size: int = Field(default=48, ge=1, le=200)


def find_page(snapshot: Snapshot, asked: PageAsked) -> dict[str, Any]:
    """A page of samples, where the next one begins, and the query that gives all of the list in `gdo sql`.

    Raises:
        UsageError: The filter or the order is wrong.
        GdoError: The condition in SQL ran out of time or memory.
    """
    order, mask = _order(snapshot, asked.order), snapshot.arrays.mask(asked.filter)
    rows, end = _next_rows(order, mask, snapshot.arrays.samples, asked.after, asked.size)
    return {"samples": samples_of(snapshot, rows), "after": end, "sql": list_sql(snapshot, asked)}


def all_rows(snapshot: Snapshot, asked: ListAsked) -> Rows:
    """All rows of a list, in its order."""
    order, mask = _order(snapshot, asked.order), snapshot.arrays.mask(asked.filter)
    rows = np.arange(snapshot.arrays.samples, dtype=np.int32) if order is None else order
    return rows if mask is None else rows[mask[rows]]


def list_sql(snapshot: Snapshot, asked: ListAsked) -> str:
    """What gives the ids of a list from the pool itself, for instance by `gdo sql`."""
    wanted = condition(asked.filter, list(snapshot.arrays.facets.values()))
    by = asked.order.by
    first = f"{quoted(by)} {asked.order.direction.upper()} NULLS LAST, " if by else ""
    return f"SELECT qa_uid\nFROM candidate\nWHERE {wanted}\nORDER BY {first}ordinal"


def samples_of(snapshot: Snapshot, rows: list[int]) -> list[dict[str, Any]]:
    """Samples as lists show them, in this order; long texts are cut."""
    columns = [*_LISTED, *snapshot.arrays.numbers]
    samples = snapshot.rows.get(rows, columns)
    for sample in samples:
        media = [str(media_id) for media_id in sample["media_ids"] or []]
        sample |= {name: sample[name] and sample[name][:_SHOWN_TEXT] for name in ("question", "answer")}
        sample |= {"media_ids": media[:_SHOWN_MEDIA], "media": len(media)}
    return samples


def count_facets(snapshot: Snapshot, wanted: Filter) -> dict[str, Any]:
    """How many samples a filter lets through, and how many have each value of each facet.

    A facet's own choice does not narrow its own counts: they tell what choosing another value would give.

    Raises:
        UsageError: The filter is wrong.
        GdoError: The condition in SQL ran out of time or memory.
    """
    arrays = snapshot.arrays
    mask = arrays.mask(wanted)
    facets = []
    for name, coded in arrays.coded.items():
        counts = coded.count(arrays.mask(wanted.without(name)) if wanted.facets.get(name) else mask)
        shown = [{"value": value, "count": count} for value, count in counts[:SHOWN_VALUES]]
        facets.append({"name": name, "values": shown, "more": len(counts) - len(shown)})
    return {"total": arrays.samples if mask is None else int(mask.sum()), "facets": facets}


def _order(snapshot: Snapshot, order: Order) -> Rows | None:
    return snapshot.arrays.order(order.by, largest_first=order.direction == "desc")


def _next_rows(
    order: Rows | None, mask: Mask | None, samples: int, start: int, size: int
) -> tuple[list[int], int | None]:
    """The next rows of an order that a mask lets through, and where the ones after them begin, if any."""
    found: list[int] = []
    end = start
    while start < samples and len(found) <= size:
        stop = min(start + _AT_ONCE, samples)
        rows = np.arange(start, stop) if order is None else order[start:stop]
        places = np.arange(start, stop) if mask is None else start + np.flatnonzero(mask[rows])
        kept = rows if mask is None else rows[mask[rows]]
        missing = size - len(found)
        if len(kept) > missing:
            end = int(places[missing])
        found += kept[: missing + 1].tolist()
        start = stop
    return found[:size], end if len(found) > size else None
