"""How many clusters there are to be: as many as a person asks, and once asked, the same ever after."""

import duckdb

from gdo.descriptors.coverage.clusters import MOST_CLUSTERS, Coverage

_SHOWN = "SELECT probe FROM descriptor WHERE name = ?"
_CLUSTERED = "SELECT count(*) FROM coverage WHERE probe = ? AND error IS NULL"
_K = "/k="


def labelled(embedder: str, k: int) -> str:
    """The probe that clusters carry: whose vectors, and how many clusters."""
    return f"{embedder}{_K}{k}"


def count_clusters(connection: duckdb.DuckDBPyConnection, asked: int | None, samples: int) -> int:
    """How many clusters to find among so many samples.

    Args:
        connection: A connection that reads the pool.
        asked: What a person says; None for the number asked before, or else one a sample, at most 4,096.
        samples: How many have a vector.
    """
    return min(asked or _asked_before(connection) or MOST_CLUSTERS, max(1, samples))


def _asked_before(connection: duckdb.DuckDBPyConnection) -> int | None:
    """The number of the clusters that `candidate` shows; None where it is what nobody's asking gives."""
    for (shown,) in connection.execute(_SHOWN, [Coverage.name]).fetchall():
        k = int(shown.rpartition(_K)[2])
        ((clustered,),) = connection.execute(_CLUSTERED, [shown]).fetchall()
        return k if k < clustered and k != MOST_CLUSTERS else None
    return None
