"""Ingest: files of rows become samples of a pool, and what gives no sample is told line by line.

Worker processes turn blocks of the file into Parquet parts beside the pool; then one short transaction
takes them in. Killed before that, the pool is as it was.
"""

import hashlib
import json
import os
import shutil
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import duckdb

from gdo.errors import GdoError, UsageError
from gdo.pool.readers import READERS, Block, detect
from gdo.pool.rows import Shape, has_video, shape_of
from gdo.pool.samples import BlockResult, Settings, parse_block
from gdo.pool.store import Pool, record_run, scalar, sql_script, utc_now

SMALL_FILE = 16 << 20
"""Bytes up to which a file is parsed in this process: starting workers would take longer."""
PEEK_ROWS = 200
"""Rows looked at to guess whether a file is a video file."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, and how many rows and pairs are read."""


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


@dataclass(frozen=True, slots=True)
class _Options:
    media_root: Path | str | None
    format: str
    kind: str
    source_name: str | None
    replace: bool
    strict: bool
    first_image_only: bool
    workers: int


def ingest(
    pool: Path | str,
    files: list[Path | str],
    *,
    media_root: Path | str | None = None,
    format: str = "auto",
    kind: str = "auto",
    source_name: str | None = None,
    replace: bool = False,
    strict: bool = False,
    first_image_only: bool = False,
    workers: int | None = None,
    progress: Progress | None = None,
) -> list[IngestReport]:
    """Read files into a pool, in the order given, which is part of the pool's identity.

    Args:
        pool: Path of the pool's database file; made where it is not there.
        files: Files or folders of rows.
        media_root: Folder that relative media paths start from; default the folder of each file.
        format: `auto`, a row shape (`llava`, `swift`, `sharegpt`) or a container (`parquet`, `hf`,
            `webdataset`).
        kind: `auto` (a video file if any of its rows has a `video_id` or a video), `image` or `video`.
        source_name: Put before every id, as `ov::NAME:id::t0`, to tell equal ids of two files apart.
        replace: Take a changed file in place of what the same path gave before.
        strict: Keep rows out whose placeholders differ in number from their media.
        first_image_only: Keep only the first image of an image row, as the release does.
        workers: Processes that parse; default all cores.
        progress: Called now and then.

    Raises:
        UsageError: A file is missing, unknown, or changed since it was ingested and `replace` is not set.
        GdoError: A file gives no sample at all; the pool is left as it was before that file.
    """
    if kind not in {"auto", "image", "video"}:
        raise UsageError(f"unknown kind {kind!r}; known are auto, image, video")
    shape_of(format)
    options = _Options(
        media_root, format, kind, source_name, replace, strict, first_image_only, workers or os.cpu_count() or 1
    )
    target = Pool(pool, create=True)
    return [_ingest_file(target, Path(file).absolute(), options, progress) for file in files]


def _ingest_file(pool: Pool, path: Path, options: _Options, progress: Progress | None) -> IngestReport:
    started, clock = utc_now(), time.monotonic()
    container = options.format if options.format in READERS else detect(path)
    shape = shape_of(options.format)
    fingerprint = _fingerprint(path)
    settings_text = _settings_text(pool, path, options)
    known = _known_source(pool, path, fingerprint, settings_text, options)
    if isinstance(known, IngestReport):
        return known
    work = _work_folder(pool)
    try:
        kind = options.kind if options.kind != "auto" else _guess_kind(path, container, shape)
        results = _parse(pool, path, container, kind, options, work, progress)
        if results is None:
            kind = "video"
            results = _parse(pool, path, container, kind, options, work, progress)
        assert results is not None
        source = {
            "path": str(path),
            "format": container if options.format in {"auto", container} else f"{container}/{options.format}",
            "kind": kind,
            "name": options.source_name,
            "media_root": _root(pool, path, options),
            "fingerprint": fingerprint,
            "settings": settings_text,
            "rows_read": sum(result.rows for result in results),
        }
        with pool.write() as connection:
            report = _commit(connection, source, results, known, clock)
            record_run(connection, "ingest", {"path": str(path), **json.loads(settings_text)}, started)
        return report
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _settings_text(pool: Pool, path: Path, options: _Options) -> str:
    names = ("format", "kind", "source_name", "strict", "first_image_only")
    chosen = {name: value for name, value in asdict(options).items() if name in names}
    return json.dumps(chosen | {"media_root": _root(pool, path, options)}, sort_keys=True)


def _root(pool: Pool, path: Path, options: _Options) -> str:
    """The media root as stored: relative where it lies beside the pool, so that both can move together."""
    root = Path(options.media_root).absolute() if options.media_root else path.parent
    home = pool.path.parent
    return root.relative_to(home).as_posix() if root.is_relative_to(home) else root.as_posix()


def _known_source(
    pool: Pool, path: Path, fingerprint: str, settings: str, options: _Options
) -> IngestReport | int | None:
    """None for a new path, the source's number where it is to be replaced, its report where it is unchanged."""
    if not pool.path.exists():
        return None
    with pool.read() as connection:
        rows = connection.execute(
            "SELECT source_id, fingerprint, settings, format, kind, rows_read, rows_bad, samples "
            "FROM source WHERE path = ?",
            [str(path)],
        ).fetchall()
    if not rows:
        return None
    source_id, had, had_settings, container, kind, rows_read, rows_bad, samples = rows[0]
    if had == fingerprint and had_settings == settings:
        return IngestReport(
            str(path), source_id, container, kind, rows_read, rows_bad, samples, 0, {}, {}, 0.0, unchanged=True
        )
    if options.replace:
        return int(source_id)
    what = "has changed since" if had != fingerprint else "was read with other options when"
    raise UsageError(
        f"{path} {what} it was ingested (source {source_id}); --replace takes it in place of the old rows"
    )


def _fingerprint(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    if path.is_file():
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    digest = hashlib.sha256()
    for file in sorted(item for item in path.rglob("*") if item.is_file()):
        digest.update(file.relative_to(path).as_posix().encode() + b"\0" + _fingerprint(file).encode())
    return digest.hexdigest()


def _work_folder(pool: Pool) -> Path:
    """A fresh folder for this process's parts; folders that killed processes left are removed."""
    pool.folder.mkdir(exist_ok=True)
    for stale in pool.folder.glob("ingest-*"):
        pid = int(stale.name.removeprefix("ingest-"))
        if pid == os.getpid() or not Path(f"/proc/{pid}").exists():
            shutil.rmtree(stale, ignore_errors=True)
    work = pool.folder / f"ingest-{os.getpid()}"
    work.mkdir()
    return work


def _guess_kind(path: Path, container: str, shape: Shape) -> str:
    """Whether the first rows show a video; the rest of the file may still prove it wrong."""
    for block in islice(READERS[container](path), 1):
        if any(has_video(raw, shape) for _, raw in islice(block.rows(), PEEK_ROWS)):
            return "video"
    return "image"


def _parse(
    pool: Pool,
    path: Path,
    container: str,
    kind: str,
    options: _Options,
    work: Path,
    progress: Progress | None,
) -> list[BlockResult] | None:
    """Parse all blocks, in order; None where a file taken for images turns out to hold videos."""
    settings = Settings(
        shape=shape_of(options.format),
        kind=kind,
        forced=options.kind != "auto",
        root=_root(pool, path, options),
        blob_root=f"{pool.folder.name}/media",
        blob_folder=pool.folder / "media",
        name=options.source_name,
        first_image_only=options.first_image_only,
        strict=options.strict,
    )
    blocks = READERS[container](path)
    small = path.is_file() and path.stat().st_size <= SMALL_FILE
    run = _run_here if small or options.workers == 1 else _run_in_processes
    results, rows, pairs = list[BlockResult](), 0, 0
    for result in run(blocks, settings, work / kind, options.workers):
        if result.saw_video:
            return None
        results.append(result)
        rows, pairs = rows + result.rows, pairs + result.pairs
        if progress:
            progress(f"reading {path.name}", rows, pairs)
    if progress:
        progress(f"storing {path.name}", rows, pairs)
    return results


def _run_here(blocks: Iterator[Block], settings: Settings, target: Path, _: int) -> Iterator[BlockResult]:
    for number, block in enumerate(blocks):
        yield parse_block(block, settings, target.with_name(f"{target.name}-{number:06d}"))


def _run_in_processes(
    blocks: Iterator[Block], settings: Settings, target: Path, workers: int
) -> Iterator[BlockResult]:
    """Keep every worker busy with at most two blocks each in flight, so that memory stays bounded."""
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as executor:
        waiting: deque[Future[BlockResult]] = deque()
        try:
            for number, block in enumerate(blocks):
                name = target.with_name(f"{target.name}-{number:06d}")
                waiting.append(executor.submit(parse_block, block, settings, name))
                if len(waiting) >= 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            executor.shutdown(wait=True, cancel_futures=True)


def _commit(
    connection: duckdb.DuckDBPyConnection,
    source: dict[str, Any],
    results: list[BlockResult],
    replaced: int | None,
    clock: float,
) -> IngestReport:
    """Take the parts into the pool, inside the caller's transaction."""
    source_id = replaced or int(scalar(connection, "SELECT coalesce(max(source_id), 0) + 1 FROM source"))
    if replaced:
        _forget(connection, replaced)
    parts = [part for result in results for part in result.parts]
    for name in ("sample", "media", "bad"):
        _view_parts(connection, name, [part for part in parts if part.name.endswith(f".{name}.parquet")])
    connection.execute(f"SET VARIABLE source_id = {source_id}")
    connection.execute(f"SET VARIABLE bucket = '{'short_video' if source['kind'] == 'video' else 'image_qa'}'")
    connection.execute(sql_script("commit_ingest.sql"))
    counted = connection.execute(
        "SELECT reason, kept, count(*) FROM bad_row WHERE source_id = ? GROUP BY ALL ORDER BY 3 DESC, 1",
        [source_id],
    ).fetchall()
    reasons = {reason: count for reason, kept, count in counted if not kept}
    samples = int(scalar(connection, "SELECT count(*) FROM sample WHERE source_id = ?", [source_id]))
    if not samples:
        raise _no_sample(source, reasons)
    if replaced or "duplicate id" in reasons:
        connection.execute(sql_script("drop_orphans.sql"))
    media = int(scalar(connection, "SELECT count(DISTINCT media_id) FROM new_media"))
    row = source | {"rows_bad": sum(reasons.values()), "samples": samples}
    connection.execute(
        "INSERT INTO source (source_id, ingested, " + ", ".join(row) + ") VALUES (?, ?" + ", ?" * len(row) + ")",
        [source_id, utc_now(), *row.values()],
    )
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
        notes={reason: count for reason, kept, count in counted if kept},
        seconds=time.monotonic() - clock,
    )


def _no_sample(source: dict[str, Any], reasons: dict[str, int]) -> GdoError:
    told = ", ".join(f"{count} x {reason}" for reason, count in reasons.items()) or "it has no rows"
    hint = "; --source-name N tells equal ids of two files apart" if "duplicate id" in reasons else ""
    return GdoError(f"{source['path']} gives no sample ({told}){hint}; the pool is as it was")


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


def _forget(connection: duckdb.DuckDBPyConnection, source_id: int) -> None:
    """Remove a source's rows, and the descriptor values of its samples: their text may differ now."""
    names = connection.execute("SELECT DISTINCT name FROM descriptor WHERE subject = 'sample'").fetchall()
    for (name,) in names:
        connection.execute(
            f'DELETE FROM "{name}" WHERE qa_uid IN (SELECT qa_uid FROM sample WHERE source_id = ?)', [source_id]
        )
    for table in ("sample", "bad_row", "source"):
        connection.execute(f"DELETE FROM {table} WHERE source_id = ?", [source_id])
