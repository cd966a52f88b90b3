"""The command that shows a pool to people: report."""

from pathlib import Path
from typing import Annotated

import typer

from gdo.cli.data import AsJson, PoolPath


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("report")(report)


def report(
    pool: PoolPath,
    output: Annotated[Path, typer.Option("-o", "--output", help="The page to write, an .html file.")] = Path(
        "report.html"
    ),
    subset: Annotated[
        list[str] | None, typer.Option(help="Name of a subset to show; may be repeated, default all.")
    ] = None,
    runs: Annotated[
        list[str] | None,
        typer.Option(
            "--run",
            help="FOLDER or LABEL=FOLDER of an evaluated run that the pool does not have; may be repeated.",
            metavar="RUN",
        ),
    ] = None,
    json: AsJson = False,
) -> None:
    """Write one HTML page that works offline: the pool, its descriptors, subsets and runs, and samples."""
    from gdo.cli.output import print_json
    from gdo.cli.progress import progress_line
    from gdo.report.html.make import report as run
    from gdo.report.tables import report_tables, show

    with progress_line() as line:
        made = run(pool, output, subsets=subset or [], runs=runs or [], progress=line.update)
    print_json(made) if json else show(report_tables(made))
