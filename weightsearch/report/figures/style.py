"""How every figure looks: colours, titles, the table behind it, and what is drawn where there is
nothing to draw."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from weightsearch.runtime.safe_text import presentable

# Okabe and Ito, Color Universal Design, 2008; without black, which a dark page would swallow, and
# with a vermilion that is dark enough for words on white (5.0 to 1, not 3.9).
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#BE4A00"
PINK, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#8C919C"
WORSE, BETTER = RED, GREEN
"""Of a verdict. What is worse has this colour on every page, so no encoder and no term has it."""
ORDER = (BLUE, ORANGE, GREEN, PINK, SKY, "#6F4E9B", YELLOW)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "star")
"""Without "x", which marks what is no better than a constant."""
FIELD = "Cividis"
"""plotly's name; it reads alike with and without red-green vision."""

FIXED = {
    "densenet121": 0,
    "densenet169": 1,
    "densenet201": 2,
    "efficientnet_b0": 3,
    "mobilenetv3_small_100": 4,
    "resnet10t": 1,
    "resnet18": 5,
    "resnet50": 2,
}
"""Encoders that keep their colour in every report, by place in ORDER."""

NO_MORE: Mapping[str, Any] = {}
TEMPLATE = {
    "layout": {
        "colorway": list(ORDER),
        "font": {"size": 13},
        "title": {"x": 0, "xanchor": "left", "font": {"size": 15}},
        "xaxis": {"gridcolor": "#e3e6ea", "automargin": True, "zeroline": False},
        "yaxis": {"gridcolor": "#e3e6ea", "automargin": True, "zeroline": False},
        "plot_bgcolor": "rgba(0,0,0,0)",
    }
}
ELSEWHERE = ("geo", "mapbox", "polar", "scene", "ternary")
"""Parts of plotly's template for axes that no figure of ours has."""


@functools.cache
def _template() -> dict[str, Any]:
    """plotly's own with TEMPLATE over it."""
    made = go.layout.Template(pio.templates["plotly"])
    made.update(TEMPLATE)
    return dict(made.to_plotly_json())


def template(kinds: Iterable[str]) -> dict[str, Any]:
    """What of it a figure with such traces on plain axes needs: plotly validates all it is given,
    and the figure carries it."""
    data, layout = _template()["data"], _template()["layout"]
    return {
        "data": {kind: data[kind] for kind in sorted({*kinds}) if kind in data},
        "layout": {name: held for name, held in layout.items() if name not in ELSEWHERE},
    }


def text(value: object) -> str:
    """A name as plotly shows it: plotly takes texts for mark-up."""
    return html.escape(presentable(str(value)), quote=False)


def places(encoders: Sequence[str]) -> dict[str, int]:
    """By encoder its place in ORDER and SYMBOLS: the fixed one where it is free, else the next."""
    found: dict[str, int] = {}
    for name in encoders:
        place = FIXED.get(name)
        if place is not None and place not in found.values():
            found[name] = place
    for name in encoders:
        if name not in found:
            free = [k for k in range(len(ORDER)) if k not in found.values()]
            found[name] = free[0] if free else len(found) % len(ORDER)
    return found


def colours(encoders: Sequence[str]) -> dict[str, str]:
    return {name: ORDER[place] for name, place in places(encoders).items()}


def symbols(encoders: Sequence[str]) -> dict[str, str]:
    return {name: SYMBOLS[place] for name, place in places(encoders).items()}


@dataclass(frozen=True)
class Values:
    """The table behind a figure: what it draws, as plain text."""

    heads: Sequence[str]
    rows: Sequence[Sequence[str]]


MOST_ROWS = 100
"""Of the table behind a figure; what is left out is counted in its last row."""


def tabled(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Values:
    """Numbers to four significant digits, None as an empty cell."""
    made = [[_cell(one) for one in row] for row in rows]
    left = len(made) - MOST_ROWS
    if left > 0:
        empty = [""] * (len(heads) - 1)
        made = [*made[:MOST_ROWS], [f"{left} more are not listed", *empty]]
    return Values(heads, made)


def by_epoch(lines: Sequence[go.Scatter]) -> Values:
    """A row for each epoch, a column for each of the lines, which begin with the first one."""
    most = max(len(line.y) for line in lines)
    heads = ("epoch", *(html.unescape(line.name) for line in lines))
    held = [[*line.y, *[None] * (most - len(line.y))] for line in lines]
    return tabled(heads, zip(range(1, most + 1), *held, strict=True))


def _cell(value: object) -> str:
    if value is None:
        return ""
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1e5 else f"{value:.4g}"


def figure(
    traces: Iterable[Any],
    title: str,
    told: str,
    behind: Values | None,
    x: str = "",
    y: str = "",
    height: int = 380,
    xaxis: Mapping[str, Any] = NO_MORE,
    yaxis: Mapping[str, Any] = NO_MORE,
    **layout: Any,
) -> go.Figure:
    """A figure; `title` and axes are plotly's mark-up (see `text`), `told` its description in plain
    text with the unit and n, `behind` its table: see `told_of` and `table_of`.

    What plotly is to know of axes and layout is given here: its `update_layout` takes 25 times as
    long as a figure that is made with its layout.
    """
    drawn = list(traces)
    whole = {
        "template": template(trace.type for trace in drawn),
        "title": {"text": title},
        "meta": {"told": told} | ({"table": asdict(behind)} if behind else {}),
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 56, "b": 50},
        "hovermode": "closest",
        # Above, so that the drawing is as wide as the page's text.
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": 1, "yanchor": "bottom"},
        "xaxis": {"title": {"text": x}, **xaxis},
        "yaxis": {"title": {"text": y}, **yaxis},
    }
    return go.Figure(drawn, whole | layout)


def nothing(title: str, why: str) -> go.Figure:
    """A figure that says why it is empty."""
    said = go.Scatter(x=[0], y=[0], mode="text", text=[text(why)], hoverinfo="skip")
    axis = {"visible": False, "range": [-1, 1], "fixedrange": True}
    return figure([said], title, why, None, height=160, xaxis=axis, yaxis=axis, showlegend=False)


def told_of(made: go.Figure) -> str:
    """A figure's description."""
    return str((made.layout.meta or {}).get("told", ""))


def table_of(made: go.Figure) -> Values | None:
    """The table behind a figure; None of one that `nothing` made."""
    held = (made.layout.meta or {}).get("table")
    return Values(held["heads"], held["rows"]) if held else None


def is_nothing(made: go.Figure) -> bool:
    """Whether it is what `nothing` made."""
    return len(made.data) == 1 and getattr(made.data[0], "mode", None) == "text"


def short(values: Iterable[float | None], digits: int = 5) -> list[float | None]:
    """Rounded to so many significant digits: what a figure can show, at a third of the size."""
    return [None if v is None else float(f"{v:.{digits}g}") for v in values]
