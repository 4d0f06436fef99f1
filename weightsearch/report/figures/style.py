"""How every figure looks: colours, titles, and what is drawn where there is nothing to draw."""

from __future__ import annotations

import functools
import html
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go
import plotly.io as pio

from weightsearch.runtime.safe_text import presentable

# Okabe and Ito, Color Universal Design, 2008; without black, which a dark page would swallow.
BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PINK, SKY, YELLOW, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#8C919C"
ORDER = (BLUE, ORANGE, GREEN, PINK, SKY, RED, YELLOW)
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
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


def figure(
    traces: Iterable[Any],
    title: str,
    told: str,
    x: str = "",
    y: str = "",
    height: int = 380,
    xaxis: Mapping[str, Any] = NO_MORE,
    yaxis: Mapping[str, Any] = NO_MORE,
    **layout: Any,
) -> go.Figure:
    """A figure; `title` and axes are plotly's mark-up (see `text`), `told` its description in plain
    text, kept in `layout.meta`.

    What plotly is to know of axes and layout is given here: its `update_layout` takes 25 times as
    long as a figure that is made with its layout.
    """
    drawn = list(traces)
    whole = {
        "template": template(trace.type for trace in drawn),
        "title": {"text": title},
        "meta": told,
        "height": height,
        "margin": {"l": 60, "r": 20, "t": 56, "b": 50},
        "hovermode": "closest",
        "xaxis": {"title": {"text": x}, **xaxis},
        "yaxis": {"title": {"text": y}, **yaxis},
    }
    return go.Figure(drawn, whole | layout)


def nothing(title: str, why: str) -> go.Figure:
    """A figure that says why it is empty."""
    said = go.Scatter(x=[0], y=[0], mode="text", text=[text(why)], hoverinfo="skip")
    axis = {"visible": False, "range": [-1, 1], "fixedrange": True}
    return figure([said], title, why, height=160, xaxis=axis, yaxis=axis, showlegend=False)


def is_nothing(made: go.Figure) -> bool:
    """Whether it is what `nothing` made."""
    return len(made.data) == 1 and getattr(made.data[0], "mode", None) == "text"


def short(values: Iterable[float | None], digits: int = 5) -> list[float | None]:
    """Rounded to so many significant digits: what a figure can show, at a third of the size."""
    return [None if v is None else float(f"{v:.{digits}g}") for v in values]
