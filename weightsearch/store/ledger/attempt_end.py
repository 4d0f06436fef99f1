"""How an attempt may end, each in one statement that is built once.

Building such a statement costs a worker more time than running it costs the server.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Double,
    Text,
    and_,
    bindparam,
    case,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB

from weightsearch.store.ledger import claim
from weightsearch.store.tables import statements
from weightsearch.store.tables.schema import attempts, points
from weightsearch.store.tables.states import PointState


def _ending(last_one_wakes: bool = False, **values: Any) -> Any:
    """Closes an attempt and its point together, and wakes whoever waits for what that changes."""
    # None is named as a column: SQLAlchemy would then set that column in every UPDATE below.
    point: Any = bindparam("of_point")
    attempt: Any = bindparam("of_attempt")
    study: Any = bindparam("of_study")
    held = and_(
        points.c.id == point,
        points.c.attempt == attempt,
        points.c.worker == bindparam("by_worker"),
        points.c.state == PointState.LEASED,
    )
    ended = update(points).where(held).values(**values).returning(points.c.id).cte("ended")
    closed = (
        update(attempts)
        .where(attempts.c.point_id == ended.c.id, attempts.c.attempt == attempt)
        .values(
            outcome=bindparam("the_outcome"),
            reason=bindparam("why"),
            **statements.ended_now(bindparam("its_share", type_=Double)),
        )
        .returning(attempts.c.point_id)
        .cte("closed")
    )
    wakes: ColumnElement[bool] = literal(True)
    if last_one_wakes:  # others wait for the end
        others = claim.open_points(study).where(points.c.id != point).limit(1)
        wakes = others.scalar_subquery().is_(None)
    woken = case((wakes, func.pg_notify(bindparam("channel"), "").cast(Text)))
    return select(ended.c.id, woken).add_cte(closed)


_WHY: Any = bindparam("why", type_=Text)
_HOPELESS = points.c.spent + 1 >= bindparam("at_most")
FINISH = _ending(
    last_one_wakes=True,
    state=PointState.DONE,
    result=bindparam("its_result", type_=JSONB),
    lease_until=None,
    reason=None,
)
FAIL = _ending(state=PointState.FAILED, reason=_WHY)
GIVE_BACK = _ending(state=bindparam("new_state", type_=Text), worker=None, lease_until=None)
RETRY = _ending(
    state=case((_HOPELESS, PointState.FAILED), else_=PointState.PAUSED),
    reason=case((_HOPELESS, bindparam("tried", type_=Text)), else_=None),
    worker=None,
    lease_until=None,
    spent=points.c.spent + 1,
    shrink=points.c.shrink + bindparam("more_shrink"),
)
