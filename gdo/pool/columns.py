"""Between Arrow's columns and numpy's arrays, past pandas.

`pyarrow.array` asks pandas whether what it is given is one of its own, and `to_numpy` does likewise, and so
they load it wherever it is installed: half a second for a command that takes two.
"""

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Number = TypeVar("Number", bound=np.generic)
_AT_ONCE = 1 << 13
"""Texts placed at a time: fresh memory costs more than the placing."""


def numbers(values: NDArray[Any], valid: NDArray[np.bool_] | None = None) -> pa.Array:
    """A column of numbers of one numpy type, which is not bool; null where `valid` is False."""
    data = pa.py_buffer(np.ascontiguousarray(values))
    bits = None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [bits, data])


def named(codes: NDArray[np.int32], names: Sequence[str]) -> pa.DictionaryArray:
    """A column of texts, each told by its number in `names`."""
    encoded = [name.encode() for name in names]
    offsets = np.cumsum([0, *map(len, encoded)], dtype=np.int32)
    texts = pa.StringArray.from_buffers(len(names), pa.py_buffer(offsets), pa.py_buffer(b"".join(encoded)))
    return pa.DictionaryArray.from_arrays(numbers(codes), texts)


def values_of(
    column: pa.ChunkedArray, dtype: type[Number], places: NDArray[np.integer[Any]] | None = None
) -> NDArray[Number]:
    """The numbers of a column as an array, each at its place; what stands where one is null is not told."""
    values = np.empty(len(column), dtype)
    start = 0
    for chunk in column.chunks:
        here = slice(start, start + len(chunk))
        found = np.frombuffer(chunk.buffers()[1], chunk.type.to_pandas_dtype())
        values[here if places is None else places[here]] = found[chunk.offset : chunk.offset + len(chunk)]
        start += len(chunk)
    return values


def texts_at(column: pa.ChunkedArray, places: NDArray[np.int64]) -> pa.Array:
    """The texts at some places of a column without nulls; the module of `take` takes 0.05 s to load."""
    texts = column.combine_chunks()
    _, bounds, data = texts.buffers()
    starts, letters = np.frombuffer(bounds, np.int32)[texts.offset :], np.frombuffer(data, np.uint8)
    lengths = np.diff(starts[: len(texts) + 1])[places]
    offsets = np.concatenate([np.zeros(1, np.int32), np.cumsum(lengths, dtype=np.int32)])
    taken = np.empty(offsets[-1], np.uint8)
    for first in range(0, len(places), _AT_ONCE):
        some = places[first : first + _AT_ONCE]
        here = offsets[first : first + len(some) + 1]
        shift = np.repeat(starts[some] - here[:-1], np.diff(here))
        taken[here[0] : here[-1]] = letters[shift + np.arange(here[0], here[-1])]
    return pa.StringArray.from_buffers(len(places), pa.py_buffer(offsets), pa.py_buffer(taken))


def null_as_nan(column: pa.ChunkedArray) -> NDArray[np.float64]:
    """The values of a column of float64, NaN where one is null."""
    values, start = values_of(column, np.float64), 0
    for chunk in column.chunks:
        if chunk.null_count:
            bits = np.unpackbits(np.frombuffer(chunk.buffers()[0], np.uint8), bitorder="little")
            valid = bits[chunk.offset : chunk.offset + len(chunk)].astype(np.bool_)
            values[start : start + len(chunk)][~valid] = np.nan
        start += len(chunk)
    return values
