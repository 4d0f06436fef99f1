"""The map of a metric over the weights where there are not three terms: two are a line, more are
shown pair by pair."""

from __future__ import annotations

import itertools
from typing import Any

import plotly.graph_objects as go

from weightsearch.report.evidence.records import Records
from weightsearch.report.figures.directions import Array, Directions, tried
from weightsearch.report.figures.style import BLUE, figure, nothing, short, text
from weightsearch.report.figures.ternary_map import coloured, title_of

MOST_TERMS = 6
"""More make panels that nobody can read."""
GAP = 0.04


def pairs(records: Records, name: str, metric: str) -> go.Figure:
    """Of one encoder, each direction by the best of its points."""
    title = text(title_of(records, name, metric))
    found = tried(records, name, metric)
    if found is None:
        return nothing(title, "No point of this encoder has a result.")
    if len(records.terms) > MOST_TERMS:
        why = f"At most {MOST_TERMS} terms can be shown in pairs; there are {len(records.terms)}."
        return nothing(title, why)
    return _line(found, title) if len(records.terms) == 2 else _panels(found, title)


def _line(found: Directions, title: str) -> go.Figure:
    first, second = map(text, found.records.terms)
    marks = _marks(found) | {"color": BLUE}
    trace = _scatter(found, found.shares[:, 0], found.values, marks)
    told = f"Left is {second} alone, right {first} alone. {_rings(found)}"
    share = {"range": [-0.03, 1.03], "tickformat": ".0%"}
    label = text(found.records.label(found.metric))
    across = f"share of {first}"
    return figure([trace], title, told, found.table(), across, label, 380, xaxis=share)


def _panels(found: Directions, title: str) -> go.Figure:
    """The share of one term across, of another one up, the metric as colour."""
    terms, numbers = found.records.terms, found.values
    span = float(numbers.min()), float(numbers.max())
    traces, axes = [], dict[str, Any]()
    last = len(terms) - 1
    for k, (low, high) in enumerate(itertools.combinations(range(len(terms)), 2)):
        column, row = low, high - 1
        marks = _marks(found) | coloured(numbers, span) | {"showscale": k == 0}
        trace = _scatter(found, found.shares[:, low], found.shares[:, high], marks)
        number = "" if k == 0 else str(k + 1)
        trace.update(xaxis=f"x{number}", yaxis=f"y{number}")
        traces.append(trace)
        is_lowest, is_first = row == last - 1, column == 0
        axes[f"xaxis{number}"] = _axis(column, last, f"y{number}", is_lowest, terms[low])
        axes[f"yaxis{number}"] = _axis(last - 1 - row, last, f"x{number}", is_first, terms[high])
    bar = traces[0].marker.colorbar
    bar.update(y=1, yanchor="bottom")
    told = f"Each panel: shares of two terms; dark is low. {_rings(found)}"
    return figure(traces, title, told, found.table(), height=160 + 170 * last, showlegend=False,
                  **axes)  # fmt: skip


def _axis(place: int, of: int, anchor: str, is_named: bool, term: str) -> dict[str, Any]:
    size = (1 - GAP * (of - 1)) / of
    start = place * (size + GAP)
    return {
        "domain": [start, min(1.0, start + size)],
        "anchor": anchor,
        "range": [-0.1, 1.1],
        "tickvals": [0, 0.5, 1],
        "showticklabels": is_named,
        "title": {"text": text(term) if is_named else ""},
    }


def _marks(found: Directions) -> dict[str, Any]:
    level = {one.point.key() for one in found.level}
    return {
        "size": [13 if one.point.key() in level else 8 for one in found.points],
        "symbol": ["x" if sunk else "circle" for sunk in found.sunk],
    }


def _scatter(found: Directions, x: Array, y: Array, marks: dict[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=short(x),
        y=short(y),
        mode="markers",
        marker=marks,
        text=found.hover,
        hovertemplate="%{text}<extra></extra>",
    )


def _rings(found: Directions) -> str:
    return f"Large symbols: level with the best. {found.told()}"
