"""What to do about what went wrong: hints beside the figures of an ingest, and where media are not found."""

import shlex
from collections.abc import Collection
from pathlib import Path

import duckdb

from gdo.pool.samples import ADDRESS, STRAY_PICTURES

DUPLICATE = "duplicate id"
NO_FILE = "no such file"
"""What the reason of a medium says whose file is not there."""

_REPEATED = """
SELECT
    count(*) FILTER (starts_with(seen, 'first ')) > 0,
    count(*) FILTER (starts_with(seen, 'in the pool ')) > 0,
    coalesce(bool_or(id IN ('onevision-' || line, 'video-' || line)), false)
FROM repeated
"""
_NOT_FOUND = """
SELECT
    root,
    paths[1],
    count(*) OVER () AS gone,
    (SELECT count(*) FROM media WHERE bytes IS NOT NULL OR width IS NOT NULL OR error IS NOT NULL) AS seen
FROM media
WHERE contains(error, $reason) AND NOT contains(paths[1], '://')
ORDER BY media_id
LIMIT 1
"""


def ingest_hints(connection: duckdb.DuckDBPyConnection, kind: str, troubles: Collection[str]) -> list[str]:
    """What to do about the troubles of a file that was just taken in, inside that transaction.

    Args:
        connection: Has the temporary table `repeated` of `commit_ingest.sql`.
        kind: Of the file.
        troubles: The reasons for which rows were left out or told.
    """
    hints = []
    if DUPLICATE in troubles:
        ((within, across, made_up),) = connection.execute(_REPEATED).fetchall()
        if across:
            why = "Rows without an id are numbered by their lines, so two files of such rows have equal ids"
            form = ("vv" if kind == "video" else "ov") + "::N:ID::t0"
            what = why if made_up else "Equal ids in two files"
            hints.append(f"{what}: --source-name N makes them {form} and keeps both.")
        if within:
            hints.append(
                "Equal ids within one file: the first row of an id is kept; give every row an id of its own, "
                "or none (rows without are numbered)."
            )
    if STRAY_PICTURES in troubles:
        hints.append(
            "A file has one kind, so pictures beside videos became frames of clips: put their rows into a "
            "file of their own (or say --kind video, if frames they are)."
        )
    if ADDRESS in troubles:
        hints.append("Nothing is downloaded: fetch the media at addresses, and name the files in the rows.")
    return hints


def missing_media_hint(connection: duckdb.DuckDBPyConnection, pool: Path) -> str | None:
    """Where the files of half the media or more are not there: an example, and how to say where they are."""
    rows = connection.execute(_NOT_FOUND, {"reason": NO_FILE}).fetchall()
    if not rows or 2 * rows[0][2] < rows[0][3]:
        return None
    root, path, gone, seen = rows[0]
    files = connection.execute(
        "SELECT path FROM source WHERE media_root = ? ORDER BY source_id LIMIT 1", [root]
    ).fetchall()
    file = shlex.quote(files[0][0]) if files else "FILE"
    return (
        f"The files of {gone:,} of {seen:,} media are not there, such as {pool.parent / root / path}; "
        f"`gdo ingest {shlex.quote(str(pool))} {file} --media-root DIR --replace` says where they are."
    )
