"""Ids only: one qa_uid a line."""

from collections.abc import Iterable
from pathlib import Path

from gdo.errors import GdoError
from gdo.export.plan import Plan
from gdo.export.rows import Row


def write_ids(rows: Iterable[Row], plan: Plan, folder: Path) -> None:
    """Write the ids in order.

    Raises:
        GdoError: An id has a line break in it.
    """
    with (folder / plan.file).open("w", encoding="utf-8", newline="\n") as file:
        for row in rows:
            if "\n" in row.qa_uid or "\r" in row.qa_uid:
                raise GdoError(f"the id {row.qa_uid!r} has a line break; export as parquet or swift instead")
            file.write(row.qa_uid + "\n")
