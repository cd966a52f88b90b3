"""The command that finds near-duplicates: duplicates."""

from pathlib import Path
from typing import Annotated, Any

import typer

from gdo.cli.data import AsJson, PoolPath
from gdo.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("duplicates")(duplicates)


def duplicates(
    pool: PoolPath,
    threshold: Annotated[
        float | None, typer.Option(help="Least similarity of media that count as the same; default 0.993.")
    ] = None,
    sweep: Annotated[
        bool, typer.Option("--sweep", help="Tell what several thresholds would give; store no groups.")
    ] = False,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="With --sweep: write a picture (.png).")
    ] = None,
    close_look: Annotated[
        bool,
        typer.Option(
            "--close-look/--no-close-look",
            help="Look closely at media that are likely copies by fingerprint or embedding, and join those "
            "that show the same; or go by fingerprints alone.",
        ),
    ] = True,
    workers: Annotated[int | None, typer.Option(help="Processes that read media; default all cores.")] = None,
    json: AsJson = False,
) -> None:
    """Find copies of media, and samples that ask the same of them, for `select --set dedup=near`."""
    from gdo.cli.output import print_json
    from gdo.cli.progress import progress_line
    from gdo.descriptors.duplicates.find import find_duplicates, sweep_duplicates
    from gdo.descriptors.duplicates.media import THRESHOLD
    from gdo.report.duplicates import check_picture, draw_sweep, duplicate_tables, sweep_tables
    from gdo.report.tables import show

    if output and not sweep:
        raise UsageError("-o writes the picture of a sweep; give --sweep with it")
    if output:
        check_picture(output)
    least = THRESHOLD if threshold is None else threshold
    with progress_line() as line:
        choice: dict[str, Any] = {"threshold": least, "close_look": close_look, "workers": workers}
        choice |= {"progress": line.show, "told": line.update}
        if sweep:
            swept = sweep_duplicates(pool, **choice)
        else:
            report = find_duplicates(pool, **choice)
    if output:
        draw_sweep(swept, output)
    if json:
        print_json(swept if sweep else report)
    else:
        show(sweep_tables(swept, output) if sweep else duplicate_tables(report))
