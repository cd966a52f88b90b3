"""Whole runs of a tiny model: ledger, checkpoints, kills, refusals, freezing, two processes."""

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import torch
from qwen_models import save_qwen
from safetensors.torch import load_file
from train_data import make_rows, read_rows, smoke, write_rows

os.environ["HF_HUB_OFFLINE"] = "1"

from gdo.errors import GdoError, UsageError
from gdo.pool.store import locked
from gdo.train import prepare, session, trainer
from gdo.train.checkpoints import MARK, list_checkpoints, load_checkpoint
from gdo.train.ledger import Check, check_ledger, read_ledger
from gdo.train.machine import Machine
from gdo.train.parts import part_of
from gdo.train.prepare import read_run
from gdo.train.recipe import load_recipe
from gdo.train.run import train
from gdo.train.sources import Data

pytestmark = pytest.mark.slow
HERE = Path(__file__).parent


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_qwen(tmp_path_factory.mktemp("tiny") / "model")


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_rows(tmp_path_factory.mktemp("rows"), 22)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory: pytest.TempPathFactory, model: Path, rows: Path) -> Path:
    """A run of 22 samples over two epochs, in 10 steps of 4, two of the samples held out."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    smoke(rows, run, model, "holdout=0.1", "epochs=2")
    return run


def weights(checkpoint: Path) -> dict[str, torch.Tensor]:
    return load_file(checkpoint / "model.safetensors")


def figures(run: Path) -> list[dict[str, Any]]:
    return read_rows(run / "metrics.jsonl")


def assert_same_run(run: Path, other: Path) -> None:
    """The same samples at the same steps, and the same weights at the end."""
    columns = ["step", "position", "qa_uid", "source", "outcome", "tokens", "answer_tokens", "frames"]
    assert read_ledger(run).select(columns).equals(read_ledger(other).select(columns))
    mine, theirs = (weights(list_checkpoints(r)[-1].path) for r in (run, other))
    assert mine.keys() == theirs.keys()
    for name, value in mine.items():
        torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-5, msg=name)


def test_a_run_leaves_what_it_did(unbroken: Path) -> None:
    checkpoints = list_checkpoints(unbroken)
    assert [(c.step, c.samples) for c in checkpoints] == [(5, 20), (10, 40)]
    assert checkpoints[1].held_out_loss is not None
    assert checkpoints[0].tokens < checkpoints[1].tokens
    assert not list(checkpoints[0].path.glob("optimizer*"))
    assert list(checkpoints[1].path.glob("optimizer*"))
    told = figures(unbroken)
    assert [line["step"] for line in told] == list(range(1, 11))
    assert told[-1]["loss"] < told[0]["loss"]
    assert {"grad_norm", "learning_rate", "samples_per_s", "tokens_per_s", "seconds", "mfu"} <= told[0].keys()
    assert told[0]["mfu"] is None
    run = read_run(unbroken)
    assert run["counts"]["kinds"] == {"image": 7, "text": 8, "video": 7}
    assert (run["counts"]["held_out"], run["ledger"]["agrees"]) == (2, True)
    assert (
        load_recipe(unbroken / "recipe.toml").model_dump() | {"name": "smoke"}
        == load_recipe("smoke", settings=["holdout=0.1", "epochs=2"]).model_dump()
    )


def test_the_ledger_names_every_sample_of_every_step(unbroken: Path, rows: Path) -> None:
    ledger = read_ledger(unbroken)
    assert ledger["step"].to_list() == sorted([*range(1, 11)] * 4)
    assert ledger["position"].to_list() == list(range(40))
    assert ledger["qa_uid"].value_counts()["count"].unique().to_list() == [2]
    shown = {row["id"]: len(row["images"]) + sum(map(len, row["videos"])) for row in read_rows(rows)}
    assert all(shown[uid] == frames for uid, frames in ledger.select("qa_uid", "frames").iter_rows())
    of_steps = ledger.group_by("step").agg(pl.col("tokens").sum(), pl.col("answer_tokens").sum()).sort("step")
    assert of_steps["tokens"].to_list() == [line["tokens"] for line in figures(unbroken)]


def test_the_first_step_is_one_of_plain_torch(unbroken: Path, model: Path, rows: Path) -> None:
    """Loss of step 1: the mean over the answer tokens of its samples, each alone through the processor."""
    from transformers import AutoModelForImageTextToText

    from gdo.train.encode import Encoder
    from gdo.train.samples import parse_row
    from gdo.train.sources import file_rows

    encoder = Encoder(model, load_recipe("smoke"))
    plain = AutoModelForImageTextToText.from_pretrained(model).eval()
    uids = read_ledger(unbroken).filter(pl.col("step") == 1)["qa_uid"].to_list()
    total, count = 0.0, 0
    for row in file_rows(rows):
        if row["id"] in uids:
            one = encoder.encode(parse_row({**row, "source": "s"}))
            types = (one.ids == plain.config.image_token_id).int()
            with torch.no_grad():
                loss = plain(
                    input_ids=one.ids[None],
                    labels=one.labels[None],
                    mm_token_type_ids=types[None],
                    **one.media,
                ).loss
            total, count = total + loss.item() * one.answers, count + one.answers
    assert figures(unbroken)[0]["loss"] == pytest.approx(total / count, rel=1e-5)


KILLED = """
import os, signal, sys
from pathlib import Path
from train_data import smoke

def progress(what, step, steps, note):
    if step == {step}:
        os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    smoke(Path({rows!r}), Path({run!r}), Path({model!r}), "holdout=0.1", "epochs=2", progress=progress)
"""


def test_killed_and_taken_up_again_it_is_the_unbroken_run(
    unbroken: Path, model: Path, rows: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    script = KILLED.format(step=8, rows=str(rows), run=str(run), model=str(model))
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=HERE, env=_environment(), check=False, timeout=600
    )
    assert done.returncode == -signal.SIGKILL
    assert [c.step for c in list_checkpoints(run)] == [5]
    assert len(figures(run)) == 8
    report = smoke(rows, run, model, "holdout=0.1", "epochs=2")
    assert report.resumed_from == 5
    assert [line["step"] for line in figures(run)] == list(range(1, 11))
    assert_same_run(run, unbroken)


def test_killed_while_a_checkpoint_was_written_it_goes_on_from_the_one_before(
    unbroken: Path, model: Path, rows: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    smoke(rows, run, model, "holdout=0.1", "epochs=2")
    (run / "checkpoint-10" / MARK).unlink()
    (run / "checkpoint-10" / "model.safetensors").write_bytes(b"half")
    (run / "checkpoint-5" / MARK).unlink()
    report = smoke(rows, run, model, "holdout=0.1", "epochs=2")
    assert report.resumed_from == 0
    assert_same_run(run, unbroken)


def test_a_finished_run_is_told_again_and_never_mixed_with_another(
    unbroken: Path, model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trainer.SubsetTrainer, "train", lambda *_, **__: pytest.fail("trained again"))
    assert smoke(rows, unbroken, model, "holdout=0.1", "epochs=2").resumed_from == 10
    with pytest.raises(UsageError, match=r"another run: recipe.lr was 0.001 and now is 0.5\. Give another"):
        smoke(rows, unbroken, model, "holdout=0.1", "epochs=2", "lr=0.5")
    (tmp_path / "letter.txt").touch()
    with pytest.raises(UsageError, match="not empty and not the folder of a run"):
        smoke(rows, tmp_path, model)


def test_two_calls_do_not_train_in_one_folder(
    unbroken: Path, model: Path, rows: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepare, "LOCK_WAIT", 0.0)
    with locked(unbroken), pytest.raises(GdoError, match="another process trains in"):
        smoke(rows, unbroken, model, "holdout=0.1", "epochs=2")
    assert smoke(rows, unbroken, model, "holdout=0.1", "epochs=2").resumed_from == 10


def _environment(**more: str) -> dict[str, str]:
    paths = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parent / "benchmarks")])
    return {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **more}


def test_two_processes_train_what_one_does(unbroken: Path, model: Path, rows: Path, tmp_path: Path) -> None:
    """Gloo on the CPU, each sample a row of its own, so that a rank has no picture where the other has."""
    run = tmp_path / "run"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["-m", "gdo.cli.main", "train", str(rows), "-o", str(run), "--model", str(model)]
    command += ["--recipe", "smoke", "--set", "holdout=0.1", "--set", "epochs=2", "--set", "pack=false"]
    done = subprocess.run(
        [*command, "--device", "cpu", "--workers", "1", "--json"],
        env=_environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads(done.stdout)["check"]["counts"] == {"subset": {"wanted": 40, "trained": 40}}
    ledger = read_ledger(run)
    assert ledger["rank"].unique().sort().to_list() == [0, 1]
    shown = ledger.group_by("step", "rank").agg(pl.col("frames").min(), pl.col("frames").max().alias("most"))
    assert not shown.filter((pl.col("frames") == 0) & (pl.col("most") > 0)).is_empty()
    assert_same_run(run, unbroken)
    assert [c.held_out_loss for c in list_checkpoints(run)] == pytest.approx(
        [c.held_out_loss for c in list_checkpoints(unbroken)], rel=1e-4
    )


def digests(folder: Path) -> dict[str, str]:
    return {
        name: hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        for name, value in weights(folder).items()
    }


@pytest.mark.parametrize(
    ("settings", "trains"),
    [
        (['freeze=["vision"]'], lambda name: ".visual." not in name),
        (
            ['freeze=["vision"]', 'unfreeze=["merger"]'],
            lambda name: ".visual." not in name or "merger" in name,
        ),
        (['freeze=["language", "merger"]'], lambda name: ".visual." in name and "merger" not in name),
        (['freeze=["vision", "language"]', 'unfreeze=["merger."]'], lambda name: ".merger." in name),
    ],
)
def test_what_is_frozen_keeps_its_bytes(
    settings: list[str], trains: Callable[[str], bool], model: Path, rows: Path, tmp_path: Path
) -> None:
    few = write_rows(rows.with_name("few.jsonl"), read_rows(rows)[:4])
    smoke(few, tmp_path / "run", model, "checkpoints=1", "warmup=0.0", *settings)
    before, after = digests(model), digests(list_checkpoints(tmp_path / "run")[-1].path)
    assert before.keys() == after.keys()
    for name, digest in before.items():
        assert (after[name] != digest) == trains(name), name


def test_names_tell_the_part() -> None:
    assert part_of("model.visual.blocks.0.attn.qkv.weight") == "vision"
    assert part_of("model.visual.deepstack_merger_list.0.linear_fc1.weight") == "merger"
    assert part_of("model.visual.merger.norm.weight") == "merger"
    assert part_of("multi_modal_projector.linear_1.weight") == "merger"
    assert part_of("model.vision_tower.encoder.layers.0.weight") == "vision"
    assert part_of("model.language_model.layers.0.mlp.up_proj.weight") == "language"


def test_each_part_has_its_learning_rate(model: Path) -> None:
    from gdo.train.model import load_model
    from gdo.train.parts import parameter_groups

    recipe = load_recipe("smoke", settings=["vision_lr=1e-4", "merger_lr=5e-4"])
    loaded = load_model(str(model), recipe, cuda=False)
    names = {id(parameter): name for name, parameter in loaded.named_parameters()}
    groups = parameter_groups(loaded.named_parameters(), recipe)
    rates = {"language": 1e-3, "vision": 1e-4, "merger": 5e-4}
    for group in groups:
        for parameter in group["params"]:
            assert group["lr"] == rates[part_of(names[id(parameter)])]
            assert (group["weight_decay"] > 0) == (parameter.ndim > 1)
    assert sum(len(group["params"]) for group in groups) == len(names)
    with pytest.raises(UsageError, match="no parameter of the model has 'mergr' in its name"):
        load_model(str(model), load_recipe("safe", settings=['unfreeze=["mergr"]']), cuda=False)
    with pytest.raises(UsageError, match="nothing to train"):
        load_model(str(model), load_recipe("smoke", settings=['freeze=["vision", "language"]']), cuda=False)


def test_adapters_alone_train_and_merge(model: Path, rows: Path, tmp_path: Path) -> None:
    few = write_rows(rows.with_name("few.jsonl"), read_rows(rows)[:8])
    report = smoke(
        few, tmp_path / "run", model, "method=lora", 'freeze=["vision"]', "gradient_checkpointing=true"
    )
    last = report.checkpoints[-1].path
    assert not (last / "model.safetensors").exists()
    merged, processor = load_checkpoint(last)
    before, after = weights(model), merged.state_dict()
    changed = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert changed
    assert all("language_model" in name and "proj" in name for name in changed)
    assert processor.tokenizer.eos_token == "<|im_end|>"
    with pytest.raises(UsageError, match="holds LoRA adapters"):
        smoke(few, tmp_path / "next", tmp_path / "run")


def test_a_run_goes_on_from_another_as_a_stage(unbroken: Path, rows: Path, tmp_path: Path) -> None:
    few = write_rows(rows.with_name("few.jsonl"), read_rows(rows)[:4])
    smoke(few, tmp_path / "run", unbroken, "warmup=0.0", "checkpoints=1")
    assert read_run(tmp_path / "run")["model"] == str(unbroken / "checkpoint-10")
    assert figures(tmp_path / "run")[0]["loss"] < figures(unbroken)[0]["loss"] - 0.5


@pytest.fixture
def with_bad(rows: Path, tmp_path: Path) -> Path:
    """Twelve samples: of one the picture is missing, one is far too long."""
    some = read_rows(rows)[:12]
    some[4]["images"] = ["gone.png"]
    some[6]["messages"][1]["content"] = "red " * 900
    return write_rows(rows.with_name(f"{tmp_path.name}.jsonl"), some)


def test_an_unreadable_sample_stops_the_run_by_name(with_bad: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(
        GdoError, match=r"sample s004 cannot be read: .*gone\.png: no such file.*on_unreadable"
    ):
        smoke(with_bad, tmp_path / "run", model, "max_length=600")


def test_what_is_skipped_or_dropped_is_named_and_counted(with_bad: Path, model: Path, tmp_path: Path) -> None:
    settings = ("max_length=600", "on_unreadable=skip")
    report = smoke(with_bad, tmp_path / "run", model, *settings)
    assert report.check.counts == {"subset": {"wanted": 12, "trained": 10, "dropped": 1, "skipped": 1}}
    named = {uid: (outcome, reason) for uid, outcome, reason in report.check.named}
    assert named["s004"][0] == "skipped"
    assert "gone.png: no such file" in named["s004"][1]
    assert named["s006"] == ("dropped", named["s006"][1])
    assert "max_length is 600" in named["s006"][1]
    assert report.checkpoints[-1].samples == 10
    cut = smoke(with_bad, tmp_path / "cut", model, *settings, "too_long=cut")
    assert cut.check.counts["subset"]["cut"] == 1
    assert read_ledger(tmp_path / "cut").filter(pl.col("qa_uid") == "s006")["tokens"].to_list() == [600]


def test_a_loss_that_is_no_number_stops_with_the_samples_named(
    rows: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = trainer.summed_loss, []

    def broken(*arguments: Any, **options: Any) -> torch.Tensor:
        calls.append(1)
        return real(*arguments, **options) * (float("nan") if len(calls) == 6 else 1)

    monkeypatch.setattr(trainer, "summed_loss", broken)
    with pytest.raises(GdoError, match=r"loss of step 2 is nan") as caught:
        smoke(rows, tmp_path / "run", model, "pack=false")
    assert "not applied" in str(caught.value)
    shown = re.findall(r"s\d{3}", str(caught.value))
    assert sorted(shown[:4]) == sorted(samples_of_step(tmp_path / "run", 2))
    assert shown[4:] == shown[1:2]


def samples_of_step(run: Path, step: int) -> list[str]:
    """The samples of a step, as the stored order has them."""
    numbers = pl.read_parquet(run / "order.parquet").filter(pl.col("step") == step)["number"]
    return pl.read_parquet(run / "samples.parquet")["qa_uid"].gather(numbers).to_list()


def test_gradients_that_are_no_numbers_stop_with_the_samples_named(
    rows: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The loss is finite, and no checkpoint of the broken weights is written."""
    real, calls = trainer.summed_loss, []

    def broken(*arguments: Any, **options: Any) -> torch.Tensor:
        calls.append(1)
        loss = real(*arguments, **options)
        if len(calls) == 3:
            loss.register_hook(lambda gradient: gradient * float("inf"))
        return loss

    monkeypatch.setattr(trainer, "summed_loss", broken)
    with pytest.raises(GdoError, match=r"gradient norm of step 3 is (nan|inf)") as caught:
        smoke(rows, tmp_path / "run", model)
    assert sorted(re.findall(r"s\d{3}", str(caught.value))) == sorted(samples_of_step(tmp_path / "run", 3))
    assert not list_checkpoints(tmp_path / "run")


ALLOCATOR = (
    "[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
    "allocate 400000000000000 bytes. Error code 12 (Cannot allocate memory)"
)


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB."),
        RuntimeError(ALLOCATOR),
        RuntimeError(
            "unable to mmap 922278384 bytes from file <model.safetensors>: Cannot allocate memory (12)"
        ),
        MemoryError(),
    ],
    ids=["gpu", "cpu", "file", "python"],
)
def test_out_of_memory_says_what_to_lower(
    rows: Path, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """In a step, and before the first: as the model is read, and as it is put on its device."""

    def full(*_: Any, **__: Any) -> torch.Tensor:
        raise error

    for name in ("load_model", "SubsetTrainer"):
        with monkeypatch.context() as patch:
            patch.setattr(session, name, full)
            with pytest.raises(
                GdoError, match=r"before the first step: .* lower how much .*\(freeze\).*lora"
            ):
                smoke(rows, tmp_path / "run", model)
    monkeypatch.setattr(trainer, "summed_loss", full)
    with pytest.raises(GdoError, match=r"out of memory at step 1, .* lower row_tokens \(now 2048\), .*lora"):
        smoke(rows, tmp_path / "run", model)


def test_a_ledger_that_differs_is_told_and_refused() -> None:
    wanted = pl.DataFrame({"qa_uid": ["a", "b", "c"], "source": ["subset", "subset", "mix"]})
    ledger = pl.DataFrame(
        [("a", "subset", "trained", None), ("a", "subset", "trained", None), ("d", "mix", "dropped", "long")],
        schema=["qa_uid", "source", "outcome", "reason"],
        orient="row",
    )
    check = check_ledger(ledger, wanted)
    assert (check.missing, check.twice, check.extra) == (["b", "c"], ["a"], ["d"])
    assert check.counts == {"subset": {"wanted": 2, "trained": 2}, "mix": {"wanted": 1, "dropped": 1}}
    with pytest.raises(GdoError, match=r"2 missing \(b, c\); 1 twice \(a\); 1 extra \(d\)"):
        check.demand()
    Check({}).demand()


def test_a_lost_part_of_the_ledger_is_an_error(model: Path, rows: Path, tmp_path: Path) -> None:
    few = write_rows(rows.with_name("few.jsonl"), read_rows(rows)[:8])
    smoke(few, tmp_path / "run", model)
    next((tmp_path / "run" / "ledger").glob("*.parquet")).unlink()
    with pytest.raises(GdoError, match="did not train on what was selected: 4 missing"):
        smoke(few, tmp_path / "run", model)
    assert read_run(tmp_path / "run")["ledger"]["agrees"] is False


def test_what_is_mixed_in_is_in_the_ledger_by_its_name(model: Path, rows: Path, tmp_path: Path) -> None:
    main = write_rows(rows.with_name("few.jsonl"), read_rows(rows)[:8])
    extra = make_rows(tmp_path / "sparrow", 10, ["image"])
    write_rows(extra, [{**row, "id": f"x{row['id']}"} for row in read_rows(extra)])
    data = Data(main, mix=((tmp_path / "sparrow", 0.33),))
    report = smoke(data, tmp_path / "run", model)
    assert report.check.counts == {
        "subset": {"wanted": 8, "trained": 8},
        "sparrow": {"wanted": 4, "trained": 4},
    }
    assert read_ledger(tmp_path / "run").filter(pl.col("source") == "sparrow")["step"].n_unique() > 1


def test_help_and_refusals_load_no_torch(tmp_path: Path) -> None:
    script = (
        "import sys; from gdo.cli.main import main\ntry: main()\nfinally: assert 'torch' not in sys.modules"
    )
    for arguments, code in (
        (["train", "--help"], 0),
        (["train", "x", "-o", "y", "--model", "z", "--mix", "q"], 2),
    ):
        done = subprocess.run(
            [sys.executable, "-c", script, *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
            env=_environment(),
        )
        assert done.returncode == code, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_gpu_trains_in_bf16_as_the_cpu_does_in_float32(
    unbroken: Path, model: Path, rows: Path, tmp_path: Path
) -> None:
    settings = ("holdout=0.1", "epochs=2")
    train(
        Data(rows),
        tmp_path / "run",
        model=str(model),
        recipe="smoke",
        settings=settings,
        machine=Machine("cuda", 2),
    )
    losses = [[line["loss"] for line in figures(run)] for run in (tmp_path / "run", unbroken)]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert figures(tmp_path / "run")[-1]["mfu"] is not None
