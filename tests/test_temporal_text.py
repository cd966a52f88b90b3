"""The rule that tells from a question's words whether it needs several frames in their order."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
import temporal_questions
from figures import auc
from temporal_questions import (
    DESCRIPTIVE,
    TEMPORAL,
    Question,
    fit,
    fit_part,
    judge,
    next_qa,
    real_pool,
    word_list,
)

from gdo.descriptors.temporal_text import (
    Weights,
    cues_of,
    shipped_weights,
    temporal_probabilities,
    temporal_probability,
)


def test_cues_are_words_and_pairs_without_options() -> None:
    assert cues_of("What's NEXT?") == {"what", "s", "next", "^ what", "what s", "s next"}
    assert cues_of("Which way?\nA. Before it\n(B) After it\nC: then\nReply briefly.") == cues_of(
        "which way reply briefly"
    )
    assert cues_of("") == set()


def test_a_cue_counts_once_and_unknown_words_do_not_count() -> None:
    rule = Weights(-1.0, {"then": 2.0, "and then": 0.5})
    assert rule.log_odds("And then, and then, and THEN?") == 1.5
    assert rule.log_odds("zebra") == -1.0


def test_obvious_questions() -> None:
    temporal = [
        "What does the man do after he opens the door?",
        "In which order do the guests arrive?",
        "how many times does the ball bounce before it stops",
        "What happens next?",
    ]
    static = [
        "What colour is the car?",
        "Where is the cup?",
        "How many people are there?",
        "Who wears a hat?",
        "",
    ]
    assert min(temporal_probabilities(temporal)) > 0.6
    assert max(temporal_probabilities(static)) < 0.4


@pytest.mark.parametrize("question", ["", "\0\ud800", "then " * 100_000, "?" * 10_000, "之后发生了什么"])
def test_any_text_has_a_probability(question: str) -> None:
    assert 0 < temporal_probability(question) < 1


def test_many_at_once_are_the_same_as_one_by_one() -> None:
    questions = [f"what happens after number {n}" for n in range(50)]
    assert temporal_probabilities(iter(questions)) == [temporal_probability(q) for q in questions]


def test_the_shipped_file_is_small_readable_and_holds_no_question(shared: Path) -> None:
    path = temporal_questions.WEIGHTS
    stored = json.loads(path.read_text())
    assert "MIT" in stored["licence"]
    assert len(stored["cues"]) < 400
    assert path.stat().st_size < 20_000
    for cue, weight in stored["cues"].items():
        assert re.fullmatch(r"(\^ )?[a-z0-9]+( [a-z0-9]+)?", cue)
        assert math.isfinite(weight) and weight
    assert shipped_weights().cues == stored["cues"]


def test_it_beats_the_word_list_on_held_out_and_on_other_questions(shared: Path) -> None:
    held_out = next_qa("val", TEMPORAL + DESCRIPTIVE)
    assert len(held_out) == 2732
    for questions, least in ((held_out, 0.96), (real_pool(["pool_video.jsonl"]), 0.84)):
        truth = [question.temporal for question in questions]
        ours = auc(temporal_probabilities(question.text for question in questions), truth)
        assert ours > least
        assert ours > auc([word_list(question.text) for question in questions], truth) + 0.1


def test_judging_counts_right() -> None:
    asked = [Question("then", "a", "", True), Question("then", "b", "", False), Question("a", "c", "", False)]
    found = judge("three", asked * 5, "word list", word_list)
    assert (found.count, found.temporal) == (15, 5)
    assert found.accuracy.value == pytest.approx(2 / 3)
    assert (found.precision.value, found.recall.value, found.auc.value) == (0.5, 1.0, 0.75)


def test_fitting_starts_from_the_weights_set_by_hand_and_learns_what_is_clear() -> None:
    rng = np.random.default_rng(0)
    asked = []
    for n in range(600):
        temporal = bool(n % 2)
        words = ["glimmer" if temporal else "plain", *rng.choice(["one", "two", "three"], 2)]
        asked.append(Question(" ".join(words), str(n), "", temporal))
    learned = fit(asked)
    assert learned.cues["glimmer"] - learned.cues.get("plain", 0.0) > 1
    assert learned.cues["before"] == 2.0
    assert learned.log_odds("glimmer") > 0 > learned.log_odds("plain")
    stiff = fit(asked, penalty=10.0)
    assert "glimmer" not in stiff.cues
    assert fit(asked) == learned


@pytest.mark.slow
def test_the_shipped_weights_can_be_made_again(shared: Path) -> None:
    made = fit(fit_part()[0])
    assert made.intercept == pytest.approx(shipped_weights().intercept, abs=0.02)
    assert made.cues == pytest.approx(shipped_weights().cues, abs=0.02)
