"""How learned weightings weighed the terms, epoch by epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import plotly.graph_objects as go

from weightsearch.report.evidence.ranking import ranked
from weightsearch.report.evidence.records import Attempt, Records
from weightsearch.report.figures.style import ORDER, by_epoch, figure, nothing, short, text
from weightsearch.store.tables.states import Outcome, Rung
from weightsearch.study.point_text import described

DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def weightings(records: Records) -> go.Figure:
    """The mean weights of each epoch, of each learned weighting's best point."""
    title = "Learned weightings: the weights over the epochs"
    if not records.spec.loss.weightings:
        return nothing(title, "The study has fixed weights only.")
    traces = []
    shown = []
    for place, attempt in enumerate(_best(records)):
        lines = list(_lines(records.terms, attempt, DASHES[place % len(DASHES)]))
        if lines:
            shown.append(f"point {attempt.number}: {described(attempt.point)}")
        traces += lines
    if not traces:
        return nothing(title, "No point of a learned weighting has reported its weights.")
    told = (
        "Mean weight of each term over the steps of an epoch, weights made to sum to 1; of each"
        f" learned weighting the best point (n = {len(shown)}: {'; '.join(shown)})."
    )
    each = {"dtick": 1 if max(len(t.x) for t in traces) < 15 else None}
    return figure(
        traces,
        title,
        told,
        by_epoch(traces),
        "epoch",
        "weight",
        420,
        xaxis=each,
        yaxis={"rangemode": "tozero"},
    )


def _lines(terms: Sequence[str], attempt: Attempt, dash: str) -> Iterator[go.Scatter]:
    """Of each term whose weight was reported; an own objective may report none."""
    for k, term in enumerate(terms):
        values = [epoch.get(f"weight_{term}") for epoch in attempt.epochs]
        if any(value is not None for value in values):
            yield go.Scatter(
                x=list(range(1, len(values) + 1)),
                y=short(values, 4),
                mode="lines+markers",
                name=text(f"{attempt.point.weighting}, {term}"),
                line={"color": ORDER[k % len(ORDER)], "dash": dash},
            )


def _best(records: Records) -> Iterator[Attempt]:
    """Of each learned weighting, in the order of the study, the attempt that did its best point."""
    ended = {
        a.number: a
        for a in records.attempts
        if a.rung == Rung.SEARCH and a.outcome == Outcome.DONE and a.epochs
    }
    order = ranked(records.spec, records.done)
    for name in records.spec.loss.weightings:
        mine = (d.number for d in order if d.point.weighting == name and d.number in ended)
        if (number := next(mine, None)) is not None:
            yield ended[number]
