"""Figures in Plotly's JSON. Colours, fonts and the grid come from the page, which knows light from dark.

Names are placed by number and written as labels, so that none is taken for a date or for markup.
"""

from collections.abc import Container, Mapping, Sequence
from itertools import pairwise
from typing import Any

from gdo.report.html.blocks import Figure

LABEL = 30
"""Most letters of a name on an axis; the whole name is shown where one points."""
_ROW = 22
"""Pixels of height for a bar and the gap after it."""


def plain(text: str, most: int = 200) -> str:
    """A text as Plotly shows it letter by letter, cut to `most` letters."""
    one_line = " ".join(text.split())
    cut = one_line if len(one_line) <= most else one_line[: most - 1] + "…"
    return cut.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def bars(series: Mapping[str, Mapping[str, float]], *, axis: str, percent: bool = False) -> Figure:
    """Horizontal bars: a group for each name, in it a bar for each series.

    Args:
        series: Name of the series to its values by name; the first one's names are shown, from the top.
            `pool`, `subset` and `control` have the same colour everywhere.
        axis: Title of the axis of values.
        percent: Values are shares, shown in percent.
    """
    names = list(next(iter(series.values())))
    places = list(range(len(names)))
    form = ".1%" if percent else ",.4~g"
    data = [
        {
            "type": "bar",
            "orientation": "h",
            "name": plain(title),
            "meta": title,
            "y": places,
            "x": [values.get(name) for name in names],
            "customdata": [plain(name) for name in names],
            "hovertemplate": f"%{{customdata}}: %{{x:{form}}}<extra>{plain(title)}</extra>",
        }
        for title, values in series.items()
    ]
    layout = {
        "barmode": "group",
        "height": 90 + len(names) * (8 + _ROW * max(1, 0.7 * len(series))),
        "xaxis": {"title": {"text": axis}, "tickformat": ".0%" if percent else None},
        "yaxis": _names_axis(names) | {"autorange": "reversed"},
        "showlegend": len(series) > 1,
    }
    return {"data": data, "layout": layout}


def histogram(edges: Sequence[float], series: Mapping[str, Sequence[int]], *, unit: str) -> Figure:
    """Counts between edges: a panel for each series, with a scale of its own, above each other.

    Args:
        edges: One more than there are counts, ascending.
        series: Name to counts.
        unit: What the values are in.
    """
    log = is_log(edges)
    middles = [(a * b) ** 0.5 if log else (a + b) / 2 for a, b in pairwise(edges)]
    spans = [f"{a:.4g} to {b:.4g}" for a, b in pairwise(edges)]
    data = [
        {
            "type": "bar",
            "name": plain(name),
            "yaxis": _panel(place),
            "x": middles,
            "width": [b - a for a, b in pairwise(edges)],
            "y": list(counts),
            "customdata": spans,
            "hovertemplate": f"%{{customdata}}: %{{y:,}} samples<extra>{plain(name)}</extra>",
        }
        for place, (name, counts) in enumerate(series.items())
    ]
    share = 1 / max(1, len(series))
    bases = [1 - (place + 1) * share for place in range(len(series))]
    tops = [base + 0.76 * share for base in bases]
    layout: dict[str, Any] = {
        "bargap": 0,
        "height": 80 + 140 * len(series),
        "xaxis": _values_axis(unit, edges) | {"anchor": _panel(len(series) - 1)},
        "showlegend": False,
        "annotations": [
            {
                "text": f"{plain(name)}: {sum(counts):,} samples",
                "xref": "paper",
                "yref": "paper",
                "x": 0,
                "y": top,
                "yanchor": "bottom",
                "showarrow": False,
            }
            for top, (name, counts) in zip(tops, series.items(), strict=True)
        ],
    }
    for place, top in enumerate(tops):
        layout[_panel(place).replace("y", "yaxis")] = {"domain": [max(0.0, bases[place]), top], "nticks": 5}
    return {"data": data, "layout": layout}


def _panel(place: int) -> str:
    return "y" if place == 0 else f"y{place + 1}"


def is_log(edges: Sequence[float]) -> bool:
    """Whether edges stand at even ratios rather than at even distances."""
    return edges[0] > 0 and edges[-1] - edges[-2] > 1.01 * (edges[1] - edges[0])


def boxes(rows: Sequence[tuple[str, Sequence[float]]], edges: Sequence[float], *, unit: str) -> Figure:
    """Horizontal boxes: quartiles, and whiskers at the 5th and 95th percentile.

    Args:
        rows: Name and the 5th, 25th, 50th, 75th and 95th percentile, from the top.
        edges: Of the values' histogram: the axis is logarithmic where they are.
        unit: What the values are in.
    """
    names = [name for name, _ in rows]
    quantile = {
        key: [values[place] for _, values in rows]
        for place, key in enumerate(("lowerfence", "q1", "median", "q3", "upperfence"))
    }
    box: dict[str, Any] = {
        "type": "box",
        "orientation": "h",
        "y": list(range(len(rows))),
        "name": "",
        "hoverinfo": "x",
        "width": 0.6,
        **quantile,
    }
    layout = {
        "height": 100 + len(rows) * _ROW,
        "xaxis": _values_axis(unit, edges),
        "yaxis": _names_axis(names) | {"autorange": "reversed"},
        "showlegend": False,
    }
    return {"data": [box], "layout": layout}


def heat(
    names: Sequence[str],
    values: Sequence[Sequence[float | None]],
    *,
    columns: Sequence[str] | None = None,
    signed: bool,
) -> Figure:
    """A table of shades with its values written in, 0 to 1, or -1 to 1 where `signed`."""
    across = list(columns or names)
    cell = {
        "type": "heatmap",
        "z": [list(row) for row in values],
        "x": list(range(len(across))),
        "y": list(range(len(names))),
        "zmin": -1 if signed else 0,
        "zmax": 1,
        "text": [["" if value is None else f"{value:.2f}" for value in row] for row in values],
        "texttemplate": "%{text}",
        "customdata": [[f"{plain(row)} and {plain(column)}" for column in across] for row in names],
        "hovertemplate": "%{customdata}: %{text}<extra></extra>",
        "hoverongaps": False,
        "xgap": 1,
        "ygap": 1,
        "meta": "signed" if signed else "shares",
    }
    layout = {
        "height": 140 + 30 * len(names),
        "xaxis": _names_axis(across) | {"side": "bottom"},
        "yaxis": _names_axis(names) | {"autorange": "reversed"},
    }
    return {"data": [cell], "layout": layout}


def lines(series: Mapping[str, Sequence[Mapping[str, float]]], *, axis: str, value: str) -> Figure:
    """Lines through points with intervals.

    Args:
        series: Name to points with `x`, `y`, `low` and `high`.
        axis: Title of the axis of amounts.
        value: Title of the axis of values, which are shares.
    """
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": plain(name),
            "x": [point["x"] for point in points],
            "y": [point["y"] for point in points],
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [point["high"] - point["y"] for point in points],
                "arrayminus": [point["y"] - point["low"] for point in points],
                "thickness": 1,
                "width": 2,
            },
            "hovertemplate": f"%{{x:,}}: %{{y:.1%}}<extra>{plain(name)}</extra>",
        }
        for name, points in series.items()
    ]
    layout = {
        "height": 380,
        "xaxis": {"title": {"text": axis}, "rangemode": "tozero"},
        "yaxis": {"title": {"text": value}, "tickformat": ".0%"},
        "showlegend": True,
    }
    return {"data": data, "layout": layout}


def scatters(
    panels: Mapping[str, Mapping[str, Sequence[tuple[float, float]]]], *, others: str, large: Container[str]
) -> Figure:
    """Dots in panels beside each other, all on one scale, a name's in one colour.

    Args:
        panels: Title of the panel to places by name, the same names in each; later ones are drawn above,
            and the last has the first colour.
        others: The name that has no colour of its own.
        large: Names whose dots are to be seen among many.
    """
    names = [name for name in next(iter(panels.values())) if name != others]
    colours: dict[str, int | str] = {name: place for place, name in enumerate(reversed(names))}
    colours[others] = "others"
    data: list[dict[str, Any]] = []
    layout: dict[str, Any] = {"height": 560, "showlegend": True, "hovermode": "closest"}
    layout["legend"] = {"orientation": "h", "y": 1.02, "yanchor": "bottom", "x": 0, "itemsizing": "constant"}
    for panel, (title, places) in enumerate(panels.items()):
        y = _panel(panel)
        x = y.replace("y", "x")
        told = {trace["name"] for trace in data}
        data += [
            {
                "type": "scatter",
                "mode": "markers",
                "name": plain(name, LABEL),
                "meta": colours[name],
                "legendgroup": name,
                "showlegend": plain(name, LABEL) not in told,
                "xaxis": x,
                "yaxis": y,
                "x": [place[0] for place in some],
                "y": [place[1] for place in some],
                "hoverinfo": "name",
                "marker": {"size": 8, "opacity": 1} if name in large else {"size": 4, "opacity": 0.7},
            }
            for name, some in places.items()
            if some
        ]
        for axis, other, of in ((x, y, "x"), (y, x, "y")):
            layout[axis.replace(of, f"{of}axis")] = {
                "anchor": other,
                "matches": of if panel else None,
                "showgrid": False,
                "zeroline": False,
                "showticklabels": False,
                "showline": True,
                "mirror": True,
            }
        ends = [(panel + 0.02 * (panel > 0)) / len(panels), (panel + 1) / len(panels)]
        layout[x.replace("x", "xaxis")] |= {"title": {"text": title}, "domain": ends}
    return {"data": data, "layout": layout}


def _values_axis(title: str, edges: Sequence[float]) -> dict[str, Any]:
    if not is_log(edges):
        return {"title": {"text": title}, "type": "linear"}
    few = edges[-1] / edges[0] < 500
    return {"title": {"text": title}, "type": "log", "dtick": "D2" if few else 1}


def _names_axis(names: Sequence[str]) -> dict[str, Any]:
    return {
        "tickvals": list(range(len(names))),
        "ticktext": [plain(name, LABEL) or "(none)" for name in names],
        "automargin": True,
        "showgrid": False,
        "zeroline": False,
    }
