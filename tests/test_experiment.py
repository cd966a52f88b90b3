"""The whole experiment on a tiny model: selected, trained, evaluated, compared, and not done twice."""

import json
import os
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from qwen_models import save_qwen
from train_data import make_rows
from typer.testing import CliRunner

os.environ["HF_HUB_OFFLINE"] = "1"

from gdo.cli.main import app
from gdo.demo.make import make_example_pool
from gdo.errors import UsageError
from gdo.export.run import export
from gdo.pool.ingest import ingest
from gdo.pool.store import Pool
from gdo.selectors.select import select
from gdo.train.experiment import _controls, _trained, experiment
from gdo.train.ledger import read_ledger
from gdo.train.sources import Data, read_data


def test_each_subset_is_trained_alone_and_mixed() -> None:
    titles, mix = ["temp", "diverse"], [(Path("sparrow"), 0.25), (Path("more.jsonl"), 0.5)]
    owners = dict.fromkeys(titles, "temp")
    planned = dict(_trained(Path("p.duckdb"), Path("out"), owners, 7, mix))
    controls = ["uni-1x", "uni-10x"]
    assert list(planned) == [*titles, "temp+sparrow+more", "diverse+sparrow+more", *controls]
    assert planned["diverse"] == Data(Path("p.duckdb"), "out-diverse-7")
    assert planned["diverse+sparrow+more"].mix == tuple(mix)
    assert planned["uni-10x"] == Data(Path("p.duckdb"), "out-temp-7", uniform=True, multiple=10.0)
    assert list(dict(_trained(Path("p.duckdb"), Path("out"), owners, 7, []))) == [*titles, *controls]


def test_a_preset_of_another_size_has_controls_of_its_own() -> None:
    owners = {"temp": "temp", "small": "small", "diverse": "temp", "less": "small"}
    planned = dict(_trained(Path("p.duckdb"), Path("out"), owners, 7, []))
    own = ["uni-1x-small", "uni-10x-small"]
    assert list(planned) == [*owners, "uni-1x", "uni-10x", *own]
    assert planned["uni-1x-small"] == Data(Path("p.duckdb"), "out-small-7", uniform=True, multiple=1.0)
    against = _controls(owners, [(Path("sparrow"), 0.25)])
    assert against["temp"] == against["diverse"] == against["diverse+sparrow"] == ["uni-1x", "uni-10x"]
    assert against["small"] == against["less"] == against["less+sparrow"] == own


@pytest.mark.slow
def test_sizes_are_those_that_the_presets_choose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_example_pool(tmp_path / "files", samples=80, workers=1)
    pool, out = tmp_path / "pool.duckdb", tmp_path / "trial"
    ingest(pool, made.files, media_root=made.media_root, workers=1)
    presets = []
    for name, count in (("large", 4), ("small", 2), ("alike", 4)):
        presets.append(str(tmp_path / f"{name}.toml"))
        Path(presets[-1]).write_text(f'base = "diverse"\ncount = {count}\n')
    asked: dict[str, Any] = {}
    trained: dict[str, int] = {}

    def never_trained(data: Data, run: Path, **_: Any) -> None:
        trained[run.name] = len(list(read_data(data, 0)))

    def never_compared(runs: list[str], name: str, **more: Any) -> None:
        asked.update(more, runs=[run.partition("=")[0] for run in runs[1:]], name=name)

    monkeypatch.setattr("gdo.train.experiment.train", never_trained)
    monkeypatch.setattr("gdo.train.experiment.evaluate", lambda *_, **__: None)
    monkeypatch.setattr("gdo.train.experiment.compare", never_compared)
    experiment(pool, presets, out, model="m", held_out=f"{pool}:probe", recipe="smoke", seeds=2)
    first = {"large": 4, "small": 2, "alike": 4, "uni-1x": 4, "uni-10x": 40}
    labels = {**first, "uni-1x-small": 2, "uni-10x-small": 20}
    assert trained == {f"{label}-{seed}": size for seed in (42, 43) for label, size in labels.items()}
    assert asked["runs"] == [*labels] * 2
    assert asked["controls"] == {
        "large": ["uni-1x", "uni-10x"],
        "small": ["uni-1x-small", "uni-10x-small"],
        "alike": ["uni-1x", "uni-10x"],
    }
    Path(presets[1]).write_text('base = "diverse"\ncount = 3\n')
    with pytest.raises(UsageError, match=r"'trial-small-42' .* was chosen otherwise \(count was 2\)"):
        experiment(pool, presets, out, model="m", held_out=f"{pool}:probe", recipe="smoke", seeds=2)


@pytest.mark.slow
def test_presets_against_controls_over_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = make_example_pool(tmp_path / "files", samples=80, workers=1)
    pool = tmp_path / "pool.duckdb"
    ingest(pool, made.files, media_root=made.media_root, workers=1)
    select(pool, "diverse", name="probe", count=6)
    export(pool, "probe", tmp_path / "probe")
    model = save_qwen(tmp_path / "model")
    out = tmp_path / "trial"
    arguments = ["experiment", str(pool), "temp", "--model", str(model), "-o", str(out)]
    arguments += ["--on", str(tmp_path / "probe"), "--recipe", "smoke", "--seeds", "2", "--count", "2"]
    arguments += ["--set", "frames=2", "--set", "batch=10", "--device", "cpu", "--workers", "0", "--json"]
    arguments += ["--mix", f"{make_rows(tmp_path / 'pages', 6)}:0.5"]

    def run(*more: str) -> Any:
        return CliRunner().invoke(app, [*arguments, *more])

    done = run()
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    groups = {group["name"]: group for group in report["groups"]}
    assert list(groups) == ["temp", "temp+pages", "uni-1x", "uni-10x"]
    assert [group["seeds"] for group in groups.values()] == [[42, 43]] * 4
    ends = {name: group["points"][-1]["samples"] for name, group in groups.items()}
    assert ends == {"temp": 2, "temp+pages": 4, "uni-1x": 2, "uni-10x": 20}
    assert {group["points"][0]["samples"] for group in groups.values()} == {0}
    pairs = {(one["group"], one["control"]) for one in report["comparisons"] if one["kind"] == "all"}
    assert pairs == {(a, b) for a in ("temp", "temp+pages") for b in ("uni-1x", "uni-10x")}
    control = [set(read_ledger(out / f"uni-10x-{seed}")["qa_uid"]) for seed in (42, 43)]
    assert control[0] != control[1]
    assert (out / "compare.png").exists()
    with Pool(pool).read() as connection:
        kept = connection.execute("SELECT count(DISTINCT target) FROM evaluation")
        assert kept.fetchall() == [(9,)]
    assert len(pl.read_parquet(out / "start" / "evaluation" / "probe.parquet")) == 6

    def never(*_: Any, **__: Any) -> None:
        pytest.fail("done twice")

    for name in ("gdo.train.session.run_steps", "gdo.train.evaluate.run._ask", "gdo.train.experiment.select"):
        monkeypatch.setattr(name, never)
    assert json.loads(run().stdout) == report
    refused = run("--seeds", "3")
    assert "holds another experiment: seeds differ" in str(refused.exception)
