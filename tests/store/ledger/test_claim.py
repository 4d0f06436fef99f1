"""The text of the claim: its words are those of the tables, and its index is the one it was made
for. What it does: test_leases.py."""

from __future__ import annotations

import re

from sqlalchemy import text
from support.specs import make_spec

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import claim, studies
from weightsearch.store.tables.states import OPEN, Outcome, PointState, StudyState
from weightsearch.study import planning

SQL = str(claim.CLAIM)


def test_its_states_are_those_of_the_tables() -> None:
    states = set(re.findall(r"'(\w+)'", " ".join(re.findall(r"state (?:=|IN) [^\n]+", SQL))))
    assert states - {StudyState.RUNNING} == {*OPEN, PointState.FAILED}
    assert re.findall(r"outcome = '(\w+)'", SQL) == [Outcome.LOST]


def test_it_can_be_explained_and_walks_along_the_open_points_in_their_order(
    opened: Database,
) -> None:
    spec = make_spec(loss={"weights": {"grid": "simplex", "steps": 60}})
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    values = {
        "of_study": study.id,
        "by_worker": "w",
        "on_device": "cpu",
        "lease_s": 60.0,
        "at_most": 3,
        "allowed": "all",
        "budgeted": False,
    }
    with opened.engine.begin() as connection:
        connection.execute(text("ANALYZE ws_points"))
        explained = text(f"EXPLAIN {claim.CLAIM}")
        plan = "\n".join(connection.execute(explained, values).scalars())
        connection.rollback()
    chosen = plan[plan.index("CTE chosen") :].split("\n  CTE ")[0]
    assert "using ws_point_open" in chosen
    assert "Sort" not in chosen
