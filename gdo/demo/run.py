"""The demo: make the example pool, then take it through everything gdo does, and show what happened."""

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from rich.text import Text

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
from gdo.selectors.select import select

if TYPE_CHECKING:
    import polars as pl

PRESET_SETTINGS = ("min_count=100", "max_ratio=0.1", "dedup=near")
"""The released presets start at 12,000 samples, where a pool of two thousand wants less; and they leave out
exact duplicates alone."""
PROXY_MINUTES = 1.0
"""A first look; `gdo describe` trains the self-proxy for longer."""


CLUSTERS = 100
"""As many as there are samples, up to 4,096, would be too many for two thousand."""


class Line(Protocol):
    """Where the demo shows its progress."""

    def update(self, what: str, done: int, total: int | None = None, note: str = "") -> None:
        """Show `done` of `total`."""

    def show(self, progress: Progress) -> None:
        """Show the progress of describing."""


def run_demo(folder: Path, *, samples: int, seed: int, line: Line) -> None:
    """Make the pool in `folder` and run the main job on it; running it again goes on where it was."""
    from gdo.demo.make import make_example_pool

    folder = folder.absolute()
    made = make_example_pool(
        folder / "files",
        samples=samples,
        seed=seed,
        progress=lambda done, total: line.update("drawing media", done, total),
    )
    pool = folder / "pool.duckdb"
    _step(f"gdo ingest {pool} " + " ".join(file.name for file in made.files))
    reports = ingest(pool, list(made.files), media_root=made.media_root)
    show(ingest_tables(reports))

    _step(f"gdo describe {pool} --proxy-minutes {PROXY_MINUTES:g} --clusters {CLUSTERS}")
    described = describe(
        pool,
        proxy_minutes=PROXY_MINUTES,
        clusters=CLUSTERS,
        progress=line.show,
        say=lambda sentence: show(Text(sentence)),
    )
    show(describe_tables(described))

    _step(f"gdo duplicates {pool}")
    show(duplicate_tables(find_duplicates(pool, progress=line.show, told=line.update)))

    settings = " ".join(f"--set {setting}" for setting in PRESET_SETTINGS)
    _step(f"gdo select {pool} --preset temp {settings}")
    show(selection_tables(select(pool, "temp", settings=PRESET_SETTINGS)))

    _step(f"gdo export {pool} temp -o {folder / 'export'}")
    show(export_tables(export(pool, "temp", folder / "export")))
    _truth(pool, made.truth)
    show(Text(f"\nThe pool is {pool}; any DuckDB client opens it. The truth stands in {made.truth}."))


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
