"""A night as a page of evidence: the verdict, each comparison, and the nights before it."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from weightsearch.nightly.verdict_text import HEADINGS, cells
from weightsearch.report.figures.nightly_history import Night, history
from weightsearch.report.pages.html import Section, page
from weightsearch.store.ledger.stored_night import NightVerdict

SHOWN = 90
"""Nights on a page, at most."""


def document(verdict: NightVerdict, nights: Sequence[NightVerdict]) -> str:
    """The page of a night; `nights` are the verdicts of its sweep, the newest first."""
    notes = [*verdict.notes]
    if baseline := verdict.baseline:
        notes.append(
            f"Baseline: night {baseline.night}, accepted by {baseline.accepted_by} on"
            f" {baseline.accepted_at}: {baseline.why}"
        )
    sections = [
        Section(
            "Compared with the baseline",
            "\n\n".join([f"All together hold at {100 * verdict.level:g} %.", *notes]),
            table=(HEADINGS, [cells(row) for row in verdict.rows]),
        ),
        *(
            Section(f"{verdict.metric} of {name}", figure=_history(name, verdict, nights))
            for name in verdict.measured.canaries
        ),
    ]
    repeat = [
        f"commit {verdict.commit}",
        *(f"weightsearch best {study}" for study in verdict.studies),
        f"weightsearch nightly history {verdict.sweep}",
    ]
    return page(f"Night {verdict.night} of {verdict.sweep}", verdict.answer, sections, repeat)


def _history(canary: str, verdict: NightVerdict, nights: Sequence[NightVerdict]) -> go.Figure:
    """The canary's metric over the nights, with the band that decided each."""
    points = []
    for night in reversed(nights):
        for row in night.rows:
            if (row.canary, row.metric) == (canary, verdict.metric) and row.tonight:
                points.append(
                    Night(
                        date=night.began_at,
                        value=row.tonight,
                        low=row.baseline - row.limit,
                        high=row.baseline + row.limit,
                        verdict=row.verdict,
                        commit=night.commit,
                    )
                )
    metric = verdict.metric
    return history(points, f"{metric} of canary {canary}, mean over seeds", metric)
