"""One sample with all that the pool knows of it."""

from typing import Any

import numpy as np

from gdo.errors import UsageError
from gdo.explore.columns import Told
from gdo.explore.look import samples_of
from gdo.explore.snapshot import Snapshot

NEIGHBOURS = 12
_MOST_TURNS = 100
_HIDDEN = ("ordinal", "uid_hash", "text_hash", "question_hash", "media_ids", "question", "answer", "qa_uid")

_MEDIA = """
SELECT media_id::VARCHAR AS media_id, kind, len(paths) AS files, paths[1] AS path, bytes, width, height, fps,
    frames, duration, error
FROM media WHERE media_id IN (SELECT unnest(media_ids) FROM candidate WHERE rowid = ?)
"""
_TURNS = """
SELECT qa_uid, turn, question, answer FROM candidate
WHERE source_id = ? AND line = ? ORDER BY turn LIMIT ?
"""
_SUBSETS = "SELECT subset, role, rank, score, stage FROM subset_sample WHERE qa_uid = ? ORDER BY subset, role"
_GAPS = "SELECT descriptor, error FROM descriptor_gap WHERE qa_uid = ? OR media_id = ?"
_COPIES = """
SELECT c.rowid AS row, d.similarity
FROM sample_duplicate AS d JOIN candidate AS c USING (qa_uid)
WHERE d.duplicate_group = (SELECT duplicate_group FROM sample_duplicate WHERE qa_uid = $uid LIMIT 1)
    AND d.qa_uid <> $uid
ORDER BY c.ordinal LIMIT 50
"""


def row_of(snapshot: Snapshot, qa_uid: str) -> int:
    """The row of a sample.

    Raises:
        UsageError: The pool has no such sample.
    """
    found = snapshot.ask("SELECT rowid AS row FROM candidate WHERE qa_uid = ?", [qa_uid])
    if not found:
        raise UsageError(f"the pool has no sample {qa_uid!r}; ids read like ov::ID::t0 or vv::ID::t0")
    return int(found[0]["row"])


def tell_sample(snapshot: Snapshot, qa_uid: str) -> dict[str, Any]:
    """A sample's conversation, media, values with units and where they lie in the pool, and its subsets.

    Raises:
        UsageError: The pool has no such sample.
    """
    row = row_of(snapshot, qa_uid)
    sample = snapshot.rows.get([row])[0]
    media = {medium["media_id"]: medium for medium in snapshot.ask(_MEDIA, [row])}
    shown = [str(media_id) for media_id in sample["media_ids"] or []]
    first = shown[0] if shown else None  # the one whose values are the sample's
    gaps = {gap["descriptor"]: gap["error"] for gap in snapshot.ask(_GAPS, [qa_uid, first])}
    return {
        "qa_uid": qa_uid,
        "question": sample["question"],
        "answer": sample["answer"],
        "turns": snapshot.ask(_TURNS, [sample["source_id"], sample["line"], _MOST_TURNS]),
        "media": [
            media.get(media_id, {"media_id": media_id, "error": "not in the pool"}) for media_id in shown
        ],
        "values": [
            _tell_value(snapshot, column, sample, gaps) for column in snapshot.columns if column.value
        ],
        "fields": [
            {"name": c.name, "value": sample[c.name], "unit": c.unit, "words": c.words}
            for c in snapshot.columns
            if not c.value and c.name not in _HIDDEN
        ],
        "subsets": snapshot.ask(_SUBSETS, [qa_uid]),
    }


def _tell_value(
    snapshot: Snapshot, column: Told, sample: dict[str, Any], gaps: dict[str, str | None]
) -> dict[str, Any]:
    """A descriptor's value, or why there is none.

    `below` is the share of the pool's values that are not above it, 0 to 1.
    """
    value, below = sample[column.name], None
    if value is not None and column.name in snapshot.arrays.numbers:
        values = snapshot.arrays.numbers_of(column.name)
        below = float((values <= np.float32(value)).sum() / max(1, np.isfinite(values).sum()))
    return {
        "name": column.name,
        "value": value,
        "unit": column.unit,
        "words": column.words,
        "maker": column.maker,
        "below": below,
        "why": _why_missing(column.descriptor, gaps) if value is None else None,
    }


def _why_missing(descriptor: str, gaps: dict[str, str | None]) -> str:
    if not descriptor:
        return "not computed"
    if descriptor not in gaps:
        return f"not computed yet; gdo describe POOL {descriptor} does"
    return gaps[descriptor] or f"{descriptor} has no value for such a sample"


def find_neighbours(snapshot: Snapshot, qa_uid: str) -> dict[str, Any]:
    """The samples most like one by their vectors, and those that are near-duplicates of it.

    Raises:
        UsageError: The pool has no such sample.
    """
    row = row_of(snapshot, qa_uid)
    alike = snapshot.vectors.nearest(row, NEIGHBOURS) if snapshot.vectors else []
    with snapshot.cursor() as cursor:
        copies = cursor.execute(_COPIES, {"uid": qa_uid}).fetchall()
    return {
        "alike": _with_similarity(snapshot, alike),
        "copies": _with_similarity(snapshot, copies),
        "has_vectors": snapshot.vectors is not None,
        "has_vector": bool(alike),
        "searched": bool(snapshot.ask("SELECT threshold FROM duplicate_search")),
    }


def _with_similarity(snapshot: Snapshot, found: list[tuple[int, float]]) -> list[dict[str, Any]]:
    samples = samples_of(snapshot, [row for row, _ in found])
    return [
        {**sample, "similarity": similarity} for sample, (_, similarity) in zip(samples, found, strict=True)
    ]
