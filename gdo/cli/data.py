"""Commands that fill a pool and ask it: ingest, import-descriptors, describe, sql."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gdo.errors import UsageError

PoolPath = Annotated[Path, typer.Argument(help="The pool's DuckDB file.", metavar="POOL")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the figures as JSON.")]

Probe = Annotated[
    str | None,
    typer.Option(
        help="Model that is asked: self (trained on the pool, the default where one is needed), a folder, or "
        "a name at the hub; for temporal also text (its default) or words."
    ),
]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:N, or several by commas: one process each.")]
Context = Annotated[bool, typer.Option("--context", help="Show the model earlier turns of a sample's row.")]
MostFrames = Annotated[
    int | None,
    typer.Option("--frames", help="Most frames that the model is shown; default 32 or the proxy's."),
]
MostPixels = Annotated[
    int | None, typer.Option("--max-pixels", help="Most pixels of a frame; default 50176 or the proxy's.")
]
FramesAs = Annotated[
    Literal["images", "video"] | None,
    typer.Option(help="How a clip is shown to the model; default: images, for the self-proxy a video."),
]
ProxyMinutes = Annotated[
    float | None, typer.Option(help="Time to train the self-proxy for, where there is none.")
]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("ingest")(ingest)
    app.command("import-descriptors")(import_descriptors)
    app.command("describe")(describe)
    app.command("sql")(sql)


def ingest(
    pool: PoolPath,
    files: Annotated[
        list[Path],
        typer.Argument(help="Files of rows; folders of Parquet, Arrow or tar files.", metavar="FILE..."),
    ],
    media_root: Annotated[
        Path | None,
        typer.Option(help="Folder that relative media paths start from; default each file's folder."),
    ] = None,
    format: Annotated[
        str,
        typer.Option(help="auto, llava, swift, sharegpt, parquet, hf or webdataset."),
    ] = "auto",
    kind: Annotated[str, typer.Option(help="auto, image or video.")] = "auto",
    source_name: Annotated[
        str | None, typer.Option(help="Put before every id, to tell equal ids of two files apart.")
    ] = None,
    replace: Annotated[bool, typer.Option(help="Take a changed file in place of its old rows.")] = False,
    strict: Annotated[
        bool, typer.Option(help="Keep out rows whose placeholders differ in number from their media.")
    ] = False,
    first_image_only: Annotated[
        bool, typer.Option(help="Keep only the first image of an image row, as the release does.")
    ] = False,
    probe_media: Annotated[
        bool, typer.Option(help="Read the headers of all media files afterwards.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; default all cores.")] = None,
    json: AsJson = False,
) -> None:
    """Read files of question-answer rows into a pool, and tell what gave no sample."""
    from gdo.cli.output import print_json
    from gdo.cli.progress import progress_line
    from gdo.pool.commit import IngestReport
    from gdo.pool.ingest import ingest as run
    from gdo.report.tables import describe_tables, ingest_tables, show

    reports = list[IngestReport]()
    try:
        with progress_line() as line:
            run(
                pool,
                list(files),
                media_root=media_root,
                format=format,
                kind=kind,
                source_name=source_name,
                replace=replace,
                strict=strict,
                first_image_only=first_image_only,
                workers=workers,
                progress=lambda what, rows, pairs: line.update(what, rows, note=f"rows, {pairs:,} samples"),
                taken=reports.append,
            )
    finally:
        if reports and not json:
            show(ingest_tables(reports))
    if probe_media:
        from gdo.descriptors.describe import probe_media_headers

        with progress_line() as line:
            headers = probe_media_headers(pool, workers=workers, progress=line.show)
        if not json:
            show(describe_tables(headers))
    if json:
        print_json({"files": reports, "headers": headers} if probe_media else reports)


def import_descriptors(
    pool: PoolPath,
    file: Annotated[
        Path, typer.Argument(help="JSONL (.gz, .zst) or Parquet, keyed by qa_uid.", metavar="FILE")
    ],
    json: AsJson = False,
) -> None:
    """Take descriptor values computed elsewhere, such as the reference's merged metrics."""
    from gdo.cli.output import print_json
    from gdo.descriptors.importing import import_descriptors as run
    from gdo.report.tables import import_tables, show

    report = run(pool, file)
    print_json(report) if json else show(import_tables(report))


def describe(
    pool: PoolPath,
    names: Annotated[
        list[str] | None,
        typer.Argument(
            help="motion, temporal, dependency, coverage, stability, fingerprint; default all but these two.",
            metavar="[NAME]...",
        ),
    ] = None,
    probe: Probe = None,
    device: Device = "auto",
    context: Context = False,
    frames: MostFrames = None,
    max_pixels: MostPixels = None,
    frames_as: FramesAs = None,
    proxy_minutes: ProxyMinutes = None,
    embed: Annotated[
        str,
        typer.Option(help="Vectors of coverage: the states of the `probe`, or open_clip:MODEL/WEIGHTS."),
    ] = "probe",
    clusters: Annotated[
        int | None,
        typer.Option(help="Clusters of coverage; default as asked before, else one a sample to 4,096."),
    ] = None,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Time a small sample and tell the price; do nothing else.")
    ] = False,
    workers: Annotated[int | None, typer.Option(help="Processes that read media; default all cores.")] = None,
    engine: Annotated[
        str, typer.Option(help="local: this machine; ray: a Ray cluster (docs/cluster.md).")
    ] = "local",
    address: Annotated[
        str | None,
        typer.Option(help="Of the cluster: auto or HOST:PORT; default one for this run."),
    ] = None,
    storage: Annotated[
        str | None,
        typer.Option(help="Folder or URL that all nodes see, for parts; default the pool's side folder."),
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Compute at most so many per descriptor.")] = None,
    retry_errors: Annotated[bool, typer.Option(help="Compute again what failed before.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds for one media file.")] = 60.0,
    json: AsJson = False,
) -> None:
    """Compute descriptors of what has none yet; killed, it goes on where it was."""
    from gdo.cli.output import print_json
    from gdo.cli.progress import progress_line
    from gdo.report.tables import describe_tables, estimate_tables, show

    choice: dict[str, Any] = {
        "probe": probe,
        "device": device,
        "context": context,
        "frames": frames,
        "max_pixels": max_pixels,
        "frames_as": frames_as,
        "proxy_minutes": proxy_minutes,
        "embed": embed,
        "clusters": clusters,
        "workers": workers,
        "time_limit": time_limit,
    }
    with progress_line() as line:
        if estimate:
            from gdo.descriptors.engine.estimate import estimate as price

            prices = price(pool, names or None, say=line.say, **choice)
        else:
            from gdo.descriptors.describe import describe as run

            report = run(
                pool,
                names or None,
                engine=engine,
                address=address,
                storage=storage,
                limit=limit,
                retry_errors=retry_errors,
                progress=line.show,
                say=line.say,
                **choice,
            )
    if estimate:
        print_json(prices) if json else show(estimate_tables(prices))
    else:
        print_json(report) if json else show(describe_tables(report))


def sql(
    pool: PoolPath,
    query: Annotated[str, typer.Argument(help="One SELECT statement.", metavar="QUERY")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Write to a .csv, .json or .parquet file.")
    ] = None,
    time_limit: Annotated[float, typer.Option(help="Seconds after which the query is stopped.")] = 60.0,
    max_rows: Annotated[
        int | None, typer.Option(help="At most so many rows; default 100 in a table, else all.", min=0)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print all rows as JSON, as -o FILE.json.")] = False,
) -> None:
    """Ask the pool in SQL, read-only and sandboxed."""
    from gdo.cli.output import print_made
    from gdo.pool.query import run_sql
    from gdo.report.query import SHOWN_ROWS, query_tables
    from gdo.report.tables import show

    if json and output:
        raise UsageError("--json prints the rows and -o writes them to a file; give one of them")
    if json:
        print_made(
            "rows.json",
            lambda path: run_sql(pool, query, output=path, time_limit=time_limit, max_rows=max_rows),
        )
        return
    most = SHOWN_ROWS if max_rows is None and output is None else max_rows
    show(query_tables(run_sql(pool, query, output=output, time_limit=time_limit, max_rows=most)))
