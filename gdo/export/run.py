"""Export a subset or its uniform control: read the members, write the format, tell it all in a manifest."""

from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from gdo.errors import UsageError
from gdo.export.formats import FORMATS, Format
from gdo.export.manifest import Tally, find_origin, write_manifest
from gdo.export.plan import Plan
from gdo.export.rows import LOOKAHEAD, Medium, Members, Row, find_members, path_prefixes, read_rows
from gdo.export.target import MANIFEST, Target
from gdo.pool.store import Pool, versions

SPOOL = ".rows"


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What was exported.

    Attributes:
        path: The folder or file.
        manifest: The manifest's file.
        samples: How many rows.
        images: How many images they show.
        videos: How many videos they show.
        notes: What a user should know of how it was written.
    """

    path: Path
    manifest: Path
    samples: int
    images: int
    videos: int
    notes: tuple[str, ...]


def export(
    pool: Path | str,
    subset: str,
    output: Path | str,
    *,
    format: str = "swift",
    uniform: bool = False,
    frames: int | None = None,
    absolute: bool = False,
    multiple: float | None = None,
) -> ExportReport:
    """Write the samples of a subset as files that a trainer reads, with a manifest.

    Args:
        pool: The pool's file.
        subset: Name of the subset.
        output: A folder, or a file that ends as the format's file does; replaced if it is an earlier export.
        format: A name in `gdo.export.formats.FORMATS`.
        uniform: Export the uniform control instead of the chosen samples.
        frames: Thin frame lists to so many frames by the released rule; None keeps the frames as listed.
            Sparrow's pictures of text are images, and always all there.
        absolute: Write absolute media paths instead of paths relative to the manifest's `media_root`.
        multiple: Export only the first `multiple` times as many samples of the control as were chosen.

    Raises:
        UsageError: No such subset, role, format or number, or the output is in the way.
        GdoError: A medium is missing.
    """
    if format not in FORMATS:
        raise UsageError(f"there is no export format {format}; there are {', '.join(FORMATS)}")
    if frames is not None and frames < 1:
        raise UsageError(f"frames must be a whole number from 1 up; it is {frames}")
    form, source, tally = FORMATS[format], Pool(pool), Tally()
    target = _target(Path(output), format, form)
    target.check_free()
    with target.staged() as staging:
        with source.read() as connection:
            content: dict[str, Any] = {"subset": subset, **find_origin(connection, subset)}
            members = find_members(connection, source.path, subset, uniform=uniform, multiple=multiple)
            prefixes, root = path_prefixes(members, absolute=absolute or form.packs_media)
            plan, first, notes = _plan(members, form, target)
            # Closed with the connection: an open reader would keep the database, and hang the next connect.
            with closing(read_rows(connection, members, prefixes, frames, first)) as found:
                rows = _spooled(tally.watch(found, plan), staging)
        form.write(rows, plan, staging)
        if tally.escaped and not form.ids_only:
            notes.append(f"{tally.escaped} samples have a media tag in their text; it is written as < image>")
        content |= {"role": members.role, "exported_with": versions(), "format": format}
        content["options"] = {"frames": frames, "absolute": absolute, "multiple": multiple}
        content |= {"media_root": root, "frame_lists": "images" if plan.frames_as_images else "videos"}
        content |= {"notes": notes, "counts": tally.counts()}
        write_manifest(content, staging, MANIFEST, card=not target.is_file)
    return ExportReport(target.path, target.manifest, tally.samples, tally.images, tally.videos, tuple(notes))


def _target(output: Path, format: str, form: Format) -> Target:
    """Whether the output is meant as a file or a folder."""
    is_file = output.suffix in {known.suffix for known in FORMATS.values()} and not output.is_dir()
    if is_file and output.suffix != form.suffix:
        fits = f"a file that ends in {form.suffix} or a folder" if form.suffix else "a folder"
        raise UsageError(f"{output} does not fit: the format {format} writes {fits}")
    return Target(output.absolute(), is_file)


def _plan(members: Members, form: Format, target: Target) -> tuple[Plan, tuple[int, ...], list[str]]:
    """How to write, which ranks to write first, and what the user should know of both."""
    notes = []
    lists, files = "frames" in members.most, "video" in members.most
    as_images = form.frames_as_images or (lists and files)
    if as_images and not form.frames_as_images and not form.ids_only:
        notes.append("frame lists are written as images, since `videos` holds video files in other rows")
    shown_as = {"image": "images", "frames": "images" if as_images else "videos", "video": "videos"}
    begins: dict[str, int] = {}
    for kind, rank in members.first_rank.items():
        begins[shown_as[kind]] = min(rank, begins.get(shown_as[kind], rank))
    first: tuple[int, ...] = ()
    if form.typed_by_beginning:
        first = tuple(sorted(rank for rank in begins.values() if rank >= LOOKAHEAD))
    notes += [f"rank {rank} is written first, so that loaders see the types of all columns" for rank in first]
    plan = Plan(
        name=members.subset if members.role == "chosen" else f"{members.subset}_uniform",
        file=target.path.name if target.is_file else f"data{form.suffix}",
        frames_as_images=as_images,
        video_lists=lists and not as_images,
        several_images=(lists and as_images) or members.synthetic or members.most.get("image", 0) > 1,
        several_videos=members.most.get("video", 0) > 1,
        with_bucket=members.synthetic,
    )
    return plan, first, notes


def _spooled(rows: Iterable[Row], folder: Path) -> Iterator[Row]:
    """Put all rows in a file at once, so that the pool is free while they are written out."""
    with (folder / SPOOL).open("xb") as file:
        file.writelines(orjson.dumps(row, tuple, orjson.OPT_APPEND_NEWLINE) for row in rows)
    return _unspooled(folder / SPOOL)


def _unspooled(path: Path) -> Iterator[Row]:
    with path.open("rb") as file:
        path.unlink()
        for line in file:
            *values, media = orjson.loads(line)
            yield Row._make((*values, [Medium(*medium) for medium in media]))
