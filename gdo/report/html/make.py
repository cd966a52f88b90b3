"""`gdo report`: what stands in a pool as one HTML file that works offline."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from gdo import __version__
from gdo.errors import UsageError
from gdo.pool.atomic import write_output
from gdo.pool.copies import read_copy
from gdo.pool.store import Pool, utc_now
from gdo.report.html.blocks import Section
from gdo.report.html.glance import glance_section
from gdo.report.html.instructions import instructions_section
from gdo.report.html.mapping import map_section
from gdo.report.html.page import render
from gdo.report.html.pictures import Medium, Pictures, draw_pictures, find_media
from gdo.report.html.relations import relations_section
from gdo.report.html.samples import duplicates_section, sheets_section
from gdo.report.html.source import Source
from gdo.report.html.strata import strata_section
from gdo.report.html.subsets import overlap_section, read_subsets, subsets_section
from gdo.report.html.trajectories import read_runs, stored_runs, trajectories_section
from gdo.report.html.values import measure, values_section
from gdo.report.sparrow import kept_diversity

Progress = Callable[[str, int, int], None]
PAGE_BYTES = 14_500_000
"""What pictures fill a page up to, at most; the little that is told of missing ones comes on top."""
PICTURE_BYTES = 7_500_000
"""Of all pictures together, at most."""


@dataclass(frozen=True, slots=True)
class ReportMade:
    """What was written.

    Attributes:
        path: The file.
        bytes: Its size.
        samples: Of the pool.
        sampled: Rows that quantiles, ranks and maps were taken from at most.
        pictures: Media that are shown.
        pictures_missing: Media that could not be, each with its reason in the page.
        sections: Titles.
    """

    path: Path
    bytes: int
    samples: int
    sampled: int
    pictures: int
    pictures_missing: int
    sections: list[str]


def report(
    pool: Path | str,
    output: Path | str = "report.html",
    *,
    subsets: Sequence[str] = (),
    runs: Sequence[str] = (),
    progress: Progress | None = None,
) -> ReportMade:
    """Write a pool's report, from a copy of it: the pool is not held while it is counted.

    How diverse the instructions are is shown as `gdo.report.sparrow.keep_diversity` kept it.

    Args:
        pool: The pool's file.
        output: The page to write; an older one is replaced.
        subsets: Names of those to show; all by default.
        runs: Folders of evaluated runs, or `LABEL=FOLDER`, beside those in table `evaluation`.
        progress: Called with what is done, how many, of how many.

    Raises:
        UsageError: No such pool, subset or evaluation, or the page cannot be written there.
    """
    path = _checked(Path(output))
    given = read_runs(runs)
    target = Pool(pool)
    target.upgrade()
    with read_copy(target) as connection:
        source = Source(connection, target.path.parent)
        sections = _sections(source, subsets, kept_diversity(pool), progress or _quiet)
        sections.append(trajectories_section([*given, *stored_runs(source, given)]))
        media = _shown_media(source, sections)
        samples, sampled = source.samples, len(source.sample)
    tell = progress or _quiet
    draw = partial(render, target.path.name, sections, made=utc_now(), gdo=__version__)
    bare = draw(Pictures({medium.media_id: "" for medium in media}))
    room = min(PICTURE_BYTES, PAGE_BYTES - len(bare.encode()))
    pictures = draw_pictures(media, room, lambda done, of: tell("drawing pictures", done, of))
    page = draw(pictures)
    write_output(path, lambda aside: aside.write_text(page, encoding="utf-8"))
    return ReportMade(
        path,
        path.stat().st_size,
        samples,
        sampled,
        len(pictures.shown),
        len(pictures.missing),
        [section.title for section in sections],
    )


def _sections(
    source: Source, wanted: Sequence[str], instructions: Mapping[str, Any] | None, tell: Progress
) -> list[Section]:
    """All sections that the pool itself fills, in the order of the page."""
    subsets = read_subsets(source, wanted)
    moments = measure(source)
    makers: list[Callable[[], Section]] = [
        lambda: glance_section(source),
        lambda: strata_section(source),
        lambda: values_section(source, moments),
        lambda: relations_section(source),
        lambda: map_section(source, [subset.name for subset in subsets]),
        lambda: instructions_section(source, instructions),
        lambda: subsets_section(source, subsets, moments),
        lambda: overlap_section(source, subsets),
        lambda: duplicates_section(source),
        lambda: sheets_section(source),
    ]
    sections = []
    tell("counting", 0, len(makers))
    for number, make in enumerate(makers, 1):
        sections.append(make())
        tell("counting", number, len(makers))
    return sections


def _shown_media(source: Source, sections: Sequence[Section]) -> list[Medium]:
    """The media that cards show, each once, in the page's order."""
    keys = [card.picture for section in sections for card in section.cards if card.picture is not None]
    return find_media(source, list(dict.fromkeys(keys)))


def _checked(path: Path) -> Path:
    if path.suffix not in (".html", ".htm"):
        raise UsageError(f"{path} must end in .html")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder {path.absolute().parent} does not exist; make it first")
    return path


def _quiet(what: str, done: int, of: int) -> None:
    """Tell nothing."""
