"""Our pages before and beside optuna-dashboard: each is made when it is asked for."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from bottle import Bottle, HTTPError
from sqlalchemy import Engine

from weightsearch.api import report_pages
from weightsearch.commands.answers import study_lists
from weightsearch.nightly import sweep
from weightsearch.nightly.verdict_card import of_night
from weightsearch.nightly.verdict_page import SHOWN, document
from weightsearch.report.evidence import records
from weightsearch.report.evidence.card import Card, of_study
from weightsearch.report.evidence.verdict import Tone
from weightsearch.report.pages.html import Cell, Link, Part, Section, Worse, page
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import nights, queries
from weightsearch.store.ledger.nights import Night
from weightsearch.store.ledger.stored_night import NightVerdict


def add_to(dashboard: Bottle, database: Database) -> None:
    """Adds the routes of these pages (`routes.PAGES`) to the dashboard's.

    A study has the number that optuna-dashboard gives it, so `/reports/7` stands beside
    `/dashboard/studies/7`.
    """
    engine = database.engine
    building = threading.Lock()  # one page at a time: several together would take all cores

    def contents() -> str:
        with building:
            return _contents(database)

    def report(study_id: int) -> str:
        name = queries.named(engine, study_id)
        if name is None:
            raise HTTPError(404, "There is no study of that number with a plan.")
        with building:
            return report_pages.stored(engine, name)

    def night(night_id: int) -> str:
        found = nights.numbered(engine, night_id)
        if found is None or found.verdict is None:
            raise HTTPError(404, "There is no night of that number with a verdict.")
        known = sweep.history(engine, found.sweep, SHOWN).verdicts()
        with building:
            return document(found.verdict, known)

    dashboard.get("/", callback=contents)  # instead of a way to optuna-dashboard's own
    dashboard.get("/reports", callback=contents)
    dashboard.get("/reports/<study_id:int>", callback=report)
    dashboard.get("/nights/<night_id:int>", callback=night)


def _contents(database: Database) -> str:
    """The front page: the newest answer, then what there is, the newest first."""
    engine = database.engine
    listed = queries.listed(engine)
    judged = [(n, n.verdict) for n in nights.history(engine, None, SHOWN) if n.verdict is not None]
    of_nights = {name for _, verdict in judged for name in verdict.studies}
    states = {row["name"]: str(row["state"]) for row in study_lists.planned(engine)}
    studies: list[list[Cell]] = [
        [
            Link(row["name"], f"/reports/{row['number']}"),
            f"{row['done']} of {row['points']} points done",
            states.get(row["name"], row["state"]),
            row["verdict"] or "",
            Link("trials", f"/dashboard/studies/{row['number']}"),
        ]
        for row in listed
        if row["name"] not in of_nights
    ]
    heads = ("report", "search", "state", "promotion", "optuna-dashboard")
    sections = [Section("Studies", [Part(table=(heads, studies))])] if studies else []
    if judged:
        rows: list[list[Cell]] = [[_night(n), _word(v), v.answer] for n, v in judged]
        sections.append(Section("Nights", [Part(table=(("night", "verdict", "why"), rows))]))
    title, card = _newest(engine, [row["name"] for row in listed], judged)
    return page(title, card, sections, [Link("All trials, in optuna-dashboard", "/dashboard")])


def _newest(
    engine: Engine, listed: Sequence[str], judged: Sequence[tuple[Night, NightVerdict]]
) -> tuple[str, Card]:
    """Of the newest study; of the newest night where that study is one of its own."""
    if not listed:
        return "Studies", Card("No study yet", Tone.OPEN, "No worker has begun with one.")
    for night, verdict in judged:
        if listed[0] in verdict.studies:
            return f"Night {night.night} of {night.sweep}", of_night(verdict)
    return f"Study {listed[0]}", of_study(records.read(engine, listed[0]))


def _night(night: Night) -> Cell:
    return Link(f"{night.sweep} {night.night}", f"/nights/{night.id}")


def _word(verdict: NightVerdict) -> Cell:
    card = of_night(verdict)
    return Worse(card.verdict) if card.tone == Tone.BAD else card.verdict
