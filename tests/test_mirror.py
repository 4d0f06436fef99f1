"""The Optuna study beside the ledger: whole, repairable, and readable by Optuna alone."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from conftest import make_spec
from optuna.trial import TrialState
from sqlalchemy import update

from weightsearch import plan
from weightsearch.store import ledger
from weightsearch.store.database import Database
from weightsearch.store.ledger import Lease, Study
from weightsearch.store.mirror import ANNOUNCED, Mirror
from weightsearch.store.schema import attempts


@pytest.fixture
def study(opened: Database) -> Study:
    spec = make_spec(params={"encoder": ["a", "b"]})
    return ledger.create(opened.engine, "study", spec, plan.plan(spec))


@pytest.fixture
def mirror(opened: Database, study: Study) -> Iterator[Mirror]:
    made = Mirror(opened, study)
    yield made
    made.close()


def shown(mirror: Mirror) -> list[optuna.trial.FrozenTrial]:
    return optuna.load_study(study_name="study", storage=mirror.storage).trials


def claim(opened: Database, study: Study, lease_s: float = 60) -> Lease:
    lease = ledger.claim(opened.engine, study.id, "w", "cpu", lease_s)
    assert lease is not None
    return lease


def result(rmse: float) -> dict[str, Any]:
    metrics = {"rmse": rmse, "rel": 0.1, "loss_mae": 0.2}
    return {"outcome": "done", "metrics": metrics, "samples": {}, "groups": [], "images": 1}


def test_an_attempt_is_followed_while_it_runs(
    opened: Database, study: Study, mirror: Mirror
) -> None:
    lease = claim(opened, study)
    mirror.sync()
    (trial,) = shown(mirror)
    assert lease.point is not None
    assert trial.state == TrialState.RUNNING
    assert trial.params == {t: float(w) for t, w in lease.point.weights.items()} | {
        "encoder": lease.point.params["encoder"]
    }
    ledger.report(opened.engine, lease, {"rmse": 0.9})
    mirror.sync()
    ledger.report(opened.engine, lease, {"rmse": 0.7})
    ledger.finish(opened.engine, lease, result(0.7))
    mirror.sync()
    (trial,) = shown(mirror)
    assert trial.state == TrialState.COMPLETE
    assert trial.value == 0.7
    assert trial.intermediate_values == {1: 0.9, 2: 0.7}
    attrs = trial.user_attrs
    assert {"rmse": 0.7, "rel": 0.1, "loss_mae": 0.2}.items() <= attrs.items()
    assert (attrs["point"], attrs["attempt"], attrs["device"]) == (0, 1, "cpu")
    assert attrs["seconds"] >= 0
    assert mirror.sync() == 0


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
    opened: Database, study: Study, mirror: Mirror, end: str, reason: str
) -> None:
    lease = claim(opened, study, lease_s=-1 if end == "lost" else 60)
    mirror.sync()
    if end == "failed":
        ledger.fail(opened.engine, lease, reason)
    elif end == "given back":
        ledger.give_back(opened.engine, lease, reason, paused=False)
    elif end == "diverged":
        diverged = {"outcome": "diverged", "metrics": {}, "reason": reason}
        ledger.finish(opened.engine, lease, diverged, "diverged")
    else:
        assert claim(opened, study).attempt == 2
    mirror.sync()
    trial = shown(mirror)[0]
    assert trial.state == TrialState.FAIL
    assert trial.user_attrs["fail_reason"] == reason


@pytest.mark.parametrize("made", [True, False], ids=["trial made", "trial not made"])
def test_a_crash_between_announcing_and_noting_a_trial_doubles_nothing(
    opened: Database, study: Study, mirror: Mirror, made: bool
) -> None:
    claim(opened, study)
    if made:
        mirror.sync()
    with opened.engine.begin() as connection:
        connection.execute(update(attempts).values(trial_id=ANNOUNCED, mirrored_epochs=0))
    mirror.sync()
    mirror.sync()
    assert len(shown(mirror)) == 1


def test_a_mirror_that_came_late_shows_the_same(
    opened: Database, study: Study, mirror: Mirror
) -> None:
    for k in range(20):
        lease = claim(opened, study)
        ledger.report(opened.engine, lease, {"rmse": 1.0 + k})
        ledger.finish(opened.engine, lease, result(1.0 + k))
    assert mirror.sync() == 20
    trials = shown(mirror)
    assert [t.state for t in trials] == [TrialState.COMPLETE] * 20
    assert [t.user_attrs["point"] for t in trials] == list(range(20))
    best = optuna.load_study(study_name="study", storage=mirror.storage)
    assert best.best_value == 1.0
    assert set(optuna.importance.get_param_importances(best)) <= {"mae", "edge", "ssim", "encoder"}


def test_one_process_mirrors_at_a_time(opened: Database, study: Study, mirror: Mirror) -> None:
    from sqlalchemy import func, select

    from weightsearch.store.mirror import MIRROR_LOCK

    claim(opened, study)
    with opened.engine.connect() as other:
        other.execute(select(func.pg_advisory_lock(MIRROR_LOCK, study.id)))
        assert mirror.sync() == 0
        assert shown(mirror) == []
    opened.engine.dispose()  # as when the other process dies: its connection goes, and its lock
    assert mirror.sync() == 1
