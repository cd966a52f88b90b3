"""Explain: for one sample, its stratum, its score term by term, and why it was taken or left out."""

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool, scalar
from gdo.selectors.candidates import FIELDS, Integers
from gdo.selectors.guard_media import load_media_guard
from gdo.selectors.preset import Preset
from gdo.selectors.score import tie_hash
from gdo.selectors.select import Worked, read_pool, work_out
from gdo.selectors.summary import why_not


@dataclass(frozen=True)
class Explanation:
    """What a selection made of one sample."""

    qa_uid: str
    subset: str
    stratum: dict[str, str]
    terms: dict[str, float]
    """The parts of rho (spec section 4)."""
    rank: int
    """Place by rho within the stratum, from 1."""
    stratum_size: int
    stratum_quota: int
    stratum_cap: int
    """Candidates that the stratum keeps."""
    chosen: bool
    verdict: str
    """The stage at which it was taken, or what kept it out."""
    in_control: bool


def explain(pool: Path | str, subset: str, qa_uid: str) -> Explanation:
    """Work the selection out again and say what became of one sample.

    Raises:
        UsageError: No such subset or sample, or the subset was not selected.
        GdoError: The pool has changed since the subset was chosen, so its reasons cannot be told any more.
    """
    _ordinal_of(pool, qa_uid)
    return explain_by(rework(pool, subset), pool, subset, qa_uid)


def explain_by(worked: Worked, pool: Path | str, subset: str, qa_uid: str) -> Explanation:
    """Say what became of one sample by a selection that `rework` gave.

    Raises:
        UsageError: The pool has no such sample.
    """
    explanation, keeper = _explain(worked, subset, qa_uid, _ordinal_of(pool, qa_uid))
    if keeper is None:
        return explanation
    with Pool(pool).read() as connection:
        uid = scalar(connection, "SELECT qa_uid FROM sample WHERE ordinal = ?", [keeper])
    return replace(explanation, verdict=f"near-duplicate of {uid} (kept)")


def rework(pool: Path | str, subset: str) -> Worked:
    """Work a stored selection out again.

    Raises:
        UsageError: No such subset, or it was saved from a filter.
        GdoError: The pool has changed since the subset was chosen.
    """
    with Pool(pool).read() as connection:
        stored = connection.execute(
            "SELECT parameters, pool_fingerprint FROM subset WHERE subset = ?", [subset]
        ).fetchall()
        if not stored:
            names = [
                name for (name,) in connection.execute("SELECT subset FROM subset ORDER BY 1").fetchall()
            ]
            raise UsageError(f"there is no subset {subset!r}; there are: {', '.join(names) or 'none yet'}")
    parameters = json.loads(stored[0][0])
    if "filter" in parameters:
        raise UsageError(f"{subset!r} was saved from a filter, not selected by a preset: {parameters['sql']}")
    guards, guard_by = parameters.pop("guard"), parameters.pop("guard_by")
    digest = parameters.pop("guard_digest")
    folders, media_digest = parameters.pop("guard_media", []), parameters.pop("guard_media_digest", "")
    preset = Preset.model_validate(parameters)
    target = Pool(pool)
    media_guard = load_media_guard(target, folders)
    with target.read() as connection:
        read = read_pool(target, connection, preset, media_guard)
    worked = work_out(read, preset, guards, guard_by)
    if (worked.guard.digest, media_guard.digest) != (digest, media_digest):
        raise GdoError(
            f"the guard files have changed since {subset!r} was chosen; `gdo select` it again, then explain"
        )
    if worked.fingerprint != stored[0][1]:
        raise GdoError(
            f"the pool has changed since {subset!r} was chosen; `gdo select` it again, then explain"
        )
    return worked


def _ordinal_of(pool: Path | str, qa_uid: str) -> int:
    with Pool(pool).read() as connection:
        found = connection.execute("SELECT ordinal FROM sample WHERE qa_uid = ?", [qa_uid]).fetchall()
    if not found:
        raise UsageError(f"the pool has no sample {qa_uid!r}; ids read like ov::ID::t0 or vv::ID::t0")
    return int(found[0][0])


def _explain(worked: Worked, subset: str, qa_uid: str, ordinal: int) -> tuple[Explanation, int | None]:
    """The explanation, and for a near-duplicate the ordinal of the one that may be chosen in its place."""
    candidates, bounds, filled = worked.candidates, worked.bounds, worked.filled
    index = int(np.searchsorted(candidates.ordinal, ordinal))
    if index == len(candidates) or candidates.ordinal[index] != ordinal:
        return _kept_out(worked, subset, qa_uid, ordinal), None
    code = int(candidates.stratum[index])
    members = np.flatnonzero(candidates.stratum == code)
    chosen = index in filled.chosen
    if chosen:
        place = filled.chosen.index(index)
        verdict = f"taken at stage {filled.stages[place]}, as number {place + 1} of {len(filled.chosen)}"
    else:
        verdict = why_not(candidates, bounds, filled, worked.preset, index)
    explanation = Explanation(
        qa_uid=qa_uid,
        subset=subset,
        stratum={name: _value(candidates.fields[name], index) for name in FIELDS},
        terms=worked.scores.of(index),
        rank=_rank(worked, members, index) + 1,
        stratum_size=len(members),
        stratum_quota=int(bounds.quotas[code]),
        stratum_cap=int(bounds.caps[code]),
        chosen=chosen,
        verdict=verdict,
        in_control=bool((worked.uniform == index).any()),
    )
    best = int(filled.best[index])
    return explanation, int(candidates.ordinal[best]) if best != index else None


def _rank(worked: Worked, members: Integers, index: int) -> int:
    """Place of one of a stratum's members by rho, near-duplicates of better ones last; from 0."""
    rho = worked.scores.rho[members]
    ties = tie_hash(worked.candidates.uid_hash[members], worked.preset.seed)
    order = np.lexsort((ties, -rho, ~worked.filled.kept[members]))
    return int(np.flatnonzero(members[order] == index)[0])


def _kept_out(worked: Worked, subset: str, qa_uid: str, ordinal: int) -> Explanation:
    """A sample that was kept out before anything was scored."""
    index = int(np.searchsorted(worked.everything.ordinal, ordinal))
    return Explanation(
        qa_uid=qa_uid,
        subset=subset,
        stratum={name: _value(worked.everything.fields[name], index) for name in FIELDS},
        terms={},
        rank=0,
        stratum_size=0,
        stratum_quota=0,
        stratum_cap=0,
        chosen=False,
        verdict=_why_kept_out(worked, index),
        in_control=False,
    )


def _why_kept_out(worked: Worked, index: int) -> str:
    if worked.guarded[index]:
        return "kept out by the benchmark guard: an evaluation set has its text"
    if worked.guarded_media[index]:
        return "kept out by the benchmark guard: an evaluation set has a copy of its media"
    return "kept out: its media cannot be read (see column media_error of candidate)"


def _value(field: Any, index: int) -> str:
    return str(field.names[field.codes[index]])
