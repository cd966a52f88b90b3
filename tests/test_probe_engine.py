"""Descriptors that a probe tells, through the engine: what is asked, kept, resumed and shown."""

import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import duckdb
import numpy as np
import pytest
from fake_probe import FakeModels, see_with_trouble

from gdo.descriptors import catalog
from gdo.descriptors.describe import DescribeReport, Progress, describe
from gdo.descriptors.engine import asking, groups, run
from gdo.descriptors.engine.devices import find_devices
from gdo.descriptors.engine.local import run_in_order
from gdo.descriptors.engine.stored import DescriptorParts
from gdo.descriptors.importing import import_descriptors
from gdo.errors import GdoError, UsageError
from gdo.pool import store
from gdo.pool.ingest import ingest

BOTH = ("dependency", "stability")
ALL = "SELECT * FROM {} ORDER BY ALL"


def make_pool(folder: Path, videos: Sequence[Sequence[str]]) -> Path:
    """A pool of one frame list of three pictures per entry, with its questions."""
    folder.mkdir(exist_ok=True)
    rows = []
    for name, questions in enumerate(videos):
        files = [f"{name:03d}-{frame}.png" for frame in range(3)]
        for frame, file in enumerate(files):
            cv2.imwrite(str(folder / file), np.full((30, 40, 3), 20 * frame + name, np.uint8))
        rows.append({"id": f"v{name}", "video_id": f"v{name}", "images": files, "messages": turns(questions)})
    write_rows(folder / "rows.jsonl", rows)
    ingest(folder / "pool.duckdb", [folder / "rows.jsonl"], workers=1)
    return folder / "pool.duckdb"


def write_rows(file: Path, rows: Sequence[dict[str, Any]]) -> Path:
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def turns(questions: Sequence[str]) -> list[dict[str, str]]:
    return [
        {"role": role, "content": text}
        for question in questions
        for role, text in (("user", question), ("assistant", f"Answer to {question}"))
    ]


def usual_pool(folder: Path, videos: int = 6) -> Path:
    return make_pool(folder, [[f"What is {name}?", "And why?"] for name in range(videos)])


def ask(pool: Path, names: Sequence[str] = BOTH, **options: Any) -> DescribeReport:
    return describe(pool, names, **{"models": FakeModels(), "device": "cpu", "workers": 0} | options)


def query(pool: Path, sql: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(pool), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def counts(report: DescribeReport) -> list[tuple[str, int, int, int]]:
    return [(each.name, each.already, each.computed, each.errors) for each in report.descriptors]


def everything(pool: Path) -> list[list[tuple[Any, ...]]]:
    return [query(pool, ALL.format(table)) for table in (*BOTH, "media", "candidate")]


def part_files(pool: Path) -> list[Path]:
    return sorted(pool.with_name(pool.name + ".d").glob("describe/*/*.parquet"))


class Stop(Exception):
    pass


def test_values_stand_beside_the_samples_with_the_probe_that_made_them(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [["What?", "Why?"]])
    report = ask(pool)
    assert counts(report) == [("dependency", 0, 2, 0), ("stability", 0, 2, 0)]
    rows = query(pool, "SELECT loss_blind, loss_video, vds, ppl, version, probe, error FROM dependency")
    for blind, video, vds, ppl, *rest in rows:
        assert 1 <= blind <= 2
        assert 0 <= video <= 1
        assert vds == blind - video
        assert ppl == math.exp(video)
        assert rest == [1, report.descriptors[0].probe, None]
    shown = query(pool, "SELECT vds, self_consistency, loss_video, loss_blind, ppl FROM candidate")
    assert len(shown) == 2
    assert None not in {value for row in shown for value in row}
    ((label, model, dtype, settings, details),) = query(
        pool, "SELECT label, model, dtype, settings, details FROM probe"
    )
    assert (label, model, dtype) == (report.descriptors[0].probe, "self", "float32")
    assert json.loads(settings)["budget"]["frames"] == 4
    assert json.loads(details) == {"attention": "none", "proxy": {"steps": 7}}
    assert query(pool, "SELECT command FROM run") == [("ingest",), ("describe",)]
    assert part_files(pool) == []


def test_samples_of_one_video_are_asked_together_and_its_frames_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, [["a", "b", "c"], ["d"], ["e", "f"]])
    seen: list[int] = []
    see = asking.see_medium

    def counted(budget: Any, time_limit: float, medium: Any) -> Any:
        seen.append(medium.media_id)
        return see(budget, time_limit, medium)

    monkeypatch.setattr(asking, "see_medium", counted)
    ask(pool, models=FakeModels(tmp_path / "log"))
    assert len(seen) == len(set(seen)) == 3
    load, score = (tmp_path / "log").read_text().splitlines()
    assert load == "load cpu"
    assert score.startswith("score 11 ")
    assert sorted(score.removeprefix("score 11 ").split(",")) == ["1", "2", "3"]
    assert query(pool, "SELECT frames, width, height, error FROM media") == [(3, 40, 30, None)] * 3


def test_batches_keep_to_the_budget_and_large_groups_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos = [[f"Question {name} {turn}" for turn in range(5)] for name in range(4)]
    whole, cut = (make_pool(tmp_path / name, videos) for name in ("whole", "cut"))
    ask(whole)
    monkeypatch.setattr(groups, "SAMPLES_PER_GROUP", 2)
    monkeypatch.setitem(asking.BATCH_TOKENS, "cpu", 2100)
    ask(cut, models=FakeModels(tmp_path / "log"))
    scores = [line.split()[2] for line in (tmp_path / "log").read_text().splitlines()[1:]]
    assert set(",".join(scores).split(",")) == {"2", "1"}
    assert {len(score.split(",")) for score in scores} == {2}
    assert query(cut, ALL.format("dependency")) == query(whole, ALL.format("dependency"))


def test_a_sample_whose_media_cannot_be_read_keeps_its_blind_loss(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [["fine"], ["gone"], ["broken"], ["no picture"]])
    with store.Pool(pool).write() as connection:
        connection.execute("UPDATE sample SET media_ids = [] WHERE question = 'no picture'")
    (tmp_path / "001-2.png").unlink()
    (tmp_path / "002-0.png").write_bytes(b"not a picture")
    report = ask(pool)
    assert counts(report) == [("dependency", 0, 1, 3), ("stability", 0, 1, 3)]
    rows = query(
        pool,
        "SELECT question, loss_blind > 0, loss_video, vds, ppl, error FROM dependency JOIN sample "
        "USING (qa_uid) WHERE question <> 'fine' ORDER BY question",
    )
    reasons = [
        ("broken", "not a picture of a known format (002-0.png)"),
        ("gone", "no such file (001-2.png)"),
        ("no picture", "no media"),
    ]
    assert rows == [(question, True, None, None, None, reason) for question, reason in reasons]
    assert query(
        pool,
        "SELECT question, self_consistency, s.error FROM stability AS s JOIN sample USING (qa_uid) "
        "WHERE question <> 'fine' ORDER BY question",
    ) == [(question, None, reason) for question, reason in reasons]
    errors = [row[0] for row in query(pool, "SELECT error FROM media ORDER BY paths")]
    assert errors == [None, "no such file (001-2.png)", "not a picture of a known format (002-0.png)", None]
    assert query(pool, "SELECT count(loss_blind), count(vds) FROM candidate") == [(4, 1)]


def test_of_several_pictures_the_unreadable_one_is_named(tmp_path: Path) -> None:
    for name in "ab":
        cv2.imwrite(str(tmp_path / f"{name}.png"), np.zeros((9, 9, 3), np.uint8))
    rows = [
        {
            "id": "two",
            "images": ["a.png", "c.png", "b.png"],
            "messages": turns(["<image><image><image>Same?"]),
        }
    ]
    ingest(tmp_path / "p.duckdb", [write_rows(tmp_path / "rows.jsonl", rows)], workers=1)
    ask(tmp_path / "p.duckdb")
    assert query(tmp_path / "p.duckdb", "SELECT error FROM dependency") == [("no such file (c.png)",)]
    told = query(tmp_path / "p.duckdb", "SELECT paths[1], error FROM media ORDER BY 1")
    assert told == [("a.png", None), ("b.png", None), ("c.png", "no such file")]


def test_a_loss_that_is_no_number_costs_its_sample_alone(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [["What?", "nan", "Why?"]])
    assert counts(ask(pool)) == [("dependency", 0, 2, 1), ("stability", 0, 3, 0)]
    bad = query(
        pool,
        "SELECT question, loss_blind > 0, loss_video, vds, ppl, d.error "
        "FROM dependency AS d JOIN sample USING (qa_uid) WHERE d.error IS NOT NULL",
    )
    assert bad == [("nan", True, None, None, None, "the loss is not finite")]


def test_a_reader_that_hangs_or_crashes_costs_its_medium_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "see_medium", see_with_trouble)
    pool = usual_pool(tmp_path, 5)
    report = ask(pool, workers=2, time_limit=10.0)
    assert counts(report) == [("dependency", 0, 6, 4), ("stability", 0, 6, 4)]
    assert report.descriptors[0].reasons == {"took longer than 10 s": 2, "the reader crashed": 2}
    assert query(pool, "SELECT count(loss_blind) FROM dependency") == [(10,)]
    errors = [row[0] for row in query(pool, "SELECT error FROM media ORDER BY paths")]
    assert errors == [None, "took longer than 10 s", None, "the reader crashed (SIGKILL)", None]


def test_temporal_need_is_asked_of_each_question_once(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [["What happens next?", "Why?", "nan"], ["Why?"]])
    (by_text,) = ask(pool, ["temporal"]).descriptors
    assert by_text.probe == "text"
    (by_words,) = ask(pool, ["temporal"], probe="words").descriptors
    assert by_words.probe == "words"
    assert query(pool, "SELECT tnc FROM candidate ORDER BY ordinal") == [(1.0,), (0.0,), (0.0,), (0.0,)]
    (by_model,) = ask(pool, ["temporal"], probe="self", models=FakeModels(tmp_path / "log")).descriptors
    assert (by_model.computed, by_model.errors) == (3, 1)
    assert (tmp_path / "log").read_text().splitlines() == ["load cpu", "temporal 3"]
    assert query(pool, "SELECT count(*), count(DISTINCT probe) FROM temporal") == [(12, 3)]
    values = [row[0] for row in query(pool, "SELECT tnc FROM candidate ORDER BY ordinal")]
    assert values[1] == values[3] not in (None, 0.0, 1.0)
    assert values[2] is None
    assert query(pool, "SELECT error FROM temporal WHERE tnc IS NULL") == [
        ("no probability (the question is too long for the model, or its answer is no number)",)
    ]
    assert ask(pool, ["temporal"], probe="words").descriptors[0].already == 4
    assert query(pool, "SELECT tnc FROM candidate ORDER BY ordinal")[0] == (1.0,)


def test_a_second_run_loads_nothing_and_changes_nothing(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path)
    ask(pool)
    before = everything(pool), query(pool, "FROM run")
    again = ask(pool, models=FakeModels(tmp_path / "log"))
    assert counts(again) == [("dependency", 12, 0, 0), ("stability", 12, 0, 0)]
    assert not (tmp_path / "log").exists()
    assert (everything(pool), query(pool, "FROM run")) == before


def test_only_what_is_missing_is_asked(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path)
    assert counts(ask(pool, ["dependency"], limit=4)) == [("dependency", 0, 4, 0)]
    report = ask(pool, limit=6, models=FakeModels(tmp_path / "log"))
    assert counts(report) == [("dependency", 4, 6, 0), ("stability", 0, 6, 0)]
    asked = [line.split()[1] for line in (tmp_path / "log").read_text().splitlines()[1:]]
    assert asked == ["01", "10", "11"]
    ask(pool)
    unbroken = usual_pool(tmp_path / "unbroken")
    ask(unbroken)
    for table in BOTH:
        assert query(pool, ALL.format(table)) == query(unbroken, ALL.format(table))


def test_errors_are_asked_again_when_a_retry_wants_it(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 3)
    (tmp_path / "001-0.png").rename(tmp_path / "away.png")
    ask(pool)
    (tmp_path / "away.png").rename(tmp_path / "001-0.png")
    assert counts(ask(pool)) == [("dependency", 6, 0, 0), ("stability", 6, 0, 0)]
    assert counts(ask(pool, retry_errors=True)) == [("dependency", 4, 2, 0), ("stability", 4, 2, 0)]
    assert query(pool, "SELECT count(vds), count(*) FROM dependency") == [(6, 6)]
    assert query(pool, "SELECT count(error) FROM media") == [(0,)]


def test_rows_and_batches_do_not_depend_on_the_workers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(asking.BATCH_TOKENS, "cpu", 2500)
    logs, rows = [], []
    for workers in (0, 2):
        pool = usual_pool(tmp_path / str(workers), 9)
        ask(pool, workers=workers, models=FakeModels(log := tmp_path / f"log{workers}"))
        logs.append(log.read_text())
        rows.append(everything(pool)[:3])
    assert logs[0] == logs[1]
    assert len(logs[0].splitlines()) == 1 + 5
    assert rows[0] == rows[1]


@pytest.mark.slow
def test_two_devices_give_the_rows_of_one(tmp_path: Path) -> None:
    pools = [usual_pool(tmp_path / name, 9) for name in ("one", "two")]
    log = tmp_path / "log"
    for pool, device in zip(pools, ("cpu", "cpu,cpu"), strict=True):
        names = (*BOTH, "temporal")
        report = ask(pool, names, probe="a model", device=device, models=FakeModels(log))
        assert counts(report)[0] == ("dependency", 0, 18, 0)
        assert counts(report)[2] == ("temporal", 0, 18, 0)
    assert everything(pools[0]) == everything(pools[1])
    assert log.read_text().splitlines().count("load cpu") == 1 + 2 + 2
    assert query(pools[1], "SELECT details FROM probe") == [('{"attention": "none"}',)]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trouble", "reason"), [("die", "its process ended (SIGKILL)"), ("raise", "RuntimeError")]
)
def test_a_device_that_fails_is_told_and_finished_work_is_committed(
    tmp_path: Path, trouble: str, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, [[f"What is {name}?"] for name in range(8)])
    (bad,) = [row[0] for row in query(pool, "SELECT qa_uid FROM sample ORDER BY media_ids LIMIT 1 OFFSET 7")]
    with store.Pool(pool).write() as connection:
        connection.execute("UPDATE sample SET question = ? WHERE qa_uid = ?", [trouble, bad])
    with pytest.raises(GdoError) as failure:
        ask(pool, ["dependency"], device="cpu,cpu")
    assert str(failure.value).startswith("cpu: ")
    assert reason in str(failure.value)
    assert "what was computed is kept" in str(failure.value)
    ((done,),) = query(pool, "SELECT count(vds) FROM dependency")
    assert 4 <= done < 8
    assert part_files(pool) == [] or all("part-" not in file.name for file in part_files(pool))
    with store.Pool(pool).write() as connection:
        connection.execute("UPDATE sample SET question = 'What?' WHERE qa_uid = ?", [bad])
    assert counts(ask(pool, ["dependency"], device="cpu,cpu")) == [("dependency", done, 8 - done, 0)]


def test_a_probe_that_fails_ends_the_run_with_its_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(tmp_path, [["What?"], ["raise"]])
    with pytest.raises(GdoError, match=r"the probe failed on cpu: RuntimeError \(out of order\)$"):
        ask(pool)
    assert counts(ask(pool, ["motion"])) == [("motion", 0, 2, 0)]


KILLED = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from fake_probe import FakeModels, see_with_trouble
from gdo.descriptors.engine import asking, run
from gdo.descriptors.describe import describe
asking.BATCH_TOKENS["cpu"] = 1500
run.COMMIT_EVERY = 0.2
if __name__ == "__main__":
    describe(sys.argv[1], ["dependency", "stability", "temporal"], probe="a model", device="cpu", workers=1,
             models=FakeModels(seconds=0.03))
"""


def test_what_was_asked_of_a_file_that_is_replaced_meanwhile_is_not_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(asking.BATCH_TOKENS, "cpu", 2500)
    pool, fresh = usual_pool(tmp_path), usual_pool(tmp_path / "fresh")
    other = [{"id": "other", "images": ["000-0.png"], "messages": turns(["Other?"])}]
    ingest(pool, [write_rows(tmp_path / "other.jsonl", other)], workers=1)

    def replace(now: Progress) -> None:
        if now.name == "dependency" and now.done < 13:
            replace_rows(pool)

    def replace_rows(pool: Path) -> None:
        rows = pool.with_name("rows.jsonl")
        rows.write_text(rows.read_text().replace("And why?", "And how?"))
        ingest(pool, [rows], replace=True, workers=1)

    ask(pool, ["dependency"], progress=replace)
    assert query(pool, "SELECT qa_uid FROM dependency WHERE qa_uid LIKE 'vv::%'") == []
    assert query(pool, "SELECT count(complete) FROM description") == [(0,)]
    assert sum(counts(ask(pool, ["dependency"]))[0][1:]) == 13
    replace_rows(fresh)
    ask(fresh, ["dependency"])
    values = "SELECT qa_uid, vds FROM candidate WHERE question <> 'Other?' ORDER BY qa_uid"
    assert query(pool, values) == query(fresh, values)


@pytest.mark.slow
def test_killed_twice_and_resumed_the_rows_are_those_of_an_unbroken_run(tmp_path: Path) -> None:
    videos = [[f"What is {name}?", "And why?", "nan" * (name == 3)] for name in range(40)]
    killed, unbroken = (make_pool(tmp_path / name, videos) for name in ("killed", "unbroken"))
    for pool in (killed, unbroken):
        (pool.parent / "005-1.png").unlink()
    script = tmp_path / "script.py"
    script.write_text(KILLED)
    command = [sys.executable, str(script), str(killed), str(Path(__file__).parent)]
    seed = int(os.environ.get("GDO_SEED", random.randrange(1_000_000)))
    print(f"GDO_SEED={seed}")
    moment = random.Random(seed)
    for _ in range(2):
        with subprocess.Popen(command) as process:
            while process.poll() is None and not any("part-" in file.name for file in part_files(killed)):
                time.sleep(0.005)
            time.sleep(moment.uniform(0.0, 0.5))
            process.kill()
    subprocess.run(command, check=True)
    ask(unbroken, (*BOTH, "temporal"), probe="a model")
    assert everything(killed) == everything(unbroken)
    assert query(killed, ALL.format("temporal")) == query(unbroken, ALL.format("temporal"))
    assert part_files(killed) == []
    assert query(killed, "SELECT count(*), count(complete) FROM description") == [(3, 3)]


def test_stopped_as_soon_as_values_are_kept_a_run_has_kept_what_it_learned_of_media(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stopped, unbroken = usual_pool(tmp_path), usual_pool(tmp_path / "unbroken")
    save = DescriptorParts.save

    def save_and_stop(parts: DescriptorParts, table: Any) -> Any:
        save(parts, table)
        raise Stop

    with monkeypatch.context() as patch:
        patch.setattr(DescriptorParts, "save", save_and_stop)
        with pytest.raises(Stop):
            ask(stopped, ["dependency"])
    for pool in (stopped, unbroken):
        ask(pool, ["dependency"])
    for table in ("media", "dependency"):
        assert query(stopped, ALL.format(table)) == query(unbroken, ALL.format(table))


def shown(pool: Path) -> list[tuple[Any, ...]]:
    return query(
        pool,
        "SELECT DISTINCT split_part(d.probe, '@', 1) FROM candidate JOIN dependency AS d USING (qa_uid) "
        "WHERE candidate.vds = d.vds",
    )


def test_candidate_shows_one_probe_the_newest_complete_one(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path)
    names = ["dependency"]
    ask(pool, names, probe="first", limit=3)
    assert shown(pool) == [("first",)]
    ask(pool, names, probe="second", limit=2)
    assert shown(pool) == [("second",)]
    ask(pool, names, probe="first")
    assert shown(pool) == [("first",)]
    ask(pool, names, probe="second", limit=5)
    assert shown(pool) == [("first",)]
    assert query(pool, "SELECT count(vds) FROM candidate") == [(12,)]
    ask(pool, names, probe="second")
    assert shown(pool) == [("second",)]
    models = FakeModels(tmp_path / "log")
    assert counts(ask(pool, names, probe="first", models=models)) == [("dependency", 12, 0, 0)]
    assert shown(pool) == [("first",)]
    assert not (tmp_path / "log").exists()
    assert query(pool, "SELECT model FROM probe ORDER BY made") == [("first",), ("second",)]


def test_a_run_in_progress_does_not_replace_a_complete_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = usual_pool(tmp_path)
    monkeypatch.setattr(run, "COMMIT_EVERY", 0.0)
    monkeypatch.setitem(asking.BATCH_TOKENS, "cpu", 1500)
    ask(pool, ["dependency"], probe="first")
    before: list[list[tuple[Any, ...]]] = []
    ask(pool, ["dependency"], probe="second", progress=lambda _: before.append(shown(pool)))
    assert before == [[("first",)]] * 6
    assert shown(pool) == [("second",)]


def test_new_samples_do_not_hide_a_complete_probe(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 3)
    ask(pool, ["dependency"], probe="first")
    more = [{"id": "new", "images": ["no.png"], "messages": turns(["New?"])}]
    ingest(pool, [write_rows(tmp_path / "more.jsonl", more)], workers=1)
    ask(pool, ["dependency"], probe="second", limit=1)
    assert shown(pool) == [("first",)]
    assert counts(ask(pool, ["dependency"], probe="first")) == [("dependency", 6, 0, 1)]


def test_two_probes_can_be_compared_in_sql(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path)
    first, second = (ask(pool, probe=name).descriptors[0].probe for name in ("first", "second"))
    rows = query(
        pool,
        f"SELECT a.vds, b.vds FROM dependency AS a JOIN dependency AS b USING (qa_uid) "
        f"WHERE a.probe = '{first}' AND b.probe = '{second}'",
    )
    assert len(rows) == 12
    assert all(one != other for one, other in rows)
    fingerprints = "SELECT DISTINCT fingerprint FROM dependency AS d JOIN probe ON label = d.probe ORDER BY 1"
    assert query(pool, fingerprints) == [("digest of first",), ("digest of second",)]


def test_other_settings_are_another_probe(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 2)
    labels = {
        ask(pool, ["dependency"], **options).descriptors[0].probe
        for options in ({}, {"frames": 2}, {"max_pixels": 100}, {"context": True}, {"frames": 4})
    }
    assert len(labels) == 4
    assert query(pool, "SELECT count(*) FROM dependency") == [(16,)]
    budgets = [
        json.loads(row[0])["budget"] for row in query(pool, "SELECT settings FROM probe ORDER BY made")
    ]
    assert [budget["frames"] for budget in budgets] == [4, 2, 4, 4]
    assert [budget["max_pixels"] for budget in budgets] == [400, 400, 100, 400]


def test_with_context_a_sample_has_the_turns_before_it(tmp_path: Path) -> None:
    pool = make_pool(tmp_path, [["One?", "Two?", "Three?"]])
    ask(pool, ["dependency"])
    alone = query(pool, "SELECT qa_uid, loss_blind FROM candidate ORDER BY 1")
    ask(pool, ["dependency"], context=True)
    after = query(pool, "SELECT qa_uid, loss_blind FROM candidate ORDER BY 1")
    assert [one == other for one, other in zip(alone, after, strict=True)] == [True, False, False]
    target = store.Pool(pool)
    plan = groups.plan_groups(target, {"losses": groups_parts(target)}, tmp_path, context=True)
    ((task),) = plan.tasks()
    histories = {asked.question: asked.history for asked in task.samples}
    first, second = ("One?", "Answer to One?"), ("Two?", "Answer to Two?")
    assert histories == {"One?": (), "Two?": (first,), "Three?": (first, second)}


def groups_parts(pool: store.Pool) -> Any:
    from gdo.descriptors.dependency import Dependency
    from gdo.descriptors.engine.stored import DescriptorParts

    return DescriptorParts(pool, Dependency("nobody"))


def test_imported_values_come_first(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 2)
    ask(pool)
    write_rows(tmp_path / "metrics.jsonl", [{"qa_uid": "vv::v0::t0", "vds": 9.0}])
    import_descriptors(pool, tmp_path / "metrics.jsonl")
    values = [row[0] for row in query(pool, "SELECT vds FROM candidate ORDER BY ordinal")]
    assert values[0] == 9.0
    assert all(value < 2 for value in values[1:])


def test_the_self_proxy_is_trained_once_and_the_start_says_who_is_asked(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 2)
    said: list[str] = []
    told: list[Progress] = []
    ask(pool, proxy_minutes=0.5, say=said.append, progress=told.append)
    assert (pool.with_name("pool.duckdb.d") / "proxy" / "minutes").read_text() == "0.5"
    assert said[0] == "The proxy learned something."
    assert said[1].startswith("probe self@")
    for fact in ("float32", "on cpu", "4 frames", "attention none"):
        assert fact in said[1]
    assert told[0] == Progress("training the self-proxy", 1, 2, note="loss 3.0")
    assert [(now.name, now.done, now.total) for now in told[1:]] == [("dependency, stability", 4, 4)]


def test_without_names_all_but_stability_is_computed(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 2)
    said: list[str] = []
    report = describe(pool, models=FakeModels(), device="cpu", workers=0, say=said.append)
    vectors = ["media_embedding", "embedding", "coverage"]
    assert [each.name for each in report.descriptors] == ["motion", "temporal", "dependency", *vectors]
    assert said[0].startswith("stability (")
    assert "--estimate" in said[0]


def test_without_torch_what_needs_no_model_is_computed_and_the_rest_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalog, "find_spec", lambda name: None)
    pool = usual_pool(tmp_path, 2)
    said: list[str] = []
    report = describe(pool, workers=0, say=said.append)
    assert [each.name for each in report.descriptors] == ["motion", "temporal"]
    assert "pip install 'gdo[train]'" in said[0]
    for names, probe in ((["dependency"], None), (["temporal"], "self"), (["motion", "stability"], "words")):
        with pytest.raises(UsageError, match=r"pip install 'gdo\[train\]'"):
            describe(pool, names, probe=probe, workers=0)
    assert describe(pool, ["temporal"], probe="words", workers=0).descriptors[0].computed == 4


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"device": "gpu"}, "device 'gpu' is none of auto, cpu, cuda, cuda:N"),
        ({"device": "cpu,cuda"}, "name one kind"),
        ({"proxy_minutes": 0.0}, "proxy_minutes must be more than 0"),
        ({"frames": 0}, "frames must be a whole number from 1 up"),
        ({"max_pixels": -1}, "max_pixels must be a whole number from 1 up"),
    ],
)
def test_wrong_use_is_told_before_anything_begins(tmp_path: Path, options: dict[str, Any], says: str) -> None:
    pool = usual_pool(tmp_path, 1)
    with pytest.raises(UsageError, match=says):
        ask(pool, ["motion", "dependency"], **options)
    assert query(pool, "SELECT command FROM run") == [("ingest",)]


def test_devices_are_found_by_their_names() -> None:
    assert find_devices("cpu") == ["cpu"]
    assert find_devices("cpu, cpu") == ["cpu", "cpu"]


def test_a_pool_of_an_older_gdo_is_brought_up_to_date(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = usual_pool(tmp_path, 1)
    real = store._migrations()
    later = [*real, (real[-1][0] + 1, "CREATE TABLE added (a INTEGER)")]
    monkeypatch.setattr(store, "_migrations", lambda: later)
    assert counts(ask(pool, ["dependency"])) == [("dependency", 0, 2, 0)]
    assert query(pool, "SELECT count(*) FROM added") == [(0,)]


def sleepy(task: tuple[int, float]) -> int:
    time.sleep(task[1])
    return task[0]


def test_results_come_in_order_and_the_fast_ones_wait_for_the_slow(tmp_path: Path) -> None:
    handed: list[int] = []

    def tasks() -> Any:
        for number in range(12):
            handed.append(number)
            yield number, 0.5 if number == 0 else 0.0

    results = run_in_order(sleepy, tasks(), lambda task, _: -task[0], workers=2, time_limit=60, ahead=4)
    assert next(results) == 0
    assert max(handed) <= 4
    assert list(results) == list(range(1, 12))
