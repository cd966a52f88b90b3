"""Fingerprints of many media in one memory-mapped file, in the order of their ids."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
from numpy.typing import NDArray

from gdo.descriptors.fingerprint import WAVES, Fingerprint, Floats, unpack

COARSE = 12
"""Frequencies along each side of the short vectors that candidates are found by."""
SLOPE = 0.75
"""They are weighted by the frequency to this power, about as strongly as pictures lack the high ones."""
LIKE_THE_LAST = 0.9
"""Frames whose short vectors are this close to the last one kept add nothing to find a medium by."""
ROWS_PER_READ = 1024

_FREQUENCY = np.hypot(*np.mgrid[:COARSE, :COARSE])
_WEIGHTS = (_FREQUENCY**SLOPE).astype(np.float32)
_QUERY = """
SELECT media_id, media.kind = 'image' AS still, spectra
FROM fingerprint JOIN media USING (media_id)
WHERE version = $version AND octet_length(spectra) > 0
ORDER BY media_id
"""


@dataclass(frozen=True)
class Prints:
    """Fingerprints by row.

    Attributes:
        media: Their media_id, ascending, uint64 [rows].
        still: Whether they are still images, bool [rows]; stills and moving pictures are not compared.
        ends: Where the frames of each end, int64 [rows].
        packed: The frames of all, int8 [frames, WAVES * WAVES].
    """

    media: NDArray[np.uint64]
    still: NDArray[np.bool_]
    ends: NDArray[np.int64]
    packed: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.media)

    def frames(self, row: int) -> Floats:
        """The spectra of one: float32 [frames, WAVES, WAVES]."""
        start = int(self.ends[row - 1]) if row else 0
        return unpack(self.packed[start : int(self.ends[row])].tobytes())


def read_prints(connection: duckdb.DuckDBPyConnection, path: Path) -> Prints:
    """Write the fingerprints of a pool into a file, and map it.

    Args:
        connection: The pool.
        path: The file; what stands there is replaced.
    """

    def rows() -> Iterable[tuple[int, bool, bytes]]:
        query = connection.sql(_QUERY, params={"version": Fingerprint.version})
        with query.to_arrow_reader(ROWS_PER_READ) as reader:
            for batch in reader:
                yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)

    return write_prints(rows(), path)


def write_prints(rows: Iterable[tuple[int, bool, bytes]], path: Path) -> Prints:
    """Write fingerprints (media_id, whether it is a still, its packed frames) into a file, and map it."""
    media, still, ends, end = list[int](), list[bool](), list[int](), 0
    with path.open("wb") as file:
        for media_id, is_still, packed in rows:
            end += file.write(packed) // WAVES**2
            media.append(media_id)
            still.append(is_still)
            ends.append(end)
    frames = np.memmap(path, np.int8, "r", shape=(end, WAVES**2)) if end else np.empty((0, WAVES**2), np.int8)
    return Prints(np.array(media, np.uint64), np.array(still, np.bool_), np.array(ends, np.int64), frames)


def coarse(frames: Floats) -> Floats:
    """Short unit vectors of frames, blind to fine detail and to slight crops: float32 [frames, COARSE**2]."""
    vectors = (frames[:, :COARSE, :COARSE] * _WEIGHTS).reshape(len(frames), -1)
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))


def telling(vectors: Floats) -> Floats:
    """Those of a medium's short vectors that differ from the last one before them that was kept."""
    kept = [0]
    for number in range(1, len(vectors)):
        if float(vectors[number] @ vectors[kept[-1]]) < LIKE_THE_LAST:
            kept.append(number)
    return vectors[kept]
