"""The run's own copy of its data: the rows as they are trained, and the order, in files that workers read.

So a run that is taken up again trains on the same samples in the same order, whatever became of the pool, and
a worker process holds no more than the place of each row.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from gdo.errors import GdoError
from gdo.pool.atomic import write_aside
from gdo.train.order import Numbers, Order
from gdo.train.samples import Sample, parse_row

ROWS, TABLE, STEPS = "samples.jsonl", "samples.parquet", "order.parquet"
CHUNK = 1000
"""Rows measured at once."""


class Samples:
    """The rows of a run, read one at a time; it may be handed to worker processes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def table(self) -> pl.DataFrame:
        """One row is one sample: qa_uid, source, kind, tokens (as estimated), offset."""
        return pl.read_parquet(self.folder / TABLE)

    @cached_property
    def _offsets(self) -> Numbers:
        return self.table["offset"].to_numpy()

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, number: int) -> Sample:
        with (self.folder / ROWS).open("rb") as file:
            file.seek(int(self._offsets[number]))
            return parse_row(orjson.loads(file.readline()))

    def order(self) -> Order:
        """The order that was stored."""
        table = pl.read_parquet(self.folder / STEPS)
        trained = table.filter(pl.col("step").is_not_null()).sort("step", "position")
        groups = trained.group_by("step", maintain_order=True).agg("number")["number"]
        held = table.filter(pl.col("step").is_null())["number"].to_numpy()
        return Order([np.asarray(numbers) for numbers in groups.to_list()], held)


def write_samples(
    folder: Path, rows: Iterable[dict[str, Any]], measure: Callable[[Sequence[Sample]], list[int]]
) -> pl.DataFrame:
    """Copy the rows into the run's folder, and write down where each stands and how long it is.

    Args:
        folder: The run's.
        rows: As `read_data` gives them.
        measure: Tells the tokens of samples, about.

    Returns:
        The table of `Samples`.

    Raises:
        GdoError: A row cannot be understood, or two have the same id.
    """
    tables: list[pl.DataFrame] = []

    def write(path: Path) -> None:
        with path.open("wb", buffering=1 << 20) as file:
            at = 0
            for some in _chunks(rows):
                lines = [orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in some]
                ends = np.cumsum([at, *map(len, lines)])
                tables.append(_described([parse_row(row) for row in some], ends[:-1], measure))
                file.writelines(lines)
                at = int(ends[-1])

    write_aside(folder / ROWS, write)
    table = pl.concat(tables)
    twice = table.filter(pl.col("qa_uid").is_duplicated())["qa_uid"]
    if len(twice):
        raise GdoError(f"two samples have the id {twice[0]}; ids must differ")
    write_aside(folder / TABLE, table.write_parquet)
    return table


def _chunks(rows: Iterable[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    left = iter(rows)
    while chunk := list(islice(left, CHUNK)):
        yield chunk


def _described(
    samples: list[Sample], offsets: Numbers, measure: Callable[[Sequence[Sample]], list[int]]
) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "qa_uid": [sample.qa_uid for sample in samples],
            "source": [sample.source for sample in samples],
            "kind": [sample.kind for sample in samples],
            "tokens": pl.Series(measure(samples), dtype=pl.Int64),
            "offset": pl.Series(offsets, dtype=pl.Int64),
        }
    )


def write_order(folder: Path, order: Order) -> None:
    """Write which sample stands where: step from 1, position in the order from 0; NULL where held out."""
    trained = [(step, number) for step, numbers in enumerate(order.steps, 1) for number in numbers.tolist()]
    held = order.held_out.tolist()
    table = pl.DataFrame(
        {
            "step": pl.Series([step for step, _ in trained] + [None] * len(held), dtype=pl.Int64),
            "position": pl.Series([*range(len(trained)), *[None] * len(held)], dtype=pl.Int64),
            "number": pl.Series([number for _, number in trained] + held, dtype=pl.Int64),
        }
    )
    write_aside(folder / STEPS, table.write_parquet)
