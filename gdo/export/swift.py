"""ms-swift: one JSON object a line, with `messages`, `images` and `videos`.

It takes an entry of `videos` as a file where it is a string, as frames where it is a list of strings.
"""

from collections.abc import Iterable
from pathlib import Path

import orjson

from gdo.export.chat import chat_row
from gdo.export.plan import Plan
from gdo.export.rows import Row


def write_swift(rows: Iterable[Row], plan: Plan, folder: Path) -> None:
    """Write the rows as JSON lines."""
    with (folder / plan.file).open("wb", buffering=1 << 20) as file:
        file.writelines(
            orjson.dumps(
                chat_row(row, plan.frames_as_images, plan.with_bucket), option=orjson.OPT_APPEND_NEWLINE
            )
            for row in rows
        )
