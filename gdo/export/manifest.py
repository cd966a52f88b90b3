"""The manifest of an export: where its rows come from, how they are written, how many, in which files."""

import hashlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import orjson

from gdo.errors import GdoError, UsageError
from gdo.export.card import CARD, write_card
from gdo.export.chat import is_video, untagged
from gdo.export.plan import Plan
from gdo.export.rows import Row

MADE_BY = "gdo export"


@dataclass(slots=True)
class Tally:
    """Counts of the rows that went by."""

    samples: int = 0
    images: int = 0
    videos: int = 0
    escaped: int = 0
    buckets: Counter[str] = field(default_factory=Counter)
    source_groups: Counter[str] = field(default_factory=Counter)

    def watch(self, rows: Iterable[Row], plan: Plan) -> Iterator[Row]:
        """Hand the rows on, and count them."""
        for row in rows:
            self.samples += 1
            for medium in row.media:
                if is_video(medium, plan.frames_as_images):
                    self.videos += 1
                else:
                    self.images += len(medium.paths)
            self.escaped += untagged(row.question) != row.question or untagged(row.answer) != row.answer
            self.buckets[row.bucket] += 1
            self.source_groups[row.source_group] += 1
            yield row

    def counts(self) -> dict[str, Any]:
        """As the manifest tells them."""
        return {
            "samples": self.samples,
            "images": self.images,
            "videos": self.videos,
            "bucket": dict(sorted(self.buckets.items())),
            "source_group": dict(sorted(self.source_groups.items())),
        }


_REPLACED = """
SELECT DISTINCT path FROM source
WHERE source_id IN (SELECT source_id FROM subset_sample JOIN sample USING (qa_uid) WHERE subset = ?)
AND ingested > ?
ORDER BY path
"""


def find_origin(connection: duckdb.DuckDBPyConnection, subset: str) -> dict[str, Any]:
    """How the subset was selected, as the pool tells it.

    Raises:
        UsageError: There is no such subset.
        GdoError: A source of its samples was replaced since.
    """
    rows = connection.execute(
        "SELECT preset, parameters, seed, pool_fingerprint, versions, created FROM subset WHERE subset = ?",
        [subset],
    ).fetchall()
    if not rows:
        known = connection.execute("SELECT subset FROM subset ORDER BY subset").fetchall()
        names = ", ".join(name for (name,) in known) or "none yet; `gdo select` makes one"
        raise UsageError(f"there is no subset {subset}; there are: {names}")
    preset, parameters, seed, fingerprint, versions, created = rows[0]
    replaced = connection.execute(_REPLACED, [subset, created]).fetchall()
    if replaced:
        raise GdoError(
            f"{replaced[0][0]} was replaced in the pool after {subset} was chosen; "
            "`gdo select` it again, then export"
        )
    return {
        "preset": preset,
        "parameters": orjson.loads(parameters or "null"),
        "seed": seed,
        "pool_fingerprint": fingerprint,
        "selected": created,
        "selected_with": orjson.loads(versions or "null"),
    }


def write_manifest(content: dict[str, Any], folder: Path, name: str, *, card: bool) -> None:
    """Describe the files of the folder and write it all beside them, a card too if it is asked."""
    files = {path.name: _described(path) for path in sorted(folder.iterdir())}
    if card:
        write_card(folder, hashlib.sha256(orjson.dumps(files)).hexdigest())
        files[CARD] = _described(folder / CARD)
    manifest = {"made_by": MADE_BY, **content, "files": [files[file] for file in sorted(files)]}
    (folder / name).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")


def _described(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"name": path.name, "bytes": path.stat().st_size, "sha256": digest}


def exported_names(manifest: Path) -> set[str]:
    """The names of the files that an earlier export wrote; empty if that is not the manifest of one."""
    try:
        told = orjson.loads(manifest.read_bytes())
        return {file["name"] for file in told["files"]} if told["made_by"] == MADE_BY else set()
    except (OSError, ValueError, KeyError, TypeError):
        return set()
