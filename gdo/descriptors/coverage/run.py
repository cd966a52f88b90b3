"""Coverage of a pool: vectors of media, vectors of samples, then clusters over all of them.

Vectors are kept as they come, like the values of any descriptor. Clusters depend on all samples, so they are
made anew when some have none, and taken into the pool at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa

from gdo.descriptors.coverage.clusters import MOST_CLUSTERS, Coverage, assign, find_centroids
from gdo.descriptors.coverage.embedder import Embedder
from gdo.descriptors.coverage.embedding import MediaEmbedding, SampleEmbedding
from gdo.descriptors.coverage.number import count_clusters, labelled
from gdo.descriptors.coverage.open_clip import PREFIX as OPEN_CLIP
from gdo.descriptors.coverage.open_clip import find_open_clip
from gdo.descriptors.coverage.tables import put_in_place
from gdo.descriptors.coverage.vectors import write_vectors
from gdo.descriptors.engine.asking import Step
from gdo.descriptors.engine.models import Chosen, Say
from gdo.descriptors.engine.on_device import spread
from gdo.descriptors.engine.one import describe_one
from gdo.descriptors.engine.run import (
    DescriptorReport,
    Options,
    Steps,
    Work,
    describe_command,
    kept,
    work_off,
)
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.errors import UsageError
from gdo.pool.candidate import literal
from gdo.pool.store import Pool, scalar

PROBE = "probe"
"""The embedder that is always there: the probe."""
SEED = 42
TEXTS_PER_BATCH = 2048


@dataclass(frozen=True, slots=True)
class CoverChoice:
    """What a person says of coverage.

    Attributes:
        embed: `probe`, or `open_clip:MODEL/WEIGHTS`.
        clusters: How many; None for as many as before, or else the number of samples, at most 4,096.
    """

    embed: str = PROBE
    clusters: int | None = None

    def __post_init__(self) -> None:
        if self.embed != PROBE and not self.embed.startswith(OPEN_CLIP):
            raise UsageError(f"embed must be {PROBE} or {OPEN_CLIP}MODEL/WEIGHTS; it is {self.embed!r}")
        if self.clusters is not None and self.clusters < 1:
            raise UsageError(f"clusters must be 1 or more; it is {self.clusters}")


def find_embedder(embed: str, chosen: Chosen | None) -> Embedder:
    """The embedder of a name; no weights are loaded yet.

    Args:
        embed: `probe`, or `open_clip:MODEL/WEIGHTS`.
        chosen: The probe, if one was asked; its weights are let go.

    Raises:
        UsageError: There is no such model, or open_clip is not installed.
    """
    if chosen:
        chosen.let_go()
    if chosen is None or embed != PROBE:
        if not find_spec("open_clip"):
            raise UsageError(f"{embed} needs open_clip: pip install 'gdo[train]'")
        return find_open_clip(embed)
    chosen.say(
        f"embeddings are the states of {chosen.card.label}; where weights can be had, a model made for it "
        f"tells more: --embed {OPEN_CLIP}MODEL/WEIGHTS"
    )
    return chosen.models.embedder(chosen.card)


def cover(
    pool: Pool,
    embedder: Embedder,
    devices: Sequence[str],
    clusters: int | None,
    options: Options,
    say: Say,
) -> dict[str, DescriptorReport]:
    """Compute what lacks vectors, and the clusters if some sample has none.

    Args:
        pool: The pool.
        embedder: Who makes the vectors.
        devices: Where.
        clusters: How many; see `CoverChoice`.
        options: How.
        say: Called with what a person should know.

    Raises:
        GdoError: The embedder cannot be loaded, or another process does the same.
    """
    vectors = MediaEmbedding(embedder)
    tables = [DescriptorParts(pool, vectors), DescriptorParts(pool, SampleEmbedding(embedder))]
    put_in_place(pool, tables)
    media = describe_one(pool, vectors, options, devices=devices, card=embedder.card)
    samples = _embed_samples(pool, embedder, devices, options)
    coverage = _find_clusters(pool, embedder, clusters, options, say)
    return {report.name: report for report in (media, samples, coverage)}


def _embed_samples(
    pool: Pool, embedder: Embedder, devices: Sequence[str], options: Options
) -> DescriptorReport:
    parts = DescriptorParts(pool, SampleEmbedding(embedder), embedder.card)
    media = f"FROM media_embedding WHERE {_made_by(MediaEmbedding, embedder)}"
    # Samples wait for their media: with a limit some have none yet.
    parts.subjects += (
        " WHERE qa_uid NOT IN (SELECT qa_uid FROM sample_media "
        f"ANTI JOIN (SELECT media_id {media}) USING (media_id))"
    )
    report = DescriptorReport(parts.name, parts.descriptor.version, parts.descriptor.probe)
    file = parts.folder / "media.npy"

    def start() -> Work:
        plan = parts.plan(options.limit, retry_errors=options.retry_errors)
        report.already = plan.already
        if not plan.todo:
            return Work(0, _nothing(), [plan.path])
        with pool.read() as connection:
            query = f"SELECT media_id AS key, embedding AS vector {media} AND error IS NULL"
            vectors = write_vectors(connection, query, embedder.size, file)
        here = options.engine.here(devices)
        tables = spread(SampleEmbedding(embedder, vectors).load, plan.batches(TEXTS_PER_BATCH), here)
        return Work(plan.todo, kept(parts, tables), [plan.path])

    arguments = describe_command({"name": report.name}, options)
    try:
        work_off([parts], {report.name: report}, options, arguments, start)
    finally:
        file.unlink(missing_ok=True)
    return report


def _made_by(which: type[MediaEmbedding] | type[SampleEmbedding], embedder: Embedder) -> str:
    """A condition that rows of a table of vectors are an embedder's."""
    return f"version = {which.version} AND probe = {literal(embedder.card.label)}"


class ClusterParts(DescriptorParts):
    """Clusters of one embedder, number and seed: they are replaced together, never mixed with older ones."""

    def _insert(self, connection: duckdb.DuckDBPyConnection) -> None:
        """Put the new rows in the place of those that were there."""
        connection.execute(
            "DELETE FROM coverage WHERE version = ? AND probe = ?",
            [self.descriptor.version, self.descriptor.probe],
        )
        super()._insert(connection)


def _find_clusters(
    pool: Pool, embedder: Embedder, clusters: int | None, options: Options, say: Say
) -> DescriptorReport:
    with pool.read() as connection:
        rows = scalar(connection, f"SELECT count(*) FROM ({_embedded(embedder)}) WHERE error IS NULL")
        k = count_clusters(connection, clusters, rows)
    if clusters is None and k < min(MOST_CLUSTERS, rows):
        say(f"{rows:,} samples in {k:,} clusters, as many as were asked before; --clusters changes it")
    elif clusters is None and rows < 10 * k:
        say(
            f"{rows:,} samples in {k:,} clusters: most are alone in theirs, and cluster_rep tells little; "
            f"--clusters {max(1, rows // 20)} would be 20 samples in each"
        )
    parts = ClusterParts(pool, Coverage(labelled(embedder.card.label, k)))
    report = DescriptorReport(parts.name, parts.descriptor.version, parts.descriptor.probe)
    file = parts.folder / "samples.npy"

    def start() -> Work:
        plan = parts.plan(None, retry_errors=options.retry_errors)
        report.already = plan.already if not plan.todo else 0
        todo = rows if plan.todo else 0
        return Work(todo, _cluster(parts, embedder, k, file) if todo else _nothing(), [plan.path])

    arguments = {"name": parts.name, "probe": parts.descriptor.probe, "seed": SEED}
    work_off([parts], {report.name: report}, options, describe_command(arguments, options), start)
    file.unlink(missing_ok=True)
    return report


def _nothing() -> Steps:
    yield from ()


def _embedded(embedder: Embedder) -> str:
    """A query of the samples that an embedder was asked about: `qa_uid`, `key`, `vector` and `error`."""
    return (
        "SELECT qa_uid, uid_hash AS key, embedding AS vector, error "
        "FROM embedding JOIN sample USING (qa_uid) "
        f"WHERE {_made_by(SampleEmbedding, embedder)}"
    )


def _cluster(parts: ClusterParts, embedder: Embedder, k: int, file: Path) -> Steps:
    """Find the clusters of all samples and keep them as one part."""
    with parts.pool.read() as connection:
        query = f"FROM ({_embedded(embedder)}) WHERE error IS NULL"
        vectors = write_vectors(connection, query, 2 * embedder.size, file)
        uids = connection.sql(f"SELECT qa_uid FROM ({query}) ORDER BY key").to_arrow_table()
        without = connection.sql(
            f"SELECT qa_uid, 'no embedding' AS error FROM ({_embedded(embedder)}) WHERE error IS NOT NULL"
        ).to_arrow_table()
    centroids = find_centroids(vectors.vectors, k, SEED)
    ids, distances = list[np.ndarray[Any, Any]](), list[np.ndarray[Any, Any]]()
    for some in assign(vectors.vectors, centroids):
        ids.append(some.ids)
        distances.append(some.distances)
        yield Step(len(some.ids))
    for left_over in parts.files():
        left_over.unlink()
    rows = _rows(uids["qa_uid"], np.concatenate(ids), np.concatenate(distances))
    yield Step(0, (parts.save(pa.concat_tables([rows, without], promote_options="default")),))


def _rows(uids: pa.ChunkedArray, ids: Any, distances: Any) -> pa.Table:
    rep = np.exp(-distances)
    values = {"cluster_id": ids, "cluster_dist": distances, "cluster_rep": rep, "cluster_hard": 1 - rep}
    return pa.table({"qa_uid": uids, **values, "error": pa.nulls(len(uids), pa.string())})
