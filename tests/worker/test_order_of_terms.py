"""Terms keep the order of the study file, though PostgreSQL's JSON has an order of its own."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from support.specs import make_spec

from weightsearch.report.evidence import records
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.study import planning
from weightsearch.study.objective_contract import Epoch
from weightsearch.worker import loop
from weightsearch.worker.process import Worker

TERMS = ["smooth", "fit", "edge"]  # JSONB has the shortest first


def test_for_the_objective_and_for_whoever_reads_results(
    opened: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[list[str]] = []

    def run(weights: Any, params: Any, context: Any) -> Iterator[Epoch]:
        given.append(list(weights))
        yield {"rmse": weights["fit"]}

    module = ModuleType("noting")
    module.run = run  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "noting", module)
    loss = {"terms": TERMS, "weights": {"smooth": 0.6, "fit": 0.3, "edge": 0.1}}
    spec = make_spec(objective={"run": "noting:run"}, loss=loss)
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    loop.run(Worker(opened, study, tmp_path, "cpu"))

    assert given == [TERMS]
    (done,) = queries.done(opened.engine, study)
    assert list(done.point.weights) == TERMS
    assert [float(share) for share in records.directions(done.point)] == [0.6, 0.3, 0.1]
    (planned,) = queries.planned(opened.engine, study)
    assert list(planned.weights) == TERMS
    (attempt,) = records.read(opened.engine, "study").attempts
    assert list(attempt.point.weights) == TERMS
