"""Looks in the ledger: each is decided, stored, and what it asks for planned, in one transaction.

A decision is a function of committed rows (study/looks/), so that whoever comes first takes it,
whoever comes second finds it taken, and a crash before the commit leaves nothing of it. It can be
computed again at any time (looked.py), and `verify` does.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Engine, func, insert, select, update

from weightsearch.store.ledger import claim, looked
from weightsearch.store.ledger import studies as studies_module
from weightsearch.store.ledger.looked import Looked
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, channel, points, studies
from weightsearch.store.tables.states import Outcome, PointState, Rung
from weightsearch.study.looks.decision import Decision, Drop
from weightsearch.study.samplers.contract import Run

BY_A_LOOK = "a look"
"""Stands for the worker where nobody has tried a point."""

log = logging.getLogger(__name__)


def take(engine: Engine, study: Study, known: int) -> bool:
    """Takes the look that is due, once however many processes ask; whether there is more to do than
    one that knows of `known` looks has seen."""
    if not study.spec.has_looks():
        return False
    with engine.begin() as connection:
        stored = connection.execute(
            select(studies.c.looks).filter_by(id=study.id).with_for_update()
        ).scalar()
        if stored is None or len(stored) > known:
            return stored is not None
        if connection.execute(claim.open_points(study.id).limit(1)).first() is not None:
            return False
        found = looked.read(connection, study)
        if not found.is_due():
            return False
        decision = found.decided()
        _plan(connection, study, decision, found)
        connection.execute(
            update(studies)
            .where(studies.c.id == study.id)
            .values(looks=[*stored, decision.to_json()])
        )
        connection.execute(select(func.pg_notify(channel(study.id), "")))
    log.info("look %d: %s", decision.look + 1, found.told(decision))
    return True


def count(engine: Engine, study: Study) -> int:
    """How many were taken."""
    with engine.connect() as connection:
        number = func.jsonb_array_length(studies.c.looks)
        return int(connection.execute(select(number).filter_by(id=study.id)).scalar_one())


def _plan(connection: Connection, study: Study, decision: Decision, found: Looked) -> None:
    """The rows that the look asks for; and one, dropped, for each configuration that ends here."""
    last = select(func.max(points.c.number)).filter_by(study_id=study.id, rung=Rung.SEARCH)
    first = 1 + connection.execute(last).scalar_one()

    def row(number: int, key: str, repeat: int, stage: int) -> dict[str, Any]:
        place, point = found.points[key]
        seed, fold = study.spec.seed_of(repeat), study.spec.fold_of(repeat)
        run = Run(place, point, seed, repeat, fold, stage)
        return studies_module.row_of(study.id, number, run, Rung.SEARCH)

    asked = [(n.key, n.repeat, n.stage) for n in decision.next]
    asked.sort(key=lambda cell: (cell[1], cell[2], found.points[cell[0]][0]))
    if not asked:
        return
    _insert(connection, [row(number, *cell) for number, cell in enumerate(asked, first)])
    audits, following = {n.key for n in decision.next}, min(cell[1:] for cell in asked)
    ends = [drop for drop in decision.dropped if drop.key not in audits]
    rows = [
        row(number, drop.key, *following)
        | {"state": PointState.DROPPED, "reason": why(decision, drop, found)}
        for number, drop in enumerate(ends, first + len(asked))
    ]
    # Not tried, but shown: the Optuna study has a trial for each attempt.
    tried = {"attempt": 0, "worker": BY_A_LOOK, "outcome": Outcome.DROPPED, "ended_at": func.now()}
    shown = [
        {"point_id": made, "reason": ended["reason"]}
        for made, ended in zip(_insert(connection, rows), rows, strict=True)
    ]
    if shown:
        connection.execute(insert(attempts).values(tried), shown)


def _insert(connection: Connection, rows: Sequence[dict[str, Any]]) -> list[int]:
    """Points, a batch at a time; their ids in the order of the rows."""
    adding = insert(points).returning(points.c.id, sort_by_parameter_order=True)
    made: list[int] = []
    for begin in range(0, len(rows), studies_module.BATCH):
        batch = rows[begin : begin + studies_module.BATCH]
        made += connection.execute(adding, batch).scalars()
    return made


def why(decision: Decision, drop: Drop, found: Looked) -> str:
    """`look 2: worse than the leader by more than the margin (point 4; +0.031, ...)`."""
    said = f"look {decision.look + 1}: {drop.why.value}"
    if drop.against is None or drop.difference is None:
        return said
    span = "" if drop.low is None else f", {drop.low:+.4g} to {drop.high:+.4g}"
    return f"{said} (point {found.points[drop.against][0]}; {drop.difference:+.4g}{span})"
