"""A hundred kills in all: every command, killed again and again and resumed, ends as an unbroken run does.

`GDO_KILLS` asks for more or fewer, `GDO_SEED` for other moments.
"""

import os
import random
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import states
from jobs import EVENTS
from nursery import Nursery
from starts import start

KILLS = int(os.environ.get("GDO_KILLS", "100"))
SEED = int(os.environ.get("GDO_SEED", "0"))
SHARES = {"ingest": 0.24, "describe": 0.2, "select": 0.16, "export": 0.18, "sparrow": 0.16, "train": 0.06}
"""Of the kills."""
COMMITS = {"ingest", "describe", "select"}
"""Jobs that write to a pool."""
CHAIN = 3
"""Kills of one run before it may end."""
MODULES = {
    "train": ["cv2", "polars", "torch", "gdo.train.session", "gdo.train.run", "train_data"],
    "sparrow": ["gdo.train.sparrow.run"],
}
USUAL = ["duckdb", "polars", "gdo.pool.ingest", "gdo.descriptors.describe", "gdo.selectors.select"]

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("kills")]


class Killer:
    """Runs one job in one place, to be killed or not."""

    def __init__(self, job: str, folder: Path, nursery: Nursery) -> None:
        self.job, self.nursery = job, nursery
        self.origin, self.place = folder / "start", folder / "work"
        start(job, self.place)
        shutil.copytree(self.place, self.origin)
        self.chance = random.Random(f"{job} {SEED}")
        self.ways = ["time", "file", "file", *(["commit"] if job in COMMITS else [])]
        self.seconds = nursery.did("jobs:work", job, self.place)
        self.events = int(folder.joinpath(EVENTS).read_text())
        self.unbroken = self.state()

    def fresh(self) -> None:
        """The input at the same place as before, since rows hold paths."""
        shutil.rmtree(self.place)
        shutil.copytree(self.origin, self.place)

    def kill(self) -> bool:
        """Run the job and kill it on the way, unless it ends before that."""
        how = self.chance.choice(self.ways)
        if how == "time":
            seconds = self.chance.uniform(0, self.seconds)
            code, _ = self.nursery.run("jobs:work", self.job, self.place, seconds=seconds)
        else:
            at = self.chance.randint(1, self.events) if how == "file" else self.chance.uniform(0, 0.05)
            code, _ = self.nursery.run("jobs:work", self.job, self.place, how, at)
        assert code in {0, -9}, self.nursery.log.read_text()[-3000:]
        return code == -9

    def resume(self) -> None:
        self.nursery.did("jobs:work", self.job, self.place)

    def state(self) -> states.State:
        if self.job == "train":
            return states.of_run(self.place / "run")
        if self.job == "sparrow":
            return states.of_files(self.place)
        pool = states.of_pool(self.place / "pool.duckdb")
        hidden = {name: digest for name, digest in states.of_files(self.place).items() if "pool" not in name}
        return pool | {"beside": hidden}


@pytest.fixture(params=SHARES)
def killer(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Killer]:
    modules = MODULES.get(request.param, USUAL)
    with Nursery(tmp_path / "log.txt", *modules) as nursery:
        yield Killer(request.param, tmp_path, nursery)


def test_killed_at_any_moment_and_resumed_it_is_the_unbroken_run(killer: Killer) -> None:
    wanted, killed = max(round(KILLS * SHARES[killer.job]), 1), 0
    weights = states.weights(killer.place / "run") if killer.job == "train" else {}
    for _ in range(10 + 4 * wanted):
        killer.fresh()
        for _ in range(CHAIN):
            if killed == wanted or not killer.kill():
                break
            killed += 1
            states.check_whole(killer.place)
        killer.resume()
        assert killer.state() == killer.unbroken
        for name, value in weights.items():
            found = states.weights(killer.place / "run")[name]
            np.testing.assert_allclose(found, value, rtol=1e-3, atol=1e-5, err_msg=name)
        if killed == wanted:
            break
    assert killed == wanted
