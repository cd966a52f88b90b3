"""Ingest: files of rows become samples of a pool, and what gives no sample is told line by line.

Worker processes turn blocks of the file into Parquet parts beside the pool; then one short transaction
takes them in. Killed before that, the pool is as it was.
"""

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from tempfile import mkdtemp

import duckdb
import pyarrow.parquet as pq

from gdo.errors import GdoError, UsageError
from gdo.pool.commit import IngestReport, commit_parts
from gdo.pool.readers import READERS, detect
from gdo.pool.rows import Shape, has_video, shape_of
from gdo.pool.samples import BlockResult, Settings
from gdo.pool.store import Pool, locked, record_run, remove_unless_locked, utc_now
from gdo.pool.workers import Workers

SMALL_FILE = 16 << 20
"""Bytes up to which a file is parsed in this process: starting workers would take longer."""
PEEK_ROWS = 200
"""Rows looked at to guess whether a file is a video file."""

Progress = Callable[[str, int, int], None]
"""Called with what is going on, and how many rows and pairs are read."""


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
    taken: Callable[[IngestReport], None] | None = None,
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
        taken: Called with the report of each file that is in the pool, also where a later one fails.

    Raises:
        UsageError: A file is missing, unknown, or changed since it was ingested and `replace` is not set; or
            the media root is no folder.
        GdoError: A file gives no sample at all; the pool is left as it was before that file.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"workers must be at least 1; it is {workers}")
    if kind not in {"auto", "image", "video"}:
        raise UsageError(f"unknown kind {kind!r}; known are auto, image, video")
    if media_root and not Path(media_root).is_dir():
        raise UsageError(
            f"the media root {media_root} is no folder; media are files under a folder of this machine"
        )
    shape_of(format)
    options = _Options(
        media_root,
        format,
        kind,
        source_name,
        replace,
        strict,
        first_image_only,
        workers or len(os.sched_getaffinity(0)),
    )
    target = Pool(pool, create=True)
    paths = [_absolute(file) for file in files]
    containers = [detect(path, format if format in READERS else None) for path in paths]
    if target.folder.exists():
        _remove_leftovers(target)
    reports = list[IngestReport]()
    with Workers(options.workers) as crew:
        for path, container in zip(paths, containers, strict=True):
            with _telling_what_is_left(paths[len(reports) + 1 :]):
                reports.append(_ingest_file(target, path, container, options, crew, progress))
            if taken:
                taken(reports[-1])
    return reports


@contextmanager
def _telling_what_is_left(rest: list[Path]) -> Iterator[None]:
    """Let an error name the files that are not read because of it."""
    try:
        yield
    except GdoError as error:
        if not rest:
            raise
        raise type(error)(f"{error} Not read after it: {', '.join(map(str, rest))}.") from error


def _ingest_file(
    pool: Pool, path: Path, container: str, options: _Options, crew: Workers, progress: Progress | None
) -> IngestReport:
    started, clock = utc_now(), time.monotonic()
    shape = shape_of(options.format)
    fingerprint = _fingerprint(path)
    settings_text = _settings_text(pool, path, options)
    if pool.path.exists():
        with pool.read() as connection:
            known = _known_source(connection, path, fingerprint, settings_text, options)
        if isinstance(known, IngestReport):
            return known
    with _work_folder(pool) as work:
        kind = options.kind if options.kind != "auto" else _guess_kind(path, container, shape)
        results = _parse(pool, path, container, kind, options, work, crew, progress)
        if results is None:
            kind = "video"
            results = _parse(pool, path, container, kind, options, work, crew, progress)
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
            known = _known_source(connection, path, fingerprint, settings_text, options)
            if isinstance(known, IngestReport):
                return known
            report = commit_parts(connection, source, results, known, clock)
            record_run(connection, "ingest", {"path": str(path), **json.loads(settings_text)}, started)
        if known:
            _drop_unfinished(pool)
        return report


def _drop_unfinished(pool: Pool) -> None:
    """Forget values that a killed describe left uncommitted: they may be of the replaced file's texts."""
    for part in (pool.folder / "describe").glob("*/part-*.parquet"):
        if "qa_uid" in pq.read_schema(part).names:
            part.unlink()


def _absolute(path: Path | str) -> Path:
    """An absolute path without `..`; symbolic links stay, since media lie beside the link, not its target."""
    return Path(os.path.normpath(Path(path).absolute()))


def _settings_text(pool: Pool, path: Path, options: _Options) -> str:
    names = ("format", "kind", "source_name", "strict", "first_image_only")
    chosen = {name: value for name, value in asdict(options).items() if name in names}
    return json.dumps(chosen | {"media_root": _root(pool, path, options)}, sort_keys=True)


def _root(pool: Pool, path: Path, options: _Options) -> str:
    """The media root as stored: relative where it lies beside the pool, so that both can move together."""
    root = _absolute(options.media_root) if options.media_root else path.parent
    home = pool.path.parent
    return root.relative_to(home).as_posix() if root.is_relative_to(home) else root.as_posix()


def _known_source(
    connection: duckdb.DuckDBPyConnection, path: Path, fingerprint: str, settings: str, options: _Options
) -> IngestReport | int | None:
    """None for a new path, the source's number where it is replaced, its report where it is unchanged."""
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
            str(path),
            source_id,
            container,
            kind,
            rows_read,
            rows_bad,
            samples,
            0,
            {},
            {},
            0.0,
            unchanged=True,
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


def _remove_leftovers(pool: Pool) -> None:
    """Remove what killed ingests left, even where nothing is left to be done."""
    with locked(pool.folder):
        for stale in pool.folder.glob("ingest-*"):
            remove_unless_locked(stale)
        if not any(pool.folder.glob("ingest-*")):  # nobody else writes media
            for half_written in pool.folder.glob("media/*/.*.part"):
                half_written.unlink()


@contextmanager
def _work_folder(pool: Pool) -> Iterator[Path]:
    """A fresh folder for parts, locked while it is in use."""
    pool.folder.mkdir(exist_ok=True)
    with ExitStack() as held:
        with locked(pool.folder):
            work = Path(mkdtemp(prefix="ingest-", dir=pool.folder))
            held.enter_context(locked(work))
        held.callback(shutil.rmtree, work, ignore_errors=True)
        yield work


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
    crew: Workers,
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
    results, rows, pairs = list[BlockResult](), 0, 0
    for result in crew.parse(blocks, settings, work / kind, small=small):
        if result.saw_video:
            return None
        results.append(result)
        rows, pairs = rows + result.rows, pairs + result.pairs
        if progress:
            progress(f"reading {path.name}", rows, pairs)
    if progress:
        progress(f"storing {path.name}", rows, pairs)
    return results
