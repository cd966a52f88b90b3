"""Benchmarks by lmms-eval: how it is called, what is read back, and a true run where it is installed.

`lmms_written` is what lmms-eval 0.7.3 wrote of the tasks of `lmms_tasks`; a program stands in for it here.
"""

import json
import os
import shutil
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import orjson
import polars as pl
import psutil
import pytest
from lmms_tasks import GROUP, make_tasks
from qwen_models import save_qwen
from train_data import make_rows, smoke
from typer.testing import CliRunner

os.environ["HF_HUB_OFFLINE"] = "1"

from gdo.cli.main import app
from gdo.errors import GdoError, UsageError
from gdo.pool.store import Pool
from gdo.train.checkpoints import list_checkpoints
from gdo.train.compare.run import compare
from gdo.train.evaluate.lmms import BEGIN, _as_model, _own, evaluate_lmms
from gdo.train.evaluate.lmms_results import _correct
from gdo.train.evaluate.results import read_results
from gdo.train.recipe import load_recipe

WRITTEN = Path(__file__).with_name("lmms_written")
STAND_IN = f"""#!{sys.executable}
import json, shutil, sys
from pathlib import Path
if "lmms_eval" in sys.argv[2] and len(sys.argv) == 3:
    print("0.7.3")
    sys.exit()
here = Path(__file__).parent
with (here / "calls.jsonl").open("a") as calls:
    calls.write(json.dumps(sys.argv[1:]) + "\\n")
if (here / "broken").exists():
    print("Traceback")
    print("Error during evaluation: the video is gone")
    print("the end")
    sys.exit()
shutil.copytree({str(WRITTEN)!r}, Path(sys.argv[sys.argv.index("--output_path") + 1]) / "some__model")
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """What is called in place of an interpreter that has lmms-eval."""
    file = tmp_path / "program" / "python"
    file.parent.mkdir()
    file.write_text(STAND_IN)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


def calls_of(program: Path) -> list[list[str]]:
    file = program.with_name("calls.jsonl")
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run with two checkpoints that nothing trained."""
    return make_run(tmp_path / "run")


def make_run(folder: Path, *, kind: str = "qwen3_vl", uniform: bool = False) -> Path:
    recipe = load_recipe("paper", settings=["seed=7"])
    data = {"path": "/p.duckdb", "subset": "temp", "uniform": uniform, "multiple": 1.0, "mix": []}
    told = {"model": "base", "data": data, "recipe": recipe.model_dump(mode="json")}
    for step in (5, 10):
        checkpoint = folder / f"checkpoint-{step}"
        checkpoint.mkdir(parents=True)
        names = ("samples", "tokens", "answer_tokens", "frames", "flops", "seconds")
        figures = {"step": step, **dict.fromkeys(names, 8 * step), "held_out_loss": None}
        (checkpoint / "gdo.json").write_bytes(orjson.dumps(figures))
        (checkpoint / "config.json").write_text(json.dumps({"model_type": kind}))
    (folder / "recipe.toml").write_text(recipe.to_toml())
    (folder / "run.json").write_bytes(orjson.dumps(told))
    return folder


def test_benchmarks_become_evaluations(run: Path, program: Path, tmp_path: Path) -> None:
    pool = tmp_path / "pool.duckdb"
    with Pool(pool, create=True).write():
        pass
    arguments = ["evaluate", str(run), "--lmms", f"gdo_clips,{GROUP}", "--lmms-python", str(program)]
    arguments += ["--lmms-include", "tasks", "--pool", str(pool), "--device", "cpu"]
    done = CliRunner().invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0, done.output
    clips, both = json.loads(done.stdout)
    assert [(one["step"], one["samples"], one["reported"]) for one in clips["checkpoints"]] == [
        (5, 40, 75.0),
        (10, 80, 75.0),
    ]
    assert clips["checkpoints"][0]["all"]["accuracy"] == 0.75
    assert {kind: of["accuracy"] for kind, of in clips["checkpoints"][0]["kinds"].items()} == {
        "count": 1.0,
        "order": 0.5,
    }
    assert both["checkpoints"][1]["all"]["accuracy"] == pytest.approx(4 / 6)
    assert both["checkpoints"][1]["reported"] is None
    assert {kind: of["correct"] for kind, of in both["checkpoints"][1]["kinds"].items()} == {
        "gdo_clips": 3,
        "gdo_pictures": 1,
    }
    summary, table = read_results(run, GROUP)
    assert (summary["of"]["lmms_eval"], summary["of"]["budget"]["max_pixels"]) == ("0.7.3", 50_176)
    wrong = table.filter((pl.col("qa_uid") == "gdo_clips::1") & (pl.col("step") == 10)).row(0, named=True)
    assert (wrong["correct"], wrong["answer"], wrong["form"], wrong["error"]) == (False, "A", "lmms", None)
    with Pool(pool).read() as connection:
        told = connection.execute(
            "SELECT evaluation, step, seed, subset, uniform, samples, asked_by, accuracy, reported "
            "FROM evaluation WHERE target = ? ORDER BY ALL",
            [str(run)],
        ).fetchall()
        kept = connection.execute("SELECT count(*) FROM evaluation_answer").fetchall()
    assert told[0] == ("gdo_clips", 5, 7, "temp", False, 40, "lmms-eval", 0.75, 75.0)
    assert [row[:2] for row in told] == [("gdo_clips", 5), ("gdo_clips", 10), (GROUP, 5), (GROUP, 10)]
    assert kept == [(20,)]
    shown = CliRunner().invoke(app, arguments)
    assert "lmms-eval reports" in shown.stdout
    assert len(calls_of(program)) == 4, "what was asked is not asked again"


def test_it_is_called_with_the_frames_and_pixels_of_training(run: Path, program: Path) -> None:
    evaluate_lmms(run, ["gdo_clips"], python=program, include="tasks", checkpoints="last", device="cpu")
    (call,) = calls_of(program)
    raw = run / "evaluation" / "gdo_clips" / "lmms-eval-000000010"
    own = raw.with_name(f".{raw.name}.{os.getpid()}.part")
    model = f"pretrained={run / 'checkpoint-10'},max_num_frames=32,fps=1000,max_pixels=50176,min_pixels=4096"
    assert call == [
        *("-c", BEGIN, "--model", "qwen3_vl", "--force_simple"),
        *("--model_args", f"{model},device=cpu,device_map=cpu", "--tasks", "gdo_clips", "--batch_size", "1"),
        *("--log_samples", "--include_path", str(Path("tasks").absolute()), "--output_path", str(own)),
    ]
    assert [path.name for path in sorted(raw.iterdir())] == ["log.txt", "some__model"]


def test_runs_are_compared_on_a_benchmark(run: Path, program: Path, tmp_path: Path) -> None:
    control = make_run(tmp_path / "control", uniform=True)
    for one in (run, control):
        evaluate_lmms(one, ["gdo_clips"], python=program, device="cpu")
    report = compare([str(run), str(control)], "gdo_clips", resamples=50)
    assert report.questions == 4
    assert report.comparisons[0].delta.value == 0.0


def test_a_failure_is_told_with_its_reason(run: Path, program: Path) -> None:
    program.with_name("broken").touch()
    with pytest.raises(
        GdoError, match=r"failed on gdo_clips: Error during evaluation: the video is gone .*log"
    ):
        evaluate_lmms(run, ["gdo_clips"], python=program, device="cpu")
    program.with_name("broken").unlink()
    (report,) = evaluate_lmms(run, ["gdo_clips"], python=program, device="cpu")
    assert len(report.checkpoints) == 2
    with pytest.raises(GdoError, match="logged no samples of other"):
        evaluate_lmms(run, ["other"], python=program, device="cpu")


def test_what_killed_runs_left_is_removed_and_not_read(run: Path, program: Path) -> None:
    raw = run / "evaluation" / "gdo_clips" / "lmms-eval-000000005"
    left = [run / "evaluation" / ".merged.4321.part", raw.with_name(f".{raw.name}.4321.part")]
    for folder in (*left, raw):
        shutil.copytree(WRITTEN, folder / "some__model")
    with _own(run / "evaluation", run / "evaluation" / "merged") as used:
        (report,) = evaluate_lmms(run, ["gdo_clips"], python=program, device="cpu")
        assert used.exists()
    assert [scored.all.questions for scored in report.checkpoints] == [4, 4]
    names = {path.name for path in [*run.glob("evaluation/*"), *run.glob("evaluation/gdo_clips/*")]}
    assert not [name for name in names if name.startswith(".")]


MODULE = """
import os, sys, time
from pathlib import Path
here = Path(__file__).parents[1]
(here / "arguments").write_text(" ".join([__name__, *sys.argv[1:]]))
(here / "pid").write_text(str(os.getpid()))
time.sleep(600)
"""


@pytest.mark.slow
def test_lmms_eval_ends_with_the_run_that_was_killed(tmp_path: Path) -> None:
    """It would ask on, beside the one that the next run starts."""
    module = tmp_path / "lmms_eval" / "__main__.py"
    module.parent.mkdir()
    module.write_text(MODULE)
    called = [sys.executable, "-c", BEGIN, "--tasks", "t"]
    code = "from pathlib import Path; from gdo.train.evaluate.lmms import _run\n"
    code += f"_run({called!r}, Path({str(tmp_path)!r}), Path({str(tmp_path / 'raw')!r}), 't')"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    with subprocess.Popen([sys.executable, "-c", code], env=environment) as asking:
        try:
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():
                assert asking.poll() is None
                time.sleep(0.1)
            (child,) = psutil.Process(asking.pid).children()
        finally:
            asking.kill()
    assert (tmp_path / "arguments").read_text().startswith("__main__ --tasks t --output_path ")
    _, alive = psutil.wait_procs([child], timeout=60)
    for process in alive:
        process.kill()
    assert not alive


def test_wrong_use_is_told(run: Path, program: Path, tmp_path: Path) -> None:
    for python in (tmp_path / "gone", "false"):
        with pytest.raises(UsageError, match=r"has no lmms-eval; .*--lmms-python"):
            evaluate_lmms(run, ["gdo_clips"], python=python, device="cpu")
    with pytest.raises(UsageError, match="names of tasks"):
        evaluate_lmms(run, ["a/b"], python=program, device="cpu")
    with pytest.raises(UsageError, match="is a llava; --lmms is for qwen3_vl"):
        evaluate_lmms(make_run(tmp_path / "other", kind="llava"), ["t"], python=program, device="cpu")
    with pytest.raises(UsageError, match="no path with a comma"):
        evaluate_lmms(make_run(tmp_path / "a,b"), ["t"], python=program, device="cpu")
    for more in ([], ["--on", "x", "--lmms", "y"], ["--lmms", "y", "--kind", "z"]):
        refused = CliRunner().invoke(app, ["evaluate", str(run), *more])
        assert "--on QUESTIONS, or --lmms TASKS" in str(refused.exception)


@pytest.mark.parametrize(
    ("value", "correct"),
    [
        (1.0, True),
        (0, False),
        (True, True),
        (0.5, None),
        ("A", None),
        ({"score": 0.0, "pred_answer": "A", "answer": "A"}, False),
        ({"pred_answer": "A", "answer": "A"}, True),
        ({"pred_answer": "B", "gt_answer": "A"}, False),
        ({"answer": "A"}, None),
    ],
)
def test_metrics_say_right_or_wrong(value: Any, correct: bool | None) -> None:
    assert _correct(value) is correct


@pytest.mark.slow
def test_adapters_are_merged_for_it(tmp_path: Path) -> None:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = save_qwen(tmp_path / "model")
    smoke(make_rows(tmp_path / "rows", 4), tmp_path / "lora", model, 'method="lora"', "lr=0.01")
    with _as_model(list_checkpoints(tmp_path / "lora")[-1], tmp_path) as merged:
        made = AutoModelForImageTextToText.from_pretrained(merged).state_dict()
        assert AutoProcessor.from_pretrained(merged).tokenizer is not None
    assert not Path(merged).exists()
    base = AutoModelForImageTextToText.from_pretrained(model).state_dict()
    changed = [name for name in base if not made[name].equal(base[name])]
    assert set(made) == set(base)
    assert any("q_proj" in name for name in changed)


def lmms_python() -> str | None:
    """An interpreter that has lmms-eval: this one, or the one that GDO_LMMS_PYTHON names."""
    python = os.environ.get("GDO_LMMS_PYTHON", sys.executable)
    script = "import importlib.util, sys; sys.exit(importlib.util.find_spec('lmms_eval') is None)"
    return python if subprocess.run([python, "-c", script], check=False).returncode == 0 else None


@pytest.mark.slow
def test_lmms_eval_itself(tmp_path: Path) -> None:
    python = lmms_python()
    if python is None:
        pytest.skip(
            "lmms-eval does not go with gdo's versions of av and protobuf; GDO_LMMS_PYTHON may name one"
        )
    model = save_qwen(tmp_path / "model")
    (report,) = evaluate_lmms(
        model,
        [GROUP],
        python=python,
        include=make_tasks(tmp_path / "tasks"),
        output=tmp_path / "out",
        device="cpu",
    )
    (scored,) = report.checkpoints
    assert (scored.all.correct, scored.all.questions, scored.all.errors) == (4, 6, 0)
    _, table = read_results(tmp_path / "out", GROUP)
    written = pl.DataFrame(
        [
            json.loads(line)
            for file in sorted(WRITTEN.glob("*.jsonl"))
            for line in file.read_text().splitlines()
        ]
    )
    assert table["answer"].to_list() == written["target"].to_list()
    assert table["said"].null_count() == 0
