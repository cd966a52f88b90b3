"""The pool's files of text: the two JSONL files that are ingested, and the truth about them that is not."""

import io
import json
from collections import defaultdict
from collections.abc import Iterator

import polars as pl

from gdo.demo.media import true_motion
from gdo.demo.plan import Plan, Row, Sample
from gdo.demo.scenes import Scene
from gdo.demo.words import TEMPORAL_KINDS

SCHEMA: dict[str, type[pl.DataType]] = {
    "qa_uid": pl.String,
    "media": pl.String,
    "kind": pl.String,
    "temporal": pl.Boolean,
    "needs_media": pl.Boolean,
    "wrong_answer": pl.Boolean,
    "correct_answer": pl.String,
    "exact_duplicate_of": pl.String,
    "duplicate_group": pl.String,
    "duplicate_of_media": pl.String,
    "how": pl.String,
    "true_speed": pl.Float64,
    "true_speed_per_second": pl.Float64,
    "true_flow": pl.Float64,
    "source": pl.String,
}


def jsonl(rows: list[Row]) -> bytes:
    """Rows as LLaVA-style JSON lines; media paths are relative to the pool's folder."""
    return "".join(f"{json.dumps(_record(row))}\n" for row in rows).encode()


def truth_parquet(plan: Plan) -> bytes:
    """The truth as a Parquet file, one row per sample in the order of the files.

    `media` is the first medium of a row of two. Speeds and flow (see `media.Motion`) are null for images.
    `duplicate_group` joins samples that ask for the same fact about the same or nearly the same media.
    """
    rows = plan.images + plan.videos
    groups = _groups(rows)
    records = [record for row in rows for record in _truths(row, groups)]
    buffer = io.BytesIO()
    pl.DataFrame(records, schema=SCHEMA, orient="row").write_parquet(buffer)
    return buffer.getvalue()


def _record(row: Row) -> dict[str, object]:
    paths = [medium.path for medium in row.media]
    clip = isinstance(row.media[0].content, Scene)
    tags = ("<video>\n" if clip else "<image>\n") * len(paths)
    turns = []
    for i, sample in enumerate(row.samples):
        turns.append({"from": "human", "value": f"{'' if i else tags}{sample.asked.question}"})
        turns.append({"from": "gpt", "value": sample.answer})
    shown: dict[str, object] = (
        {"video_id": row.media[0].stem, "video": paths[0]}
        if clip
        else {"image": paths[0] if len(paths) == 1 else paths}
    )
    return {"id": row.id, **shown, "conversations": turns, "data_source": row.source}


def _groups(rows: list[Row]) -> dict[Sample, str]:
    """The name of the group of each sample that is not alone in its own."""
    alike: dict[tuple[str, str], list[Sample]] = defaultdict(list)
    for row in rows:
        for sample in row.samples:
            alike[row.root, sample.asked.fact].append(sample)
    groups = [members for members in alike.values() if len(members) > 1]
    return {sample: f"g{number:05d}" for number, members in enumerate(groups) for sample in members}


def _truths(row: Row, groups: dict[Sample, str]) -> Iterator[tuple[object, ...]]:
    medium = row.media[0]
    motion = true_motion(medium.content, medium.variant) if isinstance(medium.content, Scene) else None
    for sample in row.samples:
        asked = sample.asked
        yield (
            sample.uid,
            medium.path,
            asked.kind,
            asked.kind in TEMPORAL_KINDS,
            asked.kind != "text_only",
            sample.wrong,
            asked.answer,
            sample.copy_of.uid if sample.copy_of else None,
            groups.get(sample),
            row.original.path if row.original else None,
            medium.variant.how or None,
            motion.speed if motion else None,
            motion.speed_per_second if motion else None,
            motion.flow if motion else None,
            row.source,
        )
