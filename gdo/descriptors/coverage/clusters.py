"""Clusters of samples: FAISS k-means over their vectors, and how far each sample is from its centroid.

FAISS sums centroids in a fixed order, so they do not depend on threads; its distances may, in their last
bits. So each sample's two nearest centroids are told apart by distances taken anew.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.base import Column
from gdo.descriptors.coverage.embedder import Vectors

MOST_CLUSTERS = 4096
ROUNDS = 20
POINTS_PER_CLUSTER = 64
"""k-means looks at so many samples per cluster at most, chosen by the seed."""
ROWS_PER_SEARCH = 16_384


class Coverage:
    """Which cluster a sample is in, and how typical of it.

    Source: coverage of arXiv 2603.12478, but of other vectors (docs/explanation/released.md).
    """

    name = "coverage"
    version = 1
    subject: Literal["sample"] = "sample"
    columns: Mapping[str, Column] = {
        "cluster_id": Column("BIGINT", "", "number of the nearest centroid, from 0"),
        "cluster_dist": Column("DOUBLE", "", "distance of the sample's vector to it, 0 to 2"),
        "cluster_rep": Column("DOUBLE", "", "exp(-cluster_dist): 1 is typical; above 0, at most 1"),
        "cluster_hard": Column("DOUBLE", "", "1 - cluster_rep: near 1 is an outlier"),
    }

    def __init__(self, probe: str = "") -> None:
        self.probe = probe


@dataclass(frozen=True, slots=True)
class Assigned:
    """Clusters of some samples.

    Attributes:
        ids: Numbers of their centroids, int64 [rows].
        distances: Euclidean distances to them, float64 [rows].
    """

    ids: NDArray[np.int64]
    distances: NDArray[np.float64]


def find_centroids(vectors: Vectors, k: int, seed: int) -> Vectors:
    """The centroids of a seeded k-means, float32 [k, size].

    Args:
        vectors: Float32 [rows, size], in an order that the pool alone gives; may be memory-mapped.
        k: Number of clusters, at most the number of rows.
        seed: Of the first centroids, and of the samples that are looked at.
    """
    import faiss

    means = faiss.Kmeans(
        vectors.shape[1],
        k,
        niter=ROUNDS,
        seed=seed,
        min_points_per_centroid=1,
        max_points_per_centroid=POINTS_PER_CLUSTER,
    )
    means.train(vectors)
    return np.asarray(means.centroids, np.float32)


def assign(vectors: Vectors, centroids: Vectors) -> Iterator[Assigned]:
    """The nearest centroid of each vector, block by block; the first of equally near ones."""
    import faiss

    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(centroids)
    for at in range(0, len(vectors), ROWS_PER_SEARCH):
        block = np.ascontiguousarray(vectors[at : at + ROWS_PER_SEARCH])
        _, nearest = index.search(block, min(2, len(centroids)))
        nearest.sort(axis=1)
        apart = block[:, None].astype(np.float64) - centroids[nearest]
        distances = np.sqrt(np.square(apart).sum(axis=2))
        best = distances.argmin(axis=1)
        rows = np.arange(len(block))
        yield Assigned(nearest[rows, best], distances[rows, best])
