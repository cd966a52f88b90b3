"""The selection once more, as a plain research script: the tests' oracle, and the baseline of speed figures.

    python benchmarks/plain_selection.py IMAGE.jsonl VIDEO.jsonl METRICS.jsonl --preset temp -o subset.jsonl

Written from shared/spec/selection.md alone and sharing no code with `gdo`: standard library, one process,
loops over dicts. As in the released code each preset reads all files anew, and the samples twice: the first
pass takes the profile, the second scores every sample against it. Section numbers are those of the spec.
"""

import argparse
import hashlib
import heapq
import json
import math
import time
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from plain_samples import FIELDS, Dict, Rows, clip, read_samples, read_z

COMMON: Dict = {
    "seed": 42,
    "target_frames": 32,
    "max_qa_per_video": 8,
    "uniform_multiplier": 10,
    "temporal_categories": ["Temporal", "Mixed"],
    "question_form": "normalised",
    "without": [],
}
"""What the released presets share (section 9)."""


# Section 4: scores.


def vds3(z: dict[str, float]) -> float:
    if "loss_video" in z and "loss_blind" in z and "frame_diversity" in z:
        return -z["loss_video"] + z["loss_blind"] + z["frame_diversity"]
    return z["vds"] + 0.5 * z.get("frame_diversity", 0.0) if "vds" in z else 0.0


def rho(sample: Dict, z: dict[str, float] | None, profile: Dict, without: list[str]) -> float:
    """The shared score; `z` is None where the descriptors have no row."""
    total = profile["total"]
    qn, an = max(1, sample["qn"]), max(1, sample["an"])
    quality = -abs(math.log(qn) - math.log(14)) - 1.25 * abs(math.log(an) - math.log(16))
    quality = 0.0 if "ppl" in without else quality - 1.2 * max(0.0, 0.55 - sample["distinct"])
    off = abs(math.log(max(1.0, sample["qn"] + sample["an"] / 2)) - math.log(22))
    difficulty = math.exp(-(off**2) / (2 * 0.85**2))
    alignment = sum(math.log(max(profile[name][sample[name]] / total, 1e-9)) for name in FIELDS[1:]) / 6
    prior = math.log((total + 1) / (profile["source"][sample["source"]] + 1))
    rest = 0.85 * difficulty + 0.9 * alignment + 0.15 * prior
    trust = 0.0 if z is None or "sc" in without else z.get("quality_score", 0.0) / 4
    if sample["bucket"] == "image_qa":
        return 0.90 * math.tanh((1.1 * quality + rest) / 3) + 0.15 * trust
    bonus = 1.0 if sample["temporal_category"] == "Temporal" else 0.2
    score = 0.35 * math.tanh((quality + rest + 0.55 * bonus) / 3)
    if z is None:
        return score - 0.15
    return score + (0.0 if "vds" in without else 0.95 * clip(vds3(z)) / 4) + 0.35 * trust


# Sections 3 and 5: budget, quotas, bounds and floors.


def plan_budget(preset: Dict, profile: Dict, z: Rows) -> tuple[int, Dict]:
    """N, and how it came about."""
    total = profile["total"]
    if preset.get("count"):
        return min(preset["count"], total), {"mode": "fixed_count", "requested_count": preset["count"]}
    if preset.get("ratio"):
        n = max(1, math.floor(total * preset["ratio"]))
        return n, {"mode": "fixed_ratio", "requested_ratio": preset["ratio"]}
    shares = sorted((count / total for count in profile["stratum"].values()), reverse=True)
    budget: Dict = {"mode": "distribution_auto", "coverage_mass": preset["coverage_mass"]}
    budget["effective_strata"] = math.exp(-sum(share * math.log(share) for share in shares))
    mass = 0.0
    for covered, share in enumerate(shares, 1):
        mass += share
        budget["covered_strata"], budget["tail_prob_at_coverage"] = covered, share
        if mass >= preset["coverage_mass"]:
            break
    wishes = {
        "n_from_effective_strata": math.ceil(budget["effective_strata"] * preset["effective_strata_mult"]),
        "n_from_tail_coverage": math.ceil(preset["tail_target"] / budget["tail_prob_at_coverage"]),
        "n_from_min_ratio": math.ceil(total * preset["min_ratio"]),
    }
    budget |= {**wishes, "n_from_max_ratio": math.floor(total * preset["max_ratio"])}
    most = min(preset["max_count"], budget["n_from_max_ratio"], total)
    n = max(1, min(max(preset["min_count"], *wishes.values()), most))
    n, budget["vds3_adjustment"] = adjust_budget(preset, n, most, z) if z else (n, {"enabled": False})
    return n, budget | {"recommended_count": n, "recommended_ratio": n / total}


def adjust_budget(preset: Dict, n: int, most: int, z: Rows) -> tuple[int, Dict]:
    positive = sum(vds3(row) > preset["vds3_threshold"] for row in z.values())
    ratio, cap = positive / len(z), min(most, math.ceil(n * preset["vds3_max_mult"]))
    want = math.ceil(preset["vds3_target_positive"] / ratio) if positive else n
    adjusted = max(1, min(max(n, want), cap)) if positive else n
    return adjusted, {
        "enabled": True,
        "vds3_positive_ratio": ratio,
        "vds3_positive_count": positive,
        "vds3_total_count": len(z),
        "vds3_threshold": preset["vds3_threshold"],
        "vds3_target_positive": preset["vds3_target_positive"],
        "n_from_vds3_positive": want,
        "vds3_adjust_cap": cap,
        "adjusted_target": adjusted,
    }


def largest_remainder(n: int, counts: Counter[str]) -> dict[str, int]:
    total = sum(counts.values())
    exact = {key: n * (count / total) for key, count in counts.items()}
    quotas = {key: math.floor(value) for key, value in exact.items()}
    by_fraction = sorted(exact, key=lambda key: quotas[key] - exact[key])
    for key in by_fraction[: n - sum(quotas.values())]:
        quotas[key] += 1
    return quotas


def plan_constraints(preset: Dict, profile: Dict, n: int, video_quota: int) -> Dict:
    total, low, high = profile["total"], preset["min_video_ratio"], preset["max_video_ratio"]
    least = math.ceil((low if low >= 0 else profile["bucket"]["short_video"] / total) * n)
    floors = {}
    for group, count in profile["source_group"].most_common(preset["source_group_floor_topk"]):
        expected = n * (count / total)
        part = math.ceil(preset["source_group_floor_frac_of_expected"] * expected)
        need = max(math.ceil(n * preset["min_source_group_ratio"]), part)
        if 0 < need <= math.floor(expected):
            floors[group] = need
    room, asked = math.floor(0.7 * n), sum(floors.values())
    if asked > room:
        floors = {group: max(1, math.floor(need * (room / asked))) for group, need in floors.items()}
    return {
        "min_video_count": least,
        "max_video_count": n if high < 0 else min(n, max(least, math.floor(high * n))),
        "min_temporal_video_count": math.ceil(
            preset["min_temporal_in_video_ratio"] * max(least, video_quota)
        ),
        "source_group_floor_requirements": floors,
    }


def candidate_cap(preset: Dict, sample: Dict, quota: int) -> int:
    factor = preset["oversample_factor"]
    if sample["bucket"] == "short_video":
        factor = max(factor, preset["video_oversample_factor"])
        if sample["temporal_category"] in preset["temporal_categories"]:
            factor = max(factor, preset["temporal_oversample_factor"])
    return max(quota, math.ceil(quota * factor)) if quota else 0


# Section 6: the two passes and the fill.


def order_key(seed: int, qa_uid: str) -> int:
    """The place of a sample among equals and in the uniform control (section 10)."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{qa_uid}".encode()).digest()[:8], "big")


class Basket:
    """What is taken so far, and the rules for taking more."""

    def __init__(self, size: int, max_video: int, per_video: int) -> None:
        self.size, self.max_video, self.per_video = size, max_video, per_video
        self.taken: list[Dict] = []
        self.uids: set[str] = set()
        self.texts: set[bytes] = set()
        self.videos: Counter[str] = Counter()
        self.have: Counter[tuple[str, str | None]] = Counter()

    def allows(self, sample: Dict, text_rule: bool, video_rule: bool) -> bool:
        """Whether the rules let this sample in."""
        if sample["qa_uid"] in self.uids or (text_rule and sample["text"] in self.texts):
            return False
        if not sample["video_uid"] or not video_rule:
            return True
        full = self.have["bucket", "short_video"] >= self.max_video
        return not full and self.videos[sample["video_uid"]] < self.per_video

    def fill(self, pool: Iterable[Dict], room: int, text_rule: bool = True, video_rule: bool = True) -> int:
        """Take up to `room` samples in the order given; how many it took."""
        before = len(self.taken)
        for sample in pool:
            if len(self.taken) >= min(self.size, before + room):
                break
            if self.allows(sample, text_rule, video_rule):
                self.taken.append(sample)
                self.uids.add(sample["qa_uid"])
                self.texts.add(sample["text"])
                self.videos[sample["video_uid"]] += 1
                for name in ("bucket", "temporal_category", "source_group", "stratum"):
                    self.have[name, sample.get(name)] += 1
        return len(self.taken) - before


def take_profile(samples: Iterable[Dict], seed: int) -> tuple[Dict, list[Dict]]:
    """The first pass: counts of every field, and the samples' keys in random order."""
    profile: Dict = {name: Counter() for name in (*FIELDS, "stratum", "source")}
    keys = []
    for sample in samples:
        for name, counts in profile.items():
            counts[sample[name]] += 1
        keys.append({name: sample[name] for name in ("qa_uid", "video_uid", "text", "bucket")})
    keys.sort(key=lambda key: order_key(seed, key["qa_uid"]))
    return profile | {"total": len(keys)}, keys


def uniform_control(keys: list[Dict], size: int, per_video: int) -> list[str]:
    control = Basket(size, size, per_video)
    control.fill(keys, size)
    control.fill(keys, size, text_rule=False)
    control.fill(keys, size, text_rule=False, video_rule=False)
    return [sample["qa_uid"] for sample in control.taken]


def best_of_strata(samples: Iterable[Dict], preset: Dict, quotas: dict[str, int]) -> dict[str, list[Dict]]:
    """The candidates each stratum keeps, best first."""
    heaps: dict[str, list[tuple[float, int, int, Dict]]] = {stratum: [] for stratum in quotas}
    for number, sample in enumerate(samples):
        heap = heaps[sample["stratum"]]
        cap = candidate_cap(preset, sample, quotas[sample["stratum"]])
        entry = (sample["score"], -order_key(preset["seed"], sample["qa_uid"]), -number, sample)
        if len(heap) < cap:
            heapq.heappush(heap, entry)
        elif cap:
            heapq.heappushpop(heap, entry)
    return {stratum: [entry[3] for entry in sorted(heap, reverse=True)] for stratum, heap in heaps.items()}


def fill_stages(
    basket: Basket, candidates: dict[str, list[Dict]], preset: Dict, plan: Dict, quotas: dict[str, int]
) -> dict[str, int]:
    """Stages 1 to 3; how many samples each took."""
    ranked = [sample for members in candidates.values() for sample in members]
    ranked.sort(key=lambda sample: (-sample["score"], order_key(preset["seed"], sample["qa_uid"])))
    videos = [sample for sample in ranked if sample["bucket"] == "short_video"]
    temporal = [sample for sample in videos if sample["temporal_category"] in preset["temporal_categories"]]
    have, took = basket.have, {}
    took["hard_temporal_video"] = basket.fill(temporal, plan["min_temporal_video_count"])
    took["hard_video"] = basket.fill(videos, plan["min_video_count"] - have["bucket", "short_video"])
    for group, floor in plan["source_group_floor_requirements"].items():
        members = [sample for sample in ranked if sample["source_group"] == group]
        took[f"hard_source_group::{group}"] = basket.fill(members, floor - have["source_group", group])
    took["stratum_quota"] = 0
    for stratum, members in candidates.items():
        took["stratum_quota"] += basket.fill(members, quotas[stratum] - have["stratum", stratum])
    took["global_tail"] = basket.fill(ranked, basket.size)
    return took


def shortfalls(basket: Basket, preset: Dict, plan: Dict) -> dict[str, int]:
    have = basket.have
    temporal = sum(
        have["temporal_category", name] for name in preset["temporal_categories"] if name != "Static"
    )
    floors = plan["source_group_floor_requirements"]
    missing = {
        "count": basket.size - len(basket.taken),
        "video_min": plan["min_video_count"] - have["bucket", "short_video"],
        "temporal_video_min": plan["min_temporal_video_count"] - temporal,
        **{f"source_group::{group}": floor - have["source_group", group] for group, floor in floors.items()},
    }
    return {name: count for name, count in missing.items() if count > 0}


# Section 7: the report.


def js_divergence(left: Counter[str], right: Counter[str]) -> float:
    result, n, m = 0.0, max(1, left.total()), right.total()
    for key in left | right:
        p, q = left[key] / n, right[key] / m
        result += sum(x * math.log(2 * x / (p + q)) / 2 for x in (p, q) if x)
    return result


def select_once(files: tuple[Path | None, Path | None], metrics: Path | None, preset: Dict) -> Dict:
    """One preset, from the files to the subset."""
    broken: dict[str, int] = {}
    z = read_z(metrics)
    profile, keys = take_profile(read_samples(files, preset, broken), preset["seed"])
    n, budget = plan_budget(preset, profile, z)
    quotas = largest_remainder(n, profile["stratum"])
    bucket_quotas = largest_remainder(n, profile["bucket"])
    plan = plan_constraints(preset, profile, n, bucket_quotas.get("short_video", 0))
    uniform_count = math.ceil(n * preset["uniform_multiplier"])
    uniform = uniform_control(keys, uniform_count, preset["max_qa_per_video"])
    control = dict.fromkeys(uniform, Dict())

    def scored() -> Iterator[Dict]:
        for sample in read_samples(files, preset, {}):
            sample["score"] = rho(sample, z.get(sample["qa_uid"]), profile, preset["without"])
            if sample["qa_uid"] in control:
                control[sample["qa_uid"]] = sample
            yield sample

    basket = Basket(n, plan["max_video_count"], preset["max_qa_per_video"])
    took = fill_stages(basket, best_of_strata(scored(), preset, quotas), preset, plan, quotas)
    took["uniform_reservoir"] = basket.fill(control.values(), n)
    plan["selection_stage_counts"] = {stage: count for stage, count in took.items() if count}
    plan["unmet_constraints"] = shortfalls(basket, preset, plan)
    return {
        "total_pairs": profile["total"],
        "target_count": n,
        "uniform_count": uniform_count,
        "budget": budget,
        "parse_errors": broken,
        "described_share": sum(key["qa_uid"] in z for key in keys) / len(keys),
        "num_strata": len(quotas),
        "bucket_quotas": bucket_quotas,
        "excluded_by_guard": 0,
        "constraints": plan,
        "subset_js_to_pool": {
            name: js_divergence(Counter(s[name] for s in basket.taken), profile[name]) for name in FIELDS
        },
        "selected": [(sample["qa_uid"], sample["score"]) for sample in basket.taken],
        "uniform": uniform,
        "rows": basket.taken,
    }


def plain_select(
    image_file: Path | None, video_file: Path | None, metrics_file: Path | None, presets: list[Dict]
) -> list[Dict]:
    """Select once for each preset, every time from cold files.

    Args:
        image_file: JSONL of image rows, plain or `.gz`; None where there are none.
        video_file: The same of video rows.
        metrics_file: JSONL of descriptor values by `qa_uid`; None for a pool without.
        presets: Parameters by their names in section 9, and `count`, `ratio`, `without`, `question_form`.

    Returns:
        A result for each preset: the names of golden/selection/expected.json.gz, `selected` as (qa_uid, rho)
        in the order of the fill, `uniform` (qa_uids of the control) and `rows` (the samples chosen).
    """
    return [select_once((image_file, video_file), metrics_file, COMMON | preset) for preset in presets]


def load_preset(name: str) -> Dict:
    """A released preset by its name, or a TOML file."""
    released = Path(__file__).parents[1] / "gdo" / "selectors" / "presets"
    path = Path(name) if name.endswith(".toml") else released / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def training_row(sample: Dict) -> Dict:
    question = "<image>" * len(sample["images"]) + "\n" + sample["question"]
    turns: list[Any] = [
        {"role": "user", "content": question},
        {"role": "assistant", "content": sample["answer"]},
    ]
    return {
        "id": sample["qa_uid"],
        "images": sample["images"],
        "messages": turns,
        "data_source": sample["source"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("files", nargs=3, type=Path, metavar="FILE", help="image rows, video rows, metrics")
    parser.add_argument(
        "--preset", action="append", required=True, help="its name or a TOML file; repeatable"
    )
    parser.add_argument("-o", "--out", type=Path, help="the rows chosen by the last preset, as JSONL")
    arguments = parser.parse_args()
    begin = time.perf_counter()
    image_file, video_file, metrics_file = arguments.files
    results = plain_select(
        image_file, video_file, metrics_file, [load_preset(name) for name in arguments.preset]
    )
    for name, result in zip(arguments.preset, results, strict=True):
        print(f"{name}: {len(result['selected'])} of {result['total_pairs']}")
    if arguments.out:
        rows = (json.dumps(training_row(row), ensure_ascii=False) for row in results[-1]["rows"])
        arguments.out.write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    print(f"{time.perf_counter() - begin:.1f} s")


if __name__ == "__main__":
    main()
