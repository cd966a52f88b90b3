"""LLaVA: an array of rows with `image` or `video` and `conversations`, as LLaVA and LLaVA-NeXT read them.

Frame lists are images, one placeholder a frame. LLaVA looks whether a row has the key `image`, so a row has
only the keys that apply; `images` and `videos` are there always, for what reads those.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from gdo.export.chat import names_of, placeholders, untagged
from gdo.export.llamafactory import write_array
from gdo.export.plan import Plan
from gdo.export.rows import Row


def write_llava(rows: Iterable[Row], plan: Plan, folder: Path) -> None:
    """Write the rows as one JSON array."""
    write_array((_llava_row(row, plan) for row in rows), folder / plan.file)


def _llava_row(row: Row, plan: Plan) -> dict[str, Any]:
    tags, images, videos = placeholders(row, plan.frames_as_images)
    shown: dict[str, Any] = {}
    if images:
        shown["image"] = images if plan.several_images else images[0]
    if videos:
        shown["video"] = videos if plan.several_videos else videos[0]
    return {
        **names_of(row, plan.with_bucket),
        **shown,
        "conversations": [
            {"from": "human", "value": "".join(f"{tag}\n" for tag in tags) + untagged(row.question)},
            {"from": "gpt", "value": untagged(row.answer)},
        ],
        "images": images,
        "videos": videos,
    }
