"""The report pages beside optuna-dashboard."""

from __future__ import annotations

import dataclasses
import html
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support.dashboard_processes import dashboard
from support.nights import Night, accept
from support.pages import listened
from support.processes import Cli
from support.specs import make_spec

from weightsearch.api import report_pages
from weightsearch.report import optuna_dashboard
from weightsearch.report.evidence import records
from weightsearch.report.pages.html import Frame, Pictures, Scale, View
from weightsearch.store.administration import migration
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.store.optuna_mirror import Mirror
from weightsearch.store.tables.schema import nights
from weightsearch.study import planning


@pytest.fixture
def number(promoted: Database) -> int:
    """Of the promoted study, in the dashboard."""
    Mirror(promoted, studies.find(promoted.engine, "study")).sync()
    (row,) = queries.listed(promoted.engine)
    assert row | {"number": 0} == {
        "name": "study", "number": 0, "points": 10, "done": 10, "state": "running",
        "verdict": "winner",
    }  # fmt: skip
    return int(row["number"])


def test_a_study_has_its_report_beside_its_trials(
    promoted: Database, number: int, storage: str, tmp_path: Path
) -> None:
    unbegun = make_spec()
    studies.create(promoted.engine, "unbegun", unbegun, planning.plan(unbegun))
    with dashboard(storage, tmp_path) as shown:
        status, contents, headers = shown.ask("GET", "/reports")
        assert (status, headers["Cache-Control"]) == (200, "no-store")
        assert f'<a href="/reports/{number}">study</a>' in contents
        assert f'<a href="/dashboard/studies/{number}">trials</a>' in contents
        assert contents.index("A clear winner") < contents.index("10 of 10 points done")
        assert shown.ask("GET", "/")[1] == contents
        assert "10 of 10 points done" in contents
        assert "unbegun" not in contents
        status, page, headers = shown.ask("GET", f"/reports/{number}")
        assert status == 200
        assert "better than every other finalist" in page
        assert "connect-src" not in headers["Content-Security-Policy"]
        assert headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        promotion = number + 1  # has no plan of its own
        for path in (f"/reports/{promotion}", "/reports/999", "/reports/x", "/nights/1"):
            assert shown.ask("GET", path)[0] == 404
        for path in ("/reports", f"/reports/{number}"):
            assert shown.ask("GET", path, Cookie="")[0] == 401
            assert shown.ask("POST", path, "{}")[0] == 405
            assert shown.ask("GET", path, Host="evil.example")[0] == 421
        into = shown.ask("GET", f"/reports/{number}?token={shown.token}", Cookie="")
        assert (into[0], into[2]["Location"]) == (303, f"/reports/{number}")


def test_a_night_has_its_page(night: Night, opened: Database, storage: str, tmp_path: Path) -> None:
    night("first")
    accept(opened)
    answer = night("second", "loader").answer
    migration.prepare_optuna(opened)
    with opened.engine.connect() as connection:
        first, second = connection.execute(select(nights.c.id).order_by(nights.c.id)).scalars()
    with dashboard(storage, tmp_path) as shown:
        contents = shown.ask("GET", "/reports")[1]
        assert contents.index(f'href="/nights/{second}"') < contents.index(
            f'href="/nights/{first}"'
        )
        status, page, _ = shown.ask("GET", f"/nights/{second}")
        assert status == 200
        assert "Compared with the baseline" in page
        assert html.escape(answer) in contents
        assert html.escape(answer) in page


def test_with_a_name_the_addresses_are_that_studys(
    cli: Cli, promoted: Database, number: int, storage: str
) -> None:
    from dashboards import serving

    paths = serving._paths(promoted, "study")
    assert paths == (f"/reports/{number}", f"/dashboard/studies/{number}")
    assert serving._paths(promoted, None) == ("/", "/dashboard")
    unbegun = make_spec()
    studies.create(promoted.engine, "unbegun", unbegun, planning.plan(unbegun))
    for name, why in (("absent", "unknown study"), ("unbegun", "no worker has begun with it yet")):
        answer = cli("dashboard", name, "--port", 0, WEIGHTSEARCH_STORAGE=storage)
        assert (answer.returncode, answer.stdout) == (1, "")
        assert why in answer.stderr
        assert answer.stderr.count("\n") == 1


def test_pictures_that_were_drawn_at_promotion_are_served(
    promoted: Database, tmp_path: Path
) -> None:
    found = records.read(promoted.engine, "study")
    assert found.promoted is not None
    here = dataclasses.replace(
        found, promoted=dataclasses.replace(found.promoted, checkpoint=str(tmp_path))
    )
    assert report_pages._stored(here).frames == ()
    views = [View(b"png of the input", "Input", "é <1>"), View(b"png", "Error: a · 1 mae", "x")]
    scales = [Scale("Depth", "1 m", "2 m", ["#000000"])]
    drawn = Pictures("by a rule", scales, [Frame("Best: é <1>, RMSE (m) 0.5", views)])
    files = report_pages._keep(drawn, tmp_path / report_pages.DRAWN)
    assert [file.name for file in files] == ["0-0-input.png", "0-1-error.png"]
    assert report_pages._stored(here) == drawn
    files[0].unlink()
    assert "No pictures of this study lie on this machine" in report_pages._stored(here).about


def test_from_the_dashboard_one_gets_to_the_report(
    browser: Any, promoted: Database, number: int, storage: str, tmp_path: Path
) -> None:
    optuna_dashboard.publish(promoted, "study")
    with dashboard(storage, tmp_path) as shown:
        tab, said, asked = listened(browser)
        site = f"http://127.0.0.1:{shown.port}"
        tab.set_default_timeout(120_000)  # as slow as the machine is
        tab.goto(f"{site}/dashboard/studies/{number}/note?token={shown.token}")
        tab.locator("a", has_text="Report").click()
        tab.wait_for_selector("html[data-drawn]", state="attached")
        assert tab.url == f"{site}/reports/{number}"
        assert tab.evaluate("document.querySelectorAll('.plot .main-svg').length") > 8
        tab.goto(site)
        assert tab.locator("#answer .verdict").inner_text() == "A clear winner"
        tab.locator("td a", has_text="study").first.click()
        assert tab.url == f"{site}/reports/{number}"
        assert [line for line in said if "WebGL" not in line] == []
        assert [u for u in asked if not u.startswith((site, "data:", "blob:"))] == []
