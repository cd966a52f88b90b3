"""The demo: make the example pool, then take it through everything gdo does, and show what happened."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.text import Text

from gdo.demo.training import show_sparrow, show_training
from gdo.descriptors.describe import Progress, describe
from gdo.descriptors.duplicates.find import find_duplicates
from gdo.export.run import export
from gdo.pool.ingest import ingest
from gdo.pool.query import run_sql
from gdo.report.duplicates import duplicate_tables
from gdo.report.tables import (
    describe_tables,
    export_tables,
    ingest_tables,
    selection_tables,
    show,
    table,
)
from gdo.selectors.preset import PRESETS
from gdo.selectors.select import select

if TYPE_CHECKING:
    import polars as pl

SHOWN = "temp"
"""The preset whose subset is exported, trained on, and held against the truth."""
DESCRIBED = ("motion", "temporal", "dependency", "stability", "coverage")
"""All there are for people; a bare `gdo describe` leaves the dear `stability` out."""
PRESET_SETTINGS = ("min_count=40", "max_ratio=0.1", "dedup=near")
"""The released presets take under 2 % of a pool, which of two thousand samples is little; and they leave out
exact duplicates alone."""


@dataclass(frozen=True, slots=True)
class Size:
    """How much of everything a demo makes.

    Attributes:
        samples: Question-answer pairs of the pool.
        proxy_minutes: A first look; `gdo describe` trains the self-proxy for longer.
        clusters: As many as there are samples, up to 4,096, would be too many.
        texts: Long texts for Sparrow.
        per_kind: Held-out questions of each kind.
    """

    samples: int = 2000
    proxy_minutes: float = 1.0
    clusters: int = 100
    texts: int = 20
    per_kind: int = 20


QUICK = Size(samples=400, proxy_minutes=0.2, clusters=30, texts=4, per_kind=5)


class Line(Protocol):
    """Where the demo shows its progress."""

    def update(self, what: str, done: int, total: int | None = None, note: str = "") -> None:
        """Show `done` of `total`."""

    def show(self, progress: Progress) -> None:
        """Show the progress of describing."""


def run_demo(folder: Path, *, size: Size, seed: int, line: Line) -> None:
    """Make the pool in `folder` and run the main job on it; running it again goes on where it was."""
    from gdo.demo.make import make_example_pool

    folder = folder.absolute()
    made = make_example_pool(
        folder / "files",
        samples=size.samples,
        seed=seed,
        progress=lambda done, total: line.update("drawing media", done, total),
    )
    pool = folder / "pool.duckdb"
    _step(f"gdo ingest {pool} " + " ".join(file.name for file in made.files))
    reports = ingest(pool, list(made.files), media_root=made.media_root)
    show(ingest_tables(reports))

    options = f"--proxy-minutes {size.proxy_minutes:g} --clusters {size.clusters}"
    _step(f"gdo describe {pool} {' '.join(DESCRIBED)} {options}")
    described = describe(
        pool,
        DESCRIBED,
        proxy_minutes=size.proxy_minutes,
        clusters=size.clusters,
        progress=line.show,
        say=lambda sentence: show(Text(sentence)),
    )
    show(describe_tables(described))

    _step(f"gdo duplicates {pool}")
    show(duplicate_tables(find_duplicates(pool, progress=line.show, told=line.update)))

    settings = " ".join(f"--set {setting}" for setting in PRESET_SETTINGS)
    for preset in PRESETS:
        _step(f"gdo select {pool} --preset {preset} {settings}")
        selected = select(pool, preset, settings=PRESET_SETTINGS)
        if preset == SHOWN:
            show(selection_tables(selected))
    columns = ["subset", "samples>", "videos %>", "mean amm of videos>", "mean vds of videos>", "sources>"]
    show(table("Four goals", columns, run_sql(pool, _GOALS).rows))

    _step(f"gdo export {pool} {SHOWN} -o {folder / 'export'}")
    show(export_tables(export(pool, SHOWN, folder / "export")))
    _truth(pool, made.truth)

    show_sparrow(pool, folder, texts=size.texts, seed=seed, step=_step)
    show_training(pool, folder, SHOWN, per_kind=size.per_kind, seed=seed, step=_step, update=line.update)
    show(Text(f"\nThe pool is {pool}; any DuckDB client opens it. The truth stands in {made.truth}."))
    show(Text(f"Look at it: `gdo report {pool} -o report.html`, `gdo explore {pool}`, `gdo sql {pool}`."))


_GOALS = """
SELECT
    m.subset,
    count(*),
    round(100 * avg(CAST(c.bucket = 'short_video' AS INTEGER)), 1),
    round(avg(c.amm) FILTER (WHERE c.bucket = 'short_video'), 3),
    round(avg(c.vds) FILTER (WHERE c.bucket = 'short_video'), 3),
    count(DISTINCT c.data_source)
FROM subset_sample AS m
JOIN candidate AS c USING (qa_uid)
WHERE m.role = 'chosen'
GROUP BY m.subset
ORDER BY m.subset
"""


def _step(command: str) -> None:
    show(Text(f"\n$ {command}", style="bold cyan"))


_SUBSET = """
SELECT c.qa_uid, c.amm, c.tnc, c.vds, m.role
FROM candidate AS c
LEFT JOIN subset_sample AS m ON m.qa_uid = c.qa_uid AND m.subset = 'temp' AND m.role = 'chosen'
"""


def _truth(pool: Path, truth: Path) -> None:
    """What the chosen samples really are, by the side table that the pool never sees."""
    import polars as pl

    chosen = pl.DataFrame(run_sql(pool, _SUBSET).rows, ["qa_uid", "amm", "tnc", "vds", "role"], orient="row")
    joined = pl.read_parquet(truth).join(chosen, on="qa_uid")
    counts = joined.group_by("kind").agg(
        pool=pl.len(),
        subset=pl.col("role").is_not_null().sum(),
        tnc=pl.col("tnc").mean(),
        vds=pl.col("vds").mean(),
    )
    rows = counts.sort("pool", "kind", descending=True).rows()
    _step("the subset in the light of the truth")
    show(table("Kinds of questions", ["kind", "pool>", "subset>", "mean tnc>", "mean vds>"], rows))
    clips = joined.filter(pl.col("true_flow").is_not_null()).unique("media")
    correlation = clips.select(pl.corr("amm", "true_flow", method="spearman")).item()
    recall, precision = _duplicates(pool, joined)
    show(
        Text(f"Spearman(amm, true flow) over {len(clips)} clips: {correlation:.3f}"),
        Text(f"planted near-duplicates: recall {recall:.3f}, precision {precision:.3f}"),
    )


def _duplicates(pool: Path, truth: "pl.DataFrame") -> tuple[float, float]:
    """Recall and precision of the pairs of samples that were found to ask the same of the same media."""
    import polars as pl

    groups = run_sql(pool, "SELECT qa_uid, duplicate_group FROM sample_duplicate").rows
    found = pl.DataFrame(groups, {"qa_uid": pl.String, "found": pl.Int64}, orient="row")
    known = truth.select("qa_uid", "duplicate_group").join(found, on="qa_uid", how="left")

    def pairs(*by: str) -> int:
        sizes = known.drop_nulls(by).group_by(by).len()["len"]
        return int((sizes * (sizes - 1) // 2).sum())

    both = pairs("duplicate_group", "found")
    return both / max(1, pairs("duplicate_group")), both / max(1, pairs("found"))
