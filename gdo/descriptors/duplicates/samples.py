"""Near-duplicate samples of a pool, given which media are copies of each other."""

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations, groupby
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gdo.descriptors.duplicates.evidence import Evidence
from gdo.descriptors.duplicates.look import CloseLook, Twins
from gdo.descriptors.duplicates.questions import Sample, same_questions
from gdo.descriptors.duplicates.words import Asked, asked
from gdo.descriptors.engine.parts import read_batches, write_list

COUNTED = 100_000
"""Samples, those of the media with the smallest ids, that tell how common words are."""
WORDINGS = 32
"""Wordings of one question that are learned from."""
ROWS_PER_READ = 4096

# One row is one sample with media that another sample shows too, or copies of them; those of the same media
# stand together. `root` has the first medium of each medium's group.
_SHARING = """
WITH place AS (
    SELECT qa_uid, unnest(media_ids) AS media_id, generate_subscripts(media_ids, 1) AS position FROM sample
), shown AS (
    SELECT qa_uid, list(coalesce(root, media_id) ORDER BY position) AS key
    FROM place LEFT JOIN root USING (media_id) GROUP BY qa_uid
), shared AS (
    SELECT key FROM shown GROUP BY key HAVING count(*) > 1
)
SELECT key, qa_uid, media_ids, data_source, question, answer, text_hash
FROM shown SEMI JOIN shared USING (key) JOIN sample USING (qa_uid)
ORDER BY key, qa_uid
"""

# One row is one text of samples without media that more than one of them has.
_WITHOUT_MEDIA = """
SELECT list(qa_uid ORDER BY qa_uid) AS uids FROM sample
WHERE len(media_ids) = 0 GROUP BY text_hash HAVING count(*) > 1
"""

# Those of one maker stand together. media_id is a hash.
_TEXTS = f"""
SELECT media_ids, data_source, question, answer FROM sample
WHERE len(media_ids) > 0 ORDER BY media_ids, data_source, qa_uid LIMIT {COUNTED}
"""


@dataclass(frozen=True, slots=True)
class SampleGroup:
    """Samples that ask the same.

    Attributes:
        uids: Their qa_uid, ascending.
        similarity: Of each one's media to its most similar partner's; 1 for the same media.
    """

    uids: list[str]
    similarity: list[float]


class SampleReader:
    """The samples of a pool that share media, read once for any number of thresholds."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        texts = connection.execute(_TEXTS).fetchall()
        self.evidence = Evidence(
            list(dict.fromkeys(asked(question, answer) for *_, question, answer in rows))
            for _, rows in groupby(texts, lambda row: row[:2])
        )
        self._connection = connection

    def write(self, path: Path, media: NDArray[np.uint64], root: NDArray[np.uint64]) -> int:
        """Write the samples that share media into a file, and tell how many they are.

        Args:
            path: The file.
            media: Media in groups.
            root: The first medium of each one's group.
        """
        self._connection.register("root", pa.table({"media_id": media, "root": root}))
        count = write_list(self._connection.sql(_SHARING), path)
        self._connection.unregister("root")
        return count

    def without_media(self) -> list[SampleGroup]:
        """Samples without media are near-duplicates only where their texts are equal."""
        groups = [uids for (uids,) in self._connection.execute(_WITHOUT_MEDIA).fetchall()]
        return [SampleGroup(uids, [1.0] * len(uids)) for uids in groups]


def group_samples(
    path: Path,
    evidence: Evidence,
    closest: Mapping[int, float],
    twins: CloseLook,
    tell: Callable[[int, int], None],
) -> Iterator[SampleGroup]:
    """Group the samples of a file that `SampleReader` wrote.

    They are grouped twice: what is found first teaches how questions are reworded in this pool.

    Args:
        path: The file.
        evidence: Weighs words.
        closest: The similarity of a medium to the most similar other one of its group.
        twins: Tells whether media are the same on a close look.
        tell: Called with how many pairs of media were looked at, and of how many.
    """

    def match(noting: Twins) -> None:
        deque(_rewordings(path, evidence, noting), maxlen=0)

    twins.ahead(match, tell)
    evidence.learn(_rewordings(path, evidence, twins))
    twins.ahead(match, tell)
    for samples in _sharing(path):
        media = {sample.uid: sample.media for sample in samples}
        for uids in same_questions(samples, evidence, twins):
            shown = [media[uid] for uid in uids]
            yield SampleGroup(
                uids,
                [1.0 if shown.count(its) > 1 else min(closest.get(one, 1.0) for one in its) for its in shown],
            )


def _rewordings(path: Path, evidence: Evidence, twins: Twins) -> Iterator[tuple[Asked, Asked]]:
    """Pairs of questions that ask the same in other words."""
    for samples in _sharing(path):
        known = {sample.uid: sample.asked for sample in samples}
        for uids in same_questions(samples, evidence, twins):
            wordings = {known[uid].question: known[uid] for uid in uids}
            yield from combinations(list(wordings.values())[:WORDINGS], 2)


def _sharing(path: Path) -> Iterator[list[Sample]]:
    """Samples that show the same media, or copies."""
    for _, rows in groupby(_rows(path), lambda row: row["key"]):
        yield [
            Sample(
                row["qa_uid"],
                tuple(row["media_ids"]),
                row["data_source"] or "",
                asked(row["question"], row["answer"]),
                row["text_hash"],
            )
            for row in rows
        ]


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    for table in read_batches(path, ROWS_PER_READ):
        yield from table.to_pylist()
