"""The members of a subset, read from the pool in rank order: what every exporter is given.

A control can have a million members with 32 frame paths each. So it is read in windows of ranks, which keeps
DuckDB's sort in memory, and handed on one member at a time.
"""

import math
import os
import posixpath
import re
from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import duckdb

from gdo.errors import GdoError, UsageError
from gdo.pool.frames import uniform_indices
from gdo.pool.rows import SYNTHETIC

WINDOW = 200_000
"""Ranks read by one query."""
LOOKAHEAD = 100
"""Rows at a file's beginning from which a loader is sure to learn the columns' types: `datasets` reads the
first 10 MB, and takes a column that holds nothing but empty lists there for one that never holds anything."""
BATCH_ROWS = 2048

_WHOLE = re.compile(r"/|[A-Za-z][A-Za-z0-9+.-]*://|data:")
"""How a path begins that no folder belongs before: absolute, or with a scheme."""


class Medium(NamedTuple):
    """One image, frame list or video file of a member; `paths` as they are to be written."""

    kind: str
    paths: list[str]


class Row(NamedTuple):
    """One member: a question-answer pair and the media that it shows, in order."""

    rank: int
    qa_uid: str
    data_source: str
    bucket: str
    source_group: str
    question: str
    answer: str
    media: list[Medium]


@dataclass(frozen=True, slots=True)
class Members:
    """The first members of one role of a subset, and what is common to them.

    Attributes:
        subset: Name of the subset.
        role: `chosen` or `uniform`.
        count: How many members, from rank 0.
        roots: Folders that the paths of their media start from, absolute, by their name in the pool.
        first_rank: The first rank that shows each kind of medium; a kind that none shows is missing.
        most: The most media of each kind that one member shows.
        synthetic: Some are pictures of text, which rows then tell by their `bucket`.
    """

    subset: str
    role: str
    count: int
    roots: dict[str, str]
    first_rank: dict[str, int]
    most: dict[str, int]
    synthetic: bool


def find_members(
    connection: duckdb.DuckDBPyConnection, pool: Path, subset: str, *, uniform: bool, multiple: float | None
) -> Members:
    """Find which members to export, and look over their media.

    Args:
        connection: A connection that reads the pool.
        pool: The pool's file; roots that are not absolute start from its folder.
        subset: Name of the subset.
        uniform: The uniform control instead of the chosen samples.
        multiple: Only so many times the number of the chosen samples of the control.

    Raises:
        UsageError: There are no such members, or not as many.
    """
    counts = dict(
        connection.execute(
            "SELECT role, count(*) FROM subset_sample WHERE subset = ? GROUP BY role", [subset]
        ).fetchall()
    )
    role = "uniform" if uniform else "chosen"
    count = counts.get(role, 0)
    if not count:
        raise UsageError(f"subset {subset} has no {role} samples, there is nothing to export; select again")
    if multiple is not None:
        count = _multiplied(counts.get("chosen", 0), multiple, uniform, count)
    query = _sql("survey.sql")
    parameters = {"subset": subset, "role": role, "stop": count, "synthetic": SYNTHETIC}
    seen = connection.execute(query, parameters).fetchall()
    kinds = {kind for kind, *_ in seen}
    return Members(
        subset,
        role,
        count,
        roots={root: os.path.normpath(pool.parent / root) for _, root, *_ in seen},
        first_rank={k: min(first for kind, _, first, *_ in seen if kind == k) for k in kinds},
        most={k: max(most for kind, _, _, most, _ in seen if kind == k) for k in kinds},
        synthetic=any(synthetic for *_, synthetic in seen),
    )


def _multiplied(chosen: int, multiple: float, uniform: bool, stored: int) -> int:
    if not uniform:
        raise UsageError("a multiple counts members of the uniform control; export with --uniform")
    if not 0 < multiple < math.inf:
        raise UsageError(f"the multiple must be above 0; it is {multiple}")
    wanted = math.ceil(round(chosen * multiple, 6))  # 10 x 1.1 is 11, not the 12 that its rounding error asks
    if wanted > stored:
        raise UsageError(
            f"{multiple:g} x {chosen} samples are {wanted}, but the control holds {stored}; ask for less"
        )
    return wanted


def path_prefixes(members: Members, *, absolute: bool) -> tuple[dict[str, str], str | None]:
    """What to put before the paths under each root, and the folder that the result is relative to.

    Paths are written as ingested where all media have one root, else relative to the roots' common folder.
    """
    if absolute:
        return {root: folder.rstrip("/") + "/" for root, folder in members.roots.items()}, None
    folders = set(members.roots.values())
    if len(folders) <= 1:
        return dict.fromkeys(members.roots, ""), next(iter(folders), None)
    common = os.path.commonpath(folders)
    relative = {root: posixpath.relpath(folder, common) for root, folder in members.roots.items()}
    return {root: "" if part == "." else part + "/" for root, part in relative.items()}, common


def read_rows(
    connection: duckdb.DuckDBPyConnection,
    members: Members,
    prefixes: dict[str, str],
    frames: int | None,
    first: tuple[int, ...] = (),
) -> Generator[Row]:
    """Read the members in rank order.

    Args:
        connection: A connection that reads the pool; busy until the last row.
        members: Which ones.
        prefixes: What to put before the paths under each root.
        frames: Thin frame lists to so many frames by the released rule; None for all frames. Pictures of
            text are never thinned: words would be lost.
        first: Ranks that come before all others.

    Raises:
        GdoError: The pool lacks a medium or a member.
    """
    query, count = _sql("members.sql"), 0
    windows = [(rank, rank + 1) for rank in first]
    windows += [(start, min(start + WINDOW, members.count)) for start in range(0, members.count, WINDOW)]
    for number, (start, stop) in enumerate(windows):
        parameters = {"subset": members.subset, "role": members.role, "start": start, "stop": stop}
        with connection.sql(query, params=parameters).to_arrow_reader(BATCH_ROWS) as reader:
            shown = (
                row
                for batch in reader
                for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)
            )
            for rank, lines in groupby(shown, key=itemgetter(0)):
                if number < len(first) or rank not in first:
                    count += 1
                    yield _row(list(lines), prefixes, frames)
    if count != members.count:
        raise GdoError(
            f"subset {members.subset} names {members.count} samples, the pool holds {count}; select again"
        )


def _row(lines: list[tuple[Any, ...]], prefixes: dict[str, str], frames: int | None) -> Row:
    """One member from its lines, one for each of its media; pictures of text are images."""
    media = []
    synthetic = lines[0][3] == SYNTHETIC
    for _, qa_uid, *_, media_id, kind, root, paths in lines:
        if kind is None:
            raise GdoError(f"sample {qa_uid} shows medium {media_id}, which the pool lacks; ingest it again")
        is_pages = synthetic and kind == "frames"
        kept = paths
        if kind == "frames" and frames is not None and not is_pages:
            kept = [paths[i] for i in _thinned(len(paths), frames)]
        if prefix := prefixes[root or ""]:
            kept = [path if _WHOLE.match(path) else prefix + path for path in kept]
        media += [Medium("image", [path]) for path in kept] if is_pages else [Medium(kind, kept)]
    return Row._make((*lines[0][:7], media))


@lru_cache(maxsize=4096)
def _thinned(count: int, frames: int) -> list[int]:
    return uniform_indices(count, frames)


def _sql(name: str) -> str:
    return (resources.files("gdo.export") / "sql" / name).read_text()
