"""What the metric depends on: all choices at once, each term, and encoder with weights."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from statistics import mean

import plotly.graph_objects as go

from weightsearch.report.evidence.ranking import ranked
from weightsearch.report.evidence.records import Records, directions, encoder, fixed
from weightsearch.report.figures.accuracy import EMPTY
from weightsearch.report.figures.style import (
    BLUE,
    FIELD,
    GREY,
    ORANGE,
    colours,
    figure,
    nothing,
    short,
    text,
)
from weightsearch.store.ledger.queries import Done
from weightsearch.study import search_space
from weightsearch.study.point_text import described

MOST_AXES = 8
MOST_COLUMNS = 40
LEAST_TRIALS = 8
"""Fewer finished points say nothing of importance."""


def _value(records: Records, done: Done) -> float:
    return done.result.metrics[records.metric]


def parallel(records: Records) -> go.Figure:
    """A line per point through its weights, its choices and its metric; scalable vectors, so that
    it prints, and needs no WebGL."""
    title = f"All points: weights, choices and {text(records.label())}"
    found = ranked(records.spec, fixed(records.done))
    if not found:
        return nothing(title, EMPTY)
    columns = _columns(records, found)
    colour = colours(records.encoders)
    traces = []
    for name in records.encoders:
        mine = [k for k, d in enumerate(found) if encoder(d.point) == name]
        if not mine:
            continue
        x: list[float | None] = []
        y: list[float | None] = []
        for k in mine:
            x += [*range(len(columns)), None]
            y += [*(column[1][k] for column in columns), None]
        traces.append(
            go.Scatter(
                x=x,
                y=short(y, 3),
                mode="lines",
                name=text(name or "points"),
                line={"color": colour[name], "width": 1},
                opacity=max(0.15, min(0.8, 20 / len(found))),
                hoverinfo="skip",
            )
        )
    best = [column[1][0] for column in columns]
    traces.append(
        go.Scatter(
            x=list(range(len(columns))),
            y=short(best, 3),
            mode="lines+markers",
            name="the best",
            line={"color": GREY, "width": 4},
            text=[text(described(found[0].point))] * len(columns),
            hovertemplate="%{text}<extra>the best</extra>",
        )
    )
    told = (
        f"{len(found)} points, {records.measured()}. Each vertical is one weight (as a share of"
        " their sum) or choice, with its lowest value at the bottom; the last is the metric. The"
        " thick line is the best."
    )
    names = [c[0] for c in columns]
    ends = [
        {"x": k, "y": y_end, "text": said, "yanchor": anchor, "showarrow": False}
        for k, (_, _, low, high) in enumerate(columns)
        for y_end, said, anchor in ((0, low, "top"), (1, high, "bottom"))
    ]
    return figure(
        traces,
        title,
        told,
        height=420,
        xaxis={"tickvals": list(range(len(columns))), "ticktext": names, "showgrid": True},
        yaxis={"visible": False, "range": [-0.05, 1.05]},
        annotations=ends,
    )


def _columns(records: Records, found: Sequence[Done]) -> list[tuple[str, list[float], str, str]]:
    """Per vertical: its name, each point's place in 0..1, and what stands at its two ends."""
    made: list[tuple[str, list[float], str, str]] = []
    for k, term in enumerate(records.terms):
        made.append((text(term), [float(directions(d.point)[k]) for d in found], "0", "1"))
    for name, options in search_space.choices(records.spec).items():
        if len(options) > 1:
            spots = {option: i / (len(options) - 1) for i, option in enumerate(options)}
            values = [spots.get(d.point.params.get(name, options[0]), 0.0) for d in found]
            made.append((text(name), values, text(options[0]), text(options[-1])))
    made = made[: MOST_AXES - 1]
    metric = [_value(records, d) for d in found]
    low, high = min(metric), max(metric)
    span = (high - low) or 1.0
    scaled = [(v - low) / span for v in metric]
    made.append((text(records.label()), scaled, f"{low:.3g}", f"{high:.3g}"))
    return made


def importance(records: Records) -> go.Figure:
    """How much of the metric's spread each weight and choice accounts for (PED-ANOVA, Watanabe and
    others, IJCAI 2023, as Optuna computes it)."""
    title = f"Importance for {text(records.label())}"
    found = ranked(records.spec, fixed(records.done))
    if len(found) < LEAST_TRIALS:
        return nothing(
            title, f"Importance needs {LEAST_TRIALS} finished points; there are {len(found)}."
        )
    shares = _importances(records, found)
    if not shares:
        return nothing(title, "Nothing varies among the points, or all are equally good.")
    names = sorted(shares, key=lambda n: shares[n])
    bars = go.Bar(
        x=short((shares[n] for n in names), 3),
        y=[text(n) for n in names],
        orientation="h",
        marker={"color": [BLUE if n in records.terms else ORANGE for n in names]},
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    told = (
        f"Share of importance by PED-ANOVA over {len(found)} points ({records.measured()}); loss"
        " weights blue, other choices orange. Weights sum to 1, so none of them moves alone."
    )
    per_cent = {"tickformat": ".0%", "rangemode": "tozero"}
    height = 140 + 34 * len(names)
    return figure([bars], title, told, "share of importance", "", height, xaxis=per_cent)


def _importances(records: Records, found: Sequence[Done]) -> dict[str, float]:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known: dict[str, optuna.distributions.BaseDistribution] = {
        term: optuna.distributions.FloatDistribution(0.0, 1.0) for term in records.terms
    }
    for name, options in search_space.choices(records.spec).items():
        if len(options) > 1:
            known[name] = optuna.distributions.CategoricalDistribution(options)
    study = optuna.create_study(direction=records.spec.objective.direction)
    for done in found:
        shares = zip(records.terms, map(float, directions(done.point)), strict=True)
        values = dict(shares) | dict(done.point.params)
        given = {name: values[name] for name in known if name in values}
        study.add_trial(
            optuna.create_trial(
                params=given,
                distributions={name: known[name] for name in given},
                value=_value(records, done),
            )
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            shares_of = optuna.importance.get_param_importances(study)
        except (ValueError, RuntimeError, ZeroDivisionError):
            return {}
    return {n: v for n, v in shares_of.items() if math.isfinite(v)}


def ablation(records: Records) -> go.Figure:
    """Each encoder's best point with only one term, without one term, and with all of them."""
    title = f"One term alone, one term left out: best {text(records.label())}"
    found = ranked(records.spec, fixed(records.done))
    if not found:
        return nothing(title, EMPTY)
    kinds = [f"only {t}" for t in records.terms]
    if len(records.terms) > 2:
        kinds += [f"without {t}" for t in records.terms]
    kinds.append("all terms")
    colour = colours(records.encoders)
    traces = []
    for name in records.encoders:
        best: dict[str, Done] = {}
        for done in found:  # the best first
            if encoder(done.point) == name:
                best.setdefault(_kind(records, done), done)
        shown = [kind for kind in kinds if kind in best]
        if shown:
            traces.append(
                go.Bar(
                    x=[text(kind) for kind in shown],
                    y=short(_value(records, best[kind]) for kind in shown),
                    name=text(name or "points"),
                    marker={"color": colour[name]},
                    text=[text(described(best[kind].point)) for kind in shown],
                    textposition="none",
                    hovertemplate="%{text}<br>%{y:.4g}<extra></extra>",
                )
            )
    if not traces:
        return nothing(title, "No point has a single term, all terms, or all terms but one.")
    told = (
        f"The best point of each kind, for each encoder; {records.measured()}, one seed: a kind"
        " with more points had more chances."
    )
    ordered = {"categoryorder": "array", "categoryarray": [text(k) for k in kinds]}
    label = text(records.label())
    return figure(traces, title, told, "", label, xaxis=ordered, barmode="group")


def _kind(records: Records, done: Done) -> str:
    used = [t for t, w in done.point.weights.items() if w > 0]
    if len(used) == len(records.terms):
        return "all terms"
    if len(used) == 1:
        return f"only {used[0]}"
    left = [t for t in records.terms if t not in used]
    return f"without {left[0]}" if len(left) == 1 else "other"


def interaction(records: Records) -> go.Figure:
    """Encoders against directions: where rows differ in shape, weights do not carry over."""
    title = f"Encoder and weights together: {text(records.label())}"
    found = ranked(records.spec, fixed(records.done))
    names = [n for n in records.encoders if any(encoder(d.point) == n for d in found)]
    if len(names) < 2:
        return nothing(title, "There are results of fewer than two encoders." if found else EMPTY)
    cells: dict[tuple[str, str], list[float]] = {}
    worth: dict[str, list[float]] = {}
    for done in found:
        terms = zip(records.terms, directions(done.point), strict=True)
        key = " ".join(f"{float(w):.2g} {t}" for t, w in terms if w)
        cells.setdefault((encoder(done.point), key), []).append(_value(records, done))
        worth.setdefault(key, []).append(_value(records, done))
    shared = [k for k in worth if sum((n, k) in cells for n in names) > 1]
    if not shared:
        return nothing(title, "No direction was tried with two encoders.")
    shared.sort(key=lambda k: mean(worth[k]), reverse=not records.smaller)
    left_out = len(shared) - MOST_COLUMNS
    shared = shared[:MOST_COLUMNS]
    z = [short(mean(cells[n, k]) if (n, k) in cells else None for k in shared) for n in names]
    heat = go.Heatmap(
        x=[text(k) for k in shared],
        y=[text(n) for n in names],
        z=z,
        colorscale=FIELD,
        colorbar={"thickness": 12, "tickformat": ".3~g"},
        hovertemplate="%{y}<br>%{x}<br>%{z:.4g}<extra></extra>",
        xgap=1,
        ygap=1,
    )
    told = (
        f"Directions tried with two or more encoders, the best on average first;"
        f" {records.measured()}, one seed."
        + (f" {left_out} more, worse on average, are not shown." if left_out > 0 else "")
    )
    few = len(shared) <= 24
    columns = {"tickangle": -60, "showticklabels": few, "showgrid": False}
    label = "" if few else "directions, the best on average first"
    height = 260 + 40 * len(names)
    rows = {"showgrid": False}
    return figure([heat], title, told, label, "", height, xaxis=columns, yaxis=rows)
