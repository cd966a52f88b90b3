"""Figures of pools and subsets as tables for the terminal."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from gdo.report.fitted import Fitted, plain

if TYPE_CHECKING:
    from gdo.descriptors.describe import DescribeReport, DescriptorReport
    from gdo.descriptors.engine.estimate import EstimateReport
    from gdo.descriptors.importing import ImportReport
    from gdo.export.run import ExportReport
    from gdo.pool.commit import IngestReport
    from gdo.report.html.make import ReportMade
    from gdo.selectors.explain import Explanation
    from gdo.selectors.select import Selection

SHOWN_SOURCES = 12
"""Rows of the table of sources; the others are summed up in one."""


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A plain table; columns whose name ends in `>` are of numbers, set to the right."""
    made = Fitted(title)
    for column in columns:
        made.add(column.removesuffix(">"), number=column.endswith(">"))
    for row in rows:
        made.add_row(*(plain(_cell(value)) for value in row))
    return made


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value + 0.0:,.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def ingest_tables(reports: Sequence["IngestReport"]) -> RenderableType:
    """What became of each file, and of the rows that gave no sample."""
    files = table(
        "Ingested",
        ["file", "format", "kind", "rows>", "bad>", "samples>", "media>", "seconds>"],
        [
            (
                report.path,
                report.format,
                report.kind,
                report.rows_read,
                report.rows_bad,
                report.samples,
                report.media if not report.unchanged else None,
                "unchanged" if report.unchanged else f"{report.seconds:.1f}",
            )
            for report in reports
        ],
    )
    parts: list[RenderableType] = [files]
    reasons = [
        (report.path, reason, count, outcome)
        for report in reports
        for counts, outcome in ((report.reasons, "left out"), (report.notes, "kept"))
        for reason, count in counts.items()
    ]
    if reasons:
        parts += [
            Text(),
            table("Rows with trouble (table bad_row)", ["file", "reason", "rows>", "outcome"], reasons),
        ]
    hints = dict.fromkeys(hint for report in reports for hint in report.hints)
    return Group(*parts, *(Text(hint, style="yellow") for hint in hints))


def describe_tables(report: "DescribeReport | DescriptorReport") -> RenderableType:
    """What was computed per descriptor, and why some of it could not be."""
    reports = report.descriptors if hasattr(report, "descriptors") else [report]
    computed = table(
        "Described",
        ["descriptor", "version>", "probe", "already there>", "computed>", "errors>", "seconds>"],
        [(r.name, r.version, r.probe, r.already, r.computed, r.errors, f"{r.seconds:.1f}") for r in reports],
    )
    reasons = [(r.name, reason, count) for r in reports for reason, count in r.reasons.most_common()]
    if not reasons:
        return computed
    missing = table("No value (NULL)", ["descriptor", "reason", "rows>"], reasons)
    return Group(computed, Text(), missing, *(Text(hint, style="yellow") for hint in report.hints))


def estimate_tables(report: "EstimateReport") -> RenderableType:
    """What each descriptor would cost, and what is trained before."""
    rows = [
        (
            one.name,
            one.probe,
            one.missing,
            one.timed,
            _duration(one.seconds),
            f"{one.hours:.2g} {one.unit}-hours",
        )
        for one in report.descriptors
    ]
    where = f"{report.workers} readers" + (f", {', '.join(report.devices)}" if report.devices else "")
    parts: list[RenderableType] = [
        table(
            f"Estimated with {where}; nothing was stored",
            ["descriptor", "probe", "missing>", "timed>", "time>", "cost>"],
            rows,
        )
    ]
    if report.training:
        parts.append(Text(f"\nBefore that the self-proxy is trained: {_duration(report.training)}."))
    if {"dependency", "stability"} <= {one.name for one in report.descriptors}:
        parts.append(
            Text("\ndependency and stability share the media's work when they are computed together.")
        )
    return Group(*parts)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    days, rest = divmod(round(seconds), 86_400)
    return (f"{days} d " if days else "") + str(timedelta(seconds=rest))


def import_tables(report: "ImportReport") -> RenderableType:
    """What became of a file of descriptor values."""
    rows = [
        ("rows read", report.rows),
        ("broken rows", report.broken),
        ("repeated ids, the last one holds", report.duplicates),
        ("ids of samples in the pool", report.matched),
        ("unknown ids, kept for the score's mean and spread", report.unknown),
        ("samples without imported values", report.samples_without_row),
    ]
    parts: list[RenderableType] = [table(f"Imported {report.path}", ["", "count>"], rows)]
    parts.append(
        table(
            "Columns", ["column", "missing values>"], [(c, report.missing.get(c, 0)) for c in report.columns]
        )
    )
    if report.unknown_columns:
        parts.append(Text(f"Left out, not known here: {', '.join(report.unknown_columns)}"))
    parts += [Text(line) for line in report.broken_lines]
    parts += [Text(hint, style="yellow") for hint in report.hints]
    return Group(*parts)


def selection_tables(selection: "Selection") -> RenderableType:
    """The report of a selection (spec section 7)."""
    from gdo.selectors.budget import why_small

    report = selection.report
    small = why_small(report["budget"], selection.preset)  # selecting has loaded what this needs
    parts: list[RenderableType] = [
        Text(f"Subset {selection.subset}", style="bold"),
        Text(
            f"{report['selected_count']:,} of {report['total_pairs']:,} samples, "
            f"preset {selection.preset.name}, seed {selection.preset.seed}; "
            f"control {report['uniform_taken']:,}, {report['overlap']['count']:,} of them in both; "
            f"pool {selection.fingerprint[:12]}"
        ),
        *([Text(small, style="yellow")] if small else []),
        Text(),
        _budget_table(report),
        Text(),
        _bounds_table(report),
        Text(),
        table(
            "Samples per stage",
            ["stage", "taken>"],
            report["constraints"]["selection_stage_counts"].items(),
        ),
        Text(),
        _divergence_table(report),
        Text(),
        _profile_table(report),
        Text(),
        _source_table(report),
    ]
    if report["constraints"]["unmet_constraints"]:
        parts += [Text(), *_unmet(report)]
    if since := report.get("near_duplicates", {}).get("ingested_since"):
        note = f"{since:,} samples were ingested after near-duplicates were looked for; run `gdo duplicates`"
        parts += [Text(), Text(note, style="yellow")]
    return Group(*parts)


def _budget_table(report: Mapping[str, Any]) -> Table:
    budget = dict(report["budget"])
    adjustment = budget.pop("vds3_adjustment", {})
    rows = [*budget.items(), *adjustment.items(), ("described_share", report["described_share"])]
    rows += [(n, report[n]) for n in ("num_strata", "excluded_by_guard", "excluded_unreadable_media")]
    rows += [(f"unreadable rows: {reason}", count) for reason, count in report["unreadable_rows"].items()]
    if "guard_media" in report:
        rows.append(("excluded_by_guard_media", report["guard_media"]["samples_kept_out"]))
    if "near_duplicates" in report:
        rows.append(("near_duplicates_kept_out", report["near_duplicates"]["kept_out"]))
    return table("Budget", ["step", "value>"], rows)


def _bounds_table(report: Mapping[str, Any]) -> Table:
    asked, met = report["constraints"], report["met"]
    floors = asked["source_group_floor_requirements"]
    floors_met = sum(met["source_groups"].get(name, 0) >= need for name, need in floors.items())
    buckets = report["profiles"]["subset"]["bucket"]
    rows = [(f"quota of {name}", quota, buckets[name]) for name, quota in report["bucket_quotas"].items()]
    rows += [
        ("videos, at least", asked["min_video_count"], met["video_count"]),
        ("videos, at most", asked["max_video_count"], met["video_count"]),
        ("temporal videos, at least", asked["min_temporal_video_count"], met["temporal_video_count"]),
        ("floors of sources", len(floors), floors_met),
    ]
    return table("Bounds", ["bound", "asked>", "met>"], rows)


def _divergence_table(report: Mapping[str, Any]) -> Table:
    control = report["uniform_js_to_pool"]
    rows = [(name, value, control[name]) for name, value in report["subset_js_to_pool"].items()]
    return table("Divergence from the pool (Jensen-Shannon, nats)", ["field", "subset>", "control>"], rows)


def _profile_table(report: Mapping[str, Any]) -> Table:
    pool, subset, control = (report["profiles"][who] for who in ("pool", "subset", "uniform"))
    rows = [
        (field, value, count, subset[field][value], control[field][value])
        for field, values in pool.items()
        if field != "source_group"
        for value, count in values.items()
    ]
    return table("Profiles", ["field", "value", "pool>", "subset>", "control>"], rows)


def _source_table(report: Mapping[str, Any]) -> Table:
    profiles = [report["profiles"][who]["source_group"] for who in ("pool", "subset", "uniform")]
    floors = report["constraints"]["source_group_floor_requirements"]
    largest = sorted(profiles[0], key=lambda name: -profiles[0][name])
    rows = [(name, *(one[name] for one in profiles), floors.get(name)) for name in largest[:SHOWN_SOURCES]]
    rest = largest[SHOWN_SOURCES:]
    if rest:
        rows.append((f"{len(rest)} more", *(sum(one[n] for n in rest) for one in profiles), None))
    return table("Sources", ["source group", "pool>", "subset>", "control>", "floor>"], rows)


def _unmet(report: Mapping[str, Any]) -> list[RenderableType]:
    parts: list[RenderableType] = []
    for name, short in report["constraints"]["unmet_constraints"].items():
        binds = report["unmet_because"][name]
        rows = [
            (reason, count, ", ".join(f"{source} {n:,}" for source, n in binds["sources"][reason].items()))
            for reason, count in sorted(binds["left_out"].items(), key=lambda item: -item[1])
        ]
        title = f"{name} is {short:,} short; of {binds['in_pool']:,} in the pool that could count, left out:"
        parts.append(table(title, ["because of", "samples>", "mostly from"], rows))
    return parts


def export_tables(report: "ExportReport") -> RenderableType:
    """What was exported, and where its manifest is."""
    rows = [
        ("samples", report.samples),
        ("images", report.images),
        ("videos", report.videos),
        ("manifest", report.manifest),
    ]
    return Group(table(f"Exported {report.path}", ["", "count>"], rows), *map(Text, report.notes))


def explanation_tables(explanation: "Explanation") -> RenderableType:
    """One sample in the eyes of one selection."""
    facts = [
        ("verdict", explanation.verdict),
        ("in the uniform control", "yes" if explanation.in_control else "no"),
        ("stratum", "|".join(explanation.stratum.values())),
        ("rank in stratum", f"{explanation.rank:,} of {explanation.stratum_size:,}"),
        ("quota, candidates kept", f"{explanation.stratum_quota:,}, {explanation.stratum_cap:,}"),
    ]
    parts: list[RenderableType] = [table(explanation.qa_uid, ["", ""], facts)]
    if explanation.terms:
        parts += [Text(), table("Score", ["term", "value>"], explanation.terms.items())]
    return Group(*parts)


def report_tables(made: "ReportMade") -> RenderableType:
    """What page was written."""
    rows = [
        ("megabytes", f"{made.bytes / 1e6:.1f}"),
        ("samples", made.samples),
        ("of them in quantiles and ranks", made.sampled),
        ("media shown", made.pictures),
        ("media that could not be", made.pictures_missing),
    ]
    return Group(
        table(f"Written {made.path}", ["", "count>"], rows), Text(f"Sections: {', '.join(made.sections)}")
    )


def show(*parts: RenderableType, console: Console | None = None) -> None:
    """Print tables, wide enough for a file or a pipe too."""
    target = console or Console(markup=False, emoji=False, highlight=False)
    if not target.is_terminal and target.width < 120:
        target = Console(width=120, file=target.file, markup=False, emoji=False, highlight=False)
    for part in parts:
        target.print(part)
