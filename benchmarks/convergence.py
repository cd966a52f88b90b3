"""Does a chosen subset teach more than a uniform one? The paper's comparison in miniature, on a CPU.

    python benchmarks/convergence.py WORK [--samples 6000] [--count 200] [--seeds 5] [--sparrow FILE...]
        [--json FILE]

In WORK are made, and gone on with after a kill: a redundant example pool (more than half of it repeated,
wrong, or in no need of a look) and clean questions on other media; a small Qwen3-VL that can see, and the
same one blurred until it answers by chance (`warm_up.py`); the pool's descriptors by the first; for each
seed, subsets by the four presets, a uniform one of their size and one of ten times it; and from the blurred
model a training on each, with the questions asked at two checkpoints. `--sparrow` trains each preset once
more, a third of its samples texts drawn as pictures.

The released presets choose 12,000 samples and more from a pool of millions; here each chooses `--count`, all
else as released but for near-duplicates, which go (`dedup = "near"`). Shares and floors scale by themselves.
"""

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import polars as pl
from exam import FRAMES, IMAGE_PIXELS
from figures import t_interval
from measure import machine, write_json
from rich.console import Console
from warm_up import BLURRED, FULL, warm_up

from gdo.cli.progress import progress_line
from gdo.demo.held_out import make_held_out
from gdo.demo.make import make_example_pool
from gdo.demo.plan import REDUNDANT
from gdo.descriptors.describe import describe
from gdo.descriptors.duplicates.find import find_duplicates
from gdo.pool.ingest import ingest
from gdo.pool.query import run_sql
from gdo.report.comparison import compare_tables, write_trajectories
from gdo.report.tables import show, table
from gdo.selectors.preset import PRESETS
from gdo.train.compare.run import CompareReport
from gdo.train.evaluate.results import read_results
from gdo.train.experiment import experiment
from gdo.train.machine import Machine
from gdo.train.sparrow.run import make_sparrow

POOL_SEED, HELD_OUT_SEED = 42, 7
DESCRIPTORS = ("motion", "temporal", "dependency", "stability", "coverage")
CLUSTERS = 200
RECIPE = (
    "lr=1e-3",
    "batch=5",
    "checkpoints=2",
    "holdout=0.0",
    f"frames={FRAMES}",
    f"max_pixels={IMAGE_PIXELS}",
    'frames_as="video"',
    "max_length=2048",
    "row_tokens=512",
    'freeze=["vision"]',
)
SPARROW_SHARE = 0.33


def make_pool(folder: Path, samples: int, probe: Path, line: Any) -> Path:
    """Make, ingest and describe the redundant pool."""
    made = make_example_pool(
        folder / "files",
        samples=samples,
        seed=POOL_SEED,
        mix=REDUNDANT,
        progress=lambda done, total: line.update("drawing media", done, total),
    )
    pool = folder / "pool.duckdb"
    ingest(pool, list(made.files), media_root=made.media_root)
    describe(
        pool,
        DESCRIPTORS,
        probe=str(probe),
        frames=FRAMES,
        max_pixels=IMAGE_PIXELS,
        frames_as="video",
        clusters=CLUSTERS,
        progress=line.show,
        say=line.say,
    )
    find_duplicates(pool, progress=line.show, told=line.update)
    return pool


def make_presets(folder: Path) -> list[str]:
    """The released presets, near-duplicates left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in PRESETS:
        (folder / f"{name}.toml").write_text(f'base = "{name}"\nname = "{name}"\ndedup = "near"\n')
    return [str(folder / f"{name}.toml") for name in PRESETS]


def losses_at_end(report: CompareReport, start: Path) -> dict[str, list[float]]:
    """Mean loss of the right answers in nats per token, of the start and of each run's last checkpoint."""
    runs = {"nothing (the start)": [str(start)]} | {group.name: group.runs for group in report.groups}
    return {name: [_loss_at_end(folder, report.name) for folder in of] for name, of in runs.items()}


def _loss_at_end(folder: str, name: str) -> float:
    answers = read_results(folder, name)[1]
    last = answers.filter(answers["step"] == answers["step"].max())["loss"]
    return float(last.to_numpy().mean())


def truth_of_subsets(pool: Path, truth: Path, folder: str) -> Mapping[str, Mapping[str, float]]:
    """Shares of each subset that repeat, are wrong, or need no look: the truth, which selection never saw."""
    members = run_sql(pool, "SELECT subset, role, qa_uid FROM subset_sample").rows
    known = pl.DataFrame(members, ["subset", "role", "qa_uid"], orient="row").join(
        pl.read_parquet(truth), on="qa_uid"
    )
    mine = known.filter(pl.col("subset").str.starts_with(f"{folder}-"))
    named = mine.with_columns(
        name=pl.when(pl.col("role") == "uniform")
        .then(pl.lit("uniform"))
        .otherwise(pl.col("subset").str.strip_prefix(f"{folder}-").str.replace(r"-\d+$", ""))
    )
    by_seed = named.group_by("name", "subset").agg(
        wrong=pl.col("wrong_answer").mean(),
        no_look=(~pl.col("needs_media")).mean(),
        temporal=pl.col("temporal").mean(),
        repeats=1 - pl.col("duplicate_group").fill_null(pl.col("qa_uid")).n_unique() / pl.len(),
    )
    shares = by_seed.drop("subset").group_by("name").mean()
    return {row.pop("name"): row for row in shares.sort("name").to_dicts()}


def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description="Presets against uniform controls, by what a model learns.")
    parser.add_argument("work", type=Path)
    parser.add_argument("--samples", type=int, default=6000)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--per-kind", type=int, default=50)
    parser.add_argument("--models", type=Path, help="of warm_up.py; default: made in WORK, in 75 minutes")
    parser.add_argument("--sparrow", type=Path, nargs="+", default=[], help="long texts to mix in")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    work: Path = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    models = (options.models or work / "models").absolute()
    warm_up(models)
    questions = make_held_out(work / "held_out", per_kind=options.per_kind, seed=HELD_OUT_SEED)
    with progress_line() as line:
        pool = make_pool(work, options.samples, models / FULL, line)
        mix = []
        if options.sparrow:
            make_sparrow(options.sparrow, work / "sparrow")
            mix = [(work / "sparrow", SPARROW_SHARE)]
        report = experiment(
            pool,
            make_presets(work / "presets"),
            work / "runs",
            model=str(models / BLURRED),
            held_out=str(questions),
            recipe="smoke",
            settings=RECIPE,
            seeds=options.seeds,
            count=options.count,
            mix=mix,
            machine=Machine("auto", 0),
            progress=line.update,
            say=line.say,
        )
    shares = truth_of_subsets(pool, work / "files" / "truth.parquet", "runs")
    console = Console()
    show(compare_tables(asdict(report)))
    losses = losses_at_end(report, work / "runs" / "start")
    told = [(name, str(t_interval(of_seeds))) for name, of_seeds in losses.items()]
    console.print(table("Loss of the right answer at the end", ["trained on", "nats [95 %]>"], told))
    rows = [(name, *(f"{100 * share:.1f}" for share in told.values())) for name, told in shares.items()]
    columns = [f"{column.replace('_', ' ')}>" for column in next(iter(shares.values()))]
    console.print(table("What was chosen, in the light of the truth (%)", ["subset", *columns], rows))
    write_trajectories(asdict(report), work / "convergence.png")
    figures = {"report": asdict(report), "losses": losses, "chosen": shares}
    write_json(options.json, {"machine": machine(), **figures})


if __name__ == "__main__":
    main(sys.argv[1:])
