"""The Optuna study beside the ledger: whole, repairable, and readable by Optuna alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC
from typing import Any

import optuna
import pytest
from optuna.storages._rdb.models import BaseModel
from optuna.trial import TrialState
from sqlalchemy import func, select
from support.specs import make_spec

from weightsearch.store.connection import connecting
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, studies
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study
from weightsearch.store.optuna_mirror import MIRROR_LOCK, Mirror
from weightsearch.store.tables.schema import attempts
from weightsearch.study import planning

Shown = Callable[[], list[optuna.trial.FrozenTrial]]


@pytest.fixture
def study(opened: Database) -> Study:
    spec = make_spec(params={"encoder": ["a", "b"]})
    return studies.create(opened.engine, "study", spec, planning.plan(spec))


@pytest.fixture
def mirror(opened: Database, study: Study) -> Mirror:
    return Mirror(opened, study)


@pytest.fixture
def shown_study(opened: Database, mirror: Mirror) -> Iterator[Callable[[], optuna.Study]]:
    """The study as Optuna itself reads it."""
    storage = optuna.storages.RDBStorage(
        connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect), skip_table_creation=True
    )
    yield lambda: optuna.load_study(study_name="study", storage=storage)
    storage.remove_session()
    storage.engine.dispose()


@pytest.fixture
def shown(shown_study: Callable[[], optuna.Study]) -> Shown:
    return lambda: shown_study().trials


def claim(opened: Database, study: Study, lease_s: float = 60, worker: str = "w") -> Lease:
    lease = leases.claim(opened.engine, study.id, worker, "cpu", lease_s)
    assert lease is not None
    return lease


def result(rmse: float) -> dict[str, Any]:
    metrics = {"rmse": rmse, "rel": 0.1, "loss_mae": 0.2}
    return {"outcome": "done", "metrics": metrics, "samples": {}, "groups": [], "images": 1}


def test_the_settings_can_be_read_in_the_study(
    opened: Database, study: Study, mirror: Mirror
) -> None:
    storage = optuna.storages.RDBStorage(
        connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect), skip_table_creation=True
    )
    told = optuna.load_study(study_name=study.name, storage=storage).user_attrs
    storage.remove_session()
    storage.engine.dispose()
    assert told["goal"] == study.spec.goal
    assert f"epochs: {study.spec.train.epochs}," in told["train"]
    assert '"mae"' in told["loss"]


def test_an_attempt_is_followed_while_it_runs(
    opened: Database, study: Study, mirror: Mirror, shown: Shown
) -> None:
    lease = claim(opened, study)
    mirror.sync()
    (trial,) = shown()
    assert lease.point is not None
    assert trial.state == TrialState.RUNNING
    assert trial.params == {t: float(w) for t, w in lease.point.weights.items()} | {
        "encoder": lease.point.params["encoder"]
    }
    leases.report(opened.engine, lease, 1, {"rmse": 0.9})
    mirror.sync()
    leases.report(opened.engine, lease, 2, {"rmse": 0.7})
    leases.finish(opened.engine, lease, result(0.7))
    mirror.sync()
    (trial,) = shown()
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 0.7
    assert trial.intermediate_values == {1: 0.9, 2: 0.7}
    attrs = trial.user_attrs
    assert {"rmse": 0.7, "rel": 0.1, "loss_mae": 0.2}.items() <= attrs.items()
    assert (attrs["point"], attrs["attempt"], attrs["device"]) == (0, 1, "cpu")
    assert attrs["seconds"] >= 0
    assert mirror.sync() == 0


def test_trials_say_which_weighting_they_have(opened: Database) -> None:
    """Fixed ones too: Optuna compares trials by the parameters that all of them have."""
    spec = make_spec(loss={"weights": "equal", "weightings": ["cov"]})
    rivals = studies.create(opened.engine, "rivals", spec, planning.plan(spec))
    showing = Mirror(opened, rivals)
    for k in range(2):
        claim(opened, rivals, worker=f"w{k}")
    showing.sync()
    storage = optuna.storages.RDBStorage(
        connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect), skip_table_creation=True
    )
    trials = optuna.load_study(study_name="rivals", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    assert [trial.params["weighting"] for trial in trials] == ["cov", "fixed"]
    assert all(trial.params["mae"] == pytest.approx(1 / 3) for trial in trials)


def test_a_number_between_two_bounds_is_one_to_optuna_too(opened: Database) -> None:
    lr, depth = {"low": 1e-5, "high": 1e-3, "log": True}, {"low": 2, "high": 9}
    spec = make_spec(
        train={"lr": lr}, params={"depth": depth}, sampler={"kind": "random", "trials": 2}
    )
    ranged = studies.create(opened.engine, "ranged", spec, planning.plan(spec))
    showing = Mirror(opened, ranged)
    point = claim(opened, ranged).point
    assert point is not None
    assert point == planning.plan(spec).points[0]  # numbers survive the database
    showing.sync()
    storage = optuna.storages.RDBStorage(
        connecting.DRIVER, engine_kwargs=connecting.pooled(opened.connect), skip_table_creation=True
    )
    (trial,) = optuna.load_study(study_name="ranged", storage=storage).trials
    storage.remove_session()
    storage.engine.dispose()
    known = {n: d for n, d in trial.distributions.items() if n in point.params}
    assert known == {
        "lr": optuna.distributions.FloatDistribution(1e-5, 1e-3, log=True),
        "depth": optuna.distributions.IntDistribution(2, 9),
    }
    assert {name: trial.params[name] for name in known} == point.params


@pytest.mark.parametrize(
    ("end", "reason"),
    [
        ("failed", "RuntimeError: no"),
        ("given back", "asked to stop"),
        ("diverged", "ssim is nan"),
        ("lost", "its lease ran out"),
    ],
)
def test_attempts_that_bring_no_number_end_as_fail_with_the_reason(
    opened: Database, study: Study, mirror: Mirror, shown: Shown, end: str, reason: str
) -> None:
    lease = claim(opened, study, lease_s=-1 if end == "lost" else 60)
    mirror.sync()
    if end == "failed":
        leases.fail(opened.engine, lease, reason)
    elif end == "given back":
        leases.give_back(opened.engine, lease, reason, paused=False)
    elif end == "diverged":
        diverged = {"outcome": "diverged", "metrics": {}, "reason": reason}
        leases.finish(opened.engine, lease, diverged, "diverged")
    else:
        assert claim(opened, study, lease_s=0.1, worker="other").attempt == 2
    mirror.sync()
    trial = shown()[0]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["fail_reason"] == reason


@pytest.mark.parametrize("place", ["before-mirror", "in-mirror"])
def test_a_process_that_dies_while_it_mirrors_doubles_nothing_and_loses_nothing(
    opened: Database, storage: str, study: Study, mirror: Mirror, shown: Shown, place: str
) -> None:
    claim(opened, study)
    code = (
        "import sys; from pathlib import Path; from weightsearch.store.connection import database;"
        "from weightsearch.store.ledger import studies;"
        "from weightsearch.store.optuna_mirror import Mirror;"
        "opened = database.open_database(None, Path());"
        "Mirror(opened, studies.find(opened.engine, 'study')).sync()"
    )
    environment = {"WEIGHTSEARCH_STORAGE": storage, "WEIGHTSEARCH_FAILPOINT": place}
    died = subprocess.run([sys.executable, "-c", code], env=os.environ | environment, check=False)
    assert died.returncode == -signal.SIGKILL
    assert shown() == []
    assert mirror.sync() == 1
    assert mirror.sync() == 0
    assert len(shown()) == 1


def test_a_study_that_somebody_removed_from_optuna_is_shown_again(
    opened: Database, study: Study, mirror: Mirror, shown: Shown
) -> None:
    leases.finish(opened.engine, claim(opened, study), result(1.0))
    leases.report(opened.engine, claim(opened, study), 1, {"rmse": 2.0})
    mirror.sync()
    before = [(t.number, t.state, t.values, t.intermediate_values) for t in shown()]
    with opened.engine.begin() as connection:
        for table in reversed(BaseModel.metadata.sorted_tables):
            connection.execute(table.delete().where(table.name != "version_info"))
    assert Mirror(opened, study).sync() == 2
    assert [(t.number, t.state, t.values, t.intermediate_values) for t in shown()] == before


def test_times_are_the_ledgers(
    opened: Database, study: Study, mirror: Mirror, shown: Shown
) -> None:
    leases.finish(opened.engine, claim(opened, study), result(1.0))
    mirror.sync()
    with opened.engine.connect() as connection:
        row = connection.execute(select(attempts.c.started_at, attempts.c.ended_at)).one()
    (trial,) = shown()
    assert trial.datetime_start is not None
    assert trial.datetime_complete is not None
    assert trial.datetime_start.astimezone(UTC) == row.started_at
    assert trial.datetime_complete.astimezone(UTC) == row.ended_at


def test_a_mirror_that_came_late_shows_the_same(
    opened: Database,
    study: Study,
    mirror: Mirror,
    shown: Shown,
    shown_study: Callable[[], optuna.Study],
) -> None:
    for k in range(20):
        lease = claim(opened, study)
        leases.report(opened.engine, lease, 1, {"rmse": 1.0 + k})
        leases.finish(opened.engine, lease, result(1.0 + k))
    assert mirror.sync() == 20
    trials = shown()
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 20
    assert [t.user_attrs["point"] for t in trials] == list(range(20))
    best = shown_study()
    assert best.best_value == 1.0
    assert set(optuna.importance.get_param_importances(best)) <= {"mae", "edge", "ssim", "encoder"}


def test_one_process_mirrors_at_a_time(
    opened: Database, study: Study, mirror: Mirror, shown: Shown
) -> None:
    claim(opened, study)
    with opened.engine.connect() as other:
        other.execute(select(func.pg_advisory_lock(MIRROR_LOCK, study.id)))
        assert mirror.sync() == 0
        assert shown() == []
    opened.engine.dispose()  # as when the other process dies: its connection goes, and its lock
    assert mirror.sync() == 1
