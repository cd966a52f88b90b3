"""Do the descriptors measure what they say? Example pools, whose truth is known, tell.

    python benchmarks/validity.py [--samples 2000] [--seeds 3] [--first-seed 42] [--proxy-minutes M]
        [--json FILE] [--png FILE]

One pool is made, ingested and described with the self-proxy for each seed. Intervals are Student's t over the
seeds, 95 %, cut at what the figure can be: they say how far another pool and another proxy would give other
figures. "Not trained on" are the samples that the proxy held out. An AUC is the chance that a sample with the
quality scores above one without, ties counting half.
"""

import argparse
import json
import math
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import polars as pl
from figures import Interval, auc, spearman, t_interval
from measure import machine, write_json
from rich.console import Console

from gdo.demo.make import make_example_pool
from gdo.demo.plan import make_plan
from gdo.demo.scenes import Scene
from gdo.demo.words import TEMPORAL_KINDS
from gdo.descriptors.describe import describe
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.report.tables import table

RULES = {"words": "tnc, word list", "text": "tnc, text rule", "self": "tnc, self-proxy"}
RIGHT = "samples with the right answer"
"""A picture makes a wrong answer less likely, so that its vds is negative, rightly."""
NOT_MOTION = ("appear", "blink", "recolour")
"""Programmes of clips in which pixels change where nothing moves."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of one pool.

    Attributes:
        what: The descriptor, and what it is held against.
        scope: The samples it is taken over: a group of them, or a kind of question.
        trained: Whether samples that the proxy was trained on count too.
        value: AUC or Spearman's correlation; NaN where there is nothing to compare.
        count: Samples or clips.
    """

    what: str
    scope: str
    trained: bool
    value: float
    count: int


@dataclass(frozen=True, slots=True)
class Summary:
    """A figure over all pools."""

    what: str
    scope: str
    trained: bool
    interval: Interval
    values: list[float]
    count: int


def figures_of(samples: pl.DataFrame) -> Iterator[Figure]:
    """All figures of one pool.

    Args:
        samples: One row per sample: the columns of the truth table; `amm`, `vds`, `ppl`; tnc as `words`,
            `text` and `self`; `held_out`; `programme`, null for stills. A null value is left out.
    """
    clips = samples.filter(pl.col("programme").is_not_null()).unique("media", maintain_order=True)
    moving = clips.filter(~pl.col("programme").is_in(NOT_MOTION))
    for scope, some in (("all clips", clips), ("clips where only motion changes pixels", moving)):
        known = some.drop_nulls("amm")
        yield Figure("amm", scope, True, spearman(known["amm"], known["true_flow"]), len(known))
    for trained, some in ((True, samples), (False, samples.filter("held_out"))):
        shown = some.filter(pl.col("programme").is_not_null())
        for rule in RULES:
            yield from _aucs(shown, rule, "temporal", "clips", trained, TEMPORAL_KINDS)
        needing = set(some["kind"]) - {"text_only"}
        yield from _aucs(some, "vds", "needs_media", "all samples", trained, needing)
        yield from _aucs(some.filter(~pl.col("wrong_answer")), "vds", "needs_media", RIGHT, trained, ())
        yield from _wrong(some, trained)


def _aucs(
    samples: pl.DataFrame, column: str, truth: str, scope: str, trained: bool, kinds: Sequence[str] | set[str]
) -> Iterator[Figure]:
    """AUC of a column over all, and for each kind of the true ones against all the false ones."""
    known = samples.drop_nulls(column)
    yield Figure(column, scope, trained, auc(known[column], known[truth]), len(known))
    for kind in sorted(kinds):
        some = known.filter((pl.col("kind") == kind) | ~pl.col(truth))
        yield Figure(column, kind, trained, auc(some[column], some[truth]), len(some))


def _wrong(samples: pl.DataFrame, trained: bool) -> Iterator[Figure]:
    """AUC of ppl for wrong answers, over all and within each kind of question."""
    known = samples.drop_nulls("ppl")
    kinds = [(kind, known.filter(kind=kind)) for kind in sorted(set(known["kind"]))]
    for scope, some in (("all samples", known), *kinds):
        yield Figure("ppl", scope, trained, auc(some["ppl"], some["wrong_answer"]), len(some))


def describe_pool(folder: Path, samples: int, seed: int, minutes: float | None) -> pl.DataFrame:
    """Make, ingest and describe an example pool, or go on with one; the columns that `figures_of` reads."""
    made = make_example_pool(folder / "files", samples=samples, seed=seed)
    path = folder / "pool.duckdb"
    ingest(path, made.files, media_root=made.media_root)
    describe(path, ["motion"])
    for rule in ("words", "text"):
        describe(path, ["temporal"], probe=rule)
    describe(path, ["dependency", "temporal"], probe="self", proxy_minutes=minutes)
    pool = Pool(path)
    with pool.read() as connection:
        values = connection.sql("SELECT qa_uid, amm, vds, ppl FROM candidate").pl()
        tnc = connection.sql("SELECT qa_uid, split_part(probe, '@', 1) AS rule, tnc FROM temporal").pl()
    held_out = json.loads((pool.folder / "proxy" / "held_out.json").read_text())
    programmes = {
        medium.path: medium.content.programme
        for medium in make_plan(samples, seed).media
        if isinstance(medium.content, Scene)
    }
    return (
        pl.read_parquet(made.truth)
        .join(values, on="qa_uid", how="left")
        .join(tnc.pivot("rule", index="qa_uid", values="tnc"), on="qa_uid", how="left")
        .with_columns(
            held_out=pl.col("qa_uid").is_in(held_out),
            programme=pl.col("media").replace_strict(programmes, default=None, return_dtype=pl.String),
        )
    )


def summarise(pools: Sequence[Sequence[Figure]]) -> list[Summary]:
    """The figures of several pools, each with its interval over them; in the order of the first pool."""
    found: dict[tuple[str, str, bool], list[Figure]] = {}
    for figures in pools:
        for figure in figures:
            found.setdefault((figure.what, figure.scope, figure.trained), []).append(figure)
    summaries = []
    for (what, scope, trained), some in found.items():
        values = [figure.value for figure in some]
        interval = t_interval(values).within(-1.0 if what == "amm" else 0.0, 1.0)
        summaries.append(Summary(what, scope, trained, interval, values, sum(f.count for f in some)))
    return summaries


MAIN = (
    ("amm", "all clips", "Spearman(amm, true flow)"),
    ("amm", "clips where only motion changes pixels", "Spearman(amm, true flow)"),
    ("vds", "all samples", "AUC of vds: needs the picture"),
    ("vds", RIGHT, "AUC of vds: needs the picture"),
    ("words", "clips", "AUC of tnc, word list: temporal question"),
    ("text", "clips", "AUC of tnc, text rule: temporal question"),
    ("self", "clips", "AUC of tnc, self-proxy: temporal question"),
    ("ppl", "all samples", "AUC of ppl: wrong answer"),
)


def show(console: Console, summaries: Sequence[Summary]) -> None:
    """Print the main figures, then those by kind of question."""
    found = {(s.what, s.scope, s.trained): s for s in summaries}
    rows = [[title, scope, *_both(found, what, scope)] for what, scope, title in MAIN]
    head = ["figure", "over", "all>", "n>", "not trained on>", "n>"]
    console.print(table("Do the descriptors measure what they say? (95 % intervals over seeds)", head, rows))
    main = {(what, scope) for what, scope, _ in MAIN}
    kinds = sorted({(s.what, s.scope) for s in summaries} - main, key=lambda key: (_order(key[0]), key[1]))
    rows = [[_title(what), kind, *_both(found, what, kind)] for what, kind in kinds]
    console.print(
        table("By kind of question", ["AUC of", "kind", "all>", "n>", "not trained on>", "n>"], rows)
    )


def _both(found: dict[tuple[str, str, bool], Summary], what: str, scope: str) -> list[object]:
    """Interval and count over all samples, then over those the proxy was not trained on."""
    cells: list[object] = []
    for trained in (True, False):
        summary = found.get((what, scope, trained))
        cells += [str(summary.interval), summary.count] if summary else [None, None]
    return cells


def _order(what: str) -> int:
    return [name for name, _, _ in MAIN].index(what)


def _title(what: str) -> str:
    return RULES.get(what, what)


def draw(path: Path, summaries: Sequence[Summary], samples: pl.DataFrame) -> None:
    """One picture: motion against its truth in the first pool, and the AUCs with their intervals."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(2, 2, figsize=(13, 10), layout="constrained")
    _draw_motion(panels[0, 0], summaries, samples)
    _draw_aucs(panels[0, 1], "Temporal need (tnc): temporal against other questions", summaries, list(RULES))
    _draw_aucs(panels[1, 0], "Video dependency (vds): each kind against text-only", summaries, ["vds"])
    _draw_aucs(panels[1, 1], "Difficulty (ppl): wrong answers against right ones", summaries, ["ppl"])
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _draw_motion(axes: Any, summaries: Sequence[Summary], samples: pl.DataFrame) -> None:
    clips = samples.filter(pl.col("programme").is_not_null()).unique("media").drop_nulls("amm")
    odd = pl.col("programme").is_in(NOT_MOTION)
    for some, label, mark in (
        (clips.filter(~odd), "only motion changes pixels", "o"),
        (clips.filter(odd), "a shape appears, blinks or takes another colour", "x"),
    ):
        axes.plot(some["true_flow"], some["amm"], mark, markersize=4, alpha=0.7, label=label)
    found = next(s for s in summaries if (s.what, s.scope) == MAIN[0][:2])
    axes.set_title(f"Motion: Spearman {found.interval} (first pool shown)", fontsize=10)
    axes.set_xlabel("true flow: pixels between two of 8 frames, at 224 x 224")
    axes.set_ylabel("amm: pixels")
    axes.legend(fontsize=8)


def _draw_aucs(axes: Any, title: str, summaries: Sequence[Summary], columns: Sequence[str]) -> None:
    """Dots with intervals, a row for each scope; filled: all samples, hollow: those not trained on."""
    scopes = list(dict.fromkeys(s.scope for s in summaries if s.what in columns))[::-1]
    shift = 0.8 / (2 * len(columns))
    for number, column in enumerate(columns):
        for trained in (True, False):
            if not trained and column in ("words", "text"):
                continue
            some = [s for s in summaries if s.what == column and s.trained == trained]
            some = [s for s in some if not math.isnan(s.interval.value)]
            place = 0.4 - shift * (2 * number + (not trained) + 0.5)
            axes.errorbar(
                [s.interval.value for s in some],
                [scopes.index(s.scope) + place for s in some],
                xerr=_reaches(some),
                fmt="o",
                markersize=5,
                capsize=2,
                color=f"C{number}",
                markerfacecolor=f"C{number}" if trained else "white",
                label=f"{_title(column)}{'' if trained else ', not trained on'}",
            )
    axes.axvline(0.5, color="grey", linewidth=0.8)
    axes.axvline(0.9, color="grey", linewidth=0.8, linestyle="--")
    axes.set_yticks(range(len(scopes)), scopes)
    axes.set_xlim(0.0, 1.02)
    axes.set_xlabel("AUC, 95 % interval over seeds (dashed: the aim, 0.9)")
    axes.set_title(title, fontsize=10)
    axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncol=2)


def _reaches(summaries: Sequence[Summary]) -> list[list[float]]:
    """How far the intervals reach to the left and to the right; 0 where there are none."""
    intervals = [s.interval for s in summaries]
    left = [0.0 if math.isnan(i.low) else i.value - i.low for i in intervals]
    right = [0.0 if math.isnan(i.high) else i.high - i.value for i in intervals]
    return [left, right]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--samples", type=int, default=2000, help="of each pool")
    parser.add_argument("--seeds", type=int, default=3, help="how many pools")
    parser.add_argument("--first-seed", type=int, default=42, help="of the pools' seeds, which follow on")
    parser.add_argument("--proxy-minutes", type=float, help="training of each self-proxy; default gdo's")
    parser.add_argument("--folder", type=Path, help="keep the pools here, or go on with those that are here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--png", type=Path, metavar="FILE", help="draw them")
    options = parser.parse_args()
    console = Console(width=140)
    described = []
    with tempfile.TemporaryDirectory() as scratch:
        for seed in range(options.first_seed, options.first_seed + options.seeds):
            folder = (options.folder or Path(scratch)).absolute() / f"{seed}-{options.samples}"
            folder.mkdir(parents=True, exist_ok=True)
            console.print(f"pool of seed {seed} ...")
            described.append(describe_pool(folder, options.samples, seed, options.proxy_minutes))
    pools = [list(figures_of(samples)) for samples in described]
    summaries = summarise(pools)
    show(console, summaries)
    told = {"machine": machine(), "options": vars(options), "figures": [asdict(s) for s in summaries]}
    write_json(options.json, json.loads(json.dumps(told, default=str), parse_constant=lambda nan: None))
    if options.png:
        draw(options.png, summaries, described[0])


if __name__ == "__main__":
    main()
