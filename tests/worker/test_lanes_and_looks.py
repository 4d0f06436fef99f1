"""Points that a worker trains together in studies with repeats, looks and stages."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from support import homes
from support.pruned_studies import GRID, racing, rungs

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, looked, queries, verification
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.tables.schema import points
from weightsearch.study import objective_contract
from weightsearch.worker import lanes, loop
from weightsearch.worker.process import Worker

RACING, RUNGS = racing(2), rungs(2, audit=0.5)


@pytest.fixture
def cohorts(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Lease]]:
    """What workers trained together, filled as they go."""
    seen: list[Sequence[Lease]] = []
    train = lanes.train

    def noted(worker: Any, objective: Any, together: Any, results: Path, claimed: Any) -> int:
        seen.append(claimed)
        return train(worker, objective, together, results, claimed)

    monkeypatch.setattr(lanes, "train", noted)
    return seen


def outcome(opened: Database, name: str, tables: dict[str, Any], home: Path, number: int) -> Any:
    """What comes of a study where a worker has so many lanes: decisions, and each run's metric."""
    study = homes.create(opened, name, **tables)
    loop.run(Worker(opened, study, home / name, "cpu", lanes=number))
    found = verification.verify(opened.engine, study)
    assert found.ok, found
    with opened.engine.connect() as connection:
        decisions = looked.taken(connection, study)
        rows = connection.execute(select(points).filter_by(study_id=study.id)).all()
    runs = {(r.key, r.repeat, r.stage): (r.state, r.result and r.result["metrics"]) for r in rows}
    assert {r.state for r in rows} <= {"done", "dropped"}
    assert found.starts == sum(r.state == "done" for r in rows)
    done = [row for row in rows if row.state == "done"]
    assert all(r.result["epochs"] == study.spec.stages()[r.stage] for r in done)
    return decisions, runs


@pytest.mark.parametrize("tables", [RACING, RUNGS], ids=["racing", "rungs"])
def test_looks_decide_what_they_decide_over_points_trained_alone(
    opened: Database, tmp_path: Path, cohorts: list[Sequence[Lease]], tables: dict[str, Any]
) -> None:
    together = outcome(opened, "together", tables, tmp_path, 4)
    groups = [{(one.repeat, one.fold, one.stage, one.seed) for one in each} for each in cohorts]
    assert all(len(group) == 1 for group in groups)
    assert max(map(len, cohorts)) == 4
    stages = 1 if tables is RACING else 3
    assert {(r, s) for group in groups for r, _, s, _ in group} >= {(0, s) for s in range(stages)}
    assert {one.repeat for each in cohorts for one in each if len(each) > 1} == {0, 1}
    assert together == outcome(opened, "alone", tables, tmp_path, 1)


def test_folds_are_trained_apart(
    opened: Database, tmp_path: Path, cohorts: list[Sequence[Lease]]
) -> None:
    tables = {
        "answer": {"repeats": 3},
        "data": {"source": "synthetic", "size": [48, 64], "val": "folds:3"},
    }
    outcome(opened, "folds", tables | {"loss": GRID}, tmp_path, 4)
    assert {one.fold for each in cohorts for one in each} == {0, 1, 2}
    assert all(len({one.fold for one in each}) == 1 for each in cohorts)


@pytest.mark.parametrize(("devices", "most"), [(1, 3), (2, 1), ("auto", 1)])
def test_a_full_run_that_takes_several_devices_is_trained_alone(
    opened: Database, tmp_path: Path, devices: int | str, most: int
) -> None:
    settings = {"top": 3, "seeds": [1, 2], "epochs": 2, "devices": devices}
    study = homes.create(opened, promote=settings, loss=GRID)
    worker = Worker(opened, study, tmp_path, "cpu", lanes=4)
    loop.run(worker)
    best = [one.point for one in queries.done(opened.engine, study)[:3]]
    homes.promote(opened, study, best)
    lead = leases.claim(opened.engine, study.id, worker.name, "cpu", 60.0)
    assert lead is not None
    together = objective_contract.together(study.spec.objective.run, worker.lanes)
    assert 1 + len(lanes.beside(worker, together, lead)) == most
