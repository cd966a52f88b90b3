"""Taking the parts of one ingested file into the pool, in one transaction."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from gdo.errors import GdoError
from gdo.pool.candidate import refresh_candidate
from gdo.pool.hints import DUPLICATE, ingest_hints
from gdo.pool.samples import BlockResult
from gdo.pool.store import scalar, sql_script, utc_now


@dataclass(frozen=True, slots=True)
class IngestReport:
    """What became of one file."""

    path: str
    source_id: int
    format: str
    kind: str
    rows_read: int
    rows_bad: int
    samples: int
    media: int
    reasons: dict[str, int]
    """Rows that gave no sample, by reason."""
    notes: dict[str, int]
    """Rows kept with a flaw, by reason."""
    seconds: float
    unchanged: bool = False
    """The pool held this very file already; nothing was done."""
    hints: list[str] = field(default_factory=list)
    """What to do about the rows that gave no sample or have a flaw."""


def commit_parts(
    connection: duckdb.DuckDBPyConnection,
    source: dict[str, Any],
    results: list[BlockResult],
    replaced: int | None,
    clock: float,
) -> IngestReport:
    """Take the parts into the pool, inside the caller's transaction."""
    compress_quickly(connection)
    source_id = replaced or int(scalar(connection, "SELECT coalesce(max(source_id), 0) + 1 FROM source"))
    if replaced:
        connection.execute(
            "CREATE TEMP TABLE before AS SELECT qa_uid, text_hash FROM sample WHERE source_id = ?", [replaced]
        )
        _forget(connection, replaced)
    parts = [part for result in results for part in result.parts]
    for name in ("sample", "media", "bad"):
        _view_parts(connection, name, [part for part in parts if part.name.endswith(f".{name}.parquet")])
    connection.execute(f"SET VARIABLE source_id = {source_id}")
    connection.execute(
        f"SET VARIABLE bucket = '{'short_video' if source['kind'] == 'video' else 'image_qa'}'"
    )
    connection.execute(sql_script("commit_ingest.sql"))
    counted = connection.execute(
        "SELECT reason, kept, count(*), min(line), arg_min(detail, line) FROM bad_row WHERE source_id = ? "
        "GROUP BY reason, kept ORDER BY 3 DESC, 1",
        [source_id],
    ).fetchall()
    reasons = {reason: count for reason, kept, count, *_ in counted if not kept}
    hints = ingest_hints(connection, source["kind"], {reason for reason, *_ in counted})
    samples = int(scalar(connection, "SELECT count(*) FROM sample WHERE source_id = ?", [source_id]))
    if not samples:
        raise _no_sample(source["path"], counted, hints)
    if replaced:
        connection.execute(
            "DELETE FROM imported WHERE qa_uid IN (SELECT qa_uid FROM before JOIN sample USING (qa_uid) "
            "WHERE before.text_hash <> sample.text_hash)"
        )
    if replaced or DUPLICATE in reasons:
        connection.execute(sql_script("drop_orphans.sql"))
    shown = "SELECT unnest(media_ids) AS media_id FROM sample WHERE source_id = ?"
    media = int(scalar(connection, f"SELECT count(DISTINCT media_id) FROM ({shown})", [source_id]))
    row = source | {"rows_bad": sum(reasons.values()), "samples": samples}
    connection.execute(
        "INSERT INTO source (source_id, ingested, "
        + ", ".join(row)
        + ") VALUES (?, ?"
        + ", ?" * len(row)
        + ")",
        [source_id, utc_now(), *row.values()],
    )
    refresh_candidate(connection)
    return IngestReport(
        path=source["path"],
        source_id=source_id,
        format=source["format"],
        kind=source["kind"],
        rows_read=source["rows_read"],
        rows_bad=row["rows_bad"],
        samples=samples,
        media=media,
        reasons=reasons,
        notes={reason: count for reason, kept, count, *_ in counted if kept},
        seconds=time.monotonic() - clock,
        hints=hints,
    )


def compress_quickly(connection: duckdb.DuckDBPyConnection) -> None:
    """Have texts compressed by zstd, to the size that DuckDB's own choice gives, in half of its time.

    Columns can be given a method, but not the texts in a list, and a medium's frames are the most of them.
    """
    if not scalar(connection, "SELECT current_setting('lock_configuration')"):
        connection.execute("SET force_compression = 'zstd'")


def _no_sample(path: str, counted: list[tuple[Any, ...]], hints: list[str]) -> GdoError:
    """The error for a file without samples: each reason with the first row it was given for."""
    told = [
        f"{count} x {reason}, first line {line}" + (f": {detail}" if detail else "")
        for reason, kept, count, line, detail in counted
        if not kept
    ]
    what = f"{path} gives no sample ({'; '.join(told) or 'it has no rows'}); the pool is as it was."
    return GdoError(" ".join([what, *hints]))


_EMPTY = {
    "sample": "SELECT * FROM sample WHERE false",
    "media": "SELECT media_id, 0::BIGINT AS line, kind, root, paths FROM media WHERE false",
    "bad": "SELECT line, reason, detail, kept FROM bad_row WHERE false",
}


def _view_parts(connection: duckdb.DuckDBPyConnection, name: str, parts: list[Path]) -> None:
    """Name the parts that hold one kind of rows."""
    if parts:
        paths = ", ".join("'" + str(part).replace("'", "''") + "'" for part in parts)
        body = f"SELECT * FROM read_parquet([{paths}])"
    else:
        body = _EMPTY[name]
    connection.execute(f"CREATE OR REPLACE TEMP VIEW new_{name} AS {body}")


# Tables of values of samples: also of those that `candidate` does not show.
_OF_SAMPLES = """
SELECT table_name FROM duckdb_columns() WHERE NOT internal AND schema_name = 'main'
GROUP BY table_name HAVING list_has_all(list(column_name), ['qa_uid', 'version', 'probe', 'error'])
"""


def _forget(connection: duckdb.DuckDBPyConnection, source_id: int) -> None:
    """Remove a source's rows, and what was found of its samples: their text may differ now."""
    names = connection.execute(_OF_SAMPLES).fetchall()
    for (name,) in [*names, ("sample_duplicate",)]:
        connection.execute(
            f'DELETE FROM "{name}" WHERE qa_uid IN (SELECT qa_uid FROM sample WHERE source_id = ?)',
            [source_id],
        )
    for table in ("sample", "bad_row", "source"):
        connection.execute(f"DELETE FROM {table} WHERE source_id = ?", [source_id])
