"""The work list of a probe: samples in groups that show the same media, and questions.

Both lists are sorted, so that batches depend neither on threads nor on the order of ingestion. What a group
shows stands in a second list, once for all its samples.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any

from gdo.descriptors.engine.parts import Parts, read_batches, write_list
from gdo.descriptors.engine.work import Medium, medium_of
from gdo.descriptors.probe.contract import Asked
from gdo.pool.store import Pool

SAMPLES_PER_GROUP = 64
"""A medium with more questions than this is asked about in several groups."""
ROWS_PER_READ = 1024
"""Rows of a work list in memory at a time."""

# One row is one sample that lacks something; {losses} and {stability} are queries of the keys that do.
_LACKING = """
CREATE TEMP TABLE lacking AS
SELECT
    qa_uid, uid_hash, media_ids, coalesce(media.kind, 'none') AS kind,
    l.qa_uid IS NOT NULL AS losses, c.qa_uid IS NOT NULL AS stability
FROM sample
LEFT JOIN ({losses}) AS l USING (qa_uid)
LEFT JOIN ({stability}) AS c USING (qa_uid)
LEFT JOIN media ON media.media_id = media_ids[1]
WHERE losses OR stability
"""

# One row is one kind of media, with the samples that lack something.
_KINDS = """
SELECT kind, count(*) FILTER (losses) AS losses, count(*) FILTER (stability) AS stability
FROM lacking GROUP BY kind ORDER BY kind
"""

# Of each kind of media only some are kept.
_SOME = """
DELETE FROM lacking WHERE (kind, media_ids) NOT IN (
    SELECT (kind, media_ids) FROM (SELECT DISTINCT kind, media_ids FROM lacking)
    QUALIFY row_number() OVER (PARTITION BY kind ORDER BY hash(media_ids), media_ids) <= $some
)
"""

# One row is one sample that lacks something.
_SAMPLES = """
SELECT losses, stability, media_ids, qa_uid, question, answer, {history} AS history
FROM lacking JOIN sample USING (qa_uid, media_ids, uid_hash) LEFT JOIN ({earlier}) AS e USING (qa_uid)
ORDER BY losses, stability, media_ids, uid_hash, qa_uid
"""

# One row is one sample that has turns before it in its row, with their questions and answers.
_EARLIER = """
SELECT qa_uid, list({question: question, answer: answer}) OVER (
    PARTITION BY source_id, line ORDER BY turn ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
) AS turns
FROM sample
"""

_TURNS = "STRUCT(question VARCHAR, answer VARCHAR)[]"

# One row is one place of a medium in a group, in the order of the groups.
_PLACES = """
SELECT media_id, kind, root, paths
FROM (
    SELECT *, unnest(media_ids) AS media_id, generate_subscripts(media_ids, 1) AS position
    FROM (SELECT DISTINCT losses, stability, media_ids FROM lacking)
)
LEFT JOIN media USING (media_id)
ORDER BY losses, stability, media_ids, position
"""

# One row is one sample whose question lacks a value; equal questions stand together.
_QUESTIONS = """
SELECT qa_uid, question FROM sample SEMI JOIN ({missing}) AS missing USING (qa_uid) ORDER BY question, qa_uid
"""

_NOBODY = "SELECT qa_uid FROM sample WHERE false"


@dataclass(frozen=True, slots=True)
class Task:
    """Samples that show the same media and lack the same values.

    Attributes:
        losses: They lack losses.
        stability: They lack stability.
        media: What they show, in order.
        samples: The samples.
    """

    losses: bool
    stability: bool
    media: tuple[Medium, ...]
    samples: tuple[Asked, ...]


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """What a probe has to be asked about media and their samples.

    Attributes:
        already: Samples that need nothing, by what is asked for.
        todo: Samples in the work list.
        samples: The work list.
        places: The media of its groups.
        home: The folder that the media's roots start from.
        kinds: Samples that lack something, by the kind of their first medium (`none` where they show none)
            and by what is asked for.
    """

    already: dict[str, int]
    todo: int
    samples: Path
    places: Path
    home: Path
    kinds: dict[str, dict[str, int]]

    @property
    def lists(self) -> list[Path]:
        """The files of the plan."""
        return [self.samples, self.places]

    def tasks(self) -> Iterator[Task]:
        """The groups, in a fixed order."""
        places = _rows(self.places)
        for (losses, stability, media_ids), rows in groupby(_rows(self.samples), _key):
            media = tuple(medium_of(row, self.home) for row in islice(places, len(media_ids)))
            while some := tuple(map(_asked, islice(rows, SAMPLES_PER_GROUP))):
                yield Task(losses, stability, media, some)


@dataclass(frozen=True, slots=True)
class QuestionPlan:
    """What a probe has to be asked about questions alone.

    Attributes:
        already: Samples that need nothing, by what is asked for.
        todo: Samples in the work list.
        path: The work list.
    """

    already: dict[str, int]
    todo: int
    path: Path

    @property
    def lists(self) -> list[Path]:
        """The files of the plan."""
        return [self.path]

    def batches(self, size: int) -> Iterator[list[tuple[str, str]]]:
        """Keys and questions, `size` samples at a time."""
        for table in read_batches(self.path, size):
            yield list(zip(table["qa_uid"].to_pylist(), table["question"].to_pylist(), strict=True))


def plan_groups(
    pool: Pool,
    parts: Mapping[str, Parts],
    folder: Path,
    *,
    context: bool = False,
    limit: int | None = None,
    retry_errors: bool = False,
    some: int | None = None,
) -> GroupPlan:
    """Write the lists of samples that lack losses or stability.

    Args:
        pool: The pool.
        parts: Where the values of `losses`, of `stability` or of both are kept.
        folder: Where the lists are written.
        context: Give samples the earlier turns of their row.
        limit: At most so many samples for each.
        retry_errors: Take samples with an error too.
        some: List only so many groups of each kind of media: enough for an estimate.
    """
    samples, places = folder / "samples.parquet", folder / "places.parquet"
    with pool.read() as connection:
        missing, already = dict.fromkeys(("losses", "stability"), _NOBODY), {}
        for name, its in parts.items():
            missing[name], already[name] = its.missing(connection, limit, retry_errors=retry_errors)
        connection.execute(_LACKING.format(**missing))
        kinds = {
            kind: {"losses": losses, "stability": stability}
            for kind, losses, stability in connection.execute(_KINDS).fetchall()
        }
        if some is not None:
            connection.execute(_SOME, {"some": some})
        query = _SAMPLES.format(
            earlier=_EARLIER if context else _NOBODY,
            history=f"{'coalesce(turns, [])' if context else '[]'}::{_TURNS}",
        )
        todo = write_list(connection.sql(query), samples)
        write_list(connection.sql(_PLACES), places)
    return GroupPlan(already, todo, samples, places, pool.path.parent, kinds)


def plan_questions(
    pool: Pool, parts: Parts, folder: Path, *, limit: int | None = None, retry_errors: bool = False
) -> QuestionPlan:
    """Write the list of samples whose question a probe was not asked about yet.

    Args:
        pool: The pool.
        parts: Where the values are kept.
        folder: Where the list is written.
        limit: At most so many samples.
        retry_errors: Take samples with an error too.
    """
    path = folder / "questions.parquet"
    with pool.read() as connection:
        missing, already = parts.missing(connection, limit, retry_errors=retry_errors)
        todo = write_list(connection.sql(_QUESTIONS.format(missing=missing)), path)
    return QuestionPlan({"time": already}, todo, path)


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for table in read_batches(path, ROWS_PER_READ):
        yield from table.to_pylist()


def _key(row: dict[str, Any]) -> tuple[bool, bool, tuple[int, ...]]:
    return row["losses"], row["stability"], tuple(row["media_ids"] or ())


def _asked(row: dict[str, Any]) -> Asked:
    history = tuple((turn["question"], turn["answer"]) for turn in row["history"])
    return Asked(row["qa_uid"], row["question"], row["answer"], history)
