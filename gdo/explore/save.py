"""Saving a list of samples as a subset: its row looks like that of a selection, and it has a control too."""

import json
import math
import re
from dataclasses import replace
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from gdo.errors import GdoError, UsageError
from gdo.explore.look import ListAsked, all_rows, list_sql
from gdo.explore.state import Explorer
from gdo.pool.store import record_run, scalar, utc_now, versions
from gdo.selectors.bounds import plan_bounds
from gdo.selectors.candidates import Candidates, Integers
from gdo.selectors.fill import Filled
from gdo.selectors.preset import Preset, load_preset
from gdo.selectors.score import tie_hash
from gdo.selectors.select import PoolRead, read_pool
from gdo.selectors.summary import summarise
from gdo.selectors.uniform import uniform_control

STAGE = "filter"
"""What stands for a preset's name, and for the stage."""
RULES = "diverse"
"""The released preset whose rules the uniform control keeps to, as those of selections do."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,99}")


def save_subset(explorer: Explorer, name: str, asked: ListAsked) -> dict[str, Any]:
    """Store all samples of a list, in its order, as the chosen ones of a new subset.

    Its uniform control is drawn as those of selections are. `parameters` keeps the filter, and the query that
    gives the same samples; `gdo explain` cannot explain such a subset, and says so.

    Raises:
        UsageError: Subsets may not be saved, the name is taken or no name, or no sample is in the list.
        GdoError: The pool was written to since it was copied.
    """
    if not explorer.writes:
        raise UsageError("this explorer only reads; start it with --write to save subsets")
    if not _NAME.fullmatch(name):
        raise UsageError("give the subset a name of letters, digits and _ . + -")
    started, snapshot = utc_now(), explorer.snapshot
    rows = all_rows(snapshot, asked)
    if not len(rows):
        raise UsageError("no sample meets the filter; there is nothing to save")
    rules = load_preset(RULES)
    parameters: dict[str, Any] = {
        "filter": asked.filter.model_dump(mode="json"),
        "order": asked.order.model_dump(mode="json"),
    }
    parameters["sql"] = list_sql(snapshot, asked)
    with explorer.opening:
        with explorer.pool.read() as connection:
            if snapshot.is_stale():
                raise GdoError("the pool was written to since it was opened here; refresh, then save again")
            read = read_pool(explorer.pool, connection, rules)
        members, report = _work_out(read, rules, snapshot.arrays.ordinals(rows))
        with explorer.pool.write() as connection:
            if scalar(connection, "SELECT count(*) FROM subset WHERE subset = ?", [name]):
                raise UsageError(f"there is a subset {name!r} already; give another name")
            fingerprint = read.everything.fingerprint(read.unreadable)
            connection.execute(
                "INSERT INTO subset VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    name,
                    STAGE,
                    json.dumps(parameters),
                    rules.seed,
                    fingerprint,
                    json.dumps(versions()),
                    json.dumps(report),
                    utc_now(),
                ],
            )
            _store(connection, name, members)
            record_run(connection, "explore", {"subset": name, **parameters}, started)
        explorer.refresh()
    return {"subset": name, "chosen": len(rows), "uniform": members.num_rows - len(rows)}


def _work_out(read: PoolRead, rules: Preset, ordinals: Integers) -> tuple[pa.Table, dict[str, Any]]:
    """The members of both roles by ordinal, and the report of what was chosen (spec section 7)."""
    pool = read.everything
    chosen = np.searchsorted(pool.ordinal, ordinals)
    by_hash = np.argsort(tie_hash(pool.uid_hash, rules.seed), kind="stable")
    readable = by_hash[~read.unreadable[by_hash]]
    asked = math.ceil(len(chosen) * rules.uniform_multiplier)
    uniform = uniform_control(pool, readable, min(asked, len(readable)), rules.max_qa_per_video)
    roles = ["chosen"] * len(chosen) + ["uniform"] * len(uniform)
    picked = np.concatenate([chosen, uniform])
    members = pa.table(
        {
            "ordinal": pool.ordinal[picked],
            "uid_hash": pool.uid_hash[picked],
            "text_hash": pool.text_hash[picked],
            "role": roles,
            "rank": np.concatenate([np.arange(len(chosen)), np.arange(len(uniform))]).astype(np.int32),
            "stage": [STAGE] * len(chosen) + ["uniform"] * len(uniform),
        }
    )
    return members, _report(pool, rules, chosen, uniform, asked) | {
        "excluded_unreadable_media": 0,
        "unreadable_rows": read.bad_rows,
    }


def _report(
    pool: Candidates, rules: Preset, chosen: Integers, uniform: Integers, asked: int
) -> dict[str, Any]:
    """What a selection would report that took these samples under no bounds."""
    count = len(chosen)
    everything = np.ones(len(pool), np.bool_)
    filled = Filled(everything, np.zeros(len(pool), np.int64), np.arange(len(pool)))
    filled.chosen, filled.stages = chosen.tolist(), [STAGE] * count
    filled.videos = int(pool.video[chosen].sum())
    bounds = plan_bounds(pool, count, rules)
    free = replace(bounds, min_video=0, max_video=count, min_temporal=0, floors={})
    report = summarise(pool, count, {"by": STAGE}, free, filled, uniform, rules)
    return report | {"uniform_count": asked, "excluded_by_guard": 0}


def _store(connection: duckdb.DuckDBPyConnection, name: str, members: pa.Table) -> None:
    connection.register("picked", members)
    connection.execute(
        "INSERT INTO subset_sample SELECT ?, role, qa_uid, rank, NULL, stage "
        "FROM picked JOIN sample USING (ordinal, uid_hash, text_hash) ORDER BY role, rank",
        [name],
    )
    connection.unregister("picked")
    if scalar(connection, "SELECT count(*) FROM subset_sample WHERE subset = ?", [name]) != members.num_rows:
        raise GdoError("the pool was changed while the subset was being saved; refresh, then save again")
