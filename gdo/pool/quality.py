"""The weights of `quality_score`, for those who want others than the paper's."""

import math
from collections.abc import Mapping
from pathlib import Path

from gdo.errors import UsageError
from gdo.pool.store import Pool, record_run, utc_now

_SIGNED = ("guess_vds", "guess_ppl")


def quality_weights(pool: Path | str) -> dict[str, float]:
    """The weights in use, by name (table `quality_weight`; gdo/pool/sql/003_quality.sql says what each is).

    Args:
        pool: Path of the pool's database file.
    """
    with Pool(pool).read() as connection:
        rows = connection.execute("SELECT name, weight FROM quality_weight ORDER BY rowid").fetchall()
    return dict(rows)


def set_quality_weights(pool: Path | str, weights: Mapping[str, float]) -> dict[str, float]:
    """Change weights of `quality_score`; view `candidate` shows the new scores at once.

    The weights of terms are 0 or more and need not sum to 1: the score is divided by the sum of those in
    use. 0 leaves a term out, and then its value need not be there.

    Args:
        pool: Path of the pool's database file.
        weights: New values by name; the others stay.

    Returns:
        All weights as they are now.

    Raises:
        UsageError: A name is unknown, a value is not a finite number or negative, or all are 0.
    """
    started, new = utc_now(), quality_weights(pool)
    for name, weight in weights.items():
        if name not in new:
            raise UsageError(f"quality_score has no weight {name!r}; it has {', '.join(new)}")
        if not math.isfinite(weight) or (weight < 0 and name not in _SIGNED):
            raise UsageError(f"the weight {name} must be a number, 0 or more; it is {weight}")
        new[name] = float(weight)
    if not any(weight for name, weight in new.items() if name not in _SIGNED):
        raise UsageError("one weight of quality_score at least must be above 0")
    with Pool(pool).write() as connection:
        for name in weights:
            connection.execute("UPDATE quality_weight SET weight = ? WHERE name = ?", [new[name], name])
        record_run(connection, "set-quality-weights", {"weights": dict(weights)}, started)
    return new
