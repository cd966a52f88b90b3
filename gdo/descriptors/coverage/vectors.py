"""Vectors of a pool outside the database: one memory-mapped file, in the order of their keys."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.coverage.embedder import Vectors
from gdo.pool.store import scalar

ROWS_PER_READ = 8192


@dataclass(frozen=True, slots=True)
class VectorFile:
    """Vectors by key.

    Attributes:
        keys: Ascending, uint64 [rows].
        vectors: Memory-mapped, float32 [rows, size].
    """

    keys: NDArray[np.uint64]
    vectors: Vectors

    def find(self, keys: Sequence[int]) -> NDArray[np.int64]:
        """The rows of keys; -1 where there is none."""
        wanted = np.asarray(keys, np.uint64)
        if not len(self.keys):
            return np.full(len(wanted), -1)
        rows = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
        return np.where(self.keys[rows] == wanted, rows, -1)


def write_vectors(connection: duckdb.DuckDBPyConnection, query: str, size: int, path: Path) -> VectorFile:
    """Write the rows of a query of `key` and `vector` into a file, ordered by key.

    Args:
        connection: The pool.
        query: Keys are whole numbers from 0 up, each once; vectors have `size` numbers.
        size: Numbers in a vector.
        path: The file; what stands there is replaced.
    """
    count = scalar(connection, f"SELECT count(*) FROM ({query})")
    keys = np.empty(count, np.uint64)
    if not count:
        return VectorFile(keys, np.empty((0, size), np.float32))
    vectors = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(count, size))
    at = 0
    reader = connection.sql(f"SELECT key::UBIGINT AS key, vector FROM ({query}) ORDER BY key")
    with reader.to_arrow_reader(ROWS_PER_READ) as batches:
        for batch in batches:
            end = at + batch.num_rows
            keys[at:end] = batch["key"].to_numpy()
            vectors[at:end] = batch["vector"].flatten().to_numpy().reshape(-1, size)
            at = end
    vectors.flush()
    return VectorFile(keys, vectors)
