"""The text of the claim: its words are those of the tables, and its index is the one it was made
for. What it does: test_leases.py."""

from __future__ import annotations

import re

from sqlalchemy import text
from support.specs import make_spec

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import claim, studies
from weightsearch.store.tables.states import ENDED, OPEN, Outcome, PointState, StudyState
from weightsearch.study import planning

SQL = str(claim.CLAIM)


def test_its_states_are_those_of_the_tables() -> None:
    named = {
        how: set(re.findall(r"'(\w+)'", " ".join(re.findall(rf"\bstate {how} [^\n]+", SQL))))
        for how in ("=", "<>", "NOT IN")
    }
    assert named == {
        "=": {StudyState.RUNNING, PointState.LEASED, PointState.FAILED},
        "<>": {PointState.LEASED},
        "NOT IN": set(ENDED),
    }
    assert set(ENDED) == set(PointState) - set(OPEN)
    assert set(re.findall(r"outcome = '(\w+)'", SQL)) == {Outcome.LOST}


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


def test_the_end_of_a_point_reads_open_points_from_the_plans_end(opened: Database) -> None:
    """Those that are done leave dead entries at the beginning of the index: 386 pages of them at
    50,000 done, read by every finish."""
    asked = (
        claim.open_points(1)
        .limit(1)
        .compile(opened.engine, compile_kwargs={"literal_binds": True, "render_postcompile": True})
    )
    with opened.engine.connect() as connection:
        connection.exec_driver_sql("SET enable_seqscan = off; SET enable_sort = off")
        plan = [row[0] for row in connection.exec_driver_sql(f"EXPLAIN {asked}")]
    assert any("Index Scan Backward using ws_point_open" in line for line in plan), plan
