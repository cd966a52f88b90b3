"""Subsets: what each asked for and got, held against the pool and the uniform control; and their overlap."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gdo.errors import UsageError
from gdo.report.html.blocks import Block, Chart, Grid, Heading, Note, Section, share
from gdo.report.html.charts import bars, heat
from gdo.report.html.source import Source
from gdo.report.html.strata import fold, in_order
from gdo.report.html.values import Moments
from gdo.selectors.candidates import FIELDS

_STAGES = 15
_ASKED = (
    ("videos, at least", "min_video_count", "video_count"),
    ("videos, at most", "max_video_count", "video_count"),
    ("temporal videos, at least", "min_temporal_video_count", "temporal_video_count"),
)

# One row is one pair of subsets, a subset with itself included: the samples that both chose.
_SHARED = """
SELECT a.subset, b.subset, count(*) FROM subset_sample AS a JOIN subset_sample AS b USING (qa_uid)
WHERE a.role = 'chosen' AND b.role = 'chosen' GROUP BY 1, 2
"""


@dataclass(frozen=True, slots=True)
class Subset:
    """A row of table `subset`."""

    name: str
    preset: str
    seed: int
    created: str
    report: Mapping[str, Any]


def read_subsets(source: Source, wanted: Sequence[str]) -> list[Subset]:
    """The subsets of these names, or all of them, oldest first.

    Raises:
        UsageError: There is no such subset.
    """
    unknown = [name for name in wanted if name not in source.subsets]
    if unknown:
        known = ", ".join(source.subsets) or "none yet"
        raise UsageError(f"there is no subset {unknown[0]!r}; there are: {known}")
    rows = source.rows("SELECT subset, preset, seed, created, report FROM subset ORDER BY created, subset")
    return [
        Subset(name, preset, seed, str(created)[:19], json.loads(report))
        for name, preset, seed, created, report in rows
        if name in wanted or not wanted
    ]


def subsets_section(
    source: Source, subsets: Sequence[Subset], moments: Mapping[tuple[str, str], Moments]
) -> Section:
    """Each subset against pool and control."""
    if not subsets:
        note = Note("Nothing has been selected yet.", "gdo select POOL --preset temp")
        return Section("subsets", "Subsets", "", [note])
    means = _means(source)
    blocks: list[Block] = []
    for number, subset in enumerate(subsets):
        told, table = _shifts(source, subset, moments, means)
        blocks += [*_asked(subset, f"s-{number}"), *told, *_profiles(subset), *table]
    intro = "Pool, subset and uniform control by what selection saw: as stored when each was chosen."
    return Section("subsets", "Subsets against pool and control", intro, blocks)


def overlap_section(source: Source, subsets: Sequence[Subset]) -> Section:
    """How far subsets agree."""
    title = "Overlap of subsets"
    if len(subsets) < 2:
        note = Note("Two subsets are needed to tell how far they agree.", "gdo select POOL --preset diverse")
        return Section("overlap", title, "", [note])
    shared = {(a, b): count for a, b, count in source.rows(_SHARED)}
    names = [subset.name for subset in subsets]
    size = {name: shared.get((name, name), 0) for name in names}

    def jaccard(a: str, b: str) -> float:
        both = shared.get((a, b), 0)
        either = size[a] + size[b] - both
        return both / either if either else 0.0

    figure = heat(names, [[jaccard(a, b) for b in names] for a in names], signed=False)
    counts = [(a, *(shared.get((a, b), 0) for b in names)) for a in names]
    intro = "Jaccard index: samples that both chose, over samples that either chose."
    blocks: list[Block] = [
        Chart("Jaccard index", figure),
        Grid("Samples that both chose", ["", *(f"{n}>" for n in names)], counts),
    ]
    return Section("overlap", title, intro, blocks)


def _asked(subset: Subset, anchor: str) -> list[Block]:
    """What was asked for, what came of it, and how it was filled."""
    report = subset.report
    told = (
        f"{report['selected_count']:,} of {report['total_pairs']:,} samples by preset {subset.preset}, seed "
        f"{subset.seed}, {subset.created} UTC; the control has {report['uniform_taken']:,}, "
        f"{report['overlap']['count']:,} of them chosen too."
    )
    divergences = {
        "subset": {name: report["subset_js_to_pool"][name] for name in FIELDS},
        "control": {name: report["uniform_js_to_pool"][name] for name in FIELDS},
    }
    stages = {
        stage.replace("hard_source_group::", "floor of "): count
        for stage, count in report["constraints"]["selection_stage_counts"].items()
    }
    return [
        Heading(subset.name, anchor, told),
        *_unmet(report),
        _bounds(report),
        Chart(
            f"{subset.name}: divergence from the pool",
            bars(divergences, axis="Jensen-Shannon divergence (nats)"),
            "0 is the same distribution, 0.693 nothing in common.",
        ),
        Chart(f"{subset.name}: samples by stage", bars({"samples": fold(stages, _STAGES)}, axis="samples")),
    ]


def _profiles(subset: Subset) -> list[Block]:
    """A chart for each field."""
    profiles = subset.report["profiles"]
    return [
        Chart(f"{subset.name}: {field}", _profile(field, {who: of[field] for who, of in profiles.items()}))
        for field in FIELDS
    ]


def _profile(field: str, profiles: Mapping[str, Mapping[str, int]]) -> dict[str, Any]:
    """Shares of a field's classes, all three in the pool's order."""
    order = list(in_order(field, dict(profiles["pool"])))
    series = {}
    for title, who in (("pool", "pool"), ("subset", "subset"), ("control", "uniform")):
        counts = {name: profiles[who].get(name, 0) for name in order}
        series[title] = share(fold(counts))
    return bars(series, axis="share of samples", percent=True)


def _bounds(report: Mapping[str, Any]) -> Grid:
    asked, met = report["constraints"], report["met"]
    rows: list[tuple[Any, ...]] = [
        ("samples", report["target_count"], report["selected_count"], ""),
        *((what, asked[bound], met[count], "") for what, bound, count in _ASKED),
    ]
    floors = asked["source_group_floor_requirements"]
    rows += [
        (f"{name}, at least", need, met["source_groups"].get(name, 0), "") for name, need in floors.items()
    ]
    shown = [
        (what, need, got, "no" if (got > need if what.endswith("most") else got < need) else "yes")
        for what, need, got, _ in rows
    ]
    return Grid("Bounds", ["bound", "asked>", "got>", "met"], shown, wide=False)


def _unmet(report: Mapping[str, Any]) -> list[Block]:
    unmet = report["constraints"]["unmet_constraints"]
    if not unmet:
        return [Note("All bounds are met.")]
    blocks: list[Block] = []
    for name, short in unmet.items():
        binds = report["unmet_because"][name]
        rows = [
            (reason, count, ", ".join(f"{source} {n:,}" for source, n in binds["sources"][reason].items()))
            for reason, count in sorted(binds["left_out"].items(), key=lambda item: -item[1])
        ]
        title = f"{name} is {short:,} short; of {binds['in_pool']:,} in the pool that could count, left out"
        blocks.append(Grid(title, ["because of", "samples>", "mostly from"], rows))
    return blocks


def _means(source: Source) -> dict[tuple[str, str], list[float | None]]:
    """Mean of each filled column by (subset, role)."""
    if not source.filled:
        return {}
    averages = ", ".join(f"avg({value.finite})" for value in source.filled)
    rows = source.rows(
        f"SELECT subset, role, {averages} FROM subset_sample JOIN candidate USING (qa_uid) GROUP BY 1, 2"
    )
    return {(subset, role): list(means) for subset, role, *means in rows}


def _shifts(
    source: Source,
    subset: Subset,
    moments: Mapping[tuple[str, str], Moments],
    means: Mapping[tuple[str, str], Sequence[float | None]],
) -> tuple[list[Block], list[Block]]:
    """How far the means of values lie from the pool's, in its standard deviations; and the means."""
    series: dict[str, dict[str, float]] = {"subset": {}, "control": {}}
    rows = []
    for number, value in enumerate(source.filled):
        pool = moments[("", value.name)]
        of = {
            title: means.get((subset.name, role), [None] * len(source.filled))[number]
            for title, role in (("subset", "chosen"), ("control", "uniform"))
        }
        rows.append((value.name, value.unit, pool.mean, of["subset"], of["control"]))
        for title, mean in of.items():
            if mean is not None and pool.mean is not None and pool.deviation:
                series[title][value.name] = (mean - pool.mean) / pool.deviation
    charts: list[Block] = []
    if series["subset"]:
        figure = bars(series, axis="standard deviations of the pool")
        charts.append(
            Chart(f"{subset.name}: shift of the means", figure, "Above 0: higher than in the pool.")
        )
    columns = ["column", "unit", "pool>", "subset>", "control>"]
    return charts, [Grid(f"{subset.name}: means", columns, rows, wide=False)] if rows else []
