"""`--estimate` tells a price and changes nothing."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from fake_probe import FakeModels, FakeProbe
from rich.console import Console
from test_probe_engine import ask, query, usual_pool

from gdo.cli.output import print_json
from gdo.descriptors.describe import describe
from gdo.descriptors.engine import estimate_probe, timing
from gdo.descriptors.engine.estimate import EstimateReport, estimate
from gdo.descriptors.engine.local import usable_cores
from gdo.descriptors.probe.contract import Group, Scored
from gdo.errors import UsageError
from gdo.report.tables import estimate_tables


def price(pool: Path, names: Sequence[str] | None = None, **options: Any) -> EstimateReport:
    return estimate(pool, names, **{"models": FakeModels(), "device": "cpu", "workers": 0} | options)


def snapshot(pool: Path) -> dict[str, bytes]:
    return {str(file): file.read_bytes() for file in sorted(pool.parent.rglob("*")) if file.is_file()}


def test_every_descriptor_has_its_price_and_nothing_is_stored(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 5)
    before = snapshot(pool)
    said: list[str] = []
    report = price(pool, ["motion", "temporal", "dependency", "stability"], say=said.append, proxy_minutes=3)
    assert snapshot(pool) == before
    assert [(one.name, one.probe, one.missing, one.timed, one.unit) for one in report.descriptors] == [
        ("motion", "", 5, 5, "core"),
        ("temporal", "text", 10, 10, "core"),
        ("dependency", "self", 10, 10, "core"),
        ("stability", "self", 10, 10, "core"),
    ]
    assert all(one.seconds > 0 and one.hours > 0 for one in report.descriptors)
    assert report.training == 180
    assert any("dependency" in sentence for sentence in said)


def test_only_what_is_missing_is_priced(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 5)
    ask(pool, ["dependency"], limit=4)
    report = price(pool, ["dependency", "stability"])
    assert [one.missing for one in report.descriptors] == [6, 10]
    assert report.training == 0
    ask(pool)
    log = tmp_path / "log"
    done = price(pool, ["dependency"], models=FakeModels(log)).descriptors[0]
    assert not log.exists()
    assert (done.missing, done.timed, done.seconds, done.hours) == (0, 0, 0.0, 0.0)


class Clock:
    """Time that passes where it is told to: 2 s for a medium read or a sample scored."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


def test_the_price_is_the_time_of_one_times_their_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock()
    monkeypatch.setattr(timing, "time", clock)
    monkeypatch.setattr(estimate_probe, "GROUPS", 2)
    see, score = estimate_probe.see_medium, FakeProbe.score

    def slow_see(*arguments: Any) -> Any:
        clock.now += 2
        return see(*arguments)

    def slow_score(self: FakeProbe, groups: Sequence[Group], **wanted: bool) -> list[list[Scored]]:
        clock.now += sum(len(group.samples) for group in groups) * (5 if wanted["stability"] else 1)
        return score(self, groups, **wanted)

    monkeypatch.setattr(estimate_probe, "see_medium", slow_see)
    monkeypatch.setattr(FakeProbe, "score", slow_score)
    pool = usual_pool(tmp_path, 5)
    dependency, stability = price(pool, ["dependency", "stability"]).descriptors
    assert (dependency.timed, dependency.seconds) == (4, 5 * 2 + 10 * 1)
    assert (stability.timed, stability.seconds) == (4, 5 * 2 + 10 * 5)
    assert stability.hours == pytest.approx(stability.seconds * usable_cores() / 3600)


def test_temporal_need_by_a_model_is_priced_by_different_questions(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 5)
    (one,) = price(pool, ["temporal"], probe="a model").descriptors
    assert (one.missing, one.timed) == (10, 6)
    assert one.probe.startswith("a model@")


def test_a_misspelt_probe_is_refused_before_the_hub_is_asked(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 2)
    for command in (estimate, describe):
        with pytest.raises(UsageError, match=r"no probe 'wordz'; known are self, text, words .*OWNER/NAME"):
            command(pool, ["temporal"], probe="wordz", workers=0, device="cpu")


def test_without_names_stability_is_priced_too(tmp_path: Path) -> None:
    pool = usual_pool(tmp_path, 2)
    names = [one.name for one in price(pool).descriptors]
    assert names == ["motion", "temporal", "dependency", "coverage", "stability"]


def test_prices_are_shown_as_a_table_and_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pool = usual_pool(tmp_path, 2)
    (tmp_path / "001-0.png").unlink()
    report = price(pool)
    console = Console(width=120)
    with console.capture() as capture:
        console.print(estimate_tables(report))
    for text in (
        "Estimated with 0 readers, cpu",
        "stability",
        "core-hours",
        "self-proxy is trained: 0:04:00",
    ):
        assert text in capture.get()
    print_json(report)
    assert json.loads(capsys.readouterr().out)["descriptors"][3]["missing"] == 4
    assert query(pool, "SELECT count(error) FROM media") == [(0,)]
