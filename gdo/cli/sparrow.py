"""Commands on long texts: sparrow makes samples of them, diversity tells what mixing them in does."""

from pathlib import Path
from typing import Annotated

import typer

from gdo.cli.data import AsJson, PoolPath
from gdo.errors import UsageError

Files = Annotated[list[Path], typer.Argument(help="Files of long texts with questions.", metavar="FILE...")]
Output = Annotated[Path, typer.Option("-o", "--output", help="Folder to write.")]
Format = Annotated[str, typer.Option(help="auto, longalpaca, longqlora, fairytaleqa, loogle or plain.")]
Field = Annotated[
    list[str] | None,
    typer.Option(help="NAME=KEY for a plain row's context, question, answer or document (its id)."),
]
Words = Annotated[int, typer.Option("--words-per-frame", help="Most words of a picture.")]
Sentences = Annotated[bool, typer.Option("--sentences", help="End a picture where a sentence ends.")]
Picture = Annotated[str, typer.Option(help="png, jpg or webp.")]
Font = Annotated[
    list[Path] | None,
    typer.Option(help="Font file to use before the bundled DejaVu Sans; the machine's fonts come last."),
]
MinWords = Annotated[
    int | None,
    typer.Option(help="Least words of a text; default 3000 for BookSum- and NaturalQuestions-like data."),
]
QuestionWords = Annotated[
    int | None,
    typer.Option(help="Most words of a question; default 30 for longqlora, 500 for longalpaca."),
]
MaxFrames = Annotated[int, typer.Option(help="Most pictures of a text.")]
MaxTokens = Annotated[int, typer.Option(help="Most tokens of a sample, its pictures' too.")]
FrameTokens = Annotated[
    int | None, typer.Option(help="Tokens of a picture; default the processor's count, else 64.")
]
Processor = Annotated[Path | None, typer.Option(help="Folder of a model's processor, to count tokens with.")]
MaxPixels = Annotated[
    int | None, typer.Option(help="Most pixels of a picture that the processor is to keep.")
]
Strict = Annotated[
    bool, typer.Option("--strict", help="Stop at a text that no font can show, do not leave it out.")
]
Workers = Annotated[int | None, typer.Option(help="Processes; default all cores.")]


def register(app: typer.Typer) -> None:
    """Add this module's commands."""
    app.command("sparrow")(sparrow)
    app.command("diversity")(diversity)


def sparrow(
    files: Files,
    output: Output,
    format: Format = "auto",
    field: Field = None,
    words: Words = 115,
    sentences: Sentences = False,
    picture: Picture = "png",
    font: Font = None,
    min_words: MinWords = None,
    question_words: QuestionWords = None,
    max_frames: MaxFrames = 100,
    max_tokens: MaxTokens = 10_240,
    tokens_per_frame: FrameTokens = None,
    processor: Processor = None,
    max_pixels: MaxPixels = None,
    strict: Strict = False,
    workers: Workers = None,
    json: AsJson = False,
) -> None:
    """Make video-like samples of long texts: pictures of their parts; killed, it goes on where it was."""
    from dataclasses import asdict
    from datetime import timedelta

    from gdo.cli.output import print_json
    from gdo.cli.progress import progress_line
    from gdo.report.sparrow import sparrow_tables
    from gdo.report.tables import show
    from gdo.train.sparrow.keep import Limits
    from gdo.train.sparrow.pages import Recipe
    from gdo.train.sparrow.run import Progress, make_sparrow

    limits = Limits(min_words, question_words, max_frames, max_tokens)
    recipe = Recipe(words, sentences, picture, tuple(font or ()), limits=limits, strict=strict)
    with progress_line() as line:

        def tell(progress: Progress) -> None:
            left = timedelta(seconds=round(progress.seconds_left))
            note = f"texts, {progress.pictures:,} pictures, {progress.rate:,.0f}/s, {left} left"
            line.update("drawing", progress.rows, progress.total, note)

        report = make_sparrow(
            files,
            output,
            format=format,
            fields=_fields(field or []),
            recipe=recipe,
            frame_tokens=tokens_per_frame,
            processor=processor,
            max_pixels=max_pixels,
            workers=workers,
            progress=tell,
        )
    print_json(report) if json else show(sparrow_tables(asdict(report)))


def _fields(given: list[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    if wrong := next((name for name, sign, key in pairs if not (name and sign and key)), None):
        raise UsageError(f"--field takes NAME=KEY, such as context=text; not {wrong!r}")
    return {name: key for name, _, key in pairs}


def diversity(
    pool: PoolPath,
    mix: Annotated[
        list[Path] | None, typer.Option(help="Rows to mix in, such as DIR/sparrow.jsonl; may be repeated.")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="Part of the mix that is mixed in, 0 to 1; default all there is.")
    ] = None,
    embed: Annotated[
        str, typer.Option(help="words (no weights needed), or open_clip:MODEL/WEIGHTS.")
    ] = "words",
    device: Annotated[str, typer.Option(help="For open_clip: auto, cpu or cuda.")] = "auto",
    limit: Annotated[int, typer.Option(help="Most instructions that a figure is taken over.")] = 20_000,
    map: Annotated[
        Path | None, typer.Option("--map", help="Draw the map of instructions to this .png (.jpg, .webp).")
    ] = None,
    json: AsJson = False,
) -> None:
    """Tell how diverse the instructions are, by source and before and after mixing; gdo report shows it."""
    from dataclasses import asdict

    from gdo.cli.output import print_json
    from gdo.report.sparrow import check_picture, diversity_tables, keep_diversity, write_map
    from gdo.report.tables import show
    from gdo.train.sparrow.diversity import measure_diversity

    if map:
        check_picture(map)
    found = measure_diversity(pool, mix or [], embedding=embed, device=device, share=share, limit=limit)
    report = asdict(found)
    keep_diversity(report, pool)
    if map:
        write_map(report, map)
    del report["points"]
    print_json(report) if json else show(diversity_tables(report))
