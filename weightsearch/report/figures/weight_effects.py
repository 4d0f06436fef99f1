"""What the metric depends on: all choices at once, each term, and encoder with weights."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Sequence
from statistics import mean
from typing import TYPE_CHECKING, Literal

import plotly.graph_objects as go

from weightsearch.report.evidence.configurations import fixed
from weightsearch.report.evidence.ranking import ranked
from weightsearch.report.evidence.records import Records, directions, encoder
from weightsearch.report.figures.accuracy import EMPTY
from weightsearch.report.figures.directions import others
from weightsearch.report.figures.style import (
    BLUE,
    FIELD,
    GREY,
    ORANGE,
    colours,
    figure,
    nothing,
    short,
    tabled,
    text,
)
from weightsearch.runtime.safe_text import counted
from weightsearch.store.ledger.queries import Done
from weightsearch.study import search_space
from weightsearch.study.point_text import described
from weightsearch.study.samplers.asking_optuna import distribution
from weightsearch.study.tables.number_range import Range

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

Direction = Literal["minimize", "maximize"]
MOST_AXES = 8
MOST_COLUMNS = 40
LEAST_TRIALS = 8
"""Fewer finished points say nothing of importance."""
TARGET = 0.25
"""Importance is for being among this share of the points. At Optuna's 0.1 a planted learning rate
had 0.30 of it where nothing else mattered, and came after the weights where both did; here it has
0.72 and 0.45 (84 points of each of two encoders, tests/report/figures/test_planted.py)."""
RESAMPLES = 10
MOST_RESAMPLED = 150  # points: enough to see an order, and quick


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
        f"n = {counted(len(found), 'point')}, {records.measured()}. Each vertical is one weight"
        " (as a share of"
        " their sum) or choice, with its lowest value at the bottom; the last is the metric. The"
        " thick line is the best."
    )
    names = [c[0] for c in columns]
    ends = [
        {"x": k, "y": y_end, "text": said, "yanchor": anchor, "showarrow": False}
        for k, (_, _, low, high) in enumerate(columns)
        for y_end, said, anchor in ((0, low, "top"), (1, high, "bottom"))
    ]
    chosen = [name for name in records.searched if name != search_space.WEIGHTING]
    behind = tabled(
        (*records.terms, *chosen, records.label()),
        (
            [*map(float, directions(d.point)), *map(d.point.params.get, chosen), _value(records, d)]
            for d in found
        ),
    )
    return figure(
        traces,
        title,
        told,
        behind,
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
        if isinstance(options, Range):
            numbers = [float(d.point.params.get(name, options.low)) for d in found]
            values = [options.position(number) for number in numbers]
            made.append((text(name), values, text(f"{options.low:g}"), text(f"{options.high:g}")))
        elif len(options) > 1:
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
    trials, direction = _trials(records, found), records.spec.objective.direction
    shares = _importances(trials, direction)
    if not shares:
        return nothing(title, "Nothing varies among the points, or all are equally good.")
    names = sorted(shares, key=lambda n: shares[n])
    spread = _spread(trials, direction, names)
    bars = go.Bar(
        x=short((shares[n] for n in names), 3),
        y=[text(n) for n in names],
        orientation="h",
        error_x={
            "type": "data",
            "symmetric": False,
            "array": short((max(0.0, spread[n][1] - shares[n]) for n in names), 3),
            "arrayminus": short((max(0.0, shares[n] - spread[n][0]) for n in names), 3),
        },
        marker={"color": [BLUE if n in records.terms else ORANGE for n in names]},
        hovertemplate="%{y}: %{x:.0%}<extra></extra>",
    )
    told = (
        "Share of importance for being in the best quarter, by PED-ANOVA, n ="
        f" {counted(len(found), 'point')}"
        f" ({records.measured()}); loss weights blue, other choices orange."
        " Weights sum to 1, so none of them moves alone."
        f" Whiskers: the middle 80 % of {RESAMPLES} random parts of the points (half,"
        f" or {MOST_RESAMPLED})."
    )
    first, second = ([*reversed(names)] * 2)[:2]
    if first != second and spread[first][0] < spread[second][1]:
        told += f" Unstable: which of {text(first)} and {text(second)} matters more is not known."
    per_cent = {"tickformat": ".0%", "rangemode": "tozero"}
    height = 140 + 34 * len(names)
    behind = tabled(
        ("what", "share", "from", "to"), ((n, shares[n], *spread[n]) for n in reversed(names))
    )
    return figure([bars], title, told, behind, "share of importance", "", height, xaxis=per_cent)


def _spread(
    trials: Sequence[FrozenTrial], direction: Direction, names: Sequence[str]
) -> dict[str, tuple[float, float]]:
    """The 10 % and 90 % quantiles of each share, over random parts of the trials."""
    source, drawn = random.Random(0), []
    size = min(MOST_RESAMPLED, max(LEAST_TRIALS // 2, len(trials) // 2))
    for _ in range(RESAMPLES):
        drawn.append(_importances(source.sample(trials, size), direction))
    ends = {}
    for name in names:
        values = sorted(shares.get(name, 0.0) for shares in drawn)
        ends[name] = values[len(values) // 10], values[-1 - len(values) // 10]
    return ends


def _trials(records: Records, found: Sequence[Done]) -> list[FrozenTrial]:
    """As Optuna knows them, with the weights as shares of their sum."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    known: dict[str, optuna.distributions.BaseDistribution] = {
        term: optuna.distributions.FloatDistribution(0.0, 1.0) for term in records.terms
    }
    for name, options in search_space.choices(records.spec).items():
        if isinstance(options, Range) or len(options) > 1:
            known[name] = distribution(options)
    made = []
    for done in found:
        shares = zip(records.terms, map(float, directions(done.point)), strict=True)
        values = dict(shares) | dict(done.point.params)
        given = {name: values[name] for name in known if name in values}
        kinds = {name: known[name] for name in given}
        made.append(
            optuna.create_trial(params=given, distributions=kinds, value=_value(records, done))
        )
    return made


def _importances(trials: Sequence[FrozenTrial], direction: Direction) -> dict[str, float]:
    import optuna

    study = optuna.create_study(direction=direction)
    study.add_trials(trials)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        by = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=TARGET)
        try:
            shares_of = optuna.importance.get_param_importances(study, evaluator=by)
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
    traces, bests = [], dict[str, dict[str, Done]]()
    for name in records.encoders:
        best = bests.setdefault(name, {})
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
    each = "of each kind, for each encoder," if len(bests) > 1 else "of each kind"
    told = (
        f"The best point {each} of n = {len(found)};"
        f" {records.measured()}, {records.seeds()}: a kind with more points had more chances."
    )
    ordered = {"categoryorder": "array", "categoryarray": [text(k) for k in kinds]}
    label = text(records.label())
    behind = tabled(
        ("terms", "encoder", "best point", records.label()),
        (
            (kind, name, described(best[kind].point), _value(records, best[kind]))
            for kind in kinds
            for name, best in bests.items()
            if kind in best
        ),
    )
    return figure(traces, title, told, behind, "", label, xaxis=ordered, barmode="group")


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
    title = f"{text(records.label())} of each direction with each encoder"
    found = ranked(records.spec, fixed(records.done))
    names = [n for n in records.encoders if any(encoder(d.point) == n for d in found)]
    if len(names) < 2:
        return nothing(title, "There are results of fewer than two encoders." if found else EMPTY)
    cells: dict[tuple[str, str], float] = {}
    for done in found:  # the best first: of a rate that learns nothing a mean would tell
        terms = zip(records.terms, directions(done.point), strict=True)
        key = " ".join(f"{float(w):.2g} {t}" for t, w in terms if w)
        cells.setdefault((encoder(done.point), key), _value(records, done))
    worth: dict[str, list[float]] = {}
    for (_, key), value in cells.items():
        worth.setdefault(key, []).append(value)
    shared = [k for k in worth if sum((n, k) in cells for n in names) > 1]
    if not shared:
        return nothing(title, "No direction was tried with two encoders.")
    shared.sort(key=lambda k: mean(worth[k]), reverse=not records.smaller)
    left_out = len(shared) - MOST_COLUMNS
    shared = shared[:MOST_COLUMNS]
    z = [short(cells.get((n, k)) for k in shared) for n in names]
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
    rest = others(records)
    told = (
        "Directions tried with two or more encoders, the best on average first"
        + (f", each by the best of its points over {rest}" if rest else "")
        + f"; {records.measured()}, {records.seeds()}."
        + (f" {left_out} more, worse on average, are not shown." if left_out > 0 else "")
    )
    few = len(shared) <= 24
    columns = {"tickangle": -60, "showticklabels": few, "showgrid": False}
    label = "" if few else "directions, the best on average first"
    height = 260 + 40 * len(names)
    rows = {"showgrid": False}
    behind = tabled(
        ("direction", *names), ((key, *(cells.get((n, key)) for n in names)) for key in shared)
    )
    return figure([heat], title, told, behind, label, "", height, xaxis=columns, yaxis=rows)
