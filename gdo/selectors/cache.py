"""A cache of the candidates beside the pool, so that another preset begins without their query.

The pool stays the one source of truth: an entry is known by the stamp of the pool's file, so any write makes
it void. Only a selection's own, which changes no sample and no value, revalidates it; that no other thread of
the process writes to the pool meanwhile is up to the caller.
"""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import duckdb
import numpy as np

from gdo import __version__
from gdo.pool.atomic import write_aside
from gdo.pool.store import Pool, Stamp
from gdo.pool.text import hash64
from gdo.selectors.candidates import (
    QUERY,
    SCORED,
    Array,
    Candidates,
    Field,
    Mask,
    load_candidates,
    unreadable,
)
from gdo.selectors.preset import Preset

MIN_SAMPLES = 50_000
"""Pools below this size are not cached; an entry takes some 130 bytes a sample."""
VERSION = 2
"""Of entries: a new meaning of `Base` is a new version."""

_COLUMNS = (
    *("ordinal", "stratum", "strata", "video", "video_uid", "question_tokens", "answer_tokens"),
    *("answer_distinct", "uid_hash", "text_hash", "question_hash", "described"),
)
_INDEX = "index.json"
_KEYS = {"stamp", "read", "arrays", "names", "bad_rows", "digest", "spread"}
_BAD_ROWS = "SELECT reason, count(*) FROM bad_row WHERE NOT kept GROUP BY reason ORDER BY reason"


@dataclass(frozen=True)
class Base:
    """What every preset reads of a pool."""

    candidates: Candidates
    """All samples."""
    unreadable: Mask
    """Samples whose media cannot be read."""
    bad_rows: dict[str, int]
    """Input rows that gave no sample, by reason."""


def read_base(pool: Pool, connection: duckdb.DuckDBPyConnection, preset: Preset) -> Base:
    """What every preset reads of an open pool, from the cache where that is valid.

    Raises:
        UsageError: The pool has no sample.
    """
    stamp = pool.stamp()
    base = _load(pool, stamp, preset)
    if base is None:
        candidates = load_candidates(connection, preset)
        bad_rows = dict(connection.execute(_BAD_ROWS).fetchall())
        base = Base(candidates, unreadable(connection, candidates), bad_rows)
        _save(pool, stamp, preset, base)
    return base


def cached_base(pool: Pool, preset: Preset) -> Base | None:
    """The same of a pool that is not open, from the cache alone; None where that is not valid."""
    return _load(pool, pool.stamp(), preset)


def revalidate(pool: Pool, before: Stamp, after: Stamp) -> None:
    """Let an entry stay valid after a change of nothing that selection reads."""
    index = _read_index(pool)
    if index is not None and index["stamp"] == list(before):
        with suppress(OSError):
            _write_index(pool, index | {"stamp": list(after)})


def cache_folder(pool: Pool) -> Path:
    """Where a pool's cache stands; it may be removed at any time."""
    return pool.folder / "select"


def _save(pool: Pool, stamp: Stamp, preset: Preset, base: Base) -> None:
    """Cache what was read while the pool's file had that stamp, unless it cannot be written."""
    candidates = base.candidates
    coarse = stamp[0] % 1_000_000_000 == 0  # a clock of whole seconds may not tell two writes apart
    if len(candidates) < MIN_SAMPLES or coarse:
        return
    with suppress(OSError):
        cache_folder(pool).mkdir(parents=True, exist_ok=True)
        arrays = Path(mkdtemp(dir=cache_folder(pool)))
        try:
            with ThreadPoolExecutor(1) as aside:
                aside.submit(lambda: candidates.digest)
                for name, array in _arrays(base).items():
                    np.save(arrays / f"{name}.npy", array)
            entry = {
                "stamp": list(stamp),
                "read": _read_by(preset),
                "arrays": arrays.name,
                "names": {name: field.names for name, field in _fields(candidates).items()},
                "bad_rows": base.bad_rows,
                "digest": candidates.digest,
                "spread": candidates.spread,
            }
            _write_index(pool, entry)
        except OSError:
            shutil.rmtree(arrays, ignore_errors=True)
            return
        for other in cache_folder(pool).iterdir():
            if other.is_dir() and other != arrays:
                shutil.rmtree(other, ignore_errors=True)
            elif other.suffix == ".part":
                other.unlink(missing_ok=True)


def _load(pool: Pool, stamp: Stamp, preset: Preset) -> Base | None:
    """The entry for a preset and a pool whose file has that stamp; None where there is none."""
    index = _read_index(pool)
    if index is None or index["stamp"] != list(stamp) or index["read"] != _read_by(preset):
        return None
    folder, names = cache_folder(pool) / index["arrays"], index["names"]

    def array(name: str) -> Any:
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))

    try:
        fields = {name: Field(array(f"code.{name}"), names[name]) for name in names}
        source = fields.pop("data_source")
        columns = {name: array(name) for name in _COLUMNS}
        values, orphans = ({name: array(f"{kind}.{name}") for name in SCORED} for kind in ("value", "orphan"))
        unreadable = array("unreadable")
    except (OSError, ValueError, EOFError):
        return None
    near = np.full(len(columns["ordinal"]), -1, dtype=np.int32)
    candidates = Candidates(
        **columns, fields=fields, data_source=source, near=near, values=values, orphans=orphans
    )
    # What it would work out itself; a copy of it with anything changed works it out anew.
    spread = {name: (mean, std) for name, (mean, std) in index["spread"].items()}
    vars(candidates).update(digest=index["digest"], spread=spread)
    return Base(candidates, unreadable, index["bad_rows"])


def _read_by(preset: Preset) -> list[Any]:
    """What decides what is read, besides the pool."""
    code = [__version__, VERSION, f"{hash64(QUERY):016x}"]
    return [*code, preset.target_frames, preset.question_form]


def _fields(candidates: Candidates) -> dict[str, Field]:
    return {**candidates.fields, "data_source": candidates.data_source}


def _arrays(base: Base) -> dict[str, Array]:
    """All arrays of what was read but the candidates' `near`, by the names of their files."""
    candidates = base.candidates
    return (
        {"unreadable": base.unreadable}
        | {name: getattr(candidates, name) for name in _COLUMNS}
        | {f"code.{name}": field.codes for name, field in _fields(candidates).items()}
        | {f"value.{name}": column for name, column in candidates.values.items()}
        | {f"orphan.{name}": column for name, column in candidates.orphans.items()}
    )


def _read_index(pool: Pool) -> dict[str, Any] | None:
    try:
        index = json.loads((cache_folder(pool) / _INDEX).read_bytes())
    except (OSError, ValueError):
        return None
    return index if isinstance(index, dict) and index.keys() == _KEYS else None


def _write_index(pool: Pool, index: dict[str, Any]) -> None:
    write_aside(cache_folder(pool) / _INDEX, lambda aside: aside.write_text(json.dumps(index)))
