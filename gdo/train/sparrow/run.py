"""A run of Sparrow: files of long texts in, a folder of pictures and rows out, by many processes.

Texts are worked on in the order of the files, so the same files and settings give the same bytes whatever
the number of processes; pictures that a killed run finished are kept.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from gdo.descriptors.engine.local import run_in_order, usable_cores
from gdo.errors import UsageError
from gdo.pool.atomic import write_aside
from gdo.train.sparrow.glyphs import check_fonts
from gdo.train.sparrow.keep import CountTokens, estimated_tokens, processor_counts
from gdo.train.sparrow.pages import LeftOut, Made, Recipe, Task, left_out, make_document
from gdo.train.sparrow.picture import FORMATS
from gdo.train.sparrow.place import LEFT_OUT, ROWS, claimed, digest_of, left_out_line, write_manifest
from gdo.train.sparrow.readers import (
    PLAIN_FIELDS,
    READERS,
    BadRow,
    Document,
    count_rows,
    format_of,
    read_documents,
)
from gdo.train.sparrow.tally import SparrowReport, Tally

TIME_LIMIT = 600.0
"""Seconds for one text; a hundred pictures take less than two."""
AHEAD = 16
"""Texts handed out for each process before the first of them is done."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is."""

    rows: int
    total: int
    pictures: int
    rate: float
    """Pictures drawn a second."""
    seconds_left: float


@dataclass(frozen=True, slots=True)
class _Input:
    path: Path
    name: str
    stem: str
    format: str


def make_sparrow(
    files: Sequence[Path | str],
    output: Path | str,
    *,
    format: str = "auto",
    fields: Mapping[str, str] | None = None,
    recipe: Recipe | None = None,
    frame_tokens: int | None = None,
    processor: Path | str | None = None,
    max_pixels: int | None = None,
    workers: int | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> SparrowReport:
    """Turn long texts with questions into samples whose frames are pictures of the text.

    Writes `sparrow.jsonl` (rows for `gdo ingest` and trainers, paths relative to the folder), `pictures/`,
    `left_out.jsonl` (what is no sample, and why) and `manifest.json`. Killed, the same call goes on.

    Args:
        files: Files of texts, in any container that ingest reads.
        output: Folder to write; made if missing.
        format: A name of `readers.READERS`, or `auto` to tell each file by its rows.
        fields: Keys of plain rows: context, question, answer, document -> key.
        recipe: How to draw and what to keep.
        frame_tokens: Tokens of a picture; default the processor's count, else the recipe's.
        processor: Folder of a model's processor that counts tokens; without it they are estimated.
        max_pixels: Most pixels of a picture that the processor is to keep.
        workers: Processes; default all cores.
        progress: Called after each row.

    Raises:
        UsageError: A file, name, number or font is wrong, or the folder holds something else.
        GdoError: The processor cannot be used; or a text cannot be shown and the recipe is strict.
    """
    started = time.monotonic()
    recipe = _with_frame_tokens(recipe or Recipe(), frame_tokens)
    _check(recipe, fields or {}, workers, format)
    inputs = _inputs(files, format, fields or {})
    count: CountTokens = estimated_tokens
    if processor is not None:
        count, counted = processor_counts(Path(processor), recipe.style.side, max_pixels)
        recipe = _with_frame_tokens(recipe, counted if frame_tokens is None else frame_tokens)
    told = f"by the tokenizer of {processor}" if processor else "estimated: a third of the bytes"
    settings = _settings(inputs, recipe, fields or {}, told)
    folder, tally = Path(output), Tally()
    with claimed(folder, settings):
        show = _shower(progress, sum(count_rows(one.path) for one in inputs), started)
        work = _Work(recipe, folder, dict(fields or {}), count, tally)
        made = work.documents(inputs, workers or usable_cores())
        write_aside(folder / ROWS, partial(_write_rows, made, tally, show))
        _write_left_out(folder / LEFT_OUT, tally, inputs)
        write_manifest(folder, settings | tally.counts())
    return tally.report(folder / ROWS, recipe.limits.frame_tokens, told, time.monotonic() - started)


def _with_frame_tokens(recipe: Recipe, frame_tokens: int | None) -> Recipe:
    if frame_tokens is None:
        return recipe
    return replace(recipe, limits=replace(recipe.limits, frame_tokens=frame_tokens))


def _check(recipe: Recipe, fields: Mapping[str, str], workers: int | None, format: str) -> None:
    """Raise UsageError for a name or number that makes no sense."""
    limits = recipe.limits
    numbers = {
        "words": recipe.words,
        "max_frames": limits.max_frames,
        "max_tokens": limits.max_tokens,
        "frame_tokens": limits.frame_tokens,
        "workers": 1 if workers is None else workers,
    }
    for name, number in numbers.items():
        if number < 1:
            raise UsageError(f"{name} must be at least 1; it is {number}")
    if recipe.picture not in FORMATS:
        raise UsageError(f"pictures can be {', '.join(FORMATS)}; not {recipe.picture!r}")
    if format not in {"auto", *READERS}:
        raise UsageError(f"unknown format {format!r}; known are auto, {', '.join(READERS)}")
    if unknown := sorted(set(fields) - set(PLAIN_FIELDS)):
        raise UsageError(f"unknown field {unknown[0]!r}; known are {', '.join(PLAIN_FIELDS)}")
    if fields and format not in {"auto", "plain"}:
        raise UsageError(f"fields are of the format plain; {format} knows its own")
    check_fonts(recipe.fonts)


def _inputs(files: Sequence[Path | str], format: str, fields: Mapping[str, str]) -> list[_Input]:
    """The files with their readers, and names that tell them apart."""
    paths = [Path(file) for file in files]
    if not paths:
        raise UsageError("give at least one file of texts")
    seen, inputs = Counter[str](), list[_Input]()
    names = Counter(path.name for path in paths)
    for path in paths:
        stem = path.name.split(".")[0] or "texts"
        seen[stem] += 1
        unique = stem if seen[stem] == 1 else f"{stem}.{seen[stem]}"
        kind = format if format != "auto" else format_of(path, fields)
        if not path.exists():
            raise UsageError(f"there is no file or folder {path}")
        inputs.append(_Input(path, path.name if names[path.name] == 1 else str(path), unique, kind))
    return inputs


def _settings(inputs: list[_Input], recipe: Recipe, fields: Mapping[str, str], told: str) -> dict[str, Any]:
    files = [{"file": one.name, "format": one.format, "sha256": digest_of(one.path)} for one in inputs]
    return {"inputs": files, "fields": dict(fields), "recipe": recipe, "tokens_of_text": told}


@dataclass(slots=True)
class _Work:
    """Documents on their way through the processes."""

    recipe: Recipe
    folder: Path
    fields: dict[str, str]
    count: CountTokens
    tally: Tally

    def documents(self, inputs: list[_Input], workers: int) -> Iterator[Made]:
        """What came of each document, in order."""
        yield from run_in_order(
            partial(make_document, self.recipe, self.folder),
            self._tasks(inputs),
            lambda task, reason: Made(left_out=[left_out(task, "", reason)]),
            workers=0 if workers == 1 else workers,
            time_limit=TIME_LIMIT,
            ahead=AHEAD * workers,
        )

    def _tasks(self, inputs: list[_Input]) -> Iterator[Task]:
        for one in inputs:
            for item in read_documents(one.path, one.format, self.fields):
                self.tally.rows += 1
                if isinstance(item, BadRow):
                    self.tally.bad += 1
                    self.tally.left_out.append(LeftOut(one.name, item.line, "", item.reason, item.detail))
                else:
                    yield self._task(one, item)

    def _task(self, one: _Input, document: Document) -> Task:
        plain = one.format == "plain"
        if plain and not document.family:
            document.family = one.stem
        self.tally.questions += len(document.questions) + len(document.bad)
        tokens = [self.count(f"{question.text}\n{question.answer}") for question in document.questions]
        source = f"sparrow_{one.stem if plain else one.format}"
        return Task(document, one.stem, one.name, one.format, source, tokens)


def _shower(
    progress: Callable[[Progress], None] | None, total: int, started: float
) -> Callable[[Tally, int], None]:
    def show(tally: Tally, done: int) -> None:
        if progress:
            elapsed = max(time.monotonic() - started, 1e-9)
            rows = done + tally.bad
            left = elapsed * (total - rows) / max(rows, 1)
            progress(Progress(rows, total, tally.drawn, tally.drawn / elapsed, max(left, 0.0)))

    return show


def _write_rows(made: Iterator[Made], tally: Tally, show: Callable[[Tally, int], None], path: Path) -> None:
    with path.open("wb", buffering=1 << 20) as file:
        done = 0
        for done, one in enumerate(made, 1):
            file.writelines(one.rows)
            tally.take(one)
            show(tally, done)
        show(tally, done)


def _write_left_out(path: Path, tally: Tally, inputs: list[_Input]) -> None:
    order = {one.name: number for number, one in enumerate(inputs)}
    tally.left_out.sort(key=lambda item: (order[item.file], item.line))
    write_aside(path, lambda aside: aside.write_bytes(b"".join(map(left_out_line, tally.left_out))))
