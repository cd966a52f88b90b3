"""What coverage would cost: vectors of media, vectors of texts, and the search for clusters."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from gdo.descriptors.coverage.clusters import POINTS_PER_CLUSTER, ROUNDS, Coverage, assign
from gdo.descriptors.coverage.embedder import Embedder
from gdo.descriptors.coverage.embedding import MediaEmbedding, SampleEmbedding
from gdo.descriptors.coverage.number import count_clusters
from gdo.descriptors.engine.estimate_device import estimate_on_device
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.engine.timing import Estimate, Watch, price, time_call
from gdo.pool.store import scalar

TEXTS = 256
"""Texts that are timed."""
ROWS = 2048
"""Vectors that a search for the nearest centroid is timed on."""


def estimate_coverage(
    watch: Watch, embedder: Embedder, devices: Sequence[str], clusters: int | None
) -> Estimate:
    """What the missing vectors and all clusters would take.

    Args:
        watch: The pool, and how its media are read.
        embedder: Who makes the vectors.
        devices: Where.
        clusters: How many; see `CoverChoice`.
    """
    media = estimate_on_device(watch, MediaEmbedding(embedder), devices)
    texts = _estimate_texts(watch, embedder, devices)
    seconds = _clustering(watch, embedder, clusters) if texts.missing else 0.0
    return replace(
        texts,
        name=Coverage.name,
        seconds=media.seconds + texts.seconds + seconds,
        hours=media.hours + texts.hours + seconds / 3600,
    )


def _estimate_texts(watch: Watch, embedder: Embedder, devices: Sequence[str]) -> Estimate:
    parts = DescriptorParts(watch.pool, SampleEmbedding(embedder))
    with watch.pool.read() as connection:
        query, _ = parts.missing(connection, None, retry_errors=False)
        missing = scalar(connection, f"SELECT count(*) FROM ({query})")
        texts = connection.execute(
            f"SELECT question, answer FROM ({query}) ORDER BY hash(qa_uid) LIMIT {TEXTS}"
        ).fetchall()
    seconds = 0.0
    if texts:
        towers = embedder.load(devices[0])
        towers.texts(texts[:1])
        seconds = time_call(partial(towers.texts, texts))[0] / len(texts)
    return price(
        watch, parts, devices, missing=missing, timed=len(texts), reading=0.0, computing=missing * seconds
    )


def _clustering(watch: Watch, embedder: Embedder, clusters: int | None) -> float:
    """Seconds of looking for the nearest centroid, in every round and at the end."""
    with watch.pool.read() as connection:
        samples = int(scalar(connection, "SELECT count(*) FROM sample"))
        k = count_clusters(connection, clusters, samples)
    random = np.random.default_rng(0)
    vectors, centroids = (
        random.standard_normal((rows, 2 * embedder.size), dtype=np.float32) for rows in (ROWS, k)
    )
    seconds, _ = time_call(lambda: list(assign(vectors, centroids)))
    return seconds / ROWS * (min(samples, k * POINTS_PER_CLUSTER) * ROUNDS + samples)
