"""A night as a page of evidence: the verdict, each comparison, and the nights before it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import plotly.graph_objects as go

from weightsearch.nightly.verdict_card import of_night
from weightsearch.nightly.verdict_text import compared_or_measured
from weightsearch.report.evidence.units import label
from weightsearch.report.figures.nightly_history import Night, history
from weightsearch.report.pages.html import Cell, Part, Section, Worse, page
from weightsearch.stats.comparison_result import Verdict
from weightsearch.store.ledger.stored_night import NightVerdict

SHOWN = 90
"""Nights on a page, at most."""


def document(verdict: NightVerdict, nights: Sequence[NightVerdict]) -> str:
    """The page of a night; `nights` are the verdicts of its sweep, the newest first."""
    repeat = [
        f"commit {verdict.commit}",
        *(f"weightsearch best {study}" for study in verdict.studies),
        f"weightsearch nightly history {verdict.sweep}",
    ]
    figures = [_history(name, verdict, nights) for name in verdict.measured.canaries]
    sections = [
        Section("Evidence", [_first(verdict)]),
        Section("Night by night", [Part(figure=made) for made in figures]),
        Section("Where it comes from", [Part("How to repeat it", lines=repeat)]),
    ]
    title = f"Night {verdict.night} of {verdict.sweep}"
    return page(title, of_night(verdict), [section for section in sections if section.parts])


def _first(verdict: NightVerdict) -> Part:
    """The comparisons; of a night that has none, its values."""
    heading = "Compared with the baseline" if verdict.rows else "Measured"
    heads, found = compared_or_measured(verdict)
    rows = [[_cell(one) for one in row] for row in found]
    return Part(heading, "\n\n".join(verdict.notes), table=(heads, rows))


def _cell(text: str) -> Cell:
    return Worse(text) if text in (Verdict.WORSE, Verdict.WORSE_WITHIN) else text


def _date(night: NightVerdict) -> str:
    """The one that it is of, which its name begins with: it may have run later."""
    named = re.match(r"\d{4}-\d\d-\d\d", night.night)
    return named[0] if named else night.began_at


def _history(canary: str, verdict: NightVerdict, nights: Sequence[NightVerdict]) -> go.Figure:
    """The canary's metric over the nights, with the band that decided each."""
    points = []
    for night in reversed(nights):
        for row in night.rows:
            if (row.canary, row.metric) == (canary, verdict.metric) and row.tonight:
                points.append(
                    Night(
                        date=_date(night),
                        value=row.tonight,
                        low=row.baseline - row.limit,
                        high=row.baseline + row.limit,
                        verdict=row.verdict,
                        commit=night.commit,
                    )
                )
    shown = label(verdict.metric, verdict.of_depth)
    return history(points, f"{shown} of canary {canary}, mean over seeds", shown)
