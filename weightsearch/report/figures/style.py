"""How every figure looks: colours, titles, and what is drawn where there is nothing to draw."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from typing import Any

import plotly.graph_objects as go

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
    **layout: Any,
) -> go.Figure:
    """A figure; `title` and axes are plotly's mark-up (see `text`), `told` its description in plain
    text, kept in `layout.meta`."""
    made = go.Figure(list(traces))
    made.update_layout(
        template=TEMPLATE,
        title={"text": title},
        meta=told,
        height=height,
        margin={"l": 60, "r": 20, "t": 56, "b": 50},
        hovermode="closest",
    )
    made.update_xaxes(title={"text": x})
    made.update_yaxes(title={"text": y})
    made.update_layout(**layout)
    return made


def nothing(title: str, why: str) -> go.Figure:
    """A figure that says why it is empty."""
    said = go.Scatter(x=[0], y=[0], mode="text", text=[text(why)], hoverinfo="skip")
    made = figure([said], title, why, height=160, showlegend=False)
    made.update_xaxes(visible=False, range=[-1, 1], fixedrange=True)
    made.update_yaxes(visible=False, range=[-1, 1], fixedrange=True)
    return made


def is_nothing(made: go.Figure) -> bool:
    """Whether it is what `nothing` made."""
    return len(made.data) == 1 and getattr(made.data[0], "mode", None) == "text"


def short(values: Iterable[float | None], digits: int = 5) -> list[float | None]:
    """Rounded to so many significant digits: what a figure can show, at a third of the size."""
    return [None if v is None else float(f"{v:.{digits}g}") for v in values]
