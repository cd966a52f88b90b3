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
from gdo.pool.columns import named, numbers, texts_at, values_of
from gdo.pool.store import Pool, record_run, utc_now, versions
from gdo.selectors.bounds import Bounds, plan_bounds
from gdo.selectors.budget import plan_budget
from gdo.selectors.cache import cached_base, read_base, revalidate
from gdo.selectors.candidates import Candidates, Integers, Mask
from gdo.selectors.fill import Filled, fill
from gdo.selectors.guard import Guard, GuardBy, load_guard
from gdo.selectors.guard_media import NO_MEDIA, MediaGuard, Told, load_media_guard
from gdo.selectors.near import Near, best_of_groups, with_near
from gdo.selectors.preset import Preset, load_preset
from gdo.selectors.score import Scores, score, tie_hash
from gdo.selectors.summary import summarise
from gdo.selectors.uniform import draw_control


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
    worked = work_out(_read(target, resolved, media_guard), resolved, guards, guard_by)
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


def read_pool(
    pool: Pool, connection: duckdb.DuckDBPyConnection, preset: Preset, guard: MediaGuard = NO_MEDIA
) -> PoolRead:
    """Read what a preset needs from a pool, which is open."""
    base, near = read_base(pool, connection, preset), None
    everything = base.candidates
    if preset.dedup == "near":
        everything, near = with_near(connection, everything)
    guarded = guard.excluded(connection, everything)
    return PoolRead(everything, base.unreadable, base.bad_rows, guarded, guard, near)


def _read(pool: Pool, preset: Preset, guard: MediaGuard) -> PoolRead:
    """The same of a pool that is opened only where the cache does not tell it all."""
    base = cached_base(pool, preset) if preset.dedup != "near" and not guard.files else None
    if base is not None:
        none = np.zeros(len(base.candidates), dtype=np.bool_)
        return PoolRead(base.candidates, base.unreadable, base.bad_rows, none, guard, None)
    with pool.read() as connection:
        return read_pool(pool, connection, preset, guard)


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
            f"media of {int(broken.sum()):,} could not be read (`error` in table media; if files lie "
            "elsewhere, `gdo ingest POOL FILE --media-root DIR --replace`; --set unreadable_media=keep takes "
            "all the same)"
        )
    with ThreadPoolExecutor(1) as aside:
        fingerprint = aside.submit(everything.fingerprint, broken)
        scores = score(candidates, preset)
        target, budget = plan_budget(candidates, scores.vds3_rows, preset)
        bounds = plan_bounds(candidates, target, preset)
        ties = tie_hash(candidates.uid_hash, preset.seed)
        asked = math.ceil(target * preset.uniform_multiplier)
        uniform = draw_control(candidates, ties, asked, preset.max_qa_per_video)
        best = best_of_groups(candidates.near, scores.rho, ties)
        filled = fill(candidates, scores.rho, ties, bounds, target, preset, uniform, best)
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
    members = _members(connection, worked)
    connection.register("members", members)
    connection.execute(
        "INSERT INTO subset_sample SELECT ?, role, qa_uid, rank, score, stage FROM members", [subset]
    )
    connection.unregister("members")


_PICKED = "SELECT place, uid_hash, text_hash, qa_uid FROM picked JOIN sample USING (ordinal)"


def _members(connection: duckdb.DuckDBPyConnection, worked: Worked) -> pa.Table:
    """Chosen samples and control as rows of `subset_sample`, in the order of their ranks.

    Raises:
        GdoError: They are not in the pool any more.
    """
    chosen, uniform = np.array(worked.filled.chosen, dtype=np.int64), worked.uniform
    members, candidates = np.concatenate([chosen, uniform]), worked.candidates
    count, in_control = len(members), np.arange(len(members)) >= len(chosen)
    place = numbers(np.arange(count))
    connection.register("picked", pa.table({"place": place, "ordinal": numbers(candidates.ordinal[members])}))
    rows = connection.sql(_PICKED).to_arrow_table()
    connection.unregister("picked")
    found = values_of(rows["place"], np.int64)
    hashes = [(column, values_of(rows[column], np.uint64)) for column in ("uid_hash", "text_hash")]
    same = all((getattr(candidates, column)[members[found]] == now).all() for column, now in hashes)
    if len(found) != count or not same:
        raise GdoError("the pool was changed while the subset was being chosen; select again")
    rank = np.concatenate([np.arange(len(chosen)), np.arange(len(uniform))])
    stages = list(dict.fromkeys([*worked.filled.stages, "uniform"]))
    numbered = {stage: number for number, stage in enumerate(stages)}
    stage = np.full(count, numbered["uniform"], np.int32)
    stage[: len(chosen)] = [numbered[name] for name in worked.filled.stages]
    return pa.table(
        {
            "role": named(in_control.astype(np.int32), ("chosen", "uniform")),
            "qa_uid": texts_at(rows["qa_uid"], np.argsort(found)),
            "rank": numbers(rank.astype(np.int32)),
            "score": numbers(worked.scores.rho[members], ~in_control),
            "stage": named(stage, stages),
        }
    )
