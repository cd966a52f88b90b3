"""Does a question need the order of time? The released word list and our rule, judged on labels.

Our rule starts from cues of time, order, movement and change that anybody would name, with weights set by
hand (`CUES`), and lets labelled questions of NExT-QA correct them where these speak clearly: logistic
regression whose penalty is the distance from the weights set by hand. A weak penalty fits NExT-QA better and
other questions worse ("what is she doing" counts as temporal there); `PENALTY` is a compromise, chosen on a
fifth of the videos of the training part, which the fit did not see, and on the two other pools.

    python benchmarks/temporal_questions.py [--json FILE]   # judge on the held-out part
    python benchmarks/temporal_questions.py --fit           # write temporal_text.json, then judge
    python benchmarks/temporal_questions.py --probe FOLDER  # judge a model too: a pool's `.d/proxy`, say

The questions: NExT-QA, open-ended (doc-doc/NExT-OE, MIT licence), in shared/data/questions.
"""

import argparse
import csv
import gzip
import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from figures import Floats, Interval, auc, bootstrap_interval
from measure import machine, write_json
from rich.console import Console

from gdo.demo.plan import make_plan
from gdo.demo.words import TEMPORAL_KINDS
from gdo.descriptors.temporal_text import Weights, cues_of, shipped_weights
from gdo.pool.text import tokens_of, words_of
from gdo.report.tables import table

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WEIGHTS = Path(__file__).resolve().parents[1] / "gdo" / "descriptors" / "temporal_text.json"

TEMPORAL, DESCRIPTIVE = ("TN", "TC", "TP"), ("DO", "DL", "DC", "DB")

CUES = {
    2.0: "after afterwards before during earlier eventually finally later meanwhile next previously "
    "sequence simultaneously subsequently then until while|how long|how often|many times|over "
    "time|same time|which order",
    1.5: "afterward again appear appears become becomes begin beginning begins change changed changes "
    "changing direction directions disappear disappears end ended ends faster finish finishes happen "
    "happened happens moment moments motion move moved movement movements moves moving occur occurs "
    "order path repeatedly rotate rotates rotation seconds slower speed start started starting starts "
    "trajectory transition travel travels turned turning turns twice vanish vanishes|at first|turn "
    "into|turns into|which way",
    1.0: "accelerate action actions activities activity already approach approaches comes continue "
    "continues decrease decreases doing enter enters event events exit exits fall falls first goes "
    "going grow grows half increase increases last leave leaves once process react reaction reacts "
    "remain remains rise rises shrink shrinks since spin spins step steps stop stopped stops "
    "throughout toward towards turn way when",
    -1.0: "background brand color colour kind material name read shape text type wear wearing where who "
    "word words written|how many",
}
"""Weights set by hand: words apart by spaces, pairs of words apart by bars."""
INTERCEPT = -1.5
PENALTY = 0.02
LEAST = 30
"""Questions that must have a cue before the fit may give it a weight of its own."""


@dataclass(frozen=True, slots=True)
class Question:
    """A labelled question.

    Attributes:
        text: The question.
        group: Its video or image: questions of one are alike.
        kind: What the source calls it.
        temporal: It needs several frames in their order.
    """

    text: str
    group: str
    kind: str
    temporal: bool


@dataclass(frozen=True, slots=True)
class Judged:
    """How a rule does on a set of questions; the intervals are over resampled videos."""

    questions: str
    count: int
    temporal: int
    rule: str
    auc: Interval
    accuracy: Interval
    precision: Interval
    recall: Interval


def next_qa(part: str, kinds: Sequence[str]) -> list[Question]:
    with gzip.open(DATA / "questions" / f"nextqa_oe_{part}.csv.gz", "rt") as file:
        return [
            Question(row["question"], row["video"], row["type"], row["type"] in TEMPORAL)
            for row in csv.DictReader(file)
            if row["type"] in kinds
        ]


def real_pool(files: Sequence[str]) -> list[Question]:
    folder = DATA / "realpool"
    labels = [json.loads(line) for line in (folder / "labels.jsonl").read_text().splitlines()]
    temporal = {(label["id"], label["turn"]): label["temporal"] for label in labels}
    found = []
    for name in files:
        for line in (folder / name).read_text().splitlines():
            row = json.loads(line)
            asked = [message["content"] for message in row["messages"] if message["role"] == "user"]
            found += [
                Question(text, row["id"], "", temporal[row["id"], turn]) for turn, text in enumerate(asked)
            ]
    return found


def example_pool(samples: int = 2000, seed: int = 42) -> list[Question]:
    """The questions about clips; nothing is drawn."""
    return [
        Question(sample.asked.question, row.root, sample.asked.kind, sample.asked.kind in TEMPORAL_KINDS)
        for row in make_plan(samples, seed).videos
        for sample in row.samples
    ]


def word_list(question: str) -> float:
    """The released list: log-odds of 1 or -1, which only their order and sign matter of."""
    return 1.0 if words_of(question, tokens_of(question))[0] else -1.0


def judge(name: str, questions: Sequence[Question], rule: str, score: Callable[[str], float]) -> Judged:
    scores = np.array([score(question.text) for question in questions])
    truth = np.array([question.temporal for question in questions])
    said = scores > 0

    def share(right: np.ndarray, among: np.ndarray) -> Callable[[Floats], float]:
        return lambda weights: float(
            weights @ (right & among) / total if (total := weights @ among) else math.nan
        )

    figures = {
        "auc": lambda weights: auc(scores, truth, weights),
        "accuracy": share(said == truth, np.ones(len(truth), np.bool_)),
        "precision": share(truth, said),
        "recall": share(said, truth),
    }
    groups = [question.group for question in questions]
    intervals = {figure: bootstrap_interval(of, groups) for figure, of in figures.items()}
    return Judged(name, len(questions), int(truth.sum()), rule, **intervals)


def fit(questions: Sequence[Question], penalty: float = PENALTY) -> Weights:
    """The weights that explain the labels, drawn to those set by hand."""
    by_hand = dict(_by_hand())
    cues = [cues_of(question.text) for question in questions]
    counts = Counter(cue for some in cues for cue in some)
    names = sorted({cue for cue, count in counts.items() if count >= LEAST} | set(by_hand))
    places = {name: place for place, name in enumerate(names)}
    rows = np.zeros((len(cues), len(names)), dtype=np.float32)
    for row, some in zip(rows, cues, strict=True):
        row[[places[cue] for cue in some if cue in places]] = 1
    labels = np.array([question.temporal for question in questions], dtype=np.float32)
    prior = np.array([by_hand.get(name, 0.0) for name in names], dtype=np.float32)
    weights, intercept = _descend(rows, labels, prior, penalty)
    rounded = {name: round(float(weight), 2) for name, weight in zip(names, weights, strict=True)}
    return Weights(round(intercept, 2), {name: weight for name, weight in rounded.items() if weight})


def _by_hand() -> Iterator[tuple[str, float]]:
    for weight, text in CUES.items():
        words, *pairs = text.split("|")
        yield from ((cue, weight) for cue in (*words.split(), *pairs))


def _descend(
    rows: np.ndarray, labels: np.ndarray, prior: np.ndarray, penalty: float, steps: int = 400
) -> tuple[np.ndarray, float]:
    """Least mean logistic loss + penalty x the sum of |weight - prior|, by accelerated proximal gradients."""
    count = len(labels)
    vector = np.ones(rows.shape[1], dtype=np.float32)
    for _ in range(20):
        vector = rows.T @ (rows @ (vector / np.linalg.norm(vector)))
    rate = 4 * count / (float(np.linalg.norm(vector)) + count)
    weights = ahead = prior.copy()
    intercept = ahead_intercept = INTERCEPT
    speed = 1.0
    for _ in range(steps):
        wrong = 1 / (1 + np.exp(-(rows @ ahead + ahead_intercept))) - labels
        apart = ahead - rate * (rows.T @ wrong) / count - prior
        stepped = prior + np.sign(apart) * np.maximum(np.abs(apart) - rate * penalty, 0)
        stepped_intercept = ahead_intercept - rate * float(wrong.mean())
        faster = (1 + math.sqrt(1 + 4 * speed**2)) / 2
        push = (speed - 1) / faster
        ahead = stepped + push * (stepped - weights)
        ahead_intercept = stepped_intercept + push * (stepped_intercept - intercept)
        weights, intercept, speed = stepped, stepped_intercept, faster
    return weights, intercept


def fit_part() -> tuple[list[Question], list[Question]]:
    """The training part cut in two by video: four fifths to fit on, a fifth to choose the penalty by."""
    questions = next_qa("train", TEMPORAL + DESCRIPTIVE)
    videos = sorted({question.group for question in questions})
    aside = set(np.random.default_rng(0).choice(videos, len(videos) // 5, replace=False).tolist())
    return (
        [question for question in questions if question.group not in aside],
        [question for question in questions if question.group in aside],
    )


def write(weights: Weights) -> None:
    """Put the weights where the package reads them, by hand first, then by size."""
    cues = sorted(weights.cues.items(), key=lambda item: (-item[1], item[0]))
    stored = {
        "about": "Log-odds that a question needs several frames in their order: intercept + each cue it has.",
        "made_by": "benchmarks/temporal_questions.py --fit",
        "source": "Cues set by hand, corrected by questions of NExT-QA, open-ended, train (doc-doc/NExT-OE)",
        "licence": "NExT-OE: MIT; no question of it is contained",
        "intercept": weights.intercept,
        "cues": dict(cues),
    }
    WEIGHTS.write_text(json.dumps(stored, indent=1) + "\n")
    shipped_weights.cache_clear()


def sets() -> dict[str, list[Question]]:
    held_out = next_qa("val", TEMPORAL + DESCRIPTIVE)
    return {
        "NExT-QA val": held_out,
        "  TC against descriptive": [q for q in held_out if q.kind in ("TC", *DESCRIPTIVE)],
        "real pool, videos": real_pool(["pool_video.jsonl"]),
        "real pool, videos and images": real_pool(["pool_video.jsonl", "pool_image.jsonl"]),
        "example pool, clips": example_pool(),
    }


def probe_rule(folder: Path, texts: Sequence[str]) -> Callable[[str], float]:
    """What a model says of these questions, as the descriptor `temporal` asks it; above 0 is temporal."""
    from gdo.descriptors.probe.load import load_probe, read_card

    probe = load_probe(read_card(str(folder), device="cpu", settings=None), device="cpu")
    needs = dict(zip(texts, probe.temporal_need(texts), strict=True))
    return lambda text: (needs[text] or 0.0) - 0.5


def causal() -> dict[str, dict[str, float]]:
    """The share of causal questions that each rule calls temporal; the codes say nothing of them."""
    return {
        kind: {
            "questions": len(asked),
            "word list": float(np.mean([word_list(q.text) > 0 for q in asked])),
            "ours": float(np.mean([shipped_weights().log_odds(q.text) > 0 for q in asked])),
        }
        for kind in ("CW", "CH")
        for asked in [next_qa("val", [kind])]
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--fit", action="store_true", help="fit the weights anew and write them")
    parser.add_argument("--probe", type=Path, metavar="FOLDER", help="a model to judge beside the rules")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args()
    console = Console(width=150)
    if options.fit:
        seen, aside = fit_part()
        weights = fit(seen)
        write(weights)
        judged = judge("aside", aside, "ours", weights.log_odds)
        console.print(f"fitted on {len(seen)} questions; AUC on the {len(aside)} set aside: {judged.auc}")
    rules = {"word list": word_list, "ours": shipped_weights().log_odds}
    questions = sets()
    if options.probe:
        texts = dict.fromkeys(question.text for asked in questions.values() for question in asked)
        rules["probe"] = probe_rule(options.probe, list(texts))
    results = [
        judge(name, asked, rule, score) for name, asked in questions.items() for rule, score in rules.items()
    ]
    rows = [
        [r.questions, r.count, r.temporal, r.rule, *map(str, (r.auc, r.accuracy, r.precision, r.recall))]
        for r in results
    ]
    head = ["questions", "n>", "temporal>", "rule", "AUC>", "accuracy>", "precision>", "recall>"]
    console.print(table("Temporal or not, by the question's text (95 % intervals over videos)", head, rows))
    shares = causal()
    rows = [
        [kind, *map(str, (f["questions"], round(f["word list"], 3), round(f["ours"], 3)))]
        for kind, f in shares.items()
    ]
    console.print(table("Causal questions called temporal", ["kind", "n>", "word list>", "ours>"], rows))
    write_json(options.json, {"machine": machine(), "judged": [asdict(r) for r in results], "causal": shares})


if __name__ == "__main__":
    main()
