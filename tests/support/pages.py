"""Pages in Chromium."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

import pytest

from support.promotions import leases, result
from support.specs import make_spec
from weightsearch.launch import promotion, promotion_verdict
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases as ledger
from weightsearch.store.ledger import studies
from weightsearch.study import planning


@pytest.fixture
def promoted(opened: Database) -> Database:
    """A study with ten points, three finalists and a winner; one attempt was given back."""
    spec = make_spec(promote={"top": 3, "seeds": [1, 2, 3], "epochs": 3})
    made = studies.create(opened.engine, "study", spec, planning.plan(spec))
    first = ledger.claim(opened.engine, made.id, "gone", "cpu", 60)
    assert first is not None
    ledger.give_back(opened.engine, first, "asked to stop", paused=False)
    for lease in leases(opened, made):
        ledger.report(opened.engine, lease, 1, {"rmse": 2.0, "share_mae": 0.5})
        ledger.finish(opened.engine, lease, result(1 + lease.number / 10, 0))
    promotion.plan(opened.engine, made)
    for lease in leases(opened, made):
        finished = result((1.3, 1.0, 1.2)[lease.number // 3], lease.seed)
        ledger.finish(opened.engine, lease, finished)
    promotion_verdict.decide(opened.engine, made)
    return opened


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("looking at a page needs Chromium; `make browser` installs Debian's, as root")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu"]
        found = started.chromium.launch(executable_path=CHROMIUM, args=options)
        yield found
        found.close()


def listened(browser: Any) -> tuple[Any, list[str], list[str]]:
    """A new page, what its console says and what it asks for."""
    said: list[str] = []
    asked: list[str] = []
    tab = browser.new_page(viewport={"width": 1440, "height": 900})
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    return tab, said, asked


CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
