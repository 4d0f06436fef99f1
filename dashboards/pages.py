"""The report pages beside optuna-dashboard: each is made of the records when it is asked for."""

from __future__ import annotations

import threading

from bottle import Bottle, HTTPError

from weightsearch.commands.answers import report_pages
from weightsearch.nightly import sweep
from weightsearch.nightly.verdict_page import SHOWN, document
from weightsearch.report.pages.html import Link, Section, page
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import nights, queries


def add_to(dashboard: Bottle, database: Database) -> None:
    """Adds the routes of these pages (`routes.PAGES`) to the dashboard's.

    A study has the number that optuna-dashboard gives it, so `/reports/7` stands beside
    `/dashboard/studies/7`.
    """
    engine = database.engine
    building = threading.Lock()  # one page at a time: several together would take all cores

    def contents() -> str:
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

    dashboard.get("/reports", callback=contents)
    dashboard.get("/reports/<study_id:int>", callback=report)
    dashboard.get("/nights/<night_id:int>", callback=night)


def _contents(database: Database) -> str:
    """What there is, the newest first."""
    studies = [
        (
            Link(row["name"], f"/reports/{row['number']}"),
            f"{row['done']} of {row['points']} points done",
            row["state"],
            row["verdict"] or "",
            Link("browse", f"/dashboard/studies/{row['number']}"),
        )
        for row in queries.listed(database.engine)
    ]
    judged = [
        (Link(f"{night.sweep} {night.night}", f"/nights/{night.id}"), night.verdict.answer)
        for night in nights.history(database.engine, None, SHOWN)
        if night.verdict is not None
    ]
    sections = [
        Section(
            "Studies",
            table=(("report", "search", "state", "promotion", "optuna-dashboard"), studies),
        )
    ]
    if judged:
        sections.append(Section("Nights", table=(("night", "verdict"), judged)))
    return page("Reports", "A page is made of what is recorded when it is opened.", sections)
