"""Evaluations and comparisons as tables for the terminal, and trajectories as a picture.

They come as plain mappings: reporting and training stand beside each other and do not know one another.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw, ImageFont
from rich.console import Group, RenderableType
from rich.text import Text

from gdo.errors import UsageError
from gdo.pool.atomic import write_output
from gdo.report.tables import table

UNITS = ("samples", "tokens", "frames")
SHOWN_ERRORS = 10
WIDTH, HEIGHT, MARGIN, LINE, BENDS = 460, 340, 60, 22, 24
_COLOURS = ("#1f77b4", "#d62728", "#2ca02c", "#ff7f0e", "#9467bd", "#8c564b", "#e377c2", "#17becf")
_INK, _PALE = "#28282f", "#cdcdd4"


def evaluate_tables(report: Mapping[str, Any]) -> RenderableType:
    """Accuracy of each checkpoint, of all questions and by kind.

    Args:
        report: A `gdo.train.evaluate.results.EvaluateReport` as a mapping.
    """
    checkpoints = report["checkpoints"]
    by_lmms = "lmms_eval" in report["of"]
    last = ["lmms-eval reports>"] if by_lmms else ["by summed loss>", "loss>"]
    scores = table(
        f"Evaluated: {report['path']}",
        ["step>", "samples>", "questions>", "errors>", "accuracy>", *last],
        [
            (
                one["step"],
                one["samples"],
                *(one["all"][name] for name in ("questions", "errors")),
                _percent(one["all"]["accuracy"]),
                *(
                    [one["reported"]]
                    if by_lmms
                    else [_percent(one["all"]["accuracy_by_sum"]), one["all"]["loss"]]
                ),
            )
            for one in checkpoints
        ],
    )
    parts: list[RenderableType] = [scores]
    if report["pool"]:
        parts.append(Text(f"Also in tables evaluation and evaluation_answer of {report['pool']}"))
    if report["not_kept"]:
        parts.append(Text(f"Not in the run's pool: {report['not_kept']}", style="yellow"))
    kinds = checkpoints[-1]["kinds"]
    if len(kinds) > 1:
        rows = [
            (kind, last["questions"], *(_percent(one["kinds"][kind]["accuracy"]) for one in checkpoints))
            for kind, last in kinds.items()
        ]
        steps = [f"step {one['step']:,}>" for one in checkpoints]
        parts += [Text(), table("Accuracy by kind", ["kind", "questions>", *steps], rows)]
    if report["trained_on"]:
        warning = f"{report['trained_on']:,} of the questions have ids that the run trained on"
        parts += [Text(), Text(warning, style="yellow")]
    if report["errors"]:
        parts += [
            Text(),
            table("Not asked, not counted", ["question", "reason"], report["errors"][:SHOWN_ERRORS]),
        ]
    return Group(*parts)


def compare_tables(report: Mapping[str, Any]) -> RenderableType:
    """Final accuracy of each group, and how soon each matches its control."""
    last = [(group, group["points"][-1]) for group in report["groups"]]
    groups = table(
        f"Accuracy at the end on {report['name']}: {report['questions']:,} questions",
        ["group", "runs>", "samples>", "accuracy>", "95 %>"],
        [
            (
                group["name"],
                len(group["runs"]),
                round(point["samples"]),
                _percent(point["accuracy"]),
                f"{_percent(point['low'])} to {_percent(point['high'])}",
            )
            for group, point in last
        ],
    )
    parts: list[RenderableType] = [groups]
    if report["left_out"]:
        parts.append(Text(f"{report['left_out']:,} questions left out: a checkpoint could not be asked them"))
    if len(report["kinds"]) > 1:
        rows = [
            (kind, count, *(_percent(point["kinds"][kind]) for _, point in last))
            for kind, count in report["kinds"].items()
        ]
        names = [f"{group['name']}>" for group, _ in last]
        parts += [Text(), table("By kind of question", ["kind", "questions>", *names], rows)]
    return Group(*parts, Text(), _matches(report), Text(), _differences(report))


def _matches(report: Mapping[str, Any]) -> RenderableType:
    """How much training matches each control: in every unit on all questions, in samples by kind."""
    rows = [
        (
            one["group"],
            one["control"],
            one["kind"],
            unit,
            "never" if reach["peak"]["value"] is None else reach["peak"]["value"],
            reach["control"],
            _interval(reach["reduction"], ".3g"),
            f"{reach['reached']:.1%}",
        )
        for one in report["comparisons"]
        for unit, reach in one["reach"].items()
        if one["kind"] == "all" or unit == "samples"
    ]
    columns = ["group", "control", "kind", "in", "to match>", "control's>", "times fewer (95 %)>", "matched>"]
    return table("Training that matches the control's end", columns, rows)


def _differences(report: Mapping[str, Any]) -> RenderableType:
    """Points above each control's end."""
    rows = [
        (
            *(one[name] for name in ("group", "control", "kind")),
            *(_interval(one[name], "+.2f") for name in ("delta", "final_delta")),
            f"{one['p']:.3g}",
            one["test"],
        )
        for one in report["comparisons"]
    ]
    columns = ["group", "control", "kind", "best (95 %)>", "at the end (95 %)>", "p>", "test"]
    return table("Points above the control's end", columns, rows)


def _interval(estimate: Mapping[str, Any], form: str) -> str:
    value, low, high = (
        "-" if estimate[name] is None else format(estimate[name], form) for name in ("value", "low", "high")
    )
    return f"{value} ({low} to {high})"


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.2f}"


def check_picture(path: Path) -> None:
    """See that trajectories can be drawn to this path.

    Raises:
        UsageError: It does not end in .png, or its folder is not there.
    """
    if path.suffix != ".png":
        raise UsageError(f"{path} must end in .png")
    if not path.absolute().parent.is_dir():
        raise UsageError(f"the folder {path.absolute().parent} does not exist; make it first")


def write_trajectories(report: Mapping[str, Any], path: Path) -> None:
    """Draw accuracy against samples, tokens and frames as a PNG, a line for each group."""
    check_picture(path)
    canvas = draw_trajectories(report)
    write_output(path, lambda aside: canvas.save(aside, "PNG"))


def draw_trajectories(report: Mapping[str, Any]) -> Image.Image:
    """The picture: a panel for each unit, amounts on an axis that is logarithmic but for its beginning at 0.

    A dotted line is where a control ends, and a ring where a group first matches it.
    """
    groups = report["groups"]
    canvas = Image.new("RGB", (len(UNITS) * WIDTH, HEIGHT + LINE * (len(groups) + 1)), "white")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(13)
    for panel, unit in enumerate(UNITS):
        _draw_panel(draw, report, unit, panel * WIDTH)
    for number, group in enumerate(groups):
        y = HEIGHT + LINE * number
        draw.rectangle((MARGIN, y + 3, MARGIN + 12, y + 15), fill=_colour(number))
        draw.text((MARGIN + 20, y), f"{group['name']}, {len(group['runs'])} runs", _INK, font)
    return canvas


def _draw_panel(draw: ImageDraw.ImageDraw, report: Mapping[str, Any], unit: str, left: int) -> None:
    groups, font = report["groups"], ImageFont.load_default(13)
    points = [point for group in groups for point in group["points"]]
    x_of = _axis([point[unit] for point in points], left + MARGIN, left + WIDTH - 20)
    low, high = min(p["low"] for p in points), max(p["high"] for p in points)
    span = max(high - low, 1e-6)

    def y_of(accuracy: float) -> float:
        return float(HEIGHT - MARGIN - (accuracy - low) / span * (HEIGHT - 2 * MARGIN))

    draw.rectangle((left + MARGIN, MARGIN - 8, left + WIDTH - 20, HEIGHT - MARGIN + 8), outline=_PALE)
    for share in (low, (low + high) / 2, high):
        draw.text((left + MARGIN - 6, y_of(share)), f"{100 * share:.1f}", _INK, font, anchor="rm")
    for amount in sorted({min(p[unit] for p in points), max(p[unit] for p in points)}):
        draw.text((x_of(amount), HEIGHT - MARGIN + 12), f"{amount:,.0f}", _INK, font, anchor="ma")
    draw.text((left + WIDTH / 2, HEIGHT - 28), f"accuracy (%) by {unit}", _INK, font, anchor="ma")
    for number, group in enumerate(groups):
        line = _line([(point[unit], point["accuracy"]) for point in group["points"]])
        draw.line([(x_of(amount), y_of(accuracy)) for amount, accuracy in line], _colour(number), 2)
        for point in group["points"]:
            x, y = x_of(point[unit]), y_of(point["accuracy"])
            draw.line([(x, y_of(point["low"])), (x, y_of(point["high"]))], _colour(number), 1)
            draw.ellipse([x - 3, y - 3, x + 3, y + 3], _colour(number))
    for one in report["comparisons"]:
        if one["kind"] == "all":
            _draw_match(draw, groups, one, unit, x_of, y_of)


def _draw_match(
    draw: ImageDraw.ImageDraw,
    groups: Sequence[Mapping[str, Any]],
    one: Mapping[str, Any],
    unit: str,
    x_of: Callable[[float], float],
    y_of: Callable[[float], float],
) -> None:
    """The control's end as a dotted line back to where the group matches it."""
    names = [group["name"] for group in groups]
    end = groups[names.index(one["control"])]["points"][-1]
    x, y = x_of(end[unit]), y_of(end["accuracy"])
    peak = one["reach"][unit]["peak"]["value"]
    if peak is None:
        return
    start = x_of(peak)
    for dot in range(round(min(start, x)), round(max(start, x)), 6):
        draw.line([(dot, y), (dot + 2, y)], _INK)
    draw.ellipse([start - 6, y - 6, start + 6, y + 6], outline=_colour(names.index(one["group"])), width=2)


def _line(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Points of the straight lines between checkpoints, which the axis bends."""
    return [
        (x + (next_x - x) * i / BENDS, y + (next_y - y) * i / BENDS)
        for (x, y), (next_x, next_y) in pairwise(points)
        for i in range(BENDS)
    ] + list(points[-1:])


def _axis(amounts: Sequence[float], left: float, right: float) -> Callable[[float], float]:
    """Where an amount stands: 0 at the left, the most at the right, logarithmic above the least."""
    least, most = min((a for a in amounts if a > 0), default=1.0), max(*amounts, 1.0)

    def place(amount: float) -> float:
        return left + 10 + math.log1p(amount / least) / math.log1p(most / least) * (right - left - 20)

    return place


def _colour(number: int) -> str:
    return _COLOURS[number % len(_COLOURS)]
