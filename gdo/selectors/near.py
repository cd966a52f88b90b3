"""Near-duplicates in a selection: of each group only the best may be chosen, and copies share one cap."""

from dataclasses import dataclass, replace

import duckdb
import numpy as np

from gdo.descriptors.duplicates.components import components
from gdo.errors import UsageError
from gdo.pool.store import scalar
from gdo.selectors.candidates import Candidates, Codes, Floats, Hashes, Integers, first_appearance
from gdo.selectors.sorting import highest

_GROUPS = """
SELECT ordinal, duplicate_group FROM sample JOIN sample_duplicate USING (qa_uid) ORDER BY ordinal
"""

# One row is one group of media that a video's sample shows.
_MEDIA = """
WITH place AS (SELECT ordinal, unnest(media_ids) AS media_id FROM sample WHERE bucket = 'short_video')
SELECT DISTINCT ordinal, duplicate_group FROM place JOIN media_duplicate USING (media_id) ORDER BY ALL
"""

_SINCE = """
SELECT count(*) FROM sample JOIN source USING (source_id), duplicate_search WHERE ingested > searched
"""


@dataclass(frozen=True)
class Near:
    """What a search for near-duplicates says of the samples.

    Attributes:
        threshold: Least similarity of media that counted as the same.
        since: Samples ingested after the search; they are in no group.
    """

    threshold: float
    since: int


def with_near(connection: duckdb.DuckDBPyConnection, everything: Candidates) -> tuple[Candidates, Near]:
    """The candidates with their groups, videos that are copies taken for one.

    Raises:
        UsageError: Near-duplicates were never looked for.
    """
    searched = connection.execute("SELECT threshold FROM duplicate_search").fetchall()
    if not searched:
        raise UsageError("dedup = near needs groups of near-duplicates; `gdo duplicates POOL` finds them")
    groups = connection.sql(_GROUPS).to_arrow_table()
    near = np.full(len(everything), -1, dtype=np.int32)
    places = np.searchsorted(everything.ordinal, groups["ordinal"].to_numpy())
    near[places] = groups["duplicate_group"].to_numpy()
    shown = connection.sql(_MEDIA).to_arrow_table()
    videos = _joined(
        everything,
        np.searchsorted(everything.ordinal, shown["ordinal"].to_numpy()),
        shown["duplicate_group"].to_numpy(),
    )
    since = int(scalar(connection, _SINCE))
    return replace(everything, near=near, video_uid=videos), Near(searched[0][0], since)


def _joined(candidates: Candidates, samples: Integers, groups: Integers) -> Codes:
    """The codes of videos, those that show media of a common group made one."""
    if not len(samples):
        return candidates.video_uid
    codes = candidates.video_uid
    pairs = np.unique(np.stack([groups, codes[samples]], axis=1), axis=0)
    same = pairs[:-1, 0] == pairs[1:, 0]
    videos = int(codes.max()) + 1
    whole = components(videos, pairs[:-1, 1][same], pairs[1:, 1][same])
    joined = np.full(len(codes), -1, dtype=np.int32)
    joined[candidates.video] = first_appearance(whole[codes[candidates.video]], videos)[0]
    return joined


def best_of_groups(near: Codes, rho: Floats, ties: Hashes) -> Integers:
    """For each sample the one of its group that may be chosen: int64 [samples]; itself where it has none.

    Args:
        near: Groups of the samples, -1 for none.
        rho: What each is worth; the highest of a group may be chosen.
        ties: What puts samples of equal rho in order.
    """
    best, grouped = np.arange(len(near)), np.flatnonzero(near >= 0)
    grouped = grouped[highest(rho[grouped], ties[grouped])]
    _, first, inverse = np.unique(near[grouped], return_index=True, return_inverse=True)
    best[grouped] = grouped[first][inverse]
    return best
