"""A worker holds as much memory after 200 points as after 20."""

from __future__ import annotations

from pathlib import Path
from statistics import median

import pytest
from support import weighed
from support.depth_studies import depth_spec

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import studies
from weightsearch.study import planning
from weightsearch.worker import loop
from weightsearch.worker.process import Worker

POINTS = 200


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_worker_s_memory_is_flat_over_200_points(opened: Database, tmp_path: Path) -> None:
    spec = depth_spec(
        encoder=["test_efficientnet", "test_resnet"],  # type: ignore[arg-type]  # both in turns
        objective={"run": "support.weighed:run", "metric": "rmse"},
        data={"size": [32, 48]},
        train={"epochs": 1, "batch": 8},
        loss={"weights": {"grid": "simplex", "steps": 13}},
        sampler={"kind": "random", "trials": POINTS},
    )
    study = studies.create(opened.engine, "flat", spec, planning.plan(spec))
    assert loop.run(Worker(opened, study, tmp_path, "cpu")) == POINTS
    held = [int(line) for line in (tmp_path / weighed.NOTED).read_text().split()]
    early, late = median(held[15:25]), median(held[-10:])
    print(f"resident: {early / 1e3:.0f} MB after 20 points, {late / 1e3:.0f} MB after {POINTS}")
    assert late <= 1.05 * early
