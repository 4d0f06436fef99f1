"""Learned weightings from a study file to its ranking, its report and its promotion."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.processes import Cli

from weightsearch.depth.loss.weightings import WEIGHTINGS
from weightsearch.report.evidence import records as recorded
from weightsearch.report.figures.learned_weights import weightings
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import queries, studies
from weightsearch.store.tables.states import Rung

DEPTH = f"""
goal = "do learned weightings beat fixed ones?"
[data]
source = "synthetic"
size = [32, 32]
val = "blocks:50%"
options = {{ frames = 12, test_frames = 4, height = 32, width = 32, frames_per_room = 2 }}
[model]
encoder = "test_efficientnet"
pretrained = false
[loss]
terms = ["mae", "edge"]
weights = {{ mae = 0.5, edge = 0.5 }}
weightings = {json.dumps(list(WEIGHTINGS))}
warm_up = {{ start = {{ mae = 1 }}, end = "equal" }}
[train]
epochs = 3
batch = 4
"""
OWN = """
goal = "a weighting of one's own"
objective = { run = "mine:run" }
[loss]
weights = "equal"
weightings = ["sharp"]
[train]
epochs = 1
[promote]
top = 1
seeds = [1]
epochs = 2
"""
MINE = """
WEIGHTINGS = ("sharp", "blunt")

def run(weights, params, context):
    learned = params.get("weighting") == "sharp"
    for epoch in range(context.epochs):
        yield {"rmse": 0.5 if learned else 1.0, "weight_mae": 1.0, "weight_edge": 0.0}
"""
LAUNCH = ("--workers", 1, "--device", "cpu", "--json")


def test_every_weighting_stands_in_the_ranking_of_a_depth_study(
    cli: Cli, storage: str, opened: Database, tmp_path: Path
) -> None:
    (tmp_path / "rivals.toml").write_text(DEPTH)
    where = {"WEIGHTSEARCH_STORAGE": storage}
    ran = cli("launch", "rivals.toml", *LAUNCH, "--no-promote", **where)
    assert ran.returncode == 0, ran.stderr
    rows = json.loads(ran.stdout)["ranking"]
    assert {row["params"].get("weighting") for row in rows} == {None, *WEIGHTINGS}
    assert [row["rank"] for row in rows] == list(range(1, len(WEIGHTINGS) + 2))
    assert json.loads(cli("verify", "--json", **where).stdout)["done_once"] == len(rows)
    shown = cli("best", **where).stdout
    assert all(f" {name} " in shown for name in WEIGHTINGS)

    records = recorded.read(opened.engine, None)
    for done in records.done:
        sums = sum(done.result.metrics.get(f"weight_{term}", 0) for term in ("mae", "edge"))
        assert sums == pytest.approx(0 if done.point.weighting is None else 1, rel=1e-4)
    drawn = weightings(records)
    assert {line.name for line in drawn.data} == {
        f"{name}, {term}" for name in WEIGHTINGS for term in ("mae", "edge")
    }
    assert all(list(line.x) == [1, 2, 3] for line in drawn.data)


def test_a_learned_weighting_is_promoted_as_one(
    cli: Cli, storage: str, opened: Database, tmp_path: Path
) -> None:
    (tmp_path / "own.toml").write_text(OWN)
    (tmp_path / "mine.py").write_text(MINE)
    ran = cli("launch", "own.toml", *LAUNCH, WEIGHTSEARCH_STORAGE=storage)
    assert ran.returncode == 0, ran.stderr
    promoted = json.loads(ran.stdout)["promoted"]
    assert promoted["params"] == {"weighting": "sharp"}
    assert promoted["finalists"][0]["validation"]["rmse"] == 0.5
    study = studies.find(opened.engine, None)
    (full,) = queries.done(opened.engine, study, Rung.PROMOTION)
    assert full.point.weighting == "sharp"
    # In the terminal's triangle it stands nowhere, nor does it stand for equal weights.
    assert len(queries.places(opened.engine, study)) == 1


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (MINE.replace('"sharp", "blunt"', '"sharpe",'), "did you mean 'sharpe'?"),
        (MINE.replace("WEIGHTINGS", "OTHERS"), "name in WEIGHTINGS of its module what it knows"),
    ],
)
def test_an_objective_that_does_not_know_a_weighting_is_not_given_one(
    cli: Cli, storage: str, opened: Database, tmp_path: Path, module: str, said: str
) -> None:
    (tmp_path / "own.toml").write_text(OWN.replace('"equal"', "[]"))  # nothing but the weighting
    (tmp_path / "mine.py").write_text(module)
    for command in (("launch", "own.toml", *LAUNCH), ("train", "own.toml", "--out", "run")):
        ran = cli(*command, WEIGHTSEARCH_STORAGE=storage)
        assert ran.returncode == 1
        (line,) = ran.stderr.strip().splitlines()
        assert "objective 'mine:run' knows no weighting 'sharp'" in line
        assert said in line
    with opened.engine.connect() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM ws_studies").scalar_one() == 0
    assert not (tmp_path / "run").exists()
