"""A study on hostile data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from support.data_sets import Csv
from support.depth_studies import depth_spec
from support.processes import Cli

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.study import planning

# The service


def test_a_worker_gives_its_point_back_and_says_what_is_wrong_with_the_data(
    opened: Database, storage: str, cli: Cli, tmp_path: Path
) -> None:
    csv = Csv(tmp_path / "nyu_data").write()
    csv.save(csv.train[0][0], np.zeros((24, 32), np.uint8))
    spec = depth_spec(data={"source": "nyu_csv", "options": {}, "size": [32, 32]})
    study = studies.create(opened.engine, "hostile", spec, planning.plan(spec))
    said = cli(
        *("worker", "hostile", "--device", "cpu", "--data", csv.root), WEIGHTSEARCH_STORAGE=storage
    )
    assert said.returncode == 1
    (line,) = [line for line in said.stderr.splitlines() if line.startswith("error: ")]
    assert "0000.jpg: must be 8-bit RGB" in line
    assert said.stderr.splitlines()[-1] == line
    counts = queries.counts(opened.engine, study)
    assert (counts["waiting"], counts["failed"], counts["leased"]) == (counts["total"], 0, 0)
    assert not list((tmp_path / "home").glob("packs/*"))
