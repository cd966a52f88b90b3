"""Diversity of instructions: the figures on sets whose answer is known, the command, the map."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from gdo.errors import UsageError
from gdo.pool.ingest import ingest
from gdo.train.sparrow.diversity import mean_neighbour, measure_diversity, plane, vendi_score
from gdo.train.sparrow.vectors import SIZE, embed, word_vectors


def unit(rows: Any) -> Any:
    vectors = np.asarray(rows, np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def test_the_vendi_score_counts_what_is_different() -> None:
    assert vendi_score(np.eye(5, dtype=np.float32)) == pytest.approx(5)
    assert vendi_score(np.repeat(np.eye(4, dtype=np.float32), 30, axis=0)) == pytest.approx(4)
    assert vendi_score(np.ones((7, 1), np.float32)) == pytest.approx(1)
    rng = np.random.default_rng(0)
    vectors = unit(rng.normal(size=(40, 8)))
    shares = np.linalg.eigvalsh(vectors.astype(float) @ vectors.T.astype(float) / 40)
    shares = shares[shares > 1e-9]
    assert vendi_score(vectors) == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)


def test_the_mean_distance_to_the_nearest_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gdo.train.sparrow.diversity.BLOCK", 7)
    vectors = unit(np.random.default_rng(1).normal(size=(30, 5)))
    near = vectors @ vectors.T - 3 * np.eye(30)
    assert mean_neighbour(vectors) == pytest.approx(float(1 - near.max(axis=1).mean()), abs=1e-6)
    assert mean_neighbour(np.eye(3, dtype=np.float32)) == pytest.approx(1)
    assert mean_neighbour(np.repeat(np.eye(3, dtype=np.float32), 2, axis=0)) == pytest.approx(0)
    assert mean_neighbour(np.eye(1, dtype=np.float32)) is None


def test_word_vectors_are_near_where_words_are_shared() -> None:
    texts = [
        "What colour is the car?",
        "what colour is the bus",
        "Explain how magnets work.",
        "车是什么颜色",
        "…",
    ]
    vectors = word_vectors(texts)
    assert vectors.shape == (5, SIZE)
    assert np.linalg.norm(vectors, axis=1) == pytest.approx(1)
    cosines = vectors @ vectors.T
    assert cosines[0, 1] > 0.4 > abs(cosines[0, 2])
    assert (word_vectors(texts) == vectors).all()
    with pytest.raises(UsageError, match="unknown embedding 'nonsense'"):
        embed(texts, "nonsense", "cpu")


def test_the_map_keeps_the_two_widest_directions() -> None:
    rng = np.random.default_rng(2)
    flat = rng.normal(size=(200, 6)) * np.array([9, 5, 0.1, 0.1, 0.1, 0.1])
    places = plane(flat.astype(np.float32))
    assert np.abs(np.corrcoef(places[:, 0], flat[:, 0])[0, 1]) > 0.99
    assert np.abs(np.corrcoef(places[:, 1], flat[:, 1])[0, 1]) > 0.99
    assert (np.sum(places**3, axis=0) >= 0).all()


def rows(prefix: str, questions: list[str], **more: Any) -> str:
    lines = [
        {
            "id": f"{prefix}{number}",
            "data_source": prefix,
            "images": [f"{prefix}{number}.png"],
            "messages": [
                {"role": "user", "content": f"<image>{question}"},
                {"role": "assistant", "content": "Yes."},
            ],
        }
        | more
        for number, question in enumerate(questions)
    ]
    return "".join(json.dumps(line) + "\n" for line in lines)


@pytest.fixture
def pool(tmp_path: Path) -> Path:
    """A pool that asks the same of every picture."""
    (tmp_path / "dull.jsonl").write_text(rows("dull", ["Describe the image."] * 40))
    ingest(tmp_path / "pool.duckdb", [tmp_path / "dull.jsonl"])
    varied = [
        f"Who met the {word} of {word}land, and why number {place}?" for place, word in enumerate(WORDS)
    ]
    (tmp_path / "varied.jsonl").write_text(rows("varied", varied, bucket="synthetic_text_video"))
    return tmp_path / "pool.duckdb"


WORDS = [
    f"{first}{last}" for first in ("ba", "ke", "lo", "mu", "ri") for last in ("zan", "vel", "dor", "pim")
]


def test_mixing_in_varied_questions_raises_the_figures(pool: Path, tmp_path: Path) -> None:
    found = measure_diversity(pool, [tmp_path / "varied.jsonl"])
    assert [(one.source, one.mixed_in, one.instructions) for one in found.sources] == [
        ("dull", False, 40),
        ("varied", True, 20),
    ]
    assert found.after is not None
    assert found.before.vendi == pytest.approx(1)
    assert found.before.neighbour == pytest.approx(0, abs=1e-6)
    assert found.before.measured == found.after.measured == 40
    assert found.after.vendi > 3
    assert found.after.neighbour is not None and found.after.neighbour > 0.05
    half = measure_diversity(pool, [tmp_path / "varied.jsonl"], share=0.5)
    assert sum(point.source == "varied" for point in half.points if point.after) == 20
    assert sum(point.before for point in half.points) == 40


def test_synthetic_samples_of_the_pool_are_what_is_mixed_in(pool: Path, tmp_path: Path) -> None:
    from_file = measure_diversity(pool, [tmp_path / "varied.jsonl"], share=0.2)
    ingest(pool, [tmp_path / "varied.jsonl"])
    in_pool = measure_diversity(pool, share=0.2)
    assert in_pool.after is not None and from_file.after is not None
    assert in_pool.before == from_file.before
    for one, other in zip(in_pool.sources, from_file.sources, strict=True):
        assert replace(one, vendi=0.0) == replace(other, vendi=0.0)
        assert one.vendi == pytest.approx(other.vendi)
    assert measure_diversity(pool, share=0.2) == in_pool


def test_nothing_mixed_in_and_nothing_to_mix_into(pool: Path, tmp_path: Path) -> None:
    assert measure_diversity(pool).after is None
    ingest(tmp_path / "only.duckdb", [tmp_path / "varied.jsonl"])
    with pytest.raises(UsageError, match="nothing to mix them into"):
        measure_diversity(tmp_path / "only.duckdb")
    with pytest.raises(UsageError, match="share"):
        measure_diversity(pool, share=2)
    (tmp_path / "none.jsonl").write_text('{"id": 1}\n')
    with pytest.raises(UsageError, match="holds no question"):
        measure_diversity(pool, [tmp_path / "none.jsonl"])


def test_the_command_prints_figures_and_draws_the_map(pool: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "gdo.cli.main",
        "diversity",
        str(pool),
        "--mix",
        str(tmp_path / "varied.jsonl"),
    ]
    figure = tmp_path / "figures" / "map.png"
    done = subprocess.run(
        [*command, "--map", str(figure), "--json"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["after"]["vendi"] > told["before"]["vendi"]
    with Image.open(figure) as image:
        colours = {colour for _, colour in image.convert("RGB").getcolors(1 << 16) or []}
    assert {(0x1F, 0x77, 0xB4), (0xFF, 0x7F, 0x0E)} <= colours
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "before mixing" in shown and "mixed in" in shown
    bad = subprocess.run([*command, "--map", "map.doc"], capture_output=True, text=True, check=False)
    assert (bad.returncode, bad.stderr.count("map.doc ends in none of")) == (2, 1)
