"""The ledger: which sample was trained at which step, and whether that is what was to be trained.

Each rank writes its own rows, in parts that end with every checkpoint. A run taken up again from step k
throws away the parts after k, since those steps are done anew.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import polars as pl

from gdo.errors import GdoError
from gdo.pool.atomic import write_aside

FOLDER = "ledger"
Outcome = Literal["trained", "cut", "dropped", "skipped"]
SCHEMA = {
    "step": pl.Int64,
    "rank": pl.Int64,
    "position": pl.Int64,
    "qa_uid": pl.String,
    "source": pl.String,
    "outcome": pl.String,
    "reason": pl.String,
    "tokens": pl.Int64,
    "answer_tokens": pl.Int64,
    "frames": pl.Int64,
}
"""Columns of the ledger."""
PART_ROWS = 50_000


@dataclass(frozen=True, slots=True)
class Entry:
    """One sample of one step.

    Attributes:
        position: Its place in the whole order, from 0.
        qa_uid: Its key.
        source: `subset`, or the name of what was mixed in.
        outcome: `trained`; `cut` is trained without its end; `dropped` was too long and `skipped` could not
            be read, they are not trained.
        reason: Why it was not trained whole.
        tokens: Of the sample, media included; 0 where it was not trained.
        answer_tokens: Those that are learned.
        frames: Pictures shown.
    """

    position: int
    qa_uid: str
    source: str
    outcome: Outcome
    reason: str | None = None
    tokens: int = 0
    answer_tokens: int = 0
    frames: int = 0


class Ledger:
    """The rows that one rank writes."""

    def __init__(self, run: Path, rank: int) -> None:
        self.folder = run / FOLDER
        self.rank = rank
        self._rows: list[dict[str, Any]] = []
        self._first: int | None = None
        self.folder.mkdir(exist_ok=True)

    def add(self, step: int, entries: Sequence[Entry]) -> None:
        """Take up a step that was trained."""
        self._first = self._first or step
        self._rows += [{"step": step, "rank": self.rank, **asdict(entry)} for entry in entries]
        if len(self._rows) >= PART_ROWS:
            self.flush(step)

    def flush(self, step: int) -> None:
        """Write all up to this step to disk."""
        if self._first is None:
            return
        table = pl.DataFrame(self._rows, schema=SCHEMA)
        name = f"steps-{self._first:09d}-{step:09d}.rank{self.rank}.parquet"
        write_aside(self.folder / name, table.write_parquet)
        self._rows, self._first = [], None


def forget_after(run: Path, step: int) -> None:
    """Delete the parts that begin after a step."""
    for part in (run / FOLDER).glob("steps-*.parquet"):
        if int(part.name.split("-")[1]) > step:
            part.unlink()


def read_ledger(run: Path) -> pl.DataFrame:
    """All rows in the order of training; columns of `SCHEMA`."""
    parts = sorted((run / FOLDER).glob("steps-*.parquet"))
    if not parts:
        return pl.DataFrame(schema=SCHEMA)
    return pl.concat([pl.read_parquet(part) for part in parts]).sort("step", "position")


@dataclass(frozen=True, slots=True)
class Check:
    """The ledger held against what was to be trained.

    Attributes:
        counts: Of each source: samples to train, epochs times their number, and what became of them.
        missing: Ids that the ledger lacks.
        twice: Ids that it holds more often than they were to be trained.
        extra: Ids that were not to be trained.
        named: Ids that were cut, dropped or skipped, with the reason.
        held_out: Ids that were held out, and so not to be trained.
        against: What the ledger was held against, in words.
    """

    counts: dict[str, dict[str, int]]
    missing: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    named: list[tuple[str, str, str]] = field(default_factory=list)
    held_out: list[str] = field(default_factory=list)
    against: str = ""

    @property
    def agrees(self) -> bool:
        """Every sample was met as often as it was to be."""
        return not (self.missing or self.twice or self.extra)

    def demand(self) -> None:
        """Raise where the two differ.

        Raises:
            GdoError: With up to five ids of each kind.
        """
        if self.agrees:
            return
        told = [
            f"{len(ids)} {name} ({', '.join(ids[:5])}{', ...' if len(ids) > 5 else ''})"
            for name, ids in (("missing", self.missing), ("twice", self.twice), ("extra", self.extra))
            if ids
        ]
        against = f"; held against {self.against}" if self.against else ""
        raise GdoError(f"the run did not train on what was selected: {'; '.join(told)}{against}")


def check_ledger(ledger: pl.DataFrame, wanted: pl.DataFrame) -> Check:
    """Compare the ledger with the order.

    Args:
        ledger: From `read_ledger`.
        wanted: One row for every time that a sample was to be trained: qa_uid, source.
    """
    want = wanted.group_by("qa_uid").agg(pl.len().alias("want"))
    have = ledger.group_by("qa_uid").agg(pl.len().alias("have"))
    both = want.join(have, on="qa_uid", how="full", coalesce=True).sort("qa_uid")

    def ids(condition: pl.Expr) -> list[str]:
        return both.filter(condition)["qa_uid"].to_list()

    filled = pl.col("want").fill_null(0), pl.col("have").fill_null(0)
    odd = ledger.filter(pl.col("outcome") != "trained").unique("qa_uid", maintain_order=True)
    return Check(
        counts=_counts(ledger, wanted),
        missing=ids(filled[0] > filled[1]),
        twice=ids(pl.col("want").is_not_null() & (filled[1] > filled[0])),
        extra=ids(pl.col("want").is_null()),
        named=list(odd.select("qa_uid", "outcome", "reason").iter_rows()),
    )


def _counts(ledger: pl.DataFrame, wanted: pl.DataFrame) -> dict[str, dict[str, int]]:
    counts = {source: {"wanted": n} for source, n in wanted["source"].value_counts(sort=True).iter_rows()}
    for source, outcome, n in ledger.group_by("source", "outcome").len().sort("outcome").iter_rows():
        counts.setdefault(source, {"wanted": 0})[outcome] = n
    return counts
