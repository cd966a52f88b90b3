"""Finds the near-duplicates of a pool and stores them, or tells what there would be at other thresholds."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gdo.descriptors.describe import describe
from gdo.descriptors.duplicates import closer, evidence, neighbours
from gdo.descriptors.duplicates import media as media_level
from gdo.descriptors.duplicates.closer import join_likely, near_by_embedding, read_vectors
from gdo.descriptors.duplicates.look import LIMIT, CloseLook
from gdo.descriptors.duplicates.media import FOUND_BY, LEAST, THRESHOLD, Alike, alike
from gdo.descriptors.duplicates.prints import Prints, read_prints
from gdo.descriptors.duplicates.samples import SampleGroup, SampleReader, group_samples
from gdo.descriptors.engine.local import usable_cores
from gdo.descriptors.engine.run import Callback
from gdo.descriptors.fingerprint import Fingerprint
from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool, locked, record_run, scalar, utc_now

SWEPT = (0.97, 0.98, 0.985, 0.99, 0.991, 0.992, 0.993, 0.994, 0.995, 0.998)
EXAMPLES = 2
"""Pairs told for each band of similarity."""

_SOURCES = "SELECT source_id, ingested FROM source"

Told = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Found:
    """What a threshold gives.

    Attributes:
        threshold: Least similarity of media that count as the same.
        media: Media that could be compared.
        media_unseen: Media that could not: unreadable, or of one colour.
        media_groups: Groups of media that show the same.
        media_in_groups: Media in them.
        media_by_close_look: Those that only a close look joined: their fingerprints fall a little short.
        media_by_embedding: Those that it joined because their embeddings are close.
        not_looked_at: Pairs that are likely copies and were too many to look at.
        samples: Samples of the pool.
        sample_groups: Groups of samples that ask the same of them.
        samples_in_groups: Samples in them.
        samples_removed: Those that `--set dedup=near` keeps out: all but one of each group.
    """

    threshold: float
    media: int
    media_unseen: int
    media_groups: int
    media_in_groups: int
    media_by_close_look: int
    media_by_embedding: int
    not_looked_at: int
    samples: int
    sample_groups: int
    samples_in_groups: int
    samples_removed: int


@dataclass(frozen=True, slots=True)
class DuplicateReport:
    """What a search found and stored, and the seconds it took."""

    found: Found
    seconds: float


@dataclass(frozen=True, slots=True)
class Example:
    """Two media and how alike they are; files as the pool names them."""

    similarity: float
    first: list[str]
    second: list[str]


@dataclass(frozen=True, slots=True)
class Sweep:
    """What each of several thresholds would give.

    Attributes:
        rows: From the lowest threshold up.
        examples: Pairs of media from every band between two thresholds, most alike first.
    """

    rows: list[Found]
    examples: list[Example]


def find_duplicates(
    pool: Path | str,
    *,
    threshold: float = THRESHOLD,
    close_look: bool = True,
    workers: int | None = None,
    progress: Callback | None = None,
    told: Told | None = None,
) -> DuplicateReport:
    """Find media that show the same and samples that ask the same of them, and store both in the pool.

    Fingerprints that are missing are computed first. The groups of an earlier search are replaced.

    Args:
        pool: Path of the pool's database file.
        threshold: Least similarity of media that count as the same, 0.96 to 1.
        close_look: Look closely at media below the threshold that are likely copies, by their fingerprints or
            by their embeddings if there are any; those that show the same count too.
        workers: Processes that read media; default all cores.
        progress: Called while fingerprints are computed.
        told: Called later on, with what is done, how much of it, and of how much.

    Raises:
        UsageError: There is no pool, the threshold is out of range, or FAISS is missing and needed.
        GdoError: The database stayed locked, or another search is running.
    """
    _check(threshold)
    started, clock = utc_now(), time.monotonic()
    with _searched(pool, threshold, close_look, workers, progress, told) as search:
        groups = search.sample_groups(threshold)
        found = search.found(threshold, groups)
        _store(search, found, groups, started)
    return DuplicateReport(found, time.monotonic() - clock)


def sweep_duplicates(
    pool: Path | str,
    *,
    threshold: float = THRESHOLD,
    close_look: bool = True,
    workers: int | None = None,
    progress: Callback | None = None,
    told: Told | None = None,
) -> Sweep:
    """Tell what thresholds around `threshold` would give, with examples; no groups are stored.

    Embeddings propose the same pairs for all of them: those that they propose for `threshold`. Arguments and
    errors are those of `find_duplicates`.
    """
    _check(threshold)
    with _searched(pool, threshold, close_look, workers, progress, told) as search:
        steps = sorted({*SWEPT, threshold})
        rows = [search.found(step, search.sample_groups(step)) for step in steps]
        return Sweep(rows, search.examples(steps))


def _check(threshold: float) -> None:
    if not LEAST <= threshold <= 1:
        raise UsageError(f"the threshold must be from {LEAST} to 1; it is {threshold}")


@dataclass(frozen=True)
class _Search:
    """Fingerprints of a pool and how alike its media are.

    Attributes:
        proved_by: What the close look depends on, for the pool; empty where nobody looks.
        by_embedding: Pairs that the embedding proposes; None where nobody looks.
        sources: What was ingested before.
    """

    pool: Pool
    folder: Path
    prints: Prints
    pairs: Alike
    by_embedding: Alike | None
    proved_by: dict[str, object]
    media: int
    samples: int
    sources: list[tuple[int, datetime]]
    twins: CloseLook
    tell: Told
    known: dict[float, tuple[Alike, int]] = field(default_factory=dict)

    def copies(self, threshold: float) -> tuple[Alike, int]:
        """The pairs of copies at a threshold, and how many likely ones nobody looked at."""
        if threshold not in self.known:
            self.known[threshold] = self._copies(threshold)
        return self.known[threshold]

    def _copies(self, threshold: float) -> tuple[Alike, int]:
        if self.by_embedding is None:
            return self.pairs.only(self.pairs.similarity >= threshold), 0
        return join_likely(self.prints, self.pairs, threshold, self.by_embedding, self.twins, self.tell)

    def sample_groups(self, threshold: float) -> list[SampleGroup]:
        """Groups of samples at a threshold, in the order of their first qa_uid."""
        copies, _ = self.copies(threshold)
        root = self.prints.media[copies.groups(len(self.prints))]
        closest = copies.closest(len(self.prints))
        grouped = closest > 0
        path = self.folder / "samples.parquet"
        with self.pool.read() as connection:
            reader = SampleReader(connection)
            reader.write(path, self.prints.media[grouped], root[grouped])
            groups = reader.without_media()
        to_closest = dict(zip(self.prints.media[grouped].tolist(), closest[grouped].tolist(), strict=True))
        groups += group_samples(
            path,
            reader.evidence,
            to_closest,
            self.twins,
            lambda done, total: self.tell("looking at copies whose questions differ", done, total),
        )
        path.unlink()
        return sorted(groups, key=lambda group: group.uids[0])

    def found(self, threshold: float, groups: Sequence[SampleGroup]) -> Found:
        """The figures of a threshold."""
        copies, left_out = self.copies(threshold)
        sizes = np.bincount(copies.groups(len(self.prints)))
        ways = copies.ways(len(self.prints))
        members = sum(len(group.uids) for group in groups)
        return Found(
            threshold=threshold,
            media=len(self.prints),
            media_unseen=self.media - len(self.prints),
            media_groups=int((sizes > 1).sum()),
            media_in_groups=int(sizes[sizes > 1].sum()),
            media_by_close_look=int((ways == closer.CLOSE_LOOK).sum()),
            media_by_embedding=int((ways == closer.EMBEDDING).sum()),
            not_looked_at=left_out,
            samples=self.samples,
            sample_groups=len(groups),
            samples_in_groups=members,
            samples_removed=members - len(groups),
        )

    def examples(self, steps: Sequence[float]) -> list[Example]:
        """The least alike pairs of each band."""
        order = np.lexsort((self.pairs.second, self.pairs.first, self.pairs.similarity))
        values = self.pairs.similarity[order]
        starts = np.searchsorted(values, steps).tolist()
        ends = [*starts[1:], len(values)]
        picked = [
            int(row) for start, end in zip(starts, ends, strict=True) for row in order[start:end][:EXAMPLES]
        ]
        ids = self.prints.media[np.concatenate([self.pairs.first[picked], self.pairs.second[picked]])]
        with self.pool.read() as connection:
            connection.register("wanted", pa.table({"media_id": ids}))
            paths = connection.execute(
                "SELECT media_id, root, paths FROM media SEMI JOIN wanted USING (media_id)"
            ).fetchall()
        home = self.pool.path.parent
        files = {key: [str(home / (root or "") / path) for path in its] for key, root, its in paths}
        return [
            Example(
                float(self.pairs.similarity[row]),
                files[int(self.prints.media[self.pairs.first[row]])],
                files[int(self.prints.media[self.pairs.second[row]])],
            )
            for row in reversed(picked)
        ]


@contextmanager
def _searched(
    pool: Path | str,
    threshold: float,
    close_look: bool,
    workers: int | None,
    progress: Callback | None,
    told: Told | None,
) -> Iterator[_Search]:
    """Compute what fingerprints are missing, and compare the media of a pool."""
    tell = told or (lambda what, done, total: None)
    count = usable_cores() if workers is None else workers
    describe(pool, [Fingerprint.name], workers=workers, progress=progress)
    target = Pool(pool)
    folder = target.folder / "duplicates"
    folder.mkdir(exist_ok=True)
    with locked(folder, wait=False) as free:
        if not free:
            raise GdoError(f"another process looks for duplicates in {target.path}; wait for it or stop it")
        file, vector_file = folder / "fingerprints.bin", folder / "vectors.npy"
        looked = folder / "looked_at.jsonl"
        try:
            with target.read() as connection:
                prints = read_prints(connection, file)
                media = int(scalar(connection, "SELECT count(*) FROM media"))
                samples = int(scalar(connection, "SELECT count(*) FROM sample"))
                sources = connection.execute(_SOURCES).fetchall()
                vectors = read_vectors(connection, vector_file) if close_look else None
            pairs = alike(prints, folder, told)
            likely, proved_by = None, dict[str, object]()
            if close_look:
                likely, proved_by = pairs.only(np.empty(0, np.int64)), {"close_look": LIMIT}
            if vectors:
                proved = pairs.only(pairs.similarity >= threshold)
                likely, least = near_by_embedding(prints, proved, vectors, tell)
                proved_by |= {"embedding": vectors.probe, "cosine": least}
            twins = CloseLook(target, count, looked)
            yield _Search(
                target, folder, prints, pairs, likely, proved_by, media, samples, sources, twins, tell
            )
            looked.unlink(missing_ok=True)
        finally:
            file.unlink(missing_ok=True)
            vector_file.unlink(missing_ok=True)


def _store(search: _Search, found: Found, groups: Sequence[SampleGroup], started: datetime) -> None:
    """Replace what an earlier search stored, in one transaction."""
    parameters = {
        "candidate": media_level.CANDIDATE,
        "evidence": evidence.NEEDED,
        "all_with_all": neighbours.ALL_WITH_ALL,
        **search.proved_by,
    }
    with search.pool.write() as connection:
        if set(search.sources) - set(connection.execute(_SOURCES).fetchall()):
            raise GdoError(
                f"files of {search.pool.path} were replaced during the search; search again: pictures that "
                "were looked at need not be looked at again"
            )
        for table, rows in (
            ("media_duplicate", _media_rows(search, found.threshold)),
            ("sample_duplicate", _sample_rows(groups)),
        ):
            connection.execute(f"DELETE FROM {table}")
            connection.register("found", rows)
            connection.execute(f"INSERT INTO {table} BY NAME SELECT * FROM found")
            connection.unregister("found")
        connection.execute("DELETE FROM duplicate_search")
        connection.execute(
            "INSERT INTO duplicate_search VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                found.threshold,
                Fingerprint.version,
                json.dumps(parameters),
                found.media,
                found.media_unseen,
                found.samples,
                started,
            ],
        )
        arguments = {"threshold": found.threshold, "close_look": search.by_embedding is not None}
        record_run(connection, "duplicates", arguments, started)


def _media_rows(search: _Search, threshold: float) -> pa.Table:
    size = len(search.prints)
    copies, _ = search.copies(threshold)
    closest = copies.closest(size)
    rows = np.flatnonzero(closest > 0)
    root = copies.groups(size)[rows]
    _, numbers = np.unique(root, return_inverse=True)
    return pa.table(
        {
            "media_id": search.prints.media[rows],
            "duplicate_group": numbers.astype(np.int64),
            "similarity": closest[rows],
            "found_by": pa.array([FOUND_BY[way] for way in copies.ways(size)[rows]], pa.string()),
        }
    )


def _sample_rows(groups: Sequence[SampleGroup]) -> pa.Table:
    sizes = [len(group.uids) for group in groups]
    numbers: NDArray[np.int64] = np.repeat(np.arange(len(groups)), sizes).astype(np.int64)
    return pa.table(
        {
            "qa_uid": pa.array([uid for group in groups for uid in group.uids], pa.string()),
            "duplicate_group": numbers,
            "similarity": pa.array([value for group in groups for value in group.similarity], pa.float64()),
        }
    )
