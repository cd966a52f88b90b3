"""Explain: what became of a sample, and why."""

import json
import math
from collections import Counter
from pathlib import Path

import pytest
from selection_pools import (
    BOTH,
    DUPLICATES,
    IMAGES,
    POOLS,
    VIDEOS,
    Made,
    image_row,
    image_rows,
    make,
    members,
    video_row,
    words,
)

from gdo.errors import GdoError, UsageError
from gdo.pool.ingest import ingest
from gdo.selectors.explain import explain
from gdo.selectors.select import select


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return make(tmp_path_factory.mktemp("mixed"), *POOLS["all described"])


def test_explain_tells_what_became_of_every_sample(mixed: Made) -> None:
    select(mixed.pool, "temp", name="told", count=12)
    taken = {uid: (place, stage) for place, (uid, _, stage) in enumerate(members(mixed.pool, "told"))}
    for row in BOTH:
        uid = f"{'vv' if 'video_id' in row else 'ov'}::{row['id']}::t1"
        told = explain(mixed.pool, "told", uid)
        assert told.chosen == (uid in taken)
        assert told.in_control
        assert 1 <= told.rank <= told.stratum_size
        if told.chosen:
            place, stage = taken[uid]
            assert told.verdict == f"taken at stage {stage}, as number {place + 1} of 12"
        elif told.stratum_quota == 0:
            assert told.verdict == "stratum quota is 0"


@pytest.mark.parametrize("uid", ["ov::i3::t0", "vv::v3::t1"])
def test_the_terms_add_up_to_rho(uid: str, mixed: Made) -> None:
    select(mixed.pool, "temp", name="told", count=40)
    scores = {member: score for member, score, _ in members(mixed.pool, "told")}
    terms = explain(mixed.pool, "told", uid).terms
    video = uid.startswith("vv")
    base = (1.0 if video else 1.1) * terms["quality"] + 0.85 * terms["difficulty"] + 0.9 * terms["alignment"]
    base += 0.15 * terms["prior"] + (0.55 * terms["temporal_bonus"] if video else 0)
    assert terms["base"] == pytest.approx(base)
    rho = 0.35 * math.tanh(base / 3) + 0.95 * max(-4, min(4, terms["vds3"])) / 4 + 0.35 * terms["q"] / 4
    if not video:
        rho = 0.90 * math.tanh(base / 3) + 0.15 * terms["q"] / 4
    assert terms["rho"] == pytest.approx(rho, abs=1e-11)
    assert scores.get(uid, terms["rho"]) == terms["rho"]
    assert terms["temporal_bonus"] == (0.2 if video else 0)


def test_explain_names_what_kept_a_sample_out(tmp_path: Path) -> None:
    many = [video_row(1, *[(f"what is {n}", "a dog") for n in range(6)], video="only")]
    images = [*DUPLICATES, image_row(70, ("a rare question", words(70)), source="rare")]
    made = make(tmp_path, images, many)
    select(made.pool, "temp", count=6, settings=["max_qa_per_video=2", "max_video_ratio=0.5"])
    verdicts = {
        uid: explain(made.pool, "temp", uid).verdict
        for uid in [*(f"vv::v1::t{n}" for n in range(6)), *(f"ov::{row['id']}::t0" for row in images)]
    }
    kinds = Counter(verdict.partition(":")[0] for verdict in verdicts.values())
    assert kinds["per-video cap"] == 4
    assert (
        verdicts["vv::v1::t0"] in {"per-video cap: 2 samples of its video are chosen"}
        or "taken" in verdicts["vv::v1::t0"]
    )
    assert kinds["exact duplicate of a chosen text"] == 5


def test_explain_names_a_full_video_share_a_quota_of_0_and_a_full_subset(tmp_path: Path) -> None:
    clips = [video_row(n, (f"what is {n}", "a dog")) for n in range(9)]
    made = make(tmp_path / "videos", image_rows(9), clips)
    select(made.pool, "temp", count=8, settings=["max_video_ratio=0.4"])
    verdicts = Counter(explain(made.pool, "temp", f"vv::v{n}::t0").verdict for n in range(9))
    assert verdicts["max_video: the subset may hold 3 videos"] == 6

    rare = image_row(70, ("a rare question", words(70)), source="rare")
    made = make(tmp_path / "rare", [*[image_row(n, (f"what is {n}", "a dog")) for n in range(30)], rare])
    select(made.pool, "temp", count=5)
    assert explain(made.pool, "temp", "ov::i70::t0").verdict == "stratum quota is 0"
    left = Counter(explain(made.pool, "temp", f"ov::i{n}::t0").verdict for n in range(30))
    assert left["below the best 7 of its stratum (quota 5)"] == 30 - 7
    assert left["the subset was full before its rho came up"] == 7 - 5


def test_explain_refuses_what_it_cannot_know(tmp_path: Path) -> None:
    made = make(tmp_path, IMAGES, VIDEOS)
    with pytest.raises(UsageError, match="no subset 'temp'; there are: none yet"):
        explain(made.pool, "temp", "ov::i1::t0")
    select(made.pool, "temp", count=5)
    with pytest.raises(UsageError, match="no sample 'ov::i1'"):
        explain(made.pool, "temp", "ov::i1")
    assert explain(made.pool, "temp", "ov::i1::t0").subset == "temp"
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps(image_row(500, ("a new one", "yes"))) + "\n")
    ingest(made.pool, [more], kind="image")
    with pytest.raises(GdoError, match="changed since 'temp' was chosen"):
        explain(made.pool, "temp", "ov::i1::t0")
    select(made.pool, "temp", count=5)
    assert explain(made.pool, "temp", "ov::i500::t0").subset == "temp"
