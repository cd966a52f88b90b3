"""The central test: on the golden pool, `gdo` and the plain oracle choose what the public reference chose."""

import functools
import gzip
import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import plain_selection
import pytest

from gdo.descriptors.importing import import_descriptors
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.selectors.select import select

IMAGES, VIDEOS, METRICS = "llava_onevision.jsonl.gz", "llava_video.jsonl.gz", "metrics.jsonl.gz"
BROKEN_LINES = 28
CASES = (
    "minloss",
    "diverse",
    "temp",
    "temp_plus",
    "minloss_open_budget",
    "temp_vds_budget",
    "temp_plus_short_of_video",
    "diverse_ratio",
)
SAME = (
    "total_pairs",
    "target_count",
    "uniform_count",
    "budget",
    "described_share",
    "num_strata",
    "bucket_quotas",
    "excluded_by_guard",
    "constraints",
    "subset_js_to_pool",
)


@pytest.fixture(scope="module")
def golden(shared: Path) -> Path:
    return shared / "golden" / "selection"


@pytest.fixture(scope="module")
def expected(golden: Path) -> dict[str, Any]:
    with gzip.open(golden / "expected.json.gz", "rt") as stream:
        cases: dict[str, Any] = json.load(stream)
    assert set(cases) == set(CASES)
    return cases


@pytest.fixture(scope="module")
def pool(golden: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("golden") / "pool.duckdb"
    ingest(path, [golden / IMAGES, golden / VIDEOS])
    import_descriptors(path, golden / METRICS)
    return path


def assert_same(have: Any, want: Any, where: str) -> None:
    """Equal counts and names, floats within 1e-9."""
    if isinstance(want, dict):
        assert set(have) == set(want), where
        for key, value in want.items():
            assert_same(have[key], value, f"{where}.{key}")
    elif isinstance(want, float):
        assert have == pytest.approx(want, abs=1e-9, rel=0), where
    else:
        assert have == want, where


def assert_agrees(report: dict[str, Any], chosen: list[tuple[str, float]], case: dict[str, Any]) -> None:
    """A report and its members agree with what the reference gave."""
    for name in SAME:
        assert_same(report[name], case[name], name)
    floors = "source_group_floor_requirements"
    assert list(report["constraints"][floors]) == list(case["constraints"][floors])
    have, want = dict(chosen), {row["qa_uid"]: row["score"] for row in case["selected"]}
    assert len(have) == len(chosen) == case["target_count"]
    assert set(have) ^ set(want) <= set(case["ties"])
    assert all(abs(have[uid] - want[uid]) < 1e-6 for uid in have.keys() & want.keys())


@pytest.mark.parametrize("name", CASES)
def test_gdo_chooses_what_the_reference_chose(name: str, pool: Path, expected: dict[str, Any]) -> None:
    case = expected[name]
    settings = [f"{key}={json.dumps(value)}" for key, value in case["changed"].items()]
    selection = select(pool, case["preset"], name=name, settings=settings)
    with Pool(pool).read() as connection:
        members = connection.execute(
            "SELECT role, qa_uid, score, stage FROM subset_sample WHERE subset = ? ORDER BY role, rank",
            [name],
        ).fetchall()
        row = connection.execute(
            "SELECT preset, seed, pool_fingerprint, parameters, report FROM subset WHERE subset = ?", [name]
        ).fetchall()
    chosen = [(uid, score) for role, uid, score, _ in members if role == "chosen"]
    assert_agrees(selection.report, chosen, case)

    stages = Counter(stage for role, _, _, stage in members if role == "chosen")
    assert stages == case["constraints"]["selection_stage_counts"]
    control = [uid for role, uid, _, _ in members if role == "uniform"]
    assert len(set(control)) == len(control) == min(case["uniform_count"], case["total_pairs"])
    assert row[0][:3] == (case["preset"], 42, selection.fingerprint)
    assert {key: json.loads(row[0][3])[key] for key in case["changed"]} == case["changed"]
    assert json.loads(row[0][4]) == json.loads(json.dumps(selection.report))
    assert bool(selection.report["unmet_because"]) == bool(case["constraints"]["unmet_constraints"])


def test_broken_lines_are_told_by_number(pool: Path, golden: Path, expected: dict[str, Any]) -> None:
    broken = set()
    with gzip.open(golden / IMAGES, "rt", encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                json.loads(line)
            except ValueError:
                broken.add(number)
    with Pool(pool).read() as connection:
        told = connection.execute(
            "SELECT line FROM bad_row WHERE source_id = 1 AND reason = 'not JSON' AND NOT kept"
        ).fetchall()
        elsewhere = connection.execute(
            "SELECT count(*) FROM bad_row WHERE source_id = 2 AND reason = 'not JSON'"
        ).fetchall()
    assert len(broken) == BROKEN_LINES == expected["temp"]["parse_errors"]["onevision_json"] // 2
    assert {line for (line,) in told} == broken
    assert elsewhere == [(0,)]


@pytest.fixture(scope="module")
def read_once() -> Iterator[None]:
    """The oracle reads the files anew for every preset; here once for each way of reading them."""
    read, known = plain_selection.read_samples, dict[tuple[int, str], tuple[list[Any], dict[str, int]]]()

    def samples(files: Any, preset: Any, broken: dict[str, int]) -> Iterator[dict[str, Any]]:
        way = preset["target_frames"], preset["question_form"]
        if way not in known:
            bad: dict[str, int] = {}
            known[way] = list(read(files, preset, bad)), bad
        broken |= known[way][1]
        return (dict(sample) for sample in known[way][0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plain_selection, "read_samples", samples)
        patch.setattr(plain_selection, "read_z", functools.cache(plain_selection.read_z))
        yield


@pytest.mark.slow
@pytest.mark.usefixtures("read_once")
@pytest.mark.parametrize("name", CASES)
def test_the_oracle_chooses_what_the_reference_chose(
    name: str, golden: Path, expected: dict[str, Any]
) -> None:
    case = expected[name]
    preset = plain_selection.load_preset(case["preset"]) | case["changed"]
    [result] = plain_selection.plain_select(golden / IMAGES, golden / VIDEOS, golden / METRICS, [preset])
    assert_agrees(result, result["selected"], case)
    assert result["parse_errors"] == {"onevision_json": BROKEN_LINES}
