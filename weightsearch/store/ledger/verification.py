"""Whether each point of a study is done exactly once, is shown, and each look was decided right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import Engine, func, select

from weightsearch.store.ledger import looked, queries
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points
from weightsearch.store.tables.states import FINISHED, Outcome, PointState, Rung


@dataclass(frozen=True)
class Verification:
    """Whether a study's search is whole, and shown. More starts than points are explained by those
    that were lost or given back."""

    study: str
    points: int
    """All that were planned."""
    done_once: int
    missing: Sequence[int]
    """Numbers of points without a result."""
    duplicated: Sequence[int]
    """Numbers of points with more than one."""
    starts: int
    """Every attempt."""
    lost: int
    given_back: int
    behind: int
    """Ended attempts that the Optuna study does not show, of the promotion too."""
    dropped: int = 0
    """Points that looks have dropped: they are not to be done."""
    looks: int = 0
    """How many were taken."""
    wrong_looks: Sequence[int] = ()
    """Those whose decision is another when it is computed anew."""
    look_due: bool = False
    """One is to be taken yet."""

    @property
    def ok(self) -> bool:
        wrong = self.missing or self.duplicated or self.behind or self.wrong_looks
        return not wrong and not self.look_due

    def to_json(self) -> dict[str, Any]:
        return {"study": self.study, "ok": self.ok, **asdict(self)}


def verify(engine: Engine, study: Study) -> Verification:
    """Whether each planned point is done exactly once, from two sides: the points' states, and the
    attempts that committed a result; and whether the Optuna study shows them."""
    committed = (
        select(attempts.c.point_id, func.count().label("times"))
        .where(attempts.c.outcome.in_(FINISHED))
        .group_by(attempts.c.point_id)
        .subquery()
    )
    mine = (points.c.study_id == study.id) & (points.c.rung == Rung.SEARCH)
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.number, points.c.state, func.coalesce(committed.c.times, 0))
            .outerjoin(committed, committed.c.point_id == points.c.id)
            .where(mine)
            .order_by(points.c.number)
        ).all()
        ended = connection.execute(
            select(attempts.c.outcome, func.count())
            .join(points, points.c.id == attempts.c.point_id)
            .where(mine)
            .group_by(attempts.c.outcome)
        ).all()
        found = looked.read(connection, study)
    outcomes: dict[str | None, int] = {row[0]: row[1] for row in ended}
    return Verification(
        study=study.name,
        points=len(rows),
        done_once=sum(state == PointState.DONE and times == 1 for _, state, times in rows),
        missing=[
            n
            for n, state, times in rows
            if state != PointState.DROPPED and (state != PointState.DONE or times == 0)
        ],
        duplicated=[n for n, _, times in rows if times > 1],
        starts=sum(n for outcome, n in outcomes.items() if outcome != Outcome.DROPPED),
        lost=outcomes.get(Outcome.LOST, 0),
        given_back=outcomes.get(Outcome.GIVEN_BACK, 0),
        behind=queries.behind(engine, study),
        dropped=sum(state == PointState.DROPPED for _, state, _ in rows),
        looks=len(found.decisions),
        wrong_looks=found.wrong(),
        look_due=found.is_due(),
    )
