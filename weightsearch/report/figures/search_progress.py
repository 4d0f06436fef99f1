"""How the study went: what it had found after how much work, epoch by epoch, worker by worker."""

from __future__ import annotations

import html
from collections.abc import Sequence

import plotly.graph_objects as go

from weightsearch.report.evidence.ranking import comparable
from weightsearch.report.evidence.records import Attempt, Records, encoder
from weightsearch.report.figures.accuracy import EMPTY
from weightsearch.report.figures.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    ORDER,
    PINK,
    RED,
    SKY,
    by_epoch,
    colours,
    figure,
    nothing,
    short,
    tabled,
    text,
)
from weightsearch.runtime.safe_text import counted
from weightsearch.store.tables.states import Outcome, Rung
from weightsearch.study.point_text import described

OUTCOMES = {
    Outcome.DONE: GREEN,
    Outcome.DIVERGED: PINK,
    Outcome.FAILED: RED,
    Outcome.LOST: ORANGE,
    Outcome.GIVEN_BACK: SKY,
    "running": BLUE,
}
MOST_CURVES = 200
MOST_WORKERS = 40


def best_so_far(records: Records) -> go.Figure:
    """The best metric against the device-seconds spent until then, failures and losses included."""
    title = f"Best {text(records.label())} so far, by device time"
    mine = [a for a in records.attempts if a.rung == Rung.SEARCH and a.outcome is not None]
    values = {d.number: d for d in comparable(records.done)}
    spent, best = 0.0, None
    x: list[float] = []
    y: list[float] = []
    names: list[str] = []
    each: list[tuple[float, float]] = []
    for attempt in sorted(mine, key=lambda a: a.ended_s):
        spent += attempt.device_s
        done = values.get(attempt.number) if attempt.outcome == Outcome.DONE else None
        if done is None:
            continue
        value = done.result.metrics[records.metric]
        each.append((spent, value))
        if best is None or (value < best if records.smaller else value > best):
            best = value
            x.append(spent)
            y.append(value)
            names.append(text(described(done.point)))
    if best is None:
        return nothing(title, EMPTY)
    x.append(spent)
    y.append(best)
    names.append(names[-1])
    traces = [
        go.Scatter(
            x=short(a for a, _ in each),
            y=short(b for _, b in each),
            mode="markers",
            name="points",
            marker={"color": GREY, "size": 5, "opacity": 0.6},
            hoverinfo="skip",
        ),
        go.Scatter(
            x=short(x),
            y=short(y),
            mode="lines+markers",
            name="best so far",
            line={"shape": "hv", "color": BLUE, "width": 2.5},
            text=names,
            hovertemplate="%{text}<br>%{y:.4g} after %{x:.4g} s<extra></extra>",
        ),
    ]
    told = (
        f"n = {len(each)} results in {spent:.4g} device-seconds of the search, failed and lost"
        f" attempts included; {records.measured()}, {records.seeds()}. The best of many runs"
        " flatters itself: the promotion measures it anew."
    )
    behind = tabled(
        ("after (device-s)", "point", records.label()),
        zip(x, map(html.unescape, names), y, strict=True),
    )
    return figure(traces, title, told, behind, "device-seconds", text(records.label()))


def learning_curves(records: Records) -> go.Figure:
    """The metric after each epoch; the promotion's full runs dashed."""
    title = f"Learning curves: {text(records.label())}"
    metric = records.metric
    found = [a for a in records.attempts if any(metric in e for e in a.epochs)]
    if not found:
        return nothing(title, "No attempt has reported an epoch.")
    ended = sorted(found, key=lambda a: _last(a, metric), reverse=not records.smaller)
    shown, colour = ended[:MOST_CURVES], colours(records.encoders)
    traces = []
    for rung, dash, what in ((Rung.SEARCH, "solid", ""), (Rung.PROMOTION, "dash", ", full run")):
        for name in records.encoders:
            mine = [a for a in shown if encoder(a.point) == name and a.rung == rung]
            if not mine:
                continue
            x: list[float | None] = []
            y: list[float | None] = []
            said: list[str] = []
            for attempt in mine:
                told = text(f"point {attempt.number}: {described(attempt.point)}")
                for epoch, metrics in enumerate(attempt.epochs, start=1):
                    x.append(epoch)
                    y.append(metrics.get(metric))
                    said.append(told)
                x.append(None)
                y.append(None)
                said.append("")
            one = max(len(a.epochs) for a in mine) == 1
            traces.append(
                go.Scatter(
                    x=x,
                    y=short(y, 4),
                    mode="markers" if one else "lines",
                    name=text((name or "points") + what),
                    line={"color": colour[name], "width": 1.2, "dash": dash},
                    text=said if len(x) < 3000 else None,
                    hovertemplate="%{text}<br>epoch %{x}: %{y:.4g}<extra></extra>",
                )
            )
    left = len(found) - len(shown)
    told = (
        f"n = {counted(len(shown), 'attempt')}, {records.measured()}."
        + (f" {left} more, worse at their end, are not shown." if left else "")
        + " Full runs of the promotion are dashed."
    )
    longest = max(len(a.epochs) for a in shown)
    epochs = {"dtick": max(1, round(longest / 10))}
    behind = tabled(
        ("point", "seed", "run", "epochs", "after the first", "after the last"),
        (
            (
                described(a.point),
                a.seed,
                "search" if a.rung == Rung.SEARCH else "full",
                len(a.epochs),
                a.epochs[0].get(metric),
                _last(a, metric),
            )
            for a in shown
        ),
    )
    return figure(traces, title, told, behind, "epoch", text(records.label()), 420, xaxis=epochs)


def _last(attempt: Attempt, metric: str) -> float:
    return next(e[metric] for e in reversed(attempt.epochs) if metric in e)


def loss_shares(records: Records) -> go.Figure:
    """Of the best point: each term's share of the loss, and of the gradient at the output."""
    title = "What drives the training of the best point"
    best = records.rows[0].number if records.rows else None
    found = [
        a
        for a in records.attempts
        if a.rung == Rung.SEARCH and a.number == best and a.outcome == Outcome.DONE and a.epochs
    ]
    if not found:
        return nothing(title, EMPTY if best is None else "The best point's epochs are not there.")
    epochs = found[-1].epochs
    traces = []
    for k, term in enumerate(records.terms):
        for prefix, dash, what in (
            ("share_", "solid", "loss"),
            ("gradient_share_", "dash", "gradient"),
        ):
            values = [e.get(f"{prefix}{term}") for e in epochs]
            if any(v is not None for v in values):
                traces.append(
                    go.Scatter(
                        x=list(range(1, len(values) + 1)),
                        y=short(values, 4),
                        mode="lines+markers",
                        name=text(f"{term}, {what}"),
                        line={"color": ORDER[k % len(ORDER)], "dash": dash},
                    )
                )
    if not traces:
        return nothing(title, "The objective does not report each term's share of the loss.")
    told = (
        f"Shares of the weighted terms in the loss (solid) and in the gradient's norm at the"
        f" network's output (dashed), n = 1 run of point {best}: {described(found[-1].point)}."
    )
    each = {"dtick": 1 if len(epochs) < 15 else None}
    shares = {"tickformat": ".0%", "rangemode": "tozero"}
    label = "share of all terms"
    behind = by_epoch(traces)
    return figure(traces, title, told, behind, "epoch", label, xaxis=each, yaxis=shares)


def timeline(records: Records) -> go.Figure:
    """A bar per attempt in its worker's row: takeovers follow a loss, outages leave gaps."""
    title = "Attempts over time, by worker"
    if not records.attempts:
        return nothing(title, "No attempt was begun yet.")
    workers = list(dict.fromkeys(a.worker for a in records.attempts))
    shown = workers[:MOST_WORKERS]
    row = {name: k for k, name in enumerate(shown)}
    traces = []
    for outcome, colour in OUTCOMES.items():
        mine = [a for a in records.attempts if _outcome(a) == outcome and a.worker in row]
        if not mine:
            continue
        ends = [max(a.seconds(), 1e-3) for a in mine]
        traces.append(
            go.Bar(
                base=short((a.began_s for a in mine), 7),
                x=short(ends),
                y=[row[a.worker] for a in mine],
                orientation="h",
                name=outcome,
                marker={"color": colour, "line": {"width": 0.5, "color": "#ffffff"}},
                text=[text(_said(a)) for a in mine],
                textposition="none",
                hovertemplate="%{text}<br>%{x:.4g} s<extra></extra>",
            )
        )
    again = [a for a in records.attempts if a.attempt > 1 and a.worker in row]
    if again:
        traces.append(
            go.Scatter(
                x=short((a.began_s for a in again), 7),
                y=[row[a.worker] for a in again],
                mode="markers",
                name="taken over or tried again",
                marker={"symbol": "triangle-right", "size": 10, "color": GREY},
                text=[text(_said(a)) for a in again],
                hovertemplate="%{text}<extra></extra>",
            )
        )
    named = {
        "tickvals": list(row.values()),
        "ticktext": [text(_short_name(name)) for name in row],
        "autorange": "reversed",
    }
    told, height = _told(records, workers), 150 + 26 * len(row)
    label = "seconds since the start"
    behind = tabled(
        ("worker", "attempts", *OUTCOMES, "busy (s)"),
        (
            (
                name,
                len(mine),
                *(sum(_outcome(a) == o for a in mine) for o in OUTCOMES),
                sum(a.seconds() for a in mine),
            )
            for name in workers
            for mine in [[a for a in records.attempts if a.worker == name]]
        ),
    )
    return figure(traces, title, told, behind, label, "", height, yaxis=named, barmode="overlay")


def _outcome(attempt: Attempt) -> str:
    return attempt.outcome or "running"


def _told(records: Records, workers: Sequence[str]) -> str:
    counts = {o: sum(_outcome(a) == o for a in records.attempts) for o in OUTCOMES}
    said = ", ".join(f"{n} {o}" for o, n in counts.items() if n)
    more = len(workers) - MOST_WORKERS
    return (
        f"n = {counted(len(records.attempts), 'attempt')} by {counted(len(workers), 'worker')}:"
        f" {said}."
        + (f" {more} more workers are not shown." if more > 0 else "")
        + " Seconds are the database's clock; a gap in all rows at once is an outage or a pause."
    )


def _said(attempt: Attempt) -> str:
    reason = f" ({attempt.reason[:120]})" if attempt.reason else ""
    kind = "" if attempt.rung == Rung.SEARCH else "full run, "
    return (
        f"{kind}point {attempt.number}, attempt {attempt.attempt}:"
        f" {attempt.outcome or 'running'}{reason}"
    )


def _short_name(worker: str) -> str:
    return worker if len(worker) <= 22 else f"{worker[:10]}…{worker[-11:]}"
