"""The map of a metric over the directions of three loss weights, for one encoder.

The corners are the single terms. The field is a thin-plate spline through the measured points
(Duchon 1977; scipy's RBFInterpolator) with a little smoothing, so that points that differ by noise
alone do not bend it; it is clipped to the measured range: where nothing was measured it invents no
optimum. It is drawn on a carpet that narrows to the top corner, so that its edges are straight.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from scipy.interpolate import RBFInterpolator

from weightsearch.report.evidence.records import Records
from weightsearch.report.figures.directions import Array, Directions, shares, tried
from weightsearch.report.figures.style import FIELD, figure, nothing, short, text
from weightsearch.store.ledger.queries import Done

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
STEPS = 20
SMOOTHING = 1e-3


def ternary(records: Records, name: str, metric: str) -> go.Figure:
    """Measured points of one encoder, the field between them, and a ring around each point that is
    level with that encoder's best: equivalent, or undecided (paired, per image)."""
    title = text(title_of(records, name, metric))
    found = tried(records, name, metric)
    if found is None:
        return nothing(title, "No point of this encoder has a result.")
    found_field = field(found.shares, found.values)
    span = float(found.values.min()), float(found.values.max())
    traces = [*(_field(found_field, span) if found_field is not None else []), _edge()]
    rings = (("#ffffff", 5), ("#000000", 2))
    traces += [_rings(found.level, colour, width) for colour, width in rings]
    traces += [_points(found, span), _corners(records.terms)]
    told = (
        f"Each corner is one term alone; dark is {_dark(records, metric)}. Rings: level with the"
        f" best. {found.told()}"
        + ("" if found_field is not None else " Too few points for a field between them.")
    )
    hidden = {"visible": False, "title": None, "fixedrange": True}
    return figure(
        traces,
        title,
        told,
        found.table(),
        height=440,
        xaxis=hidden | {"range": [-0.06, 1.06]},
        yaxis=hidden | {"range": [-0.1, 0.98], "scaleanchor": "x"},
        margin={"l": 28, "r": 28, "t": 40, "b": 4},
        showlegend=False,
    )


def title_of(records: Records, name: str, metric: str) -> str:
    """`RMSE (m) over the weights, densenet121`."""
    over = f"{records.label(metric)} over the weights"
    return ", ".join(filter(None, [over, name]))


def _dark(records: Records, metric: str) -> str:
    return "low, and better" if records.smaller_is_better(metric) else "low, and worse"


def field(shares: Array, values: Array, steps: int = STEPS) -> Array | None:
    """Values on the carpet, (steps + 1, steps + 1): rows from the edge of the first two terms to
    the third's corner, columns from the first term to the second. None where the points lie on one
    line, or are too few."""
    flat, where = np.unique(np.round(shares @ CORNERS, 9), axis=0, return_inverse=True)
    mean = np.bincount(where.ravel(), weights=values) / np.bincount(where.ravel())
    if len(flat) < 4 or np.linalg.matrix_rank(flat - flat.mean(axis=0), tol=1e-6) < 2:
        return None
    spread = float(mean.max() - mean.min()) or 1.0
    spline = RBFInterpolator(flat, (mean - mean.mean()) / spread, smoothing=SMOOTHING)
    found = spline(carpet(steps).reshape(-1, 2)) * spread + mean.mean()
    clipped: Array = np.clip(found, mean.min(), mean.max()).reshape(steps + 1, steps + 1)
    return clipped


def carpet(steps: int = STEPS) -> Array:
    """The places of the field's values, (steps + 1, steps + 1, 2)."""
    along, up = np.meshgrid(np.linspace(0, 1, steps + 1), np.linspace(0, 1, steps + 1))
    shares = np.stack([(1 - up) * (1 - along), (1 - up) * along, up], axis=-1)
    places: Array = shares @ CORNERS
    return places


def _field(values: Array, span: tuple[float, float]) -> list[Any]:
    places = carpet()
    steps = [k / STEPS for k in range(STEPS + 1)]
    hidden = {"showgrid": False, "showticklabels": "none", "smoothing": 0}
    hidden |= {"startline": False, "endline": False}
    low, high = span
    size = (high - low) / 10 or 1.0
    return [
        go.Carpet(
            a=steps,
            b=steps,
            x=_rows(places[..., 0]),
            y=_rows(places[..., 1]),
            aaxis=hidden,
            baxis=hidden,
        ),
        go.Contourcarpet(
            a=steps,
            b=steps,
            z=_rows(values),
            zmin=low,
            zmax=high,
            colorscale=FIELD,
            autocontour=False,
            contours={"start": low + size, "end": high - size, "size": size},
            line={"width": 0.5, "smoothing": 0, "color": "#ffffff"},
            showscale=False,
            opacity=0.9,
        ),
    ]


def _rows(values: Array) -> list[list[float | None]]:
    return [short(row) for row in values.tolist()]


def _edge() -> go.Scatter:
    around = CORNERS[[0, 1, 2, 0]]
    return go.Scatter(
        x=short(around[:, 0]),
        y=short(around[:, 1]),
        mode="lines",
        line={"color": "#8C919C", "width": 1.5},
        hoverinfo="skip",
    )


def _corners(terms: Sequence[str]) -> go.Scatter:
    return go.Scatter(
        x=short(CORNERS[:, 0]),
        y=short(CORNERS[:, 1] + np.array([-0.035, -0.035, 0.035])),
        mode="text",
        cliponaxis=False,
        text=[f"<b>{text(term)}</b>" for term in terms],
        textposition=["bottom center", "bottom center", "top center"],
        hoverinfo="skip",
    )


def _rings(equal: Sequence[Done], colour: str, width: float) -> go.Scatter:
    """Drawn twice, white below black, so that it is seen on any colour."""
    flat = shares(equal) @ CORNERS
    return go.Scatter(
        x=short(flat[:, 0]),
        y=short(flat[:, 1]),
        mode="markers",
        marker={"symbol": "circle-open", "size": 17, "color": colour, "line": {"width": width}},
        hoverinfo="skip",
    )


def _points(found: Directions, span: tuple[float, float]) -> go.Scatter:
    flat = found.shares @ CORNERS
    return go.Scatter(
        x=short(flat[:, 0]),
        y=short(flat[:, 1]),
        mode="markers",
        marker={
            "size": 9,
            "symbol": ["x" if k else "circle" for k in found.sunk],
            **coloured(found.values, span),
        },
        text=found.hover,
        hovertemplate="%{text}<extra></extra>",
    )


def coloured(numbers: Array, span: tuple[float, float]) -> dict[str, Any]:
    """Markers by value, with the scale below."""
    return {
        "color": short(numbers),
        "cmin": span[0],
        "cmax": span[1] if span[1] > span[0] else span[0] + 1e-9,
        "colorscale": FIELD,
        "line": {"color": "#ffffff", "width": 1},
        "colorbar": {
            "orientation": "h",
            "thickness": 10,
            "len": 0.85,
            "y": 0,
            "yanchor": "top",
            "tickformat": ".3~g",
            "nticks": 6,
        },
    }
