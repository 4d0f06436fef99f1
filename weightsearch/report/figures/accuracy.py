"""How good the points are: the ranking, what accuracy costs, where the error lies, and the noise
below which no difference counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import plotly.graph_objects as go

from weightsearch.report.evidence.ranking import comparable
from weightsearch.report.evidence.records import Records, encoder, label
from weightsearch.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    colours,
    figure,
    nothing,
    short,
    symbols,
    text,
)
from weightsearch.report.figures.ternary_map import pairs
from weightsearch.store.ledger.queries import Done
from weightsearch.study.point_text import assigned, described

SHOWN = 30
"""Rows of a ranking that can be read at once."""
COSTS = {"latency_ms": "latency (ms)", "parameters": "parameters"}
"""What a result may say of what it costs to use; the first that is there is shown."""
LATENCY = (
    " Latency: one picture in float32, the median of a few, on the worker's device beside whatever"
    " else ran there; `weightsearch bench` measures it alone."
)
EMPTY = "No point has a result yet."


def ranking(records: Records) -> go.Figure:
    """The best points with 95 % intervals; open symbols are level with the best."""
    title = f"Best points by {text(records.label())}"
    rows = records.rows[:SHOWN]
    if not rows:
        return nothing(title, EMPTY)
    colour, symbol = colours(records.encoders), symbols(records.encoders)
    traces = []
    for name in records.encoders:
        mine = [row for row in rows if row.encoder == name]
        if not mine:
            continue
        values = [row.value for row in mine]
        bounds = [row.interval or (v, v) for row, v in zip(mine, values, strict=True)]
        traces.append(
            go.Scatter(
                x=short(values),
                y=[row.rank for row in mine],
                error_x={
                    "array": short(b[1] - v for b, v in zip(bounds, values, strict=True)),
                    "arrayminus": short(v - b[0] for b, v in zip(bounds, values, strict=True)),
                    "thickness": 1.5,
                    "width": 3,
                },
                mode="markers",
                name=text(name or "points"),
                marker={
                    "size": 9,
                    "color": colour[name],
                    "symbol": [symbol[name] + ("-open" if row.is_level() else "") for row in mine],
                    "line": {"width": 2, "color": colour[name]},
                },
                text=[text(f"point {row.number}: {assigned(row.weights)} {name}") for row in mine],
                hovertemplate="%{text}<br>%{x:.4g}<extra></extra>",
            )
        )
    equal = sum(row.is_level() for row in records.rows)
    margin = records.spec.answer.delta()
    told = (
        f"The best {len(rows)} of {len(records.rows)} points with 95 % intervals over scenes;"
        f" {records.measured()}, one seed. Open symbols: the best, and the {equal - 1} that are"
        f" level with it in a paired test: equivalent by a margin of {margin}, or undecided"
        " (intervals may overlap and the pairs still differ)."
    )
    ranks = {"range": [len(rows) + 0.7, 0.3], "tickvals": [1, *range(5, len(rows) + 1, 5)]}
    height = 120 + 20 * len(rows)
    return figure(traces, title, told, text(records.label()), "rank", height, yaxis=ranks)


def cost(records: Records) -> go.Figure:
    """Accuracy against latency or, where that was not measured, the number of parameters."""
    title = f"{text(records.label())} against what the network costs"
    found = comparable(records.done)
    name = next((c for c in COSTS if any(c in d.result.metrics for d in found)), None)
    if name is None:
        why = "No result says what its network costs." if found else EMPTY
        return nothing(title, why)
    traces = _by_encoder(
        records,
        [d for d in found if name in d.result.metrics],
        lambda d: d.result.metrics[name],
        lambda d: d.result.metrics[records.metric],
    )
    told = (
        f"Each point's {records.label()} against its {COSTS[name]}; {records.measured()}, one seed."
        + (LATENCY if name == "latency_ms" else " Latency was not recorded.")
    )
    return figure(traces, title, told, text(COSTS[name]), text(records.label()))


def by_depth(records: Records) -> go.Figure:
    """RMSE in bins of true depth, of the full runs' test frames."""
    title = "Error by depth"
    found = [d for d in records.full if bins(d)]
    if not found:
        return nothing(title, "No full run was judged on a test split of depth maps.")
    colour = colours(records.encoders)
    traces = []
    for done in found[:6]:
        rows = [row for row in bins(done) if row.get("rmse") is not None]
        traces.append(
            go.Scatter(
                x=[(row["from"] + row["to"]) / 2 for row in rows],
                y=short(row["rmse"] for row in rows),
                mode="lines+markers",
                name=text(f"{described(done.point)} seed {done.seed}"),
                line={"color": colour[encoder(done.point)]},
            )
        )
    images = next(done.result.test.images for done in found if done.result.test)
    promotion = records.spec.promote
    protocol = f"protocol {promotion.protocol}, " if promotion else ""
    told = (
        f"RMSE of the pixels of each bin of true depth, all images pooled; {protocol}test split,"
        f" n = {images} images."
    )
    return figure(traces, title, told, "true depth (m)", "RMSE (m)")


def bins(done: Done) -> Sequence[Mapping[str, Any]]:
    """What `error_breakdown.py` says of the test split by bins of depth; empty without them."""
    test = done.result.test
    found = test.about.get("by_depth_m", ()) if test else ()
    return [row for row in found if row.get("to") is not None]


def noise(records: Records) -> go.Figure:
    """Differences between runs that should agree: weights that differ by a factor, other seeds."""
    title = f"Noise floor: how far equal configurations differ in {text(records.label())}"
    metric = records.metric
    same = pairs(comparable(records.done))
    by_point: dict[str, list[Done]] = {}
    for run in comparable(records.full):
        by_point.setdefault(run.point.key(), []).append(run)
    seeds = [p for runs in by_point.values() for p in itertools.combinations(runs, 2)]
    if not same and not seeds:
        return nothing(title, _no_noise(records))

    def trace(found: Sequence[tuple[Done, Done]], name: str, colour: str) -> go.Box:
        return go.Box(
            x=short(abs(_value(a, metric) - _value(b, metric)) for a, b in found),
            name=f"{name} (n = {len(found)})",
            boxpoints="all",
            pointpos=0,
            jitter=0.6,
            marker={"color": colour, "size": 6},
            text=[text(f"{described(a.point)}: seeds {a.seed}, {b.seed}") for a, b in found],
        )

    traces = []
    if same:
        traces.append(trace(same, "same direction", BLUE))
    if seeds:
        traces.append(trace(seeds, "another seed", ORANGE))
    ordered = [row.value for row in records.rows]
    gap = abs(ordered[1] - ordered[0]) if len(ordered) > 1 else None
    told = (
        "Absolute differences between runs of one configuration: weights that differ by a common"
        f" factor ({len(same)} pairs), and other seeds of the promotion's full runs"
        f" ({len(seeds)} pairs). A gap in the ranking below these is noise"
        + (f"; that between the first two is {gap:.3g}." if gap is not None else ".")
    )
    label = f"|difference| in {text(records.label())}"
    made = figure(traces, title, told, label, height=300, showlegend=False)
    if gap is not None:
        made.add_vline(x=gap, line={"dash": "dot", "color": GREY})
        made.add_annotation(
            x=gap, y=1, yref="paper", yanchor="bottom", text="gap of the first two", showarrow=False
        )
    return made


def _no_noise(records: Records) -> str:
    if records.equivalent_left_out:
        return f"{records.equivalent_left_out} equivalent points were left out; no run is repeated."
    return "No two runs are of one configuration."


def _value(done: Done, metric: str) -> float:
    return done.result.metrics[metric]


def _by_encoder(
    records: Records,
    found: Sequence[Done],
    x: Callable[[Done], float],
    y: Callable[[Done], float],
) -> list[go.Scatter]:
    colour, symbol = colours(records.encoders), symbols(records.encoders)
    return [
        go.Scatter(
            x=short(x(d) for d in mine),
            y=short(y(d) for d in mine),
            mode="markers",
            name=text(name or "points"),
            marker={"color": colour[name], "symbol": symbol[name], "size": 8, "opacity": 0.8},
            text=[text(f"point {d.number}: {described(d.point)}") for d in mine],
            hovertemplate="%{text}<br>%{x:.4g}, %{y:.4g}<extra></extra>",
        )
        for name in records.encoders
        if (mine := [d for d in found if encoder(d.point) == name])
    ]


def differences(a: Sequence[Done], b: Sequence[Done], metrics: Sequence[str]) -> go.Figure:
    """Paired differences a - b per image, one box for each metric, of the seeds that both have."""
    title = "Differences per image, A - B"
    traces = []
    for metric in metrics:
        values = [
            x - y
            for one, other in zip(a, b, strict=True)
            for x, y in zip(
                one.result.samples.get(metric, ()),
                other.result.samples.get(metric, ()),
                strict=False,
            )
        ]
        if values:
            traces.append(
                go.Box(x=short(values), name=text(label(metric)), boxpoints=False, boxmean=True)
            )
    if not traces:
        return nothing(title, "The results have no values per image.")
    told = (
        "Each image's value under A minus that under B; left of 0, A is better for errors. The"
        " dashed line in a box is the mean."
    )
    height = 120 + 70 * len(traces)
    made = figure(traces, title, told, "A - B", height=height, showlegend=False)
    made.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    return made
