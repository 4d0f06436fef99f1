"""An Optuna study that cannot keep up: it is said, and an error of `verify`."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, update
from support import homes

from weightsearch.commands.printing import study_status
from weightsearch.errors import StudyError
from weightsearch.launch import session
from weightsearch.report import optuna_dashboard
from weightsearch.runtime.stop_signals import Stop
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, queries, study_control, verification
from weightsearch.store.ledger.studies import Study
from weightsearch.store.optuna_mirror import Mirror
from weightsearch.store.tables.schema import attempts
from weightsearch.worker import background, loop
from weightsearch.worker.process import Worker

RESULT = {"metrics": {"rmse": 1.0}, "samples": {}}


@pytest.fixture
def study(opened: Database) -> Study:
    """Of one point, done by worker `w`."""
    made = homes.create(opened, loss={"weights": "equal"})
    lease = leases.claim(opened.engine, made.id, "w", "cpu", 60)
    assert lease is not None
    assert leases.finish(opened.engine, lease, RESULT)
    return made


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> None:
    def sync(self: Mirror, wait: bool = False) -> int:
        raise LookupError("no such table\nand more")

    monkeypatch.setattr(Mirror, "sync", sync)


def leave(opened: Database, study: Study) -> None:
    study_control.sign_on(opened.engine, study, "w", "host", 1, "cpu")
    study_control.sign_off(opened.engine, "w")


def wait_a_minute(opened: Database, study: Study) -> None:
    with opened.engine.begin() as connection:
        ended = func.now() - timedelta(seconds=queries.SHOWN_S + 1)
        connection.execute(update(attempts).values(ended_at=ended))


@pytest.mark.parametrize("late", [leave, wait_a_minute])
def test_what_the_optuna_study_does_not_show_in_time_is_an_error_of_verify(
    late: Callable[[Database, Study], None],
    opened: Database,
    study: Study,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.behind, found.done_once) == (True, 0, 1)  # it has a minute
    late(opened, study)
    found = verification.verify(opened.engine, study)
    assert (found.ok, found.behind, found.to_json()["ok"]) == (False, 1, False)
    study_status.verified(found)
    said = capsys.readouterr().out
    assert said.startswith("not ok: 1 of 1 points done exactly once")
    assert "behind: the Optuna study does not show 1 attempts that have ended" in said
    homes.show(opened, study)
    assert verification.verify(opened.engine, study).ok


@pytest.mark.usefixtures("broken")
def test_a_worker_of_nobody_ends_with_an_error_where_the_optuna_study_is_behind(
    opened: Database, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    study = homes.create(opened, loss={"weights": "equal"})
    with pytest.raises(StudyError, match=r"is behind \(LookupError: no such table\)"):
        loop.run(Worker(opened, study, tmp_path, "cpu"))
    assert "behind for now: LookupError: no such table" in caplog.text
    assert (counted := queries.counts(opened.engine, study))["done"] == counted["total"]  # safe
    assert not verification.verify(opened.engine, study).ok
    launched = Worker(opened, study, tmp_path, "cpu", stop=Stop(launcher=os.getppid()))
    assert loop.run(launched) == 0  # the launch looks once more, and says it


@pytest.mark.usefixtures("broken")
def test_a_launch_says_that_the_optuna_study_is_behind(
    opened: Database,
    study: Study,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(optuna_dashboard, "publish", lambda *_: None)
    with pytest.raises(StudyError, match=r"is behind \(LookupError: no such table\); every result"):
        session.mirror(opened, study)
    leave(opened, study)
    caplog.set_level(logging.WARNING)
    with background.publishing(opened, study, every_s=0.01):
        while "the Optuna study is behind by 1 attempts" not in caplog.text:
            pass
