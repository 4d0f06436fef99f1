"""The map of a metric over the directions of three loss weights, for one encoder.

The corners are the single terms. The field is a thin-plate spline through the measured points
(Duchon 1977; scipy's RBFInterpolator) with a little smoothing, so that points that differ by noise
alone do not bend it; it is clipped to the measured range: where nothing was measured it invents no
optimum. It is drawn on a carpet that narrows to the top corner, so that its edges are straight.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from scipy.interpolate import RBFInterpolator

from weightsearch.report.evidence import records as recorded
from weightsearch.report.evidence.records import Records, encoder
from weightsearch.report.figures.style import FIELD, figure, nothing, short, text
from weightsearch.stats import comparison
from weightsearch.store.ledger.queries import Done
from weightsearch.study.point_text import described

Array = npt.NDArray[np.float64]

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, 3**0.5 / 2]])
STEPS = 20
SMOOTHING = 1e-3


def ternaries(records: Records) -> list[go.Figure]:
    """One figure for each encoder and metric."""
    return [
        ternary(records, name, metric) for name in records.encoders for metric in records.metrics
    ]


def ternary(records: Records, name: str, metric: str) -> go.Figure:
    """Measured points of one encoder, the field between them, and a ring around each point that is
    level with that encoder's best: equivalent, or undecided (paired, per image, one seed)."""
    named = ": ".join(filter(None, [name, recorded.label(metric)]))
    title = text(named)
    terms = records.terms
    if len(terms) != 3:
        return nothing(title, f"A triangle shows three loss terms; this study has {len(terms)}.")
    points = [
        done
        for done in records.done
        if encoder(done.point) == name and metric in done.result.metrics
    ]
    if not points:
        return nothing(title, "No point of this encoder has a result.")
    values = np.array([done.result.metrics[metric] for done in points])
    shares = np.array([[float(w) for w in recorded.directions(d.point)] for d in points])
    order = np.argsort(
        values if records.smaller_is_better(metric) else -values,
        kind="stable",
    )
    best = points[int(order[0])]
    equal = [best, *_equals(records, metric, best, points)]
    field_z = field(shares, values)
    span = float(values.min()), float(values.max())
    traces = [*(_field(field_z, span) if field_z is not None else []), _edge()]
    traces += [_rings(equal, colour, width) for colour, width in (("#ffffff", 5), ("#000000", 2))]
    traces += [_points(points, shares, values, metric, span, field_z is None), _corners(terms)]
    others = len(equal) - 1
    told = (
        f"Best: {values[order[0]]:.4g} at {described(best.point)}; {others or 'no'} other"
        f" point{'s are' if others != 1 else ' is'} level with it. {len(points)} points,"
        f" {records.measured()}, one seed."
        + ("" if field_z is not None else " Too few points for a field between them.")
    )
    hidden = {"visible": False, "title": None, "fixedrange": True}
    return figure(
        traces,
        title,
        told,
        height=340,
        xaxis=hidden | {"range": [-0.06, 1.06]},
        yaxis=hidden | {"range": [-0.1, 0.98], "scaleanchor": "x"},
        margin={"l": 28, "r": 28, "t": 40, "b": 4},
        showlegend=False,
    )


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


def _equals(records: Records, metric: str, best: Done, points: Sequence[Done]) -> list[Done]:
    """Those that are not worse than the best, or worse within the margin."""
    ours = best.result.samples.get(metric)
    if not ours:
        return []
    is_deciding = metric == records.metric
    margin = records.spec.answer.delta().of(best.result.metrics[metric], is_deciding)
    found = []
    for done in points:
        theirs = done.result.samples.get(metric)
        if done is not best and theirs and len(theirs) == len(ours):
            groups, smaller = best.result.groups, records.smaller_is_better(metric)
            test = comparison.paired([theirs], [ours], groups, smaller, margin=margin)
            if test.verdict.is_level():
                found.append(done)
    return found


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
    shares = np.array([[float(w) for w in recorded.directions(d.point)] for d in equal])
    flat = shares @ CORNERS
    return go.Scatter(
        x=short(flat[:, 0]),
        y=short(flat[:, 1]),
        mode="markers",
        marker={"symbol": "circle-open", "size": 17, "color": colour, "line": {"width": width}},
        hoverinfo="skip",
    )


def _points(
    points: Sequence[Done],
    shares: Array,
    values: Array,
    metric: str,
    span: tuple[float, float],
    alone: bool,
) -> go.Scatter:
    flat = shares @ CORNERS
    hover = [
        f"point {done.number}: {text(described(done.point))}<br>{text(recorded.label(metric))}"
        f" {value:.4g}"
        for done, value in zip(points, values, strict=True)
    ]
    return go.Scatter(
        x=short(flat[:, 0]),
        y=short(flat[:, 1]),
        mode="markers",
        marker={
            "size": 9,
            "color": short(values),
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
        },
        text=hover,
        hovertemplate="%{text}<extra></extra>",
    )


def pairs(points: Sequence[Done]) -> list[tuple[Done, Done]]:
    """Points of one configuration whose weights differ by a common factor alone."""
    groups: dict[object, list[Done]] = {}
    for done in points:
        key = (recorded.directions(done.point), tuple(sorted(done.point.params.items())))
        groups.setdefault(key, []).append(done)
    return [pair for same in groups.values() for pair in itertools.combinations(same, 2)]
