"""The real pool and the self-proxy by the command line: killed twice, gone on with, and selected from."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gdo.pool.query import run_sql
from gdo.selectors.select import select

DESCRIBE = ("describe", "dependency", "temporal", "stability", "motion")
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}


def command(pool: Path, verb: str, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "gdo.cli.main", verb, str(pool), *arguments]


def kill_at(sign: str, words: list[str]) -> None:
    """Start a command and kill it as soon as it prints `sign`."""
    with subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=ENVIRONMENT
    ) as process:
        assert process.stdout
        seen = []
        for line in process.stdout:
            seen.append(line)
            if sign in line:
                process.kill()
                return
    pytest.fail(f"{sign!r} was never printed:\n{''.join(seen)}")


@pytest.mark.slow
def test_killed_twice_and_selected(shared: Path, tmp_path: Path) -> None:
    real, pool = shared / "data" / "realpool", tmp_path / "pool.duckdb"
    odd = tmp_path / "odd.jsonl"
    row = '{{"id": "odd{}", "video": "videos/odd/{}", "conversations": [{}]}}\n'
    turns = '{"from": "human", "value": "What happens?"}, {"from": "gpt", "value": "A ball rolls."}'
    broken = sorted(path.name for path in (real / "videos" / "odd").iterdir() if path.is_file())
    odd.write_text("".join(row.format(n, name, turns) for n, name in enumerate(broken)))
    files = [str(real / "pool_image.jsonl"), str(real / "pool_video.jsonl"), str(odd)]
    subprocess.run(command(pool, "ingest", *files, "--media-root", str(real)), check=True, env=ENVIRONMENT)
    words = command(pool, *DESCRIBE, "--probe", "self", "--proxy-minutes", "0.1")
    kill_at("training the self-proxy", words)
    kill_at("describing dependency", words)
    subprocess.run(words, check=True, env=ENVIRONMENT)

    def rows(query: str) -> list[tuple[object, ...]]:
        return [tuple(row) for row in run_sql(pool, query).rows]

    ((samples, distinct),) = rows("SELECT count(*), count(DISTINCT qa_uid) FROM dependency")
    assert samples == distinct == 279 + len(broken)
    ((blind, no_reason),) = rows(
        "SELECT count(loss_blind), count(*) FILTER (loss_video IS NULL AND error IS NULL) FROM dependency"
    )
    assert (blind, no_reason) == (samples, 0)
    unread = rows("SELECT count(*) FROM dependency WHERE loss_video IS NULL")[0][0]
    assert isinstance(unread, int) and 0 < unread < len(broken)
    complete = (
        "SELECT count(*) FROM candidate WHERE quality_score IS NOT NULL AND self_consistency IS NOT NULL"
    )
    assert rows(complete)[0][0] == samples - unread
    assert rows("SELECT DISTINCT probe LIKE 'self@%' FROM descriptor WHERE name <> 'motion'") == [(True,)]
    assert select(pool, "temp_plus", count=60).report["described_share"] == 1
    for term in ("vds", "sc"):
        select(pool, "temp_plus", count=60, name=f"without_{term}", without=[term])
        scores = (
            "SELECT max(abs(a.score - b.score)) FROM subset_sample AS a "
            "JOIN subset_sample AS b USING (qa_uid) "
            f"WHERE a.subset = 'temp_plus' AND b.subset = 'without_{term}' AND a.role = b.role"
        )
        difference = rows(scores)[0][0]
        assert isinstance(difference, float) and difference > 0.01, term

    subprocess.run(command(pool, "describe", "coverage", "--probe", "self"), check=True, env=ENVIRONMENT)
    assert rows("SELECT count(*) FROM candidate WHERE cluster_id IS NULL AND media_error IS NULL")[0] == (0,)
    subprocess.run(command(pool, "duplicates"), check=True, env=ENVIRONMENT)
    pairs = (
        "SELECT list(paths[1] ORDER BY paths[1]) FROM media_duplicate JOIN media USING (media_id) "
        "GROUP BY duplicate_group"
    )
    told = [json.loads(line) for line in (real / "near_duplicates.jsonl").read_text().splitlines()]
    assert {tuple(found) for (found,) in rows(pairs)} == {tuple(sorted((one["a"], one["b"]))) for one in told}
    near = select(pool, "temp_plus", count=200, name="near", settings=["dedup=near"]).report
    assert near["near_duplicates"]["kept_out"] > 0
