"""The rows of a copy's `candidate` in an Arrow file that is mapped into memory: any row is there at once.

DuckDB keeps columns in compressed blocks, of which fifty rows from all over a million touch nearly all.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

BATCH_ROWS = 1 << 16


def write_rows(connection: duckdb.DuckDBPyConnection, path: Path) -> None:
    """Write table `candidate` into a file, in the order of its rows."""
    with (
        connection.sql("FROM candidate").to_arrow_reader(BATCH_ROWS) as reader,
        pa.ipc.new_file(path, reader.schema) as writer,
    ):
        for batch in reader:
            writer.write_batch(batch)


class RowFile:
    """The file, open to be read.

    Attributes:
        count: How many rows there are.
    """

    def __init__(self, path: Path) -> None:
        with pa.memory_map(str(path)) as source:
            reader = pa.ipc.open_file(source)
            self._schema = reader.schema
            self._batches = [reader.get_batch(number) for number in range(reader.num_record_batches)]
        self._starts = np.cumsum([0, *(batch.num_rows for batch in self._batches)])
        self.count = int(self._starts[-1])

    def column(self, name: str) -> pa.ChunkedArray:
        """A whole column."""
        index = self._schema.get_field_index(name)
        return pa.chunked_array([b.column(index) for b in self._batches], self._schema.field(index).type)

    def get(self, rows: Sequence[int], columns: Sequence[str] | None = None) -> list[dict[str, Any]]:
        """Some rows, columns by name.

        Args:
            rows: Their numbers, from 0.
            columns: Default all.
        """
        batches = np.searchsorted(self._starts, rows, side="right") - 1
        places = np.asarray(rows) - self._starts[batches]
        names = list(columns or self._schema.names)
        indices = [self._schema.get_field_index(name) for name in names]
        return [
            {name: self._batches[b].column(i)[p].as_py() for name, i in zip(names, indices, strict=True)}
            for b, p in zip(batches.tolist(), places.tolist(), strict=True)
        ]
