"""quality_score as the database computes it equals a plain NumPy version of the formula."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pytest
from selection_pools import image_rows, make, metric_rows, video_rows

from gdo.descriptors.importing import import_descriptors
from gdo.errors import UsageError
from gdo.pool.candidate import refresh_candidate
from gdo.pool.ingest import ingest
from gdo.pool.quality import quality_weights, set_quality_weights
from gdo.pool.store import Pool

Floats = npt.NDArray[np.float64]

COLUMNS = ("vds", "frame_diversity", "ppl", "amm", "tnc", "self_consistency", "cluster_rep", "cluster_hard")
WEIGHTS = {
    "vds": 0.28,
    "self_consistency": 0.18,
    "ppl": 0.14,
    "amm": 0.12,
    "tnc": 0.12,
    "cluster_rep": 0.10,
    "cluster_hard": 0.06,
}


def spread(values: Floats) -> float:
    low, middle, high = np.percentile(values, [25, 50, 75])
    if high - low > 1e-12:
        return float((high - low) / 1.349)
    apart = np.abs(values - middle)
    return float(1.4826 * np.median(apart[apart > 0])) if apart.any() else 1.0


def robust_z(column: Floats) -> Floats:
    known = column[~np.isnan(column)]
    return (column - np.median(known)) / spread(known)


def logistic(x: Floats) -> Floats:
    return 1 / (1 + np.exp(-x))


def plain_quality(columns: Mapping[str, Floats], weights: Mapping[str, float] = WEIGHTS) -> Floats:
    """The formula of spec/descriptors.md; NaN is missing."""
    z = {
        name: robust_z(columns[name]) for name in ("vds", "ppl", "amm", "frame_diversity") if name in columns
    }
    guess = logistic(0.6 * z["vds"] - 0.2 * np.abs(z["ppl"]))
    stable = columns.get("self_consistency", np.full_like(guess, np.nan))
    terms = {
        "vds": logistic(z["vds"] + z.get("frame_diversity", 0.0)),
        "self_consistency": np.where(np.isnan(stable), guess, stable),
        "ppl": np.exp(-np.abs(z["ppl"])),
        **({"amm": np.exp(-np.abs(z["amm"]))} if "amm" in columns else {}),
        **{name: columns[name] for name in ("tnc", "cluster_rep", "cluster_hard") if name in columns},
    }
    used = {name: weight for name, weight in weights.items() if name in terms and weight > 0}
    total = sum((weight * terms[name] for name, weight in used.items()), np.zeros(1))
    return np.where(np.isnan(z["vds"] + z["ppl"]), np.nan, total / sum(used.values()))


def made_columns(count: int, seed: int = 3) -> dict[str, Floats]:
    rng = np.random.default_rng(seed)
    return {
        "vds": rng.normal(0.2, 0.4, count),
        "frame_diversity": rng.gamma(1.0, 0.1, count),
        "ppl": np.exp(rng.normal(1.0, 0.8, count)),
        "amm": rng.gamma(1.0, 2.0, count),
        "tnc": rng.random(count),
        "self_consistency": rng.random(count),
        "cluster_rep": rng.random(count),
        "cluster_hard": rng.random(count),
    }


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    return make(tmp_path / "p", image_rows(60), video_rows(40)).pool


def uids(pool: Path) -> list[str]:
    with Pool(pool).read() as connection:
        return [uid for (uid,) in connection.execute("SELECT qa_uid FROM sample ORDER BY ordinal").fetchall()]


def give(pool: Path, columns: Mapping[str, Floats]) -> None:
    """Import a value of every column for every sample, NaN as null."""
    rows = [
        {"qa_uid": uid}
        | {name: None if np.isnan(column[i]) else column[i] for name, column in columns.items()}
        for i, uid in enumerate(uids(pool))
    ]
    file = pool.with_name("values.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    import_descriptors(pool, file)


def scores(pool: Path) -> Floats:
    with Pool(pool).read() as connection:
        rows = connection.execute("SELECT quality_score FROM candidate ORDER BY ordinal").fetchall()
    return np.array([np.nan if score is None else score for (score,) in rows])


def assert_scores(pool: Path, expected: Floats) -> None:
    np.testing.assert_allclose(scores(pool), expected, rtol=1e-12)


def test_no_score_before_its_parts_are_there(pool: Path) -> None:
    columns = made_columns(200)
    assert np.isnan(scores(pool)).all()
    give(pool, {name: columns[name] for name in ("amm", "frame_diversity", "tnc", "vds")})
    assert np.isnan(scores(pool)).all()
    give(pool, {"ppl": columns["ppl"]})
    assert np.isfinite(scores(pool)).all()


@pytest.mark.parametrize(
    "left", [(), ("self_consistency",), ("cluster_rep", "cluster_hard"), COLUMNS[4:], COLUMNS[3:]]
)
def test_equals_the_plain_version_whatever_is_left_out(pool: Path, left: tuple[str, ...]) -> None:
    columns = {name: column for name, column in made_columns(200).items() if name not in left}
    give(pool, columns)
    assert_scores(pool, plain_quality(columns))
    assert (scores(pool) > 0).all()
    assert (scores(pool) < 1).all()


def test_without_frame_diversity_vds_stands_alone_in_its_term(pool: Path) -> None:
    columns = made_columns(200)
    del columns["frame_diversity"]
    give(pool, columns)
    assert_scores(pool, plain_quality(columns))


def test_a_sample_that_lacks_what_others_have_has_no_score(pool: Path) -> None:
    columns = made_columns(200)
    for i, name in enumerate(COLUMNS):
        columns[name][i * 5 : i * 5 + 5] = np.nan
    give(pool, columns)
    expected = plain_quality(columns)
    assert_scores(pool, expected)
    known = COLUMNS.index("self_consistency")
    assert np.isnan(expected[:40]).sum() == 35
    assert np.isfinite(expected[known * 5 : known * 5 + 5]).all()


def test_columns_of_which_half_or_all_values_are_the_same(pool: Path) -> None:
    columns = made_columns(200)
    columns["amm"][:160] = 0.0
    columns["frame_diversity"][:180] = 0.0
    columns["ppl"][:] = 3.0
    give(pool, columns)
    assert_scores(pool, plain_quality(columns))
    with Pool(pool).read() as connection:
        found = dict(connection.execute("SELECT name, spread FROM quality_scale").fetchall())
    assert found["ppl"] == 1.0
    assert found["amm"] == pytest.approx(1.4826 * np.median(columns["amm"][160:]))


def add_descriptor(connection: duckdb.DuckDBPyConnection, name: str, subject: str, query: str) -> None:
    """A descriptor's table as describing makes it, filled by a query of its key and columns."""
    connection.execute(f"CREATE TABLE {name} AS SELECT *, 1 AS version, '' AS probe FROM ({query})")
    found = connection.sql(f"SELECT * EXCLUDE (version, probe) FROM {name}").columns[1:]
    columns = json.dumps({column: {"type": "DOUBLE", "unit": "", "doc": ""} for column in found})
    connection.execute("INSERT INTO descriptor VALUES (?, ?, 1, '', ?)", [name, subject, columns])


def test_computed_values_of_samples_and_media_count_per_sample(pool: Path) -> None:
    with Pool(pool).write() as connection:
        losses = "SELECT qa_uid, sin(ordinal) AS vds, 2 + cos(ordinal) AS ppl FROM sample"
        add_descriptor(connection, "dependency", "sample", losses)
        motion = "SELECT media_id, row_number() OVER (ORDER BY media_id) ** 2 AS amm FROM media"
        add_descriptor(connection, "motion", "media", motion)
        refresh_candidate(connection)
        rows = connection.execute("SELECT vds, ppl, amm FROM candidate ORDER BY ordinal").fetchall()
    shown = dict(zip(("vds", "ppl", "amm"), np.array(rows, dtype=np.float64).T, strict=True))
    assert len(set(shown["amm"])) < len(rows)
    assert_scores(pool, plain_quality(shown))


def test_where_scores_are_imported_the_imported_samples_have_those_alone(tmp_path: Path) -> None:
    rows = image_rows(20)
    metrics: list[dict[str, Any]] = [row | {"ppl": 2.0 + n} for n, row in enumerate(metric_rows(rows))]
    given = [row["quality_score"] for row in metrics[:-10]]
    metrics[3]["quality_score"] = given[3] = float("nan")
    made = make(tmp_path / "p", rows, metrics=metrics[:-10])
    assert_scores(made.pool, np.array([*given, *[np.nan] * 10]))
    with Pool(made.pool).write() as connection:
        values = "SELECT qa_uid, turn AS vds, 3 - line / 9 AS ppl, line AS frame_diversity FROM sample"
        add_descriptor(connection, "dependency", "sample", values)
        refresh_candidate(connection)
    found = scores(made.pool)
    np.testing.assert_array_equal(found[:-10], given)
    assert np.isfinite(found[-10:]).all()


def test_scores_follow_samples_that_come_and_go(tmp_path: Path) -> None:
    made = make(tmp_path / "p", image_rows(30), metrics=[{"qa_uid": "nobody", "vds": 1e9, "ppl": 1e9}])
    columns = made_columns(60)
    give(made.pool, columns)
    assert_scores(made.pool, plain_quality(columns))
    assert made.images
    made.images.write_text("".join(made.images.read_text().splitlines(keepends=True)[:20]))
    ingest(made.pool, [made.images], kind="image", replace=True)
    assert_scores(made.pool, plain_quality({name: column[:40] for name, column in columns.items()}))


def test_weights_change_the_scores_at_once(pool: Path) -> None:
    columns = made_columns(200)
    columns["tnc"][7] = np.nan
    give(pool, columns)
    assert quality_weights(pool) == {**WEIGHTS, "guess_vds": 0.6, "guess_ppl": -0.2}
    changed = set_quality_weights(pool, {"amm": 0.5, "tnc": 0})
    assert changed == quality_weights(pool)
    expected = plain_quality(columns, {**WEIGHTS, "amm": 0.5, "tnc": 0})
    assert np.isfinite(expected).all()
    assert_scores(pool, expected)
    with duckdb.connect(str(pool)) as connection:
        connection.execute("UPDATE quality_weight SET weight = 0.28 WHERE name = 'amm'")
    assert_scores(pool, plain_quality(columns, {**WEIGHTS, "amm": 0.28, "tnc": 0}))


def test_wrong_weights_are_refused(pool: Path) -> None:
    for weights, why in (
        ({"speed": 1.0}, "no weight 'speed'; it has vds, self_consistency"),
        ({"amm": -0.1}, "weight amm must be a number, 0 or more"),
        ({"guess_vds": float("nan")}, "guess_vds must be a number"),
        (dict.fromkeys(WEIGHTS, 0.0), "one weight of quality_score at least"),
    ):
        with pytest.raises(UsageError, match=why):
            set_quality_weights(pool, weights)
    assert quality_weights(pool)["amm"] == 0.12


def test_the_same_scores_on_any_number_of_threads(pool: Path) -> None:
    give(pool, made_columns(200))
    found = []
    for threads in (1, 2, 5):
        with Pool(pool).write() as connection:
            connection.execute(f"SET threads = {threads}")
            refresh_candidate(connection)
            scale = connection.execute("SELECT * FROM quality_scale ORDER BY name").fetchall()
        found.append((scale, scores(pool).tobytes()))
    assert found[0] == found[1] == found[2]


def test_a_weight_taken_out_of_its_table_leaves_all_samples_in_view(pool: Path) -> None:
    give(pool, made_columns(200))
    with duckdb.connect(str(pool)) as connection:
        connection.execute("DELETE FROM quality_weight WHERE name = 'ppl'")
        connection.execute("DELETE FROM quality_scale")
    assert len(scores(pool)) == 200
