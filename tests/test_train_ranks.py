"""Runs of two processes: copies and shards of a model train what one process does, killed or not."""

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
import torch
from qwen_models import save_qwen
from train_data import make_rows, read_rows, smoke

os.environ["HF_HUB_OFFLINE"] = "1"

from gdo.errors import UsageError
from gdo.train.checkpoints import list_checkpoints, load_checkpoint
from gdo.train.ledger import read_ledger
from gdo.train.machine import Machine
from gdo.train.run import train
from gdo.train.sources import Data

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent
FSDP2 = HERE.parent / "docs" / "sharding" / "fsdp2.json"
SETTINGS = ("pack=false", "batch=2", "checkpoints=2", "holdout=0.2")
"""Each step has one sample with a picture and one of text alone, so that a rank has no picture at all."""
TORCHRUN = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
ACCELERATE = ("accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1")
ACCELERATE += ("--mixed_precision", "no", "--dynamo_backend", "no")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rows(tmp_path_factory.mktemp("rows"), 10, ["text", "image"])


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, model: Path, rows: Path) -> Path:
    """A run of one process, in 4 steps."""
    run = tmp_path_factory.mktemp("alone") / "run"
    smoke(rows, run, model, *SETTINGS)
    return run


def launched(launcher: tuple[str, ...], *arguments: str) -> "subprocess.CompletedProcess[str]":
    """Both processes, and what reads for them: output is complete when the last of them has ended."""
    paths = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parent / "benchmarks")])
    more = {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-m", *launcher, *arguments]
    return subprocess.run(
        command, env={**os.environ, **more}, capture_output=True, text=True, check=False, timeout=600
    )


def command(rows: Path, run: Path, model: Path, *more: str) -> list[str]:
    settings = [part for setting in SETTINGS for part in ("--set", setting)]
    made = ["-m", "gdo.cli.main", "train", str(rows), "-o", str(run), "--model", str(model)]
    return [*made, "--recipe", "smoke", *settings, "--device", "cpu", "--workers", "1", "--json", *more]


def assert_same_run(run: Path, other: Path) -> None:
    """The same samples at the same steps, the same losses, and the same weights at the end."""
    columns = ["step", "position", "qa_uid", "source", "outcome", "tokens", "answer_tokens", "frames"]
    assert read_ledger(run).select(columns).equals(read_ledger(other).select(columns))
    told = [read_rows(folder / "metrics.jsonl") for folder in (run, other)]
    for mine, theirs in zip(*told, strict=True):
        for name in ("step", "loss", "grad_norm", "learning_rate", "tokens", "answer_tokens"):
            assert mine.get(name) == pytest.approx(theirs.get(name), rel=1e-4), name
    last = [list_checkpoints(folder)[-1] for folder in (run, other)]
    assert last[0].held_out_loss == pytest.approx(last[1].held_out_loss, rel=1e-4)
    mine, theirs = (load_checkpoint(one.path)[0].state_dict() for one in last)
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-5, msg=name)


def assert_a_rank_saw_no_picture(run: Path) -> None:
    shown = read_ledger(run).group_by("step", "rank").agg(pl.col("frames").sum())
    ranks = shown.group_by("step").agg(pl.col("frames").min().alias("least"), pl.col("frames").max())
    assert ranks.filter((pl.col("least") == 0) & (pl.col("frames") > 0)).height == 4


KILLED = """
import os, signal
from pathlib import Path
from gdo.train.machine import Machine
from gdo.train.run import train
from gdo.train.sources import Data

def progress(what, step, steps, note):
    if step == 3:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    machine = Machine("cpu", workers=1, sharding=Path({sharding!r}))
    options = dict(model={model!r}, recipe="smoke", settings={settings!r}, machine=machine)
    train(Data(Path({rows!r})), {run!r}, progress=progress, **options)
"""


def test_shards_killed_and_taken_up_again_are_the_run_of_one_process(
    alone: Path, model: Path, rows: Path, tmp_path: Path
) -> None:
    """FSDP2 over gloo: it gathers the tower's weights on every rank, which none may leave out."""
    run, script = tmp_path / "run", tmp_path / "killed.py"
    names = {"sharding": str(FSDP2), "model": str(model), "rows": str(rows), "run": str(run)}
    script.write_text(KILLED.format(**names, settings=SETTINGS))
    killed = launched(TORCHRUN, str(script))
    assert "SIGKILL" in killed.stderr
    assert [c.step for c in list_checkpoints(run)] == [2]
    assert (run / "checkpoint-2" / "pytorch_model_fsdp.bin").exists()
    done = launched(TORCHRUN, *command(rows, run, model, "--sharding", str(FSDP2)))
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert (told["resumed_from"], told["check"]["counts"]) == (2, {"subset": {"wanted": 8, "trained": 8}})
    assert_same_run(run, alone)
    assert_a_rank_saw_no_picture(run)
    assert not list((run / "checkpoint-2").glob("pytorch_model_fsdp*"))


def test_copies_started_by_accelerate_are_the_run_of_one_process(
    alone: Path, model: Path, rows: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    done = launched(ACCELERATE, *command(rows, run, model))
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same_run(run, alone)
    assert_a_rank_saw_no_picture(run)


def test_what_cannot_be_sharded_is_refused(model: Path, rows: Path, tmp_path: Path) -> None:
    for name, message in (
        ("fsdp2.json", "--sharding needs several processes"),
        ("zero2.json", "DeepSpeed needs GPUs; on CPUs take docs/sharding/fsdp2.json"),
    ):
        machine = Machine("cpu", sharding=FSDP2.with_name(name))
        with pytest.raises(UsageError, match=message):
            train(Data(rows), tmp_path / "run", model=str(model), machine=machine)
