"""The pool at a glance: files, buckets, media, rows that gave no sample, and how the pool came about."""

from collections.abc import Sequence

from gdo.report.html.blocks import Block, Chart, Grid, Section, Tiles
from gdo.report.html.charts import bars
from gdo.report.html.source import Source

MOST_ROWS = 30
"""Rows of a table of files or reasons; what is more is counted in its note."""
MOST_RUNS = 20

# One row is one reason why input rows gave no sample, or gave a flawed one, with an example.
_BAD_ROWS = """
SELECT path, reason, CASE WHEN kept THEN 'kept' ELSE 'left out' END, count(*), min(line),
    arg_min(detail, line)
FROM bad_row JOIN source USING (source_id) GROUP BY ALL ORDER BY 4 DESC, 1, 2
"""

# One row is one reason why media cannot be read or are damaged: what stands after the last path in it.
_MEDIA_ERRORS = """
SELECT string_split(error, ': ')[-1], count(DISTINCT media_id), count(qa_uid)
FROM media LEFT JOIN sample_media USING (media_id) WHERE error IS NOT NULL
GROUP BY 1 ORDER BY 2 DESC, 1
"""

# One row is one kind of media.
_MEDIA = """
SELECT kind, count(*), count(width), median(width), median(height), median(duration), sum(bytes)
FROM media GROUP BY kind ORDER BY kind
"""

_SOURCES = """
SELECT path, format, kind, coalesce(name, ''), rows_read, rows_bad, samples, media_root
FROM source ORDER BY source_id
"""

_RUNS = "SELECT run_id, command, started, epoch(ended - started) FROM run ORDER BY run_id DESC"


def glance_section(source: Source) -> Section:
    """The first section."""
    files = source.rows(_SOURCES)
    blocks: list[Block] = [
        _tiles(source),
        Grid(
            "Files",
            ["file", "format", "kind", "name", "rows>", "bad rows>", "samples>", "media root"],
            files[:MOST_ROWS],
            _more(files, "files"),
        ),
    ]
    buckets = dict(source.rows("SELECT bucket, count(*) FROM sample GROUP BY 1 ORDER BY 1"))
    groups = source.rows("SELECT source_group, count(*) FROM sample GROUP BY 1 ORDER BY 2 DESC, 1")
    if buckets:
        shown = dict(groups[:MOST_ROWS])
        blocks += [
            Chart("Samples by bucket", bars({"samples": buckets}, axis="samples")),
            Chart("Samples by source", bars({"samples": shown}, axis="samples"), _more(groups, "sources")),
        ]
    columns = ["kind", "media>", "header read>", "width, median>", "height>", "seconds, median>", "bytes>"]
    blocks.append(
        Grid("Media", columns, source.rows(_MEDIA), "“-” is not known yet: describe reads headers.")
    )
    errors = source.rows(_MEDIA_ERRORS)
    if errors:
        blocks.append(
            Grid(
                "Media that cannot be read, or are damaged",
                ["reason", "media>", "samples>"],
                errors[:MOST_ROWS],
                _more(errors, "reasons"),
            )
        )
    bad = source.rows(_BAD_ROWS)
    if bad:
        columns = ["file", "reason", "outcome", "rows>", "first line>", "such as"]
        blocks.append(Grid("Rows with trouble", columns, bad[:MOST_ROWS], _more(bad, "reasons")))
    runs = [(number, command, str(begun)[:19], took) for number, command, begun, took in source.rows(_RUNS)]
    columns = ["run>", "command", "started (UTC)", "seconds>"]
    blocks.append(
        Grid(
            "Commands that changed the pool, latest first",
            columns,
            runs[:MOST_RUNS],
            _more(runs, "commands", MOST_RUNS),
        )
    )
    return Section("glance", "The pool at a glance", "", blocks)


def _tiles(source: Source) -> Tiles:
    counts = source.rows(
        "SELECT (SELECT count(*) FROM media), (SELECT count(*) FROM media WHERE error IS NOT NULL), "
        "(SELECT count(*) FROM source), (SELECT count(DISTINCT source_group) FROM sample), "
        "(SELECT count(*) FROM bad_row WHERE NOT kept)"
    )[0]
    names = ("media", "media with errors", "files", "sources", "rows left out")
    return Tiles(
        [
            ("samples", source.samples),
            *zip(names, counts, strict=True),
            ("columns of values", len(source.filled)),
            ("subsets", len(source.subsets)),
        ]
    )


def _more(rows: Sequence[object], what: str, shown: int = MOST_ROWS) -> str:
    return f"{len(rows) - shown:,} more {what} are not shown." if len(rows) > shown else ""
