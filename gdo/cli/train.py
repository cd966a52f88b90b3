"""Commands that train: train."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from gdo.cli.data import AsJson

Mix = Annotated[
    list[str] | None,
    typer.Option(help="DIR_OR_JSONL:SHARE of all samples to mix in, such as sparrow:0.33."),
]
ReportTo = Annotated[
    list[str] | None, typer.Option(help="tensorboard, wandb or others that transformers knows.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("train")(train)


def train(
    data: Annotated[
        Path,
        typer.Argument(
            help="The pool's DuckDB file, or an exported JSONL or its folder.", metavar="POOL|JSONL"
        ),
    ],
    subset: Annotated[
        str | None, typer.Argument(help="Name of the pool's subset.", metavar="[SUBSET]")
    ] = None,
    *,
    output: Annotated[Path, typer.Option("-o", "--output", help="The run's folder.")],
    model: Annotated[
        str, typer.Option(help="Folder or name at the hub, or an earlier run: it goes on from its end.")
    ],
    recipe: Annotated[
        str, typer.Option(help="paper, sparrow, safe, smoke, or a TOML file; base = one of them.")
    ] = "paper",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for any number of the recipe.")
    ] = None,
    uniform: Annotated[bool, typer.Option(help="The uniform control in place of the subset.")] = False,
    multiple: Annotated[
        float | None, typer.Option(help="Size of the control in subsets: 1 gives Uni-1x; default all.")
    ] = None,
    mix: Mix = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    workers: Annotated[
        int | None, typer.Option(help="Processes that read samples, for each device; 0: none beside.")
    ] = None,
    sharding: Annotated[
        Path | None, typer.Option(help="JSON file for FSDP or DeepSpeed (docs/training.md).")
    ] = None,
    report_to: ReportTo = None,
    json: AsJson = False,
) -> None:
    """Train a model on a subset, its control or a JSONL; killed, the same command goes on where it was."""
    from gdo.cli.output import print_json
    from gdo.cli.progress import progress_line
    from gdo.report.tables import show
    from gdo.report.training import train_tables
    from gdo.train.machine import Machine
    from gdo.train.run import train as run
    from gdo.train.sources import Data, parse_mix

    chosen = Data(data, subset, uniform, multiple, tuple(map(parse_mix, mix or [])))
    with progress_line() as line:
        report = run(
            chosen,
            output,
            model=model,
            recipe=recipe,
            settings=settings or [],
            machine=Machine(device, workers, sharding, tuple(report_to or ())),
            progress=line.update,
            say=line.say,
        )
    if os.environ.get("RANK", "0") == "0":
        print_json(report) if json else show(train_tables(asdict(report)))
