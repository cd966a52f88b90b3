"""Selection: a preset asks a pool for its 1x subset and a uniform control beside it."""

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from gdo.errors import GdoError, UsageError
from gdo.pool.columns import named, numbers
from gdo.pool.store import Pool, record_run, scalar, utc_now, versions
from gdo.selectors.bounds import Bounds, plan_bounds
from gdo.selectors.budget import plan_budget
from gdo.selectors.cache import read_candidates, revalidate
from gdo.selectors.candidates import Candidates, Integers, Mask, unreadable
from gdo.selectors.fill import Filled, fill
from gdo.selectors.guard import Guard, GuardBy, load_guard
from gdo.selectors.guard_media import NO_MEDIA, MediaGuard, Told, load_media_guard
from gdo.selectors.near import Near, best_of_groups, with_near
from gdo.selectors.preset import Preset, load_preset
from gdo.selectors.score import Scores, ranking, score, tie_hash
from gdo.selectors.sorting import ordered
from gdo.selectors.summary import summarise
from gdo.selectors.uniform import uniform_control


@dataclass(frozen=True)
class Worked:
    """A selection with everything it was worked out from."""

    preset: Preset
    guard: Guard
    everything: Candidates
    """All samples of the pool."""
    guarded: Mask
    """Which of them the benchmark guard keeps out by their text."""
    guarded_media: Mask
    """Which of the others it keeps out by their media."""
    unreadable: Mask
    """Which of them are kept out because their media cannot be read."""
    candidates: Candidates
    """The others."""
    scores: Scores
    bounds: Bounds
    filled: Filled
    uniform: Integers
    fingerprint: str
    report: dict[str, Any]


@dataclass(frozen=True)
class Selection:
    """What a selection stored: the subset's name and its report (spec section 7)."""

    subset: str
    preset: Preset
    fingerprint: str
    report: dict[str, Any]


def select(
    pool: Path | str,
    preset: str | Path,
    *,
    name: str | None = None,
    count: int | None = None,
    seed: int | None = None,
    without: Sequence[str] = (),
    settings: Sequence[str] = (),
    guard: Sequence[Path | str] = (),
    guard_by: GuardBy = "both",
    guard_media: Sequence[Path | str] = (),
    told: Told | None = None,
) -> Selection:
    """Choose a subset and its uniform control, and store both in the pool under a name.

    A subset of that name is replaced. The same pool, preset and seed give the same subset on any machine.

    Args:
        pool: Path of the pool's database file.
        preset: `minloss`, `diverse`, `temp`, `temp_plus`, or the path of a TOML file.
        name: Of the subset; default the preset's.
        count: Size of the subset, in place of the preset's budget.
        seed: Of ties and of the uniform control; default the preset's.
        without: Terms of the score to drop: `vds`, `ppl`, `sc`.
        settings: `KEY=VALUE` for any number of the preset.
        guard: Evaluation sets whose texts must not be chosen.
        guard_by: What of them: their `question`s, their question-answer `pair`s, or `both`.
        guard_media: Folders of evaluation sets' pictures and clips; samples that show copies are kept out.
        told: Called with what is done, how much of it, and of how much, while those are looked for.

    Raises:
        UsageError: The pool is not there or empty, or the preset is unknown or impossible.
    """
    started = utc_now()
    resolved = load_preset(preset, settings=settings, count=count, seed=seed, without=without)
    guards = [str(Path(file).absolute()) for file in guard]
    folders = [str(Path(folder).absolute()) for folder in guard_media]
    target = Pool(pool)
    media_guard = load_media_guard(target, folders, told)
    with target.read() as connection:
        read = read_pool(target, connection, resolved, media_guard)
    worked = work_out(read, resolved, guards, guard_by)
    subset = name or resolved.name
    parameters = resolved.model_dump(mode="json") | {"guard": guards, "guard_by": guard_by}
    parameters["guard_digest"] = worked.guard.digest
    parameters |= {"guard_media": folders, "guard_media_digest": media_guard.digest}
    with target.write(after_commit=partial(revalidate, target)) as connection:
        _store(connection, subset, worked, parameters)
        record_run(connection, "select", {"subset": subset, **parameters}, started)
    return Selection(subset, resolved, worked.fingerprint, worked.report)


@dataclass(frozen=True)
class PoolRead:
    """All that a selection reads of a pool; once it is read, the pool is let go."""

    everything: Candidates
    unreadable: Mask
    """Samples whose media cannot be read."""
    bad_rows: dict[str, int]
    """Input rows that gave no sample, by reason."""
    guarded_media: Mask
    """Samples whose media the guard keeps out."""
    media_guard: MediaGuard
    near: Near | None
    """The search for near-duplicates, where the preset goes by it."""


_BAD_ROWS = "SELECT reason, count(*) FROM bad_row WHERE NOT kept GROUP BY reason ORDER BY reason"


def read_pool(
    pool: Pool, connection: duckdb.DuckDBPyConnection, preset: Preset, guard: MediaGuard = NO_MEDIA
) -> PoolRead:
    """Read what a preset needs from a pool, which is open."""
    everything, near = read_candidates(pool, connection, preset), None
    if preset.dedup == "near":
        everything, near = with_near(connection, everything)
    bad_rows = dict(connection.execute(_BAD_ROWS).fetchall())
    broken, guarded = unreadable(connection, everything), guard.excluded(connection, everything)
    return PoolRead(everything, broken, bad_rows, guarded, guard, near)


def work_out(read: PoolRead, preset: Preset, guards: Sequence[str], guard_by: GuardBy) -> Worked:
    """Work a selection out, storing nothing."""
    everything = read.everything
    hit = broken = np.zeros(len(everything), dtype=np.bool_)
    guard = load_guard(guards, guard_by)
    if guards:
        hit = guard.excluded(everything)
    shown = read.guarded_media & ~hit
    if preset.unreadable_media == "exclude":
        broken = read.unreadable & ~hit & ~shown
    candidates = everything.keep(~hit & ~shown & ~broken)
    if not len(candidates):
        raise UsageError(
            f"nothing is left to choose from: the guard keeps out {int((hit | shown).sum()):,} samples, the "
            f"media of {int(broken.sum()):,} could not be read (--set unreadable_media=keep takes them all "
            "the same)"
        )
    with ThreadPoolExecutor(1) as aside:
        fingerprint = aside.submit(everything.fingerprint, broken)
        scores = score(candidates, preset)
        target, budget = plan_budget(candidates, scores.vds3_rows, preset)
        bounds = plan_bounds(candidates, target, preset)
        by_hash = ordered(tie_hash(candidates.uid_hash, preset.seed))
        asked = math.ceil(target * preset.uniform_multiplier)
        uniform = uniform_control(candidates, by_hash, asked, preset.max_qa_per_video)
        order = ranking(scores.rho, by_hash)
        best = best_of_groups(candidates.near, order)
        filled = fill(candidates, order, bounds, target, preset, uniform, best)
    report = summarise(candidates, target, budget, bounds, filled, uniform, preset)
    report |= {"uniform_count": asked, "excluded_by_guard": int(hit.sum())}
    if read.media_guard.files:
        report["guard_media"] = {
            "files": read.media_guard.files,
            "unreadable": read.media_guard.unreadable,
            "media_kept_out": len(read.media_guard.media),
            "samples_kept_out": int(shown.sum()),
        }
    if read.near:
        report["near_duplicates"] = {
            "threshold": read.near.threshold,
            "kept_out": int((~filled.kept).sum()),
            "ingested_since": read.near.since,
        }
    report |= {"excluded_unreadable_media": int(broken.sum()), "unreadable_rows": read.bad_rows}
    return Worked(
        preset=preset,
        guard=guard,
        everything=everything,
        guarded=hit,
        guarded_media=shown,
        unreadable=broken,
        candidates=candidates,
        scores=scores,
        bounds=bounds,
        filled=filled,
        uniform=uniform,
        fingerprint=fingerprint.result(),
        report=report,
    )


def _store(
    connection: duckdb.DuckDBPyConnection, subset: str, worked: Worked, parameters: dict[str, Any]
) -> None:
    """Write the subset, its members and its control, inside the caller's transaction."""
    for table in ("subset", "subset_sample"):
        connection.execute(f"DELETE FROM {table} WHERE subset = ?", [subset])
    connection.execute(
        "INSERT INTO subset VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            subset,
            worked.preset.name,
            json.dumps(parameters),
            worked.preset.seed,
            worked.fingerprint,
            json.dumps(versions()),
            json.dumps(worked.report),
            utc_now(),
        ],
    )
    picked = _members(worked)
    connection.register("picked", picked)
    connection.execute(
        "INSERT INTO subset_sample SELECT ?, role, qa_uid, rank, score, stage "
        "FROM picked JOIN sample USING (ordinal, uid_hash, text_hash) ORDER BY role, rank",
        [subset],
    )
    connection.unregister("picked")
    stored = scalar(connection, "SELECT count(*) FROM subset_sample WHERE subset = ?", [subset])
    if stored != picked.num_rows:
        raise GdoError("the pool was changed while the subset was being chosen; select again")


def _members(worked: Worked) -> pa.Table:
    """Chosen samples and control as one table, keyed by the order of ingestion."""
    chosen, uniform = np.array(worked.filled.chosen, dtype=np.int64), worked.uniform
    members, candidates = np.concatenate([chosen, uniform]), worked.candidates
    in_control = np.arange(len(members)) >= len(chosen)
    rank = np.concatenate([np.arange(len(chosen)), np.arange(len(uniform))])
    stages = list(dict.fromkeys([*worked.filled.stages, "uniform"]))
    numbered = {stage: number for number, stage in enumerate(stages)}
    stage = np.full(len(members), numbered["uniform"], np.int32)
    stage[: len(chosen)] = [numbered[name] for name in worked.filled.stages]
    return pa.table(
        {
            "ordinal": numbers(candidates.ordinal[members]),
            "uid_hash": numbers(candidates.uid_hash[members]),
            "text_hash": numbers(candidates.text_hash[members]),
            "role": named(in_control.astype(np.int32), ("chosen", "uniform")),
            "rank": numbers(rank.astype(np.int32)),
            "score": numbers(worked.scores.rho[members], ~in_control),
            "stage": named(stage, stages),
        }
    )
