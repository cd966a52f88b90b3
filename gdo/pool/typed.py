"""JSON lines as typed columns, many at once: the part of a block whose every value has the usual type.

Two readers that mean the same. Arrow's parses a block in one pass and refuses it whole where one value has
another type; then DuckDB's tells the usual rows from the others, four times as slowly.
"""

import json
import re
from collections.abc import Sequence
from functools import lru_cache

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.json as pj
from numpy.typing import NDArray

from gdo.pool.columns import numbers
from gdo.pool.readers import MAX_LINE, Lines
from gdo.pool.rows import SYNTHETIC, Shape

NAMES = ("id", "video_id", "data_source")
_FILES = ("image", "video")
_LISTS = ("images", "videos")
_TALKS = ("messages", "conversations")
_TURN = ("role", "from", "content", "value")

_STRUCTURE = json.dumps(
    dict.fromkeys((*NAMES, "bucket", *_FILES), "VARCHAR")
    | {key: ["VARCHAR"] for key in _LISTS}
    | {key: [dict.fromkeys(_TURN, "VARCHAR")] for key in _TALKS}
)
_SCHEMA = pa.schema(
    dict.fromkeys((*NAMES, "bucket", *_FILES), pa.string())
    | {key: pa.list_(pa.string()) for key in _LISTS}
    | {key: pa.list_(pa.struct({name: pa.string() for name in _TURN})) for key in _TALKS}
)
# DuckDB lets a comma trail, takes Inf for a number, and of a repeated key the first: such lines are left out.
_PARSE = r"""
SELECT line, json_structure(text) AS structure, from_json(text, $structure) AS row
FROM (
    SELECT line, text, json_keys(text) AS keys FROM lines
    WHERE TRY(json_valid(text)) AND NOT regexp_matches(text, ',\s*[}\]]|[:\[,]\s*(?:-NaN|-?Inf(?:[^i]|$))')
)
WHERE len(keys) = len(list_distinct(keys))
"""
_ODD_NUMBER = re.compile(rb"[:\[,]\s*(?:-NaN|-?Inf(?:[^i]|$))")
"""What Arrow and DuckDB take for numbers and Python's parser does not."""


def typed_rows(block: Lines, shape: Shape, connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """Rows whose values have the usual types: line, names, bucket, and images, videos, messages as lists."""
    rows = _whole_block(block, shape)
    if rows is None:
        rows = _usual_rows(block, shape, connection)
    return rows.select(
        "line",
        *NAMES,
        bucket=pl.when(pl.col("bucket") == SYNTHETIC).then("bucket"),
        images=_first_list(shape.images),
        videos=_first_list(shape.videos),
        messages=_first(shape.messages),
    )


def read_objects(data: bytes, options: pj.ParseOptions) -> pa.Table | None:
    """The objects of a block of lines as columns, one row a line, or None where anything is out of order.

    Arrow's parser does not heed line ends and bytes that are not UTF-8. But where all lines begin and end as
    an object does, none goes on in the next, so as many rows as lines are one row a line.
    """
    if not data:
        return None
    characters = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(characters == ord("\n"))
    if not data.endswith(b"\n"):
        ends = np.append(ends, len(data))
    begins = np.append(0, ends[:-1] + 1)
    last = ends - 1 - (characters[ends - 1] == ord("\r"))
    if (characters[begins] != ord("{")).any() or (characters[last] != ord("}")).any():
        return None
    if any(_holds(characters, word) for word in (b"Inf", b"NaN")) and _ODD_NUMBER.search(data):
        return None
    try:
        if not data.isascii():
            data.decode()
        reading = pj.ReadOptions(use_threads=False, block_size=len(data))
        table = pj.read_json(pa.BufferReader(data), reading, options)
    except (pa.ArrowInvalid, UnicodeDecodeError):
        return None
    return table if len(table) == len(begins) else None


def _holds(characters: NDArray[np.uint8], word: bytes) -> bool:
    """Whether a word stands somewhere; quick where its first letter is rare."""
    found = np.flatnonzero(characters[: max(0, len(characters) - len(word) + 1)] == word[0])
    for place, letter in enumerate(word[1:], 1):
        found = found[characters[found + place] == letter]
    return len(found) > 0


def _whole_block(block: Lines, shape: Shape) -> pl.DataFrame | None:
    """All rows of a block, if every value of every row has its usual type."""
    if len(block.data) > MAX_LINE:
        return None
    keys = {*NAMES, "bucket", *shape.images, *shape.videos, *shape.messages}
    schema = pa.schema([field for field in _SCHEMA if field.name in keys])
    table = read_objects(block.data, pj.ParseOptions(schema, unexpected_field_behavior="ignore"))
    if table is None:
        return None
    lines = np.arange(block.start, block.start + len(table))
    return pl.DataFrame(pl.from_arrow(table.append_column("line", numbers(lines))))


def _usual_rows(block: Lines, shape: Shape, connection: duckdb.DuckDBPyConnection) -> pl.DataFrame:
    """The rows of a block whose own values have the usual types."""
    with connection.cursor() as cursor:
        cursor.register("lines", _lines(block))
        found = cursor.sql(_PARSE, params={"structure": _STRUCTURE}).to_arrow_table()
    frame = pl.DataFrame(pl.from_arrow(found))
    usual = [name for name in frame["structure"].unique().to_list() if _is_usual(name, shape)]
    return frame.filter(pl.col("structure").is_in(usual)).drop("structure").unnest("row")


def _lines(block: Lines) -> pa.Table:
    """The lines of a block with their numbers; none where the block is not UTF-8."""
    data = block.data + b"\n"
    ends = np.flatnonzero(np.frombuffer(data, np.uint8) == ord("\n"))
    offsets = np.concatenate([[0], ends + 1]).astype(np.int64)
    text = pa.LargeStringArray.from_buffers(len(ends), pa.py_buffer(offsets), pa.py_buffer(data))
    try:
        text.validate(full=True)
    except pa.ArrowInvalid:
        text = text.slice(0, 0)
    lines = pa.table({"line": numbers(np.arange(block.start, block.start + len(text))), "text": text})
    short = np.diff(offsets[: len(text) + 1]) <= MAX_LINE
    return lines if short.all() else lines.filter(short)


@lru_cache(maxsize=4096)
def _is_usual(structure: str, shape: Shape) -> bool:
    """Whether a row with these types means what it seems to."""
    row = json.loads(structure)
    if not isinstance(row, dict):
        return False
    texts = {"VARCHAR", "NULL", None}
    for key in (*NAMES, *shape.images, *shape.videos):
        kind = row.get(key)
        if key in _LISTS:
            if kind not in ("NULL", None, ["NULL"], ["VARCHAR"]):
                return False
        elif isinstance(kind, list | dict) or kind not in texts:
            return False
    for key in shape.messages:
        kind = row.get(key)
        if kind in ("NULL", None, ["NULL"]):
            continue
        turn = kind[0] if isinstance(kind, list) else None
        if not isinstance(turn, dict):
            return False
        if any(isinstance(turn.get(k), list | dict) or turn.get(k) not in texts for k in _TURN):
            return False
    return True


def _first(keys: Sequence[str]) -> pl.Expr:
    """The first list of these that is not empty."""
    return pl.coalesce(pl.when(pl.col(key).list.len() > 0).then(pl.col(key)) for key in keys)


def _first_list(keys: Sequence[str]) -> pl.Expr:
    """The first of these keys that says something, as a list."""
    return pl.coalesce(
        pl.when(pl.col(key).list.len() > 0).then(pl.col(key))
        if key in _LISTS
        else pl.when(given(key)).then(pl.concat_list(key))
        for key in keys
    )


def given(name: str) -> pl.Expr:
    """Whether a text is there and not empty."""
    return pl.col(name).is_not_null() & (pl.col(name) != "")
