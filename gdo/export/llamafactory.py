"""LLaMA-Factory: `data.json`, an array of chat rows, and `dataset_info.json`, which tells how to read it."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson

from gdo.export.chat import chat_row
from gdo.export.plan import Plan
from gdo.export.rows import Row


def write_llamafactory(rows: Iterable[Row], plan: Plan, folder: Path) -> None:
    """Write the two files; `dataset_dir` is their folder, `dataset` the name of the export."""
    write_array(
        (chat_row(row, plan.frames_as_images, plan.with_bucket) for row in rows), folder / "data.json"
    )
    info = {
        plan.name: {
            "file_name": "data.json",
            "formatting": "sharegpt",
            "columns": {"messages": "messages", "images": "images", "videos": "videos"},
            "tags": {
                "role_tag": "role",
                "content_tag": "content",
                "user_tag": "user",
                "assistant_tag": "assistant",
            },
        }
    }
    (folder / "dataset_info.json").write_bytes(orjson.dumps(info, option=orjson.OPT_INDENT_2) + b"\n")


def write_array(objects: Iterable[dict[str, Any]], path: Path) -> None:
    """Write a JSON array with one object a line, without holding it in memory."""
    separator = b"[\n"
    with path.open("wb", buffering=1 << 20) as file:
        for item in objects:
            file.write(separator)
            file.write(orjson.dumps(item))
            separator = b",\n"
        file.write(b"\n]\n")
