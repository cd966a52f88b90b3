"""Copies that fingerprints alone do not prove: who may be one, so that a close look decides.

A crop by more than fingerprints allow for, say. Proposed are pairs whose fingerprints fall a little short of
the threshold, and those that lie closest by the embedding of media, where the pool has one. How close that is
the copies tell that fingerprints have proved: an embedder may find everything alike.
"""

import json
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.coverage.embedding import MediaEmbedding
from gdo.descriptors.coverage.vectors import VectorFile, write_vectors
from gdo.descriptors.duplicates.look import CloseLook
from gdo.descriptors.duplicates.media import FOUND_BY, Alike, Rows, Told, compared
from gdo.descriptors.duplicates.neighbours import Pairs, close_pairs, closest
from gdo.descriptors.duplicates.prints import Prints
from gdo.descriptors.duplicates.questions import FEW
from gdo.pool.candidate import literal

NEAREST = 5
"""Media that one is likeliest a copy of, by fingerprint and by embedding."""
QUANTILE = 0.01
"""Of the cosines of proved copies: pairs that are less close are not proposed."""
PROVED = 20
"""Copies that tell it; where there are fewer, `CLOSE` is asked."""
ASKED = 10_000
"""At most so many of them are asked."""
CLOSE = 0.95
LEAST_CLOSE = 0.8
"""A cosine that is asked in any case."""
LEAST_ALIKE = 0.975
"""Least similarity of fingerprints, laid on each other widely; crops by 8 % of each side have 0.978."""
LOOKS_PER_MEDIUM = 1.0
FEWEST_LOOKS = 1000

FINGERPRINT, CLOSE_LOOK, EMBEDDING = range(len(FOUND_BY))


@dataclass(frozen=True)
class MediaVectors:
    """The embeddings of a pool's media by its current embedder.

    Attributes:
        probe: Its label.
        file: Unit vectors by media_id.
    """

    probe: str
    file: VectorFile


def read_vectors(connection: duckdb.DuckDBPyConnection, path: Path) -> MediaVectors | None:
    """Write the embeddings of a pool's media into a file; None where it has none.

    Args:
        connection: The pool.
        path: The file; what stands there is replaced.
    """
    known = connection.execute(
        "SELECT version, probe, columns FROM descriptor WHERE name = ?", [MediaEmbedding.name]
    ).fetchall()
    if not known:
        return None
    version, probe, columns = known[0]
    kind = json.loads(columns)["embedding"]["type"]
    query = (
        f"SELECT media_id AS key, embedding AS vector FROM {MediaEmbedding.name} "
        f"WHERE version = {int(version)} AND probe = {literal(probe)} AND error IS NULL"
    )
    return MediaVectors(probe, write_vectors(connection, query, int(kind[6:-1]), path))


def near_by_embedding(
    prints: Prints, proved: Alike, vectors: MediaVectors, tell: Told
) -> tuple[Alike, float]:
    """Pairs that may be copies by the embedding, each medium's nearest; and the cosine that was asked.

    Args:
        prints: Fingerprints of the media.
        proved: Pairs that are copies by their fingerprints; those they join are not proposed.
        vectors: The embeddings.
        tell: Called with what is done, how much of it, and of how much.

    Raises:
        UsageError: There are many media, and FAISS is not installed.
    """
    rows = vectors.file.find(prints.media.tolist())
    least = _least_cosine(vectors.file.vectors, rows[proved.first], rows[proved.second])
    owner = np.full(len(vectors.file.keys), -1)
    owner[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
    pairs = close_pairs(
        vectors.file.vectors, least, lambda done, total: tell("looking for close embeddings", done, total)
    )
    first, second = owner[pairs.first], owner[pairs.second]
    fit = (first >= 0) & (second >= 0) & (prints.still[first] == prints.still[second])
    group = proved.groups(len(prints))
    fit &= group[first] != group[second]
    return _likely(prints, first[fit], second[fit], pairs.products[fit], EMBEDDING, tell), least


def _least_cosine(vectors: NDArray[np.float32], first: Rows, second: Rows) -> float:
    """What nearly all proved copies reach, of those that have vectors."""
    both = (first >= 0) & (second >= 0)
    if both.sum() < PROVED:
        return CLOSE
    some = np.flatnonzero(both)[:: 1 + int(both.sum()) // ASKED]
    x, y = (vectors[rows[some]].astype(np.float64) for rows in (first, second))
    return float(max(np.quantile(np.einsum("ij,ij->i", x, y), QUANTILE), LEAST_CLOSE))


def _likely(
    prints: Prints, first: Rows, second: Rows, closeness: NDArray[np.float64], way: int, tell: Told
) -> Alike:
    """The closest few pairs of each medium whose fingerprints, laid on each other widely, are alike."""
    near = closest([Pairs(first, second, closeness)], len(prints), NEAREST)
    pairs = compared(prints, near.first, near.second, FOUND_BY[way], tell, wide=True)
    return pairs.only(pairs.similarity >= LEAST_ALIKE)


def join_likely(
    prints: Prints, pairs: Alike, threshold: float, by_embedding: Alike, twins: CloseLook, tell: Told
) -> tuple[Alike, int]:
    """The copies among pairs of media: those that fingerprints prove, and those that a close look does.

    Media of groups of more than `FEW` are not looked at: pages of one form.

    Args:
        prints: Fingerprints of the media.
        pairs: Those that may be copies by their fingerprints.
        threshold: Similarity that proves it.
        by_embedding: Those that may be by their embeddings.
        twins: Looks closely.
        tell: Called with what is done, how much of it, and of how much.

    Returns:
        The copies; and how many likely ones were too many to be looked at.
    """
    proved = pairs.only(pairs.similarity >= threshold)
    group = proved.groups(len(prints))
    few = (np.bincount(group, minlength=len(prints)) <= FEW)[group]
    below = pairs.only(_open(pairs, group, few))
    near = _likely(prints, below.first, below.second, below.similarity, CLOSE_LOOK, tell)
    likely = near.and_those(by_embedding.only(_open(by_embedding, group, few)))
    _, once = np.unique(likely.first * len(prints) + likely.second, return_index=True)
    likely = likely.only(once)
    order = np.argsort(-likely.similarity, kind="stable")
    most = max(FEWEST_LOOKS, round(LOOKS_PER_MEDIUM * len(prints)))
    looked = likely.only(order[:most])
    ids = zip(*(prints.media[end].tolist() for end in (looked.first, looked.second)), strict=True)
    same = twins.at(list(ids), lambda done, total: tell("looking at likely copies", done, total))
    return proved.and_those(looked.only(np.array(same, np.bool_))), len(likely) - len(looked)


def _open(pairs: Alike, group: Rows, few: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Which pairs are not joined yet, by media of small groups: bool [pairs]."""
    first, second = pairs.first, pairs.second
    return np.asarray((group[first] != group[second]) & few[first] & few[second])
