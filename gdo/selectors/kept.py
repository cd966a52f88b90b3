"""What selection read of a pool, kept beside it: the next preset asks no query again.

The pool stays the one source of truth. What is kept is known by the stamp of the pool's file, so any write
by anybody makes it void; only a selection's own, which changes no sample and no value, carries it on.
"""

import json
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import duckdb
import numpy as np

from gdo import __version__
from gdo.pool.atomic import write_aside
from gdo.pool.store import Pool, Stamp
from gdo.pool.text import hash64
from gdo.selectors.candidates import QUERY, SCORED, Array, Candidates, Field, load_candidates
from gdo.selectors.preset import Preset

FEWEST = 50_000
"""Samples from which on it is worth its files: some 130 bytes each."""

_COLUMNS = (
    *("ordinal", "stratum", "strata", "video", "video_uid", "question_tokens", "answer_tokens"),
    *("answer_distinct", "uid_hash", "text_hash", "question_hash", "described"),
)
_INDEX = "index.json"


def read_candidates(pool: Pool, connection: duckdb.DuckDBPyConnection, preset: Preset) -> Candidates:
    """Every sample of an open pool, from what was kept of it where that still holds.

    Raises:
        UsageError: The pool has no sample.
    """
    stamp = pool.stamp()
    candidates = _kept(pool, stamp, preset)
    if candidates is None:
        candidates = load_candidates(connection, preset)
        _keep(pool, stamp, preset, candidates)
    return candidates


def carry_on(pool: Pool, before: Stamp, after: Stamp) -> None:
    """Let what is kept hold for the pool after a change of nothing that selection reads."""
    index = _read_index(pool)
    if index is not None and index["stamp"] == list(before):
        with suppress(OSError):
            _write_index(pool, index | {"stamp": list(after)})


def home(pool: Pool) -> Path:
    """The folder of what is kept of a pool; it may be removed at any time."""
    return pool.folder / "select"


def _keep(pool: Pool, stamp: Stamp, preset: Preset, candidates: Candidates) -> None:
    """Keep what was read while the pool's file had that stamp, unless it cannot be written."""
    coarse = stamp[0] % 1_000_000_000 == 0  # a clock of whole seconds may not tell two writes apart
    if len(candidates) < FEWEST or coarse:
        return
    arrays = home(pool) / f"{stamp[0]}-{os.getpid()}"
    try:
        arrays.mkdir(parents=True, exist_ok=True)
        for name, array in _arrays(candidates).items():
            np.save(arrays / f"{name}.npy", array)
        names = {name: field.names for name, field in _fields(candidates).items()}
        asked = {"stamp": list(stamp), "asked": _asked(preset)}
        _write_index(pool, {"arrays": arrays.name, "names": names, **asked})
    except OSError:
        shutil.rmtree(arrays, ignore_errors=True)
        return
    for other in home(pool).iterdir():
        if other.is_dir() and other != arrays:
            shutil.rmtree(other, ignore_errors=True)


def _kept(pool: Pool, stamp: Stamp, preset: Preset) -> Candidates | None:
    """What a preset reads of the pool whose file has that stamp; None where it is not at hand."""
    index = _read_index(pool)
    if index is None or index["stamp"] != list(stamp) or index["asked"] != _asked(preset):
        return None
    folder, names = home(pool) / index["arrays"], index["names"]

    def array(name: str) -> Any:
        return np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r"))

    try:
        fields = {name: Field(array(f"code.{name}"), names[name]) for name in names}
        source = fields.pop("data_source")
        columns = {name: array(name) for name in _COLUMNS}
        values, orphans = ({name: array(f"{kind}.{name}") for name in SCORED} for kind in ("value", "orphan"))
    except (OSError, ValueError):
        return None
    near = np.full(len(columns["ordinal"]), -1, dtype=np.int32)
    return Candidates(**columns, fields=fields, data_source=source, near=near, values=values, orphans=orphans)


def _asked(preset: Preset) -> list[Any]:
    """What decides what is read, besides the pool."""
    return [__version__, f"{hash64(QUERY):016x}", preset.target_frames, preset.question_form]


def _fields(candidates: Candidates) -> dict[str, Field]:
    return {**candidates.fields, "data_source": candidates.data_source}


def _arrays(candidates: Candidates) -> dict[str, Array]:
    """All arrays of the candidates but `near`, by the names of their files."""
    return (
        {name: getattr(candidates, name) for name in _COLUMNS}
        | {f"code.{name}": field.codes for name, field in _fields(candidates).items()}
        | {f"value.{name}": column for name, column in candidates.values.items()}
        | {f"orphan.{name}": column for name, column in candidates.orphans.items()}
    )


def _read_index(pool: Pool) -> dict[str, Any] | None:
    try:
        index: dict[str, Any] = json.loads((home(pool) / _INDEX).read_bytes())
    except (OSError, ValueError):
        return None
    return index


def _write_index(pool: Pool, index: dict[str, Any]) -> None:
    write_aside(home(pool) / _INDEX, lambda aside: aside.write_text(json.dumps(index)))
