"""A study with attempts that ended in every way, for what shows it elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from support.specs import make_spec
from weightsearch.runtime import failpoints
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import full_runs, leases, queries, studies
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import Outcome
from weightsearch.study import planning

ATTEMPTS = 12
"""Of ten points of the search, one with a second one; and a full run."""


def tracked_study(opened: Database, **tables: Any) -> Study:
    """Ten points: one diverged, one failed, one given back and then done; and a full run."""
    spec = make_spec(params={"encoder": ["a"]}, **tables)
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    for number in range(10):
        lease = _claimed(opened, study)
        assert lease.point is not None
        rmse = 0.5 + number / 7
        first = {"rmse": rmse + 0.1, "δ<1.25": 1 / 3}
        leases.report(opened.engine, lease, 1, first)
        if number == 2:
            leases.give_back(opened.engine, lease, "asked to stop", paused=False)
            lease = _claimed(opened, study)
            leases.report(opened.engine, lease, 1, first)
        if number == 3:
            leases.fail(opened.engine, lease, "RuntimeError: no\x1b[2J")
            continue
        leases.report(opened.engine, lease, 2, {"rmse": rmse, "rel": 0.1})
        if number == 4:
            verdict = {"outcome": "diverged", "metrics": {}, "reason": "ssim is nan"}
            leases.finish(opened.engine, lease, verdict, Outcome.DIVERGED)
            continue
        leases.finish(opened.engine, lease, _result(rmse))
    best = queries.done(opened.engine, study)[0].point
    assert study.spec.promote is not None
    full_runs.plan(opened.engine, study, study.spec.promote, [best])
    lease = _claimed(opened, study)
    full = _result(0.25) | {"test": {"metrics": {"rmse": 0.26}}}
    leases.report(opened.engine, lease, 1, {"rmse": 0.25})
    leases.finish(opened.engine, lease, full)
    return study


def _claimed(opened: Database, study: Study) -> Lease:
    lease = leases.claim(opened.engine, study.id, "w", "cpu", 60)
    assert lease is not None
    return lease


def _result(rmse: float) -> dict[str, Any]:
    metrics = {"rmse": rmse, "rel": 0.1}
    return {"outcome": "done", "metrics": metrics, "epoch": 2, "device": "cpu"}


def killed_at_each_step(write: Callable[[], int], times: int) -> None:
    """Has it begin so often, and die at every third step."""
    reached = iter(range(10**6))

    class Killed(BaseException):
        pass

    def die(place: str) -> None:
        if next(reached) % 3 == 2:
            raise Killed

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(failpoints, "reach", die)
        for _ in range(times):
            with pytest.raises(Killed):
                write()
