"""`gdo compare`: evaluated runs, grouped by what they trained, held against their controls."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import polars as pl

from gdo.errors import UsageError
from gdo.train.compare.bootstrap import RESAMPLES, Runs, interval, mcnemar, resample, sign_flips
from gdo.train.compare.matching import Match, match
from gdo.train.evaluate.questions import file_title
from gdo.train.evaluate.results import read_results
from gdo.train.prepare import RUN, read_run

UNITS = ("samples", "tokens", "frames")
ALL = "all"


@dataclass(frozen=True, slots=True)
class Estimate:
    """A figure and its 95 % bootstrap interval; None is never for a peak, unbounded for a reduction."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Reach:
    """How soon a group matches its control, in one unit of training.

    Attributes:
        control: Amount that the control trained on.
        peak: The least amount that matches it; None where it is never matched.
        reduction: `control` over `peak`; None where never (see `reached`) or at once.
        reached: Share of the resamples in which it is matched.
    """

    control: float
    peak: Estimate
    reduction: Estimate
    reached: float


@dataclass(frozen=True, slots=True)
class Comparison:
    """One group against one control, on all questions or on one kind.

    Attributes:
        kind: `all`, or the kind of question.
        group: What is compared.
        control: What with.
        questions: Questions that all checkpoints of all runs could be asked.
        delta: Best accuracy of the group's mean trajectory less the control's final one, in points; being
            the best of several checkpoints, it is somewhat too high.
        final_delta: The same of the group's last checkpoint.
        reach: By unit.
        p: Of the difference between the last checkpoints' answers, two-sided.
        test: `mcnemar` for a run against a run, `sign_flips` where there are several.
    """

    kind: str
    group: str
    control: str
    questions: int
    delta: Estimate
    final_delta: Estimate
    reach: dict[str, Reach]
    p: float
    test: str


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that differ in their seed alone.

    Attributes:
        name: What it is called.
        runs: Their folders.
        seeds: Of their recipes.
        is_control: They trained on a uniform control.
        points: One for each checkpoint: mean amounts by unit, `accuracy` with `low` and `high`, and
            `kinds` with the mean accuracy of each.
    """

    name: str
    runs: list[str]
    seeds: list[int]
    is_control: bool
    points: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class CompareReport:
    """What a comparison has come to; `left_out` are questions that some checkpoint could not be asked."""

    name: str
    questions: int
    left_out: int
    kinds: dict[str, int]
    groups: list[Group]
    comparisons: list[Comparison]
    resamples: int = RESAMPLES


@dataclass(slots=True)
class _Gathered:
    """The evaluated runs of one group."""

    key: str
    label: str | None
    uniform: bool
    runs: list[str] = field(default_factory=list)
    seeds: list[int] = field(default_factory=list)
    tables: list[pl.DataFrame] = field(default_factory=list)
    name: str = ""


def compare(
    targets: Sequence[str],
    name: str,
    *,
    controls: Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> CompareReport:
    """Compare evaluated runs.

    Runs are of one group where model, data and recipe are the same but for the seed, or where they are given
    the same label. Controls are the groups trained with `--uniform`, or else all groups but the first; every
    other group is held against every control.

    Args:
        targets: Folders of runs, or `LABEL=FOLDER`. A folder that holds the evaluation of a model (`gdo
            evaluate MODEL -o FOLDER`) is where trajectories begin, at 0 samples.
        name: Of the evaluation; all must have been asked the same questions, with the same frames.
        controls: What each group is held against, by their names; default: see above.
        seed: Of the resampling.
        resamples: Of the bootstrap.

    Raises:
        UsageError: An evaluation is missing, of other questions, or there is nothing to compare.
    """
    gathered, start, ofs = _gather(targets, name)
    _same_questions(ofs)
    if len(gathered) < 2:
        raise UsageError(
            "there is one group of runs: they train the same data by the same recipe. Compare it with another"
        )
    for one in gathered:
        if start is not None:
            one.tables = [pl.concat([start, table]) for table in one.tables]
    kinds, left_out = _questions(gathered)
    groups = {one.name: _runs_of(one, kinds["qa_uid"]) for one in gathered}
    masks = {ALL: np.ones(len(kinds), dtype=bool)}
    of_kind = kinds["kind"].to_numpy()
    masks |= {kind: of_kind == kind for kind in sorted(set(of_kind.tolist()))}
    pairs = _roles(gathered) if controls is None else [(a, b) for a, those in controls.items() for b in those]
    shown = masks if len(masks) > 2 else {ALL: masks[ALL]}
    return CompareReport(
        name,
        len(kinds),
        left_out,
        {kind: int(mask.sum()) for kind, mask in masks.items() if kind != ALL},
        [_told(one, groups[one.name], masks, seed, resamples) for one in gathered],
        [
            _compared(kind, mask, (subject, groups[subject]), (control, groups[control]), seed, resamples)
            for kind, mask in shown.items()
            for subject, control in pairs
        ],
        resamples,
    )


def _gather(
    targets: Sequence[str], name: str
) -> tuple[list[_Gathered], pl.DataFrame | None, list[dict[str, Any]]]:
    """The groups in the order they are named, where they begin, and what was evaluated."""
    gathered: dict[str, _Gathered] = {}
    start: pl.DataFrame | None = None
    ofs: list[dict[str, Any]] = []
    for target in targets:
        label, equals, path = target.partition("=")
        if not equals or Path(target).exists():
            label, path = "", target
        summary, table = read_results(path, name)
        ofs.append(summary["of"])
        if not (Path(path) / RUN).exists():
            start = table
            continue
        told = read_run(path)
        seed = int(told["recipe"]["seed"])
        key = label or _key(told)
        one = gathered.setdefault(key, _Gathered(key, label or None, bool(told["data"]["uniform"])))
        one.runs.append(str(path))
        one.seeds.append(seed)
        one.tables.append(table)
        one.name = one.name or label or _name(told["data"])
    found = list(gathered.values())
    for number, one in enumerate(found):
        if any(one.name == other.name for other in found[:number]):
            one.name = f"{one.name} ({Path(one.runs[0]).name})"
    return found, start, ofs


def _key(told: Mapping[str, Any]) -> str:
    recipe = {key: value for key, value in told["recipe"].items() if key not in ("seed", "name")}
    return orjson.dumps([told["model"], told["data"], recipe], option=orjson.OPT_SORT_KEYS).decode()


def _name(data: Mapping[str, Any]) -> str:
    """What a group is called by its data."""
    name = data["subset"] or file_title(Path(data["path"]))
    if data["uniform"]:
        multiple = "all" if data["multiple"] is None else f"{data['multiple']:g}x"
        name = f"{name} uniform {multiple}"
    return f"{name}{''.join(f' + {Path(path).name}:{share:g}' for path, share in data['mix'])}"


def _same_questions(ofs: Sequence[Mapping[str, Any]]) -> None:
    for key in ("questions", "budget", "frames_as", "model"):
        if len({str(of[key]) for of in ofs}) > 1:
            what = "start from different models" if key == "model" else f"were evaluated with other {key}"
            raise UsageError(f"the runs {what}: {' and '.join(sorted({str(of[key]) for of in ofs}))}")


def _questions(gathered: Sequence[_Gathered]) -> tuple[pl.DataFrame, int]:
    """Id and kind of the questions that every checkpoint could be asked, and how many could not."""
    tables = pl.concat([table.select("qa_uid", "kind", "error") for one in gathered for table in one.tables])
    asked = tables.group_by("qa_uid").agg(
        pl.col("kind").first(), pl.col("error").is_not_null().any().alias("failed")
    )
    kept = asked.filter(~pl.col("failed")).sort("qa_uid")
    if kept.is_empty():
        raise UsageError("there is no question that all checkpoints could be asked")
    return kept.select("qa_uid", "kind"), len(asked) - len(kept)


def _runs_of(one: _Gathered, questions: pl.Series) -> Runs:
    """Answers and amounts of a group, its runs stacked checkpoint by checkpoint."""
    steps = [table["step"].unique().sort() for table in one.tables]
    if len({len(of_run) for of_run in steps}) > 1:
        raise UsageError(f"the runs of {one.name} have {', '.join(str(len(s)) for s in steps)} checkpoints")
    wide = [
        table.join(questions.to_frame(), on="qa_uid", how="semi").sort("step", "qa_uid")
        for table in one.tables
    ]
    shape = (len(one.tables), len(steps[0]), len(questions))
    correct = np.stack([table["correct"].cast(pl.Float64).to_numpy() for table in wide]).reshape(shape)
    amounts = {
        unit: np.stack(
            [table.group_by("step").agg(pl.col(unit).first()).sort("step")[unit].to_numpy() for table in wide]
        ).astype(np.float64)
        for unit in UNITS
    }
    return Runs(correct, amounts)


def _roles(gathered: Sequence[_Gathered]) -> list[tuple[str, str]]:
    """Names of what is compared, each with all that it is compared with."""
    controls = [one.name for one in gathered if one.uniform]
    subjects = [one.name for one in gathered if not one.uniform]
    if not controls or not subjects:
        return [(gathered[0].name, one.name) for one in gathered[1:]]
    return [(subject, control) for subject in subjects for control in controls]


def _told(one: _Gathered, runs: Runs, masks: Mapping[str, Any], seed: int, resamples: int) -> Group:
    """The group's mean trajectory, with intervals."""
    drawn = np.concatenate([some[0][0] for some in resample([runs], seed=seed, resamples=resamples)])
    curve = runs.curve()
    points = []
    for number, accuracy in enumerate(curve):
        low, high = interval(drawn[:, number])
        point: dict[str, Any] = {u: float(values[:, number].mean()) for u, values in runs.amounts.items()}
        kinds = {
            kind: float(runs.correct[:, number, mask].mean()) for kind, mask in masks.items() if kind != ALL
        }
        points.append(point | {"accuracy": float(accuracy), "low": low, "high": high, "kinds": kinds})
    return Group(one.name, one.runs, one.seeds, one.uniform, points)


def _compared(
    kind: str,
    mask: Any,
    subject: tuple[str, Runs],
    control: tuple[str, Runs],
    seed: int,
    resamples: int,
) -> Comparison:
    """Hold one group against one control on the questions of a mask."""
    groups = [Runs(runs.correct[:, :, mask], runs.amounts) for _, runs in (subject, control)]
    told = {unit: _matched(groups[0], groups[1], unit) for unit in UNITS}
    drawn: dict[str, list[Match]] = {unit: [] for unit in UNITS}
    for (accuracies, amounts), (against, spent) in resample(groups, seed=seed, resamples=resamples):
        for unit in UNITS:
            drawn[unit].append(match(amounts[unit], accuracies, spent[unit][:, -1], against[:, -1]))
    reach = {}
    for unit in UNITS:
        peaks = np.concatenate([some.peak for some in drawn[unit]])
        reductions = np.concatenate([some.reduction for some in drawn[unit]])
        reach[unit] = Reach(
            float(groups[1].amounts[unit][:, -1].mean()),
            _estimate(told[unit].peak, peaks),
            _estimate(told[unit].reduction, reductions, zero_is_none=True),
            float(np.isfinite(peaks).mean()),
        )
    unit = UNITS[0]
    p, test = _tested(groups[0].correct[:, -1], groups[1].correct[:, -1], seed)
    return Comparison(
        kind,
        subject[0],
        control[0],
        int(mask.sum()),
        _estimate(told[unit].delta, np.concatenate([some.delta for some in drawn[unit]])),
        _estimate(told[unit].final_delta, np.concatenate([some.final_delta for some in drawn[unit]])),
        reach,
        p,
        test,
    )


def _matched(subject: Runs, control: Runs, unit: str) -> Match:
    """The mean trajectories themselves."""
    amounts = subject.amounts[unit].mean(axis=0)[None]
    end = control.amounts[unit][:, -1].mean()[None]
    return match(amounts, subject.curve()[None], end, control.curve()[-1:])


def _estimate(value: Any, drawn: Any, *, zero_is_none: bool = False) -> Estimate:
    def plain(number: float) -> float | None:
        return None if not np.isfinite(number) or (zero_is_none and number == 0) else float(number)

    low, high = interval(drawn)
    return Estimate(plain(float(value[0])), plain(low), plain(high))


def _tested(first: Any, second: Any, seed: int) -> tuple[float, str]:
    """A paired test of final answers, [seeds, questions] each."""
    if len(first) == len(second) == 1:
        return mcnemar(first[0] > 0, second[0] > 0), "mcnemar"
    return sign_flips(first.mean(axis=0) - second.mean(axis=0), seed=seed), "sign_flips"
