"""Nights that run and are accepted."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support import nightly_sweeps as nightly_factory
from weightsearch.launch import places, session
from weightsearch.launch.preparation import Request
from weightsearch.nightly import sweep
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import nights
from weightsearch.store.ledger.stored_night import NightVerdict
from weightsearch.study import loading
from weightsearch.study.preflight import Preflight

Night = Callable[..., NightVerdict]


@pytest.fixture
def night(opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Night:
    """Runs a night with workers in this process; `fault` is planted, `before` is called first."""
    file = nightly_factory.sweep(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "ours", raising=False)
    monkeypatch.setattr(Preflight, "check", lambda *_: None)  # a process for every study
    monkeypatch.setattr(session, "mirror", lambda *_: None)  # Optuna's studies are tested elsewhere
    home = tmp_path / "home"

    def run(
        commit: str,
        fault: str = "",
        date: str | None = None,
        before: Callable[[], None] = lambda: None,
        file: Path = file,
    ) -> NightVerdict:
        here = nightly_factory.here(opened, before)
        monkeypatch.setitem(places.LAUNCHERS, "local", here)
        (tmp_path / "fault").write_text(fault)
        request = Request(name="", home=home, device="cpu", promote=False, quiet=True)
        asked = sweep.NightRequest("ours", commit, date, request)
        return sweep.run(opened, loading.load(file), asked)

    return run


def accept(opened: Database, why: str = "good", force: bool = False) -> sweep.Accepted:
    """Accepts the newest night."""
    newest = nights.history(opened.engine, None, last=1)
    name = newest[0].night if newest else "2026-01-01-none"
    return sweep.accept(opened.engine, None, name, "me", why, force)
