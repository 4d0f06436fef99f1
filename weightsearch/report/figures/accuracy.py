"""How good the points are: the ranking, what accuracy costs, where the error lies, and the noise
below which no difference counts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from statistics import quantiles
from typing import Any

import plotly.graph_objects as go

from weightsearch.report.evidence.ranking import RankedPoint, comparable
from weightsearch.report.evidence.records import Records, encoder
from weightsearch.report.figures.directions import pairs
from weightsearch.report.figures.style import (
    BLUE,
    GREY,
    ORANGE,
    ORDER,
    colours,
    figure,
    nothing,
    short,
    symbols,
    tabled,
    text,
)
from weightsearch.runtime.safe_text import counted
from weightsearch.stats.comparison_result import Verdict
from weightsearch.store.ledger.queries import Done
from weightsearch.study.point_text import described, named

SHOWN = 20
"""Rows of a ranking that can be read at once."""
MOST_RUNS = 24
"""Of full runs, with a line for each."""
COSTS = {"latency_ms": "latency (ms)", "parameters": "parameters"}
"""What a result may say of what it costs to use; the first that is there is shown."""
LATENCY = (
    " Latency: one picture in float32, the median of a few, on the worker's device beside whatever"
    " else ran there; `weightsearch bench` measures it alone."
)
EMPTY = "No point has a result yet."


def ranking(records: Records, most: int = SHOWN) -> go.Figure:
    """The best points as dots with 95 % intervals, each under its name, and the margin behind them;
    open symbols are level with the best, a cross is no better than a constant."""
    title = f"Best points by {text(records.label())}, with 95 % intervals"
    rows = records.rows[:most]
    if not rows:
        return nothing(title, EMPTY)
    colour, symbol = colours(records.encoders), symbols(records.encoders)
    traces = []
    for name in records.encoders:
        mine = [row for row in rows if row.encoder == name]
        if not mine:
            continue
        bounds = [row.interval or (row.value, row.value) for row in mine]
        traces.append(
            go.Scatter(
                x=short(row.value for row in mine),
                y=[row.rank for row in mine],
                error_x={
                    "array": short(b[1] - row.value for b, row in zip(bounds, mine, strict=True)),
                    "arrayminus": short(
                        row.value - b[0] for b, row in zip(bounds, mine, strict=True)
                    ),
                    "thickness": 1.5,
                    "width": 3,
                },
                mode="markers",
                name=text(name or "points"),
                marker={
                    "size": 9,
                    "color": colour[name],
                    "symbol": [_symbol(row, symbol[name]) for row in mine],
                    "line": {"width": 2, "color": colour[name]},
                },
                text=[text(_named(row)) for row in mine],
                hovertemplate="%{text}<br>%{x:.4g}<extra></extra>",
            )
        )
    made = figure(
        traces,
        title,
        _ranking_told(records, rows),
        tabled(
            ("#", "point", records.label(), "from", "to", "against the first"),
            (
                (row.rank, _named(row), row.value, *(row.interval or (None, None)), _word(row))
                for row in records.rows
            ),
        ),
        text(records.label()),
        height=100 + 38 * len(rows),
        yaxis={"range": [len(rows) + 0.5, 0.2], "visible": False},
        annotations=[
            {
                "x": 0, "xref": "paper", "xanchor": "left", "y": row.rank, "yshift": 14,
                "text": text(f"{row.rank}. {_named(row)}"), "showarrow": False, "align": "left",
                "font": {"size": 12},
            }
            for row in rows
        ],
        margin={"l": 8, "r": 8, "t": 56, "b": 50},
    )  # fmt: skip
    return with_margin(made, rows[0].value, rows[0].value + (_margin(records) or 0.0))


def with_margin(made: go.Figure, low: float, high: float) -> go.Figure:
    """A figure with the band of differences that would not matter."""
    if low != high:
        made.add_vrect(x0=low, x1=high, fillcolor=BLUE, opacity=0.15, line_width=0, layer="below")
    return made


def _margin(records: Records) -> float | None:
    """Of the deciding metric, to the side that is worse."""
    width = records.spec.answer.delta().of(records.rows[0].value)
    return width if width is None or records.smaller else -width


def _named(row: RankedPoint) -> str:
    return named(row.weights, row.params)


def _symbol(row: RankedPoint, usual: str) -> str:
    if not row.beats_the_constant():
        return "x-thin" if row.against_constant != Verdict.UNDECIDED else "x-thin-open"
    return usual + ("-open" if row.is_level() else "")


def _word(row: RankedPoint) -> str:
    word = "the first" if row.rank == 1 else str(row.against_best or "not compared")
    return word if row.beats_the_constant() else f"{word}; not shown to beat the constant"


def _ranking_told(records: Records, rows: Sequence[RankedPoint]) -> str:
    level = [row.against_best for row in records.rows[1:] if row.is_level()]
    undecided = sum(word == Verdict.UNDECIDED for word in level)
    sunk = sum(not row.beats_the_constant() for row in records.rows)
    return (
        f"The best {len(rows)} of {len(records.rows)} points; {records.measured()},"
        f" {records.seeds()}. Intervals are over {records.group}s; the band is the margin of"
        f" {records.spec.answer.delta()}. Open symbols are level with the first in a paired test:"
        f" {len(level) - undecided} equivalent to it, {undecided} undecided (intervals may overlap"
        " and the pairs still differ)."
        + (f" Crosses, {sunk} in all: not shown to be better than a constant." if sunk else "")
    )


def cost(records: Records) -> go.Figure:
    """Accuracy against latency or, where that was not measured, the number of parameters."""
    title = f"{text(records.label())} against what a network costs"
    found = comparable(records.done)
    name = next((c for c in COSTS if any(c in d.result.metrics for d in found)), None)
    if name is None:
        why = "No result says what its network costs." if found else EMPTY
        return nothing(title, why)
    measured = [d for d in found if name in d.result.metrics]
    traces = _by_encoder(
        records,
        measured,
        lambda d: d.result.metrics[name],
        lambda d: d.result.metrics[records.metric],
    )
    told = (
        f"Each point's {records.label()} against its {COSTS[name]}, n ="
        f" {counted(len(measured), 'run')};"
        f" {records.measured()}, {records.seeds()}."
        + (LATENCY if name == "latency_ms" else " Latency was not recorded.")
    )
    behind = tabled(
        ("point", COSTS[name], records.label()),
        (
            (described(d.point), d.result.metrics[name], d.result.metrics[records.metric])
            for d in measured
        ),
    )
    return figure(traces, title, told, behind, text(COSTS[name]), text(records.label()))


def by_depth(records: Records) -> go.Figure:
    """RMSE in bins of true depth, of the full runs' test frames."""
    title = "RMSE (m) of the full runs by true depth"
    judged = [d for d in records.full if bins(d)]
    found = judged[:MOST_RUNS]
    if not found:
        return nothing(title, "No full run was judged on a test split of depth maps.")
    shown = list(dict.fromkeys(d.point.key() for d in found))
    traces = []
    for k, done in enumerate(found):
        rows = [row for row in bins(done) if row.get("rmse") is not None]
        place = shown.index(done.point.key())
        traces.append(
            go.Scatter(
                x=[(row["from"] + row["to"]) / 2 for row in rows],
                y=short(row["rmse"] for row in rows),
                mode="lines+markers",
                name=text(described(done.point)),
                legendgroup=str(place),
                showlegend=all(d.point.key() != shown[place] for d in found[:k]),
                line={"color": ORDER[place % len(ORDER)]},
                text=[f"seed {done.seed}"] * len(rows),
                hovertemplate="%{text}<br>%{x:.4g} m: %{y:.4g} m<extra></extra>",
            )
        )
    images = next(done.result.test.images for done in found if done.result.test)
    promotion = records.spec.promote
    protocol = f"protocol {promotion.protocol}, " if promotion else ""
    told = (
        "RMSE of the pixels of each bin of true depth, all images pooled, a line for each full run"
        f"{f' (the first {len(found)} of {len(judged)})' if len(judged) > len(found) else ''};"
        f" {protocol}test split, n = {counted(images or 0, 'image')}."
    )
    behind = tabled(
        ("run", "from (m)", "to (m)", "pixels", "RMSE (m)"),
        (
            (
                f"{described(d.point)}, seed {d.seed}",
                row["from"],
                row["to"],
                row.get("pixels"),
                row["rmse"],
            )
            for d in found
            for row in bins(d)
            if row.get("rmse") is not None
        ),
    )
    return figure(traces, title, told, behind, "true depth (m)", "RMSE (m)")


def bins(done: Done) -> Sequence[Mapping[str, Any]]:
    """What `error_breakdown.py` says of the test split by bins of depth; empty without them."""
    test = done.result.test
    found = test.about.get("by_depth_m", ()) if test else ()
    return [row for row in found if row.get("to") is not None]


def noise(records: Records) -> go.Figure:
    """Differences between runs that should agree: weights that differ by a factor, other seeds."""
    title = f"Noise floor: how far runs of one configuration differ in {text(records.label())}"
    metric = records.metric
    same = pairs([run for run in comparable(records.done) if run.repeat == 0])
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
        f" factor ({counted(len(same), 'pair')}), and other seeds of the promotion's full runs"
        f" ({counted(len(seeds), 'pair')}), n = {counted(len(same) + len(seeds), 'pair')}. A gap"
        " in the ranking below"
        " these is noise"
        + (f"; that between the first two is {gap:.3g}." if gap is not None else ".")
    )
    label = f"|difference| in {text(records.label())}"
    behind = tabled(
        ("runs", "of one configuration", records.label(), records.label(), "|difference|"),
        (
            (what, f"{described(a.point)}: seeds {a.seed}, {b.seed}", *two, abs(two[0] - two[1]))
            for what, some in (("same direction", same), ("another seed", seeds))
            for a, b in some
            for two in [(_value(a, metric), _value(b, metric))]
        ),
    )
    made = figure(traces, title, told, behind, label, height=260, showlegend=False)
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


def differences(
    records: Records, a: Sequence[Done], b: Sequence[Done], names: tuple[str, str]
) -> go.Figure:
    """Paired differences per image, or sample, of the seeds that both have, the first of `names`
    less the second, one box for each metric."""
    title = f"Differences per {records.sample}"
    traces, rows = [], []
    for metric in records.metrics:
        found = [
            x - y
            for one, other in zip(a, b, strict=True)
            for x, y in zip(
                one.result.samples.get(metric, ()),
                other.result.samples.get(metric, ()),
                strict=False,
            )
        ]
        if found:
            traces.append(
                go.Box(
                    x=short(found),
                    name=text(records.label(metric)),
                    boxpoints=False,
                    boxmean=True,
                    line={"color": BLUE},
                )
            )
            quarters = quantiles(found, n=4) if len(found) > 1 else found * 3
            ends = min(found), *quarters, max(found)
            rows.append((records.label(metric), len(found), sum(found) / len(found), *ends))
    if not traces:
        return nothing(title, f"The results have no values per {records.sample}.")
    told = (
        f"Each {records.sample}'s value under {names[0]} less that under {names[1]}, n ="
        f" {rows[0][1]} values; left of 0 the former is better where the metric is an error. The"
        " dashed line in a box is the mean."
    )
    heads = ("metric", "values", "mean", "least", "first quarter", "median", "third quarter")
    behind = tabled((*heads, "greatest"), rows)
    height = 120 + 70 * len(traces)
    made = figure(traces, title, told, behind, "difference", height=height, showlegend=False)
    made.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    return made
