"""Parquet: the chat rows with declared types, so that a loader need not guess them."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gdo.export.chat import chat_row
from gdo.export.plan import Plan
from gdo.export.rows import Row

ROW_GROUP = 10_000


def write_parquet(rows: Iterable[Row], plan: Plan, folder: Path) -> None:
    """Write the rows as one file of row groups."""
    schema = chat_schema(plan)
    chats = (chat_row(row, plan.frames_as_images, plan.with_bucket) for row in rows)
    with pq.ParquetWriter(folder / plan.file, schema, compression="zstd") as writer:
        while group := list(islice(chats, ROW_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))


def chat_schema(plan: Plan) -> pa.Schema:
    """The types of the chat rows' columns."""
    message = pa.struct([("role", pa.string()), ("content", pa.string())])
    video = pa.list_(pa.string()) if plan.video_lists else pa.string()
    return pa.schema(
        {
            "id": pa.string(),
            "data_source": pa.string(),
            **({"bucket": pa.string()} if plan.with_bucket else {}),
            "messages": pa.list_(message),
            "images": pa.list_(pa.string()),
            "videos": pa.list_(video),
        }
    )
