"""Which samples are alike: by the vectors of `coverage`, a million of them in a fraction of a second.

The vectors' main directions stay in memory and give a few hundred that may be nearest; the whole vectors of
those, in a file that is mapped, tell which are. What the main directions do not see may so be missed.
"""

from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from gdo.explore.arrays import Arrays

DIRECTIONS = 64
SAMPLE = 20_000
"""Vectors that the main directions are found by."""
NEAREST = 500
"""Samples whose whole vectors are compared."""
_BATCH_ROWS = 8192

# One row is one sample's vector, of the version and probe that the pool shows.
_VECTORS = """
SELECT s.ordinal, e.embedding AS vector
FROM embedding AS e JOIN sample AS s USING (qa_uid)
    JOIN descriptor AS d ON d.name = 'embedding' AND d.version = e.version AND d.probe = e.probe
WHERE e.embedding IS NOT NULL
"""


class VectorIndex:
    """The vectors of a copy's samples.

    Attributes:
        there: Which rows have a vector: bool [samples].
    """

    def __init__(self, vectors: NDArray[np.float16], there: NDArray[np.bool_]) -> None:
        self._vectors, self.there = vectors, there
        self._directions = _main_directions(vectors[np.flatnonzero(there)[:: max(1, there.sum() // SAMPLE)]])
        self._short = np.empty((len(vectors), self._directions.shape[1]), np.float32)
        for start in range(0, len(vectors), _BATCH_ROWS):
            some = vectors[start : start + _BATCH_ROWS].astype(np.float32)
            self._short[start : start + _BATCH_ROWS] = some @ self._directions

    def nearest(self, row: int, count: int) -> list[tuple[int, float]]:
        """The rows most like one, the most alike first, with the cosine of the angle between them.

        Empty where the row has no vector.
        """
        if not self.there[row]:
            return []
        near = self._short @ self._short[row]
        near[~self.there] = -np.inf
        near[row] = -np.inf
        most = min(NEAREST, len(near) - 1)
        rows = np.argpartition(-near, most)[: most + 1]
        rows = rows[np.isfinite(near[rows])]
        wanted = self._vectors[row].astype(np.float32)
        cosines = self._vectors[rows].astype(np.float32) @ wanted
        best = np.lexsort((rows, -cosines))[:count]
        return [(int(rows[i]), float(cosines[i])) for i in best]


def read_vectors(connection: duckdb.DuckDBPyConnection, arrays: Arrays, path: Path) -> VectorIndex | None:
    """Copy the vectors out of a pool; None where it has none.

    Args:
        connection: The pool.
        arrays: The columns of the copy that was made of it.
        path: A file to keep them in.
    """
    tables = connection.execute("SELECT table_name FROM duckdb_tables() WHERE table_name = 'embedding'")
    if not tables.fetchall() or not arrays.samples:
        return None
    there = np.zeros(arrays.samples, np.bool_)
    vectors: NDArray[np.float16] | None = None
    with connection.sql(_VECTORS).to_arrow_reader(_BATCH_ROWS) as batches:
        for batch in batches:
            rows = arrays.rows_of(batch["ordinal"].to_numpy())
            some = batch["vector"].flatten().to_numpy().reshape(len(rows), -1)
            if vectors is None:
                shape = (arrays.samples, some.shape[1])
                vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
            lengths = np.linalg.norm(some, axis=1, keepdims=True)
            vectors[rows] = some / np.maximum(lengths, 1e-12)
            there[rows] = True
    return None if vectors is None else VectorIndex(vectors, there)


def _main_directions(vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    """Columns that span what the vectors' products are mostly made of: float32 [size, directions]."""
    some = vectors.astype(np.float32)
    _, directions = np.linalg.eigh(some.T @ some)
    return np.ascontiguousarray(directions[:, ::-1][:, :DIRECTIONS])
