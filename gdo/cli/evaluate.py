"""Commands that hold trained models against each other: evaluate, compare, experiment."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gdo.cli.data import AsJson

Target = Annotated[
    str, typer.Argument(help="A run's folder, or a model's folder or name.", metavar="RUN|MODEL")
]
On = Annotated[
    str | None,
    typer.Option("--on", help="Held-out questions: an exported JSONL, its folder, or POOL:SUBSET."),
]
Lmms = Annotated[
    str | None,
    typer.Option(help="Benchmarks that lmms-eval asks instead, such as mvbench,videomme.", metavar="TASKS"),
]
LmmsInclude = Annotated[Path | None, typer.Option(help="Folder with more tasks of lmms-eval.")]
LmmsPython = Annotated[
    Path | None, typer.Option(help="The interpreter that has lmms-eval; default: this one.")
]
Checkpoints = Annotated[Literal["all", "last"], typer.Option(help="Which are asked.")]
Kind = Annotated[
    str | None,
    typer.Option(help="Field or column that tells kinds apart; default: kind, else data_source."),
]
Name = Annotated[str | None, typer.Option(help="What the results are called; default: as what they are on.")]
Output = Annotated[
    Path | None,
    typer.Option("-o", "--output", help="Folder for evaluation/NAME.parquet; default: the run's."),
]
ModelRecipe = Annotated[str, typer.Option(help="Of a model: the recipe whose frames and pixels it is shown.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda.")]
IntoPool = Annotated[
    Path | None,
    typer.Option(help="Put the results into this pool too; default: that of POOL:SUBSET, else the run's."),
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("evaluate")(evaluate)
    app.command("compare")(compare)
    app.command("experiment")(experiment)


def evaluate(
    target: Target,
    *,
    on: On = None,
    lmms: Lmms = None,
    lmms_include: LmmsInclude = None,
    lmms_python: LmmsPython = None,
    checkpoints: Checkpoints = "all",
    kind: Kind = None,
    name: Name = None,
    output: Output = None,
    recipe: ModelRecipe = "paper",
    device: Device = "auto",
    pool: IntoPool = None,
    json: AsJson = False,
) -> None:
    """Ask held-out questions of each checkpoint of a run: accuracy by kind; goes on where it was killed."""
    from gdo.cli.output import print_json
    from gdo.cli.progress import progress_line
    from gdo.errors import UsageError
    from gdo.report.comparison import evaluate_tables
    from gdo.report.tables import show
    from gdo.train.evaluate.lmms import evaluate_lmms
    from gdo.train.evaluate.run import evaluate as run

    if (on is None) == (lmms is None) or (lmms and (name or kind)):
        raise UsageError("give --on QUESTIONS, or --lmms TASKS without --name and --kind")
    shared: dict[str, Any] = {"output": output, "checkpoints": checkpoints, "recipe": recipe}
    shared |= {"device": device, "pool": pool}
    with progress_line() as line:
        if on is not None:
            reports = [run(target, on, name=name, kind=kind, progress=line.update, **shared)]
        else:
            tasks = (lmms or "").split(",")
            reports = evaluate_lmms(
                target, tasks, python=lmms_python, include=lmms_include, say=line.say, **shared
            )
    if json:
        print_json(reports[0] if on is not None else reports)
        return
    for report in reports:
        show(evaluate_tables(asdict(report)))


def compare(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Evaluated runs, each FOLDER or LABEL=FOLDER; seeds of one group are put together.",
            metavar="RUN...",
        ),
    ],
    *,
    on: Annotated[str, typer.Option("--on", help="Name of the evaluation.")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Draw the trajectories to this PNG.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the bootstrap.")] = 0,
    json: AsJson = False,
) -> None:
    """Compare runs with their control: samples to match it, reduction, points, with 95 % intervals."""
    from gdo.cli.output import print_json
    from gdo.report.comparison import check_picture, compare_tables, write_trajectories
    from gdo.report.tables import show
    from gdo.train.compare.run import compare as run

    if output:
        check_picture(output)
    report = run(runs, on, seed=seed)
    if output:
        write_trajectories(asdict(report), output)
    print_json(report) if json else show(compare_tables(asdict(report)))


def experiment(
    pool: Annotated[Path, typer.Argument(help="The pool's DuckDB file, described.", metavar="POOL")],
    presets: Annotated[
        list[str],
        typer.Argument(help="minloss, diverse, temp, temp_plus, or TOML files.", metavar="PRESET..."),
    ],
    *,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="Folder for runs, evaluations and compare.png.")
    ],
    model: Annotated[str, typer.Option(help="Folder or name at the hub: where all runs start.")],
    on: Annotated[
        str, typer.Option("--on", help="Held-out questions: an exported JSONL, its folder, or POOL:SUBSET.")
    ],
    recipe: Annotated[str, typer.Option(help="paper, sparrow, safe, smoke, or a TOML file.")] = "paper",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE for any number of the recipe.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="How many; they count up from the recipe's.")] = 3,
    count: Annotated[int | None, typer.Option(help="Size of the subsets, not the presets' budgets.")] = None,
    mix: Annotated[
        list[str] | None,
        typer.Option(help="DIR_OR_JSONL:SHARE: train each subset once more with it mixed in (sparrow:0.33)."),
    ] = None,
    kind: Annotated[str | None, typer.Option(help="Field or column that tells kinds apart.")] = None,
    device: Device = "auto",
    workers: Annotated[int | None, typer.Option(help="Processes that read samples; 0: none beside.")] = None,
    json: AsJson = False,
) -> None:
    """Select, train subsets and Uni-1x and Uni-10x over seeds, evaluate, compare; killed, it goes on."""
    from gdo.cli.output import print_json
    from gdo.cli.progress import progress_line
    from gdo.report.comparison import compare_tables, write_trajectories
    from gdo.report.tables import show
    from gdo.train.experiment import experiment as run
    from gdo.train.machine import Machine
    from gdo.train.sources import parse_mix

    with progress_line() as line:
        report = run(
            pool,
            presets,
            output,
            model=model,
            held_out=on,
            recipe=recipe,
            settings=settings or [],
            seeds=seeds,
            count=count,
            mix=[parse_mix(one) for one in mix or []],
            kind=kind,
            machine=Machine(device, workers),
            progress=line.update,
            say=line.say,
        )
    write_trajectories(asdict(report), output / "compare.png")
    print_json(report) if json else show(compare_tables(asdict(report)))
