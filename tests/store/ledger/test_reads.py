"""What claims, ends and looks read: as many pages of a table with thousands of points done as of
one with hundreds. Time is measured in benchmarks/growth.py."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import event, text
from support.specs import make_spec

from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import leases, studies, study_control
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables import schema
from weightsearch.study import planning

Reads = dict[str, int]
"""Pages by what was done: blocks of our tables and their indexes that its statements fetched."""

SLACK = 5  # pages: a new row may begin one in each index
RESULT = {"outcome": "done", "metrics": {"rmse": 0.5}, "samples": {}, "groups": [], "images": 1}
FETCHED = (
    "SELECT sum(pg_stat_get_xact_blocks_fetched(oid))::int FROM pg_class"
    " WHERE relname LIKE 'ws\\_%' AND relkind IN ('r', 'i')"
)
MORE = (
    "INSERT INTO ws_points (study_id, number, place, key, weights, params, seed)"
    " SELECT study_id, n, n, 'more' || n, weights, params, seed"
    " FROM ws_points, generate_series(10, :last) AS n WHERE number = 0"
)
DONE = (  # as claims and finishes leave the table: each point was written twice
    "UPDATE ws_points SET state = 'leased', worker = 'w', attempt = 1, lease_until = now()"
    " WHERE number < :done AND state = 'waiting'",
    "INSERT INTO ws_attempts (point_id, attempt, worker, outcome, ended_at, seconds, mirrored_end)"
    " SELECT id, 1, 'w', 'done', now(), 1, false FROM ws_points WHERE state = 'leased'",
    "UPDATE ws_attempts SET trial_id = point_id, mirrored_end = true WHERE NOT mirrored_end",
    "UPDATE ws_points SET state = 'done', result = '{}', lease_until = NULL WHERE state = 'leased'",
)


@pytest.fixture
def reads(opened: Database) -> Iterator[Callable[[Study], Reads]]:
    """Claims, renews, looks about, finishes; what each read. A statement is first run
    in a transaction that is taken back."""
    found: Counter[str] = Counter()
    doing = ""
    with contextlib.closing(opened.connect()) as aside:

        def fetched() -> int:
            row = aside.execute(FETCHED).fetchone()
            assert row is not None
            return int(row[0])

        def before(_: Any, __: Any, statement: str, values: Any, *___: Any) -> None:
            began = fetched()
            aside.execute(statement, values)
            found[doing] += fetched() - began
            aside.rollback()

        def read(study: Study) -> Reads:
            nonlocal doing
            found.clear()
            event.listen(opened.engine, "before_cursor_execute", before)
            doing = "claim"
            lease = leases.claim(opened.engine, study.id, "w", "cpu", 60)
            assert lease is not None
            doing = "renew"
            assert leases.renew(opened.engine, lease, 60)
            doing = "standing"
            assert study_control.standing(opened.engine, study.id).left
            doing = "seen alive"
            assert study_control.seen_alive(opened.engine, study, "w")
            doing = "finish"
            assert leases.finish(opened.engine, lease, RESULT)
            event.remove(opened.engine, "before_cursor_execute", before)
            return dict(found)

        yield read


def planned(opened: Database, points: int) -> Study:
    """So many points, of which PostgreSQL has no statistics, and will have none."""
    spec = make_spec()
    study = studies.create(opened.engine, "study", spec, planning.plan(spec))
    study_control.sign_on(opened.engine, study, "w", "host", 1, "cpu")
    with opened.engine.begin() as connection:
        for table in ("ws_points", "ws_attempts"):
            connection.execute(text(f"ALTER TABLE {table} SET (autovacuum_enabled = off)"))
        connection.execute(text(MORE), {"last": points - 1})
    return study


def finish(opened: Database, done: int, vacuum: bool) -> None:
    """The plan's first points are done; and the vacuum that this calls for has come."""
    with opened.engine.connect() as connection:
        connection.execution_options(isolation_level="AUTOCOMMIT")
        for statement in DONE:
            connection.execute(text(statement), {"done": done})
        if vacuum:
            connection.execute(text("VACUUM ANALYZE ws_points, ws_attempts"))


@pytest.mark.parametrize("vacuumed", [True, False])
def test_they_read_no_more_where_thousands_of_points_are_done(
    opened: Database, reads: Callable[[Study], Reads], vacuumed: bool
) -> None:
    """Until the vacuum, what begins at an index's front passes over its dead entries of them."""
    study = planned(opened, 5400)
    finish(opened, 200, vacuumed)
    few = reads(study)
    finish(opened, 5000, vacuumed)
    many = reads(study)
    assert few.keys() == many.keys() == {"claim", "renew", "standing", "seen alive", "finish"}
    flat = few.keys() - (set() if vacuumed else {"claim", "seen alive"})
    # The index of leases has dead entries too: those of whoever asked at the same time.
    slack = SLACK if vacuumed else 3 * SLACK
    assert all(many[what] <= few[what] + slack for what in flat), (few, many)


def test_they_read_no_more_of_a_large_plan_that_has_no_statistics_yet(
    opened: Database, reads: Callable[[Study], Reads]
) -> None:
    """Every claim of 100,000 points sorted them all, until the first ANALYZE."""
    study = planned(opened, 400)
    few = reads(study)
    with opened.engine.begin() as connection:
        connection.execute(text(MORE.replace("(10,", "(400,")), {"last": 5399})
        # The planner multiplies the pages that there are by the rows of each.
        dense = "UPDATE pg_class SET relpages = 1, reltuples = 1000 WHERE relname = 'ws_points'"
        connection.execute(text(dense))
        rows = connection.execute(text("EXPLAIN SELECT FROM ws_points")).scalar_one()
    assert int(rows.split("rows=")[1].split()[0]) > 100_000
    many = reads(study)
    assert all(many[what] <= few[what] + SLACK for what in few), (few, many)


def test_a_vacuum_comes_for_what_was_done_not_for_a_share_of_the_table(opened: Database) -> None:
    wanted = {f"{name}={value}" for name, value in schema.VACUUM.items()}
    asked = "SELECT relname, reloptions FROM pg_class WHERE relkind = 'r' AND relname LIKE 'ws\\_%'"
    with opened.engine.connect() as connection:
        found = {name: set(options) for name, options in connection.execute(text(asked)) if options}
    assert found == {"ws_points": wanted, "ws_attempts": wanted}
