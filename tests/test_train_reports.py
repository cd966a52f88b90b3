"""What a run tells TensorBoard, step by step; what is not installed is refused before any work."""

import os
from pathlib import Path

import pytest
from qwen_models import save_qwen
from train_data import make_rows, read_rows

os.environ["HF_HUB_OFFLINE"] = "1"

from gdo.errors import UsageError
from gdo.train.machine import Machine
from gdo.train.run import train
from gdo.train.sources import Data


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning:tensorboard")
def test_tensorboard_has_the_figures_of_each_step(tmp_path: Path) -> None:
    rows, model = make_rows(tmp_path / "rows", 6, ["text", "image"]), save_qwen(tmp_path / "model")
    machine = Machine("cpu", workers=0, report_to=("tensorboard",))
    settings = ("batch=2", "checkpoints=1", "holdout=0")
    run = tmp_path / "run"
    train(Data(rows), run, model=str(model), recipe="smoke", settings=settings, machine=machine)

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (events,) = run.glob("runs/**/events.out.tfevents.*")
    told = EventAccumulator(str(events))
    told.Reload()
    figures = read_rows(run / "metrics.jsonl")
    assert len(figures) == 3
    for name in ("loss", "grad_norm", "learning_rate", "samples_per_s", "tokens_per_s", "answer_tokens"):
        kept = [(event.step, event.value) for event in told.Scalars(f"train/{name}")]
        assert [step for step, _ in kept] == [1, 2, 3]
        assert [value for _, value in kept] == pytest.approx([line[name] for line in figures])


def test_a_reporter_that_is_not_there_is_refused(tmp_path: Path) -> None:
    machine = Machine("cpu", report_to=("notebook",))
    with pytest.raises(UsageError, match="--report-to notebook: not installed, or not known to transformers"):
        train(Data(tmp_path / "rows.jsonl"), tmp_path / "run", model="none", machine=machine)
    assert not (tmp_path / "run").exists()
