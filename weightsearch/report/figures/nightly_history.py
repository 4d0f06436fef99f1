"""The nightly history: each night's difference, or value, with its band and verdict."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import plotly.graph_objects as go

from weightsearch.report.figures.style import (
    BETTER,
    BLUE,
    GREY,
    WORSE,
    figure,
    nothing,
    short,
    tabled,
    text,
)
from weightsearch.runtime.safe_text import counted
from weightsearch.stats.comparison_result import Verdict

ROUND = timedelta(hours=12)  # what is shown before the first night, and after the last
MARKS: dict[str, tuple[str, str]] = {
    Verdict.BETTER: (BETTER, "triangle-up"),
    Verdict.BETTER_WITHIN: (BETTER, "triangle-up"),
    Verdict.WORSE: (WORSE, "triangle-down"),
    Verdict.WORSE_WITHIN: (WORSE, "triangle-down"),
}


@dataclass(frozen=True)
class Night:
    """One."""

    date: str
    """ISO."""
    value: float
    low: float | None
    """The band within which a value tells nothing."""
    high: float | None
    verdict: str
    """`Verdict`, or what else is to be said."""
    commit: str = ""


def history(nights: Sequence[Night], label: str, axis: str = "") -> go.Figure:
    """Values over the nights, the band behind them; worse and better nights are marked. `axis` is
    a shorter label for the values' axis."""
    title = f"Night by night: {text(label)}"
    if not nights:
        return nothing(title, "No night was recorded yet.")
    dates = [night.date for night in nights]
    banded = [n for n in nights if n.low is not None and n.high is not None]
    traces = []
    if banded:
        x = [n.date for n in banded]
        traces.append(
            go.Scatter(
                x=[*x, *reversed(x)],
                y=short([*(n.high for n in banded), *(n.low for n in reversed(banded))]),
                fill="toself",
                fillcolor="rgba(0,114,178,0.15)",
                line={"width": 6, "color": "rgba(0,114,178,0.15)"},  # one night is a line
                hoverinfo="skip",
                name="band",
                mode="lines",
            )
        )
    styles = [MARKS.get(night.verdict, (BLUE, "circle")) for night in nights]
    traces.append(
        go.Scatter(
            x=dates,
            y=short(n.value for n in nights),
            mode="lines+markers",
            name="nights",
            line={"color": GREY, "width": 1},
            marker={
                "size": 10,
                "color": [colour for colour, _ in styles],
                "symbol": [symbol for _, symbol in styles],
            },
            text=[text(f"{n.verdict} {n.commit[:10]}") for n in nights],
            hovertemplate="%{x}<br>%{y:.4g}<br>%{text}<extra></extra>",
        )
    )
    worse = sum(MARKS.get(n.verdict) == MARKS[Verdict.WORSE] for n in nights)
    number = counted(len(nights), "night")
    told = (
        f"n = {number}, {worse} worse (triangles down). The band is the one that"
        " decides, from replicates over seeds: within it, a night tells nothing."
    )
    moments = sorted(datetime.fromisoformat(date).replace(tzinfo=None) for date in dates)
    around = [(moments[0] - ROUND).isoformat(), (moments[-1] + ROUND).isoformat()]
    dates_axis = {"range": around, "tickformat": "%Y-%m-%d"}
    behind = tabled(
        ("night", axis or label, "band from", "to", "verdict", "commit"),
        ((n.date[:10], n.value, n.low, n.high, n.verdict, n.commit[:10]) for n in nights),
    )
    return figure(traces, title, told, behind, "night", text(axis or label), xaxis=dates_axis)
