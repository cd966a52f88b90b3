"""Commands that choose and hand over subsets: select, explain, export, demo."""

import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from gdo.cli.data import AsJson, PoolPath
from gdo.errors import UsageError

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from gdo.cli.progress import ProgressLine


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("select")(select)
    app.command("explain")(explain)
    app.command("export")(export)
    app.command("demo")(demo)


def select(
    pool: PoolPath,
    preset: Annotated[
        list[str],
        typer.Option(help="minloss, diverse, temp, temp_plus, or a TOML file; several make several subsets."),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the subset; default the preset's.")] = None,
    count: Annotated[int | None, typer.Option(help="Size of the subset, in place of the budget.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of ties and of the uniform control; default 42.")] = None,
    without: Annotated[str, typer.Option(help="Terms of the score to drop: vds, ppl, sc, by commas.")] = "",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for any number of the preset.")
    ] = None,
    guard: Annotated[
        list[Path] | None, typer.Option(help="An evaluation set whose texts must not be chosen.")
    ] = None,
    guard_by: Annotated[
        Literal["question", "pair", "both"], typer.Option(help="What of the guard must not be equal.")
    ] = "both",
    guard_media: Annotated[
        list[Path] | None,
        typer.Option(help="A folder of pictures and clips whose copies must not be chosen."),
    ] = None,
    json: AsJson = False,
) -> None:
    """Choose a subset by a goal preset, and a uniform control beside it."""
    _start_no_blas_threads()
    from gdo.cli.output import print_json
    from gdo.report.tables import selection_tables, show
    from gdo.selectors.select import select as run

    if name and len(preset) > 1:
        raise UsageError("--name names one subset; give one --preset with it")
    with _progress_line() if guard_media else nullcontext() as line:
        selections = [
            run(
                pool,
                each,
                name=name,
                count=count,
                seed=seed,
                without=[term for term in without.split(",") if term],
                settings=settings or [],
                guard=list(guard or []),
                guard_by=guard_by,
                guard_media=list(guard_media or []),
                told=line.update if line else None,
            )
            for each in preset
        ]
    if json:
        print_json([{"subset": s.subset, "fingerprint": s.fingerprint, **s.report} for s in selections])
    else:
        show(*map(selection_tables, selections))


def explain(
    pool: PoolPath,
    subset: Annotated[str, typer.Argument(help="Name of a subset.", metavar="SUBSET")],
    qa_uid: Annotated[str, typer.Argument(help="Id of a sample.", metavar="QA_UID")],
    json: AsJson = False,
) -> None:
    """Say why one sample was taken into a subset, or what kept it out."""
    from gdo.cli.output import print_json
    from gdo.report.tables import explanation_tables, show
    from gdo.selectors.explain import explain as run

    explanation = run(pool, subset, qa_uid)
    print_json(explanation) if json else show(explanation_tables(explanation))


def export(
    pool: PoolPath,
    subset: Annotated[str, typer.Argument(help="Name of a subset.", metavar="SUBSET")],
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder or file to write.")],
    format: Annotated[
        str, typer.Option(help="swift, llamafactory, llava, parquet, webdataset or ids.")
    ] = "swift",
    uniform: Annotated[bool, typer.Option(help="The uniform control in place of the subset.")] = False,
    multiple: Annotated[
        float | None, typer.Option(help="Size of the control in subsets: 1 gives Uni-1x; default all.")
    ] = None,
    frames: Annotated[int | None, typer.Option(help="At most so many frames of a frame list.")] = None,
    absolute: Annotated[bool, typer.Option(help="Write absolute media paths.")] = False,
    json: AsJson = False,
) -> None:
    """Write a subset or its control as files that trainers read, with a manifest."""
    _start_no_blas_threads()
    from gdo.cli.output import print_json
    from gdo.export.run import export as run
    from gdo.report.tables import export_tables, show

    report = run(
        pool,
        subset,
        output,
        format=format,
        uniform=uniform,
        multiple=multiple,
        frames=frames,
        absolute=absolute,
    )
    print_json(report) if json else show(export_tables(report))


def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder for the pool and its files.")] = Path(
        "demo"
    ),
    samples: Annotated[
        int | None, typer.Option(help="Question-answer pairs to make; default 2,000.", min=50)
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed makes the same pool.")] = 42,
    quick: Annotated[bool, typer.Option("--quick", help="A small pool, and all of it shorter.")] = False,
) -> None:
    """Make an example pool with known truth and take it all the way, from files to compared models."""
    from dataclasses import replace

    from gdo.cli.progress import progress_line
    from gdo.demo.run import QUICK, Size, run_demo

    size = QUICK if quick else Size()
    with progress_line() as line:
        run_demo(output, size=replace(size, samples=samples or size.samples), seed=seed, line=line)


def _start_no_blas_threads() -> None:
    """Keep NumPy, not loaded yet, from starting threads for matrices: 0.05 s, and the command has none."""
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def _progress_line() -> "AbstractContextManager[ProgressLine]":
    """A progress line; what draws it is loaded only where one is wanted."""
    from gdo.cli.progress import progress_line

    return progress_line()
