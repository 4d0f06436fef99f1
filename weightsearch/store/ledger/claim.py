"""The claim, in one statement; and what a budget allows to be claimed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import (
    Connection,
    Engine,
    Row,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    insert,
    or_,
    select,
    union_all,
    update,
)

from weightsearch.store.tables.schema import attempts, points, studies
from weightsearch.store.tables.statements import _seconds, at_once, ended_now, from_now
from weightsearch.store.tables.states import FINISHED, OPEN, Outcome, PointState, StudyState

Allowed = Literal["all", "started", "none"]
"""Which of the search's points may be claimed: all, those that were begun before, or none."""


def open_points(study_id: Any) -> Select[Any]:
    """The points of a study that are still to be done, by whomever."""
    return select(points.c.id).where(points.c.study_id == study_id, points.c.state.in_(OPEN))


def first(
    engine: Engine, study_id: int, worker: str, device: str, lease_s: float, attempts: int
) -> Row[Any] | None:
    """Claims; the point's row, or None. See `ledger.claim`."""
    values = {
        "of_study": study_id,
        "by_worker": worker,
        "on_device": device,
        "lease_s": lease_s,
        "at_most": attempts,
        "allowed": "all",
        "budgeted": False,
    }
    with at_once(engine) as connection:
        row = connection.execute(CLAIM, values).one_or_none()
        if (
            row is not None
            or not connection.execute(
                select(studies.c.id).where(studies.c.id == study_id, _budgeted())
            ).first()
        ):
            return row
    with engine.begin() as connection:
        # One at a time: what each one takes must count for the next.
        connection.execute(select(studies.c.id).filter_by(id=study_id).with_for_update())
        values |= {"allowed": allowed(connection, study_id), "budgeted": True}
        return connection.execute(CLAIM, values).one_or_none()


def _budgeted() -> Any:
    return studies.c.budget.is_not(None) | studies.c.deadline.is_not(None)


def _claim() -> Any:
    # None is named as a column: SQLAlchemy would then set that column in every UPDATE below.
    study: Any = bindparam("of_study")
    worker: Any = bindparam("by_worker")
    mine = points.c.study_id == study
    expired = and_(
        points.c.state == PointState.LEASED,
        points.c.lease_until < func.now(),
        # While the server was away nobody could renew: its return gives everybody one lease more.
        func.pg_postmaster_start_time() + _seconds(bindparam("lease_s")) < func.now(),
    )
    hopeless = points.c.spent + 1 >= bindparam("at_most")
    held = select(points.c.id).where(
        mine, points.c.state == PointState.LEASED, points.c.worker == worker
    )
    held_already = held.limit(1).cte("held")
    dying = (
        select(points.c.id)
        .where(mine, expired, hopeless, points.c.worker != worker)
        .with_for_update(skip_locked=True)
        .cte("dying")
    )
    given_up = (
        update(points)
        .where(points.c.id == dying.c.id)
        .values(
            state=PointState.FAILED,
            spent=points.c.spent + 1,
            reason=func.format("its worker was lost (tried %s times)", points.c.spent + 1),
        )
        .returning(points.c.id)
        .cte("given_up")
    )
    runs = exists().where(
        studies.c.id == study,
        studies.c.state == StudyState.RUNNING,
        or_(bindparam("budgeted"), ~_budgeted()),
    )
    within = or_(
        points.c.rung > 0,
        bindparam("allowed") == "all",
        and_(bindparam("allowed") == "started", points.c.attempt > 0),
    )
    free = or_(
        points.c.state.in_((PointState.WAITING, PointState.PAUSED)), and_(expired, ~hopeless)
    )
    chosen = (
        select(points.c.id)
        .where(mine, runs, ~exists(select(held_already.c.id)), within, free)
        .where(points.c.state.in_(OPEN))  # repeats `free` so that the partial index is seen to fit
        .order_by(points.c.rung, points.c.number)
        .limit(1)
        .with_for_update(skip_locked=True)
        .cte("chosen")
    )
    claimed = (
        update(points)
        .where(points.c.id == chosen.c.id)
        .values(
            state=PointState.LEASED,
            worker=worker,
            attempt=points.c.attempt + 1,
            spent=points.c.spent + case((points.c.state == PointState.LEASED, 1), else_=0),
            lease_until=from_now(bindparam("lease_s")),
        )
        .returning(*_columns(points.c))
        .cte("claimed")
    )
    lost = (
        update(attempts)
        .where(
            attempts.c.point_id.in_(union_all(select(given_up.c.id), select(claimed.c.id))),
            attempts.c.outcome.is_(None),
        )
        .values(outcome=Outcome.LOST, reason="its lease ran out", **ended_now())
        .returning(attempts.c.point_id)
        .cte("lost")
    )
    begun = (
        insert(attempts)
        .from_select(
            ["point_id", "attempt", "worker", "device"],
            select(claimed.c.id, claimed.c.attempt, worker, bindparam("on_device")),
        )
        .returning(attempts.c.point_id)
        .cte("begun")
    )
    again = select(*_columns(points.c)).where(points.c.id == held_already.c.id)
    return union_all(select(*_columns(claimed.c)), again).add_cte(lost, begun)


def _columns(of: Any) -> list[Any]:
    names = ("id", "number", "rung", "seed", "attempt", "weights", "params", "shrink")
    return [of[name] for name in names]


CLAIM = _claim()


def allowed(connection: Connection, study_id: int) -> Allowed:
    """What the study's budget leaves, a point being charged at what one has cost on average."""
    study = connection.execute(
        select(studies.c.budget, studies.c.deadline, func.now().label("now")).filter_by(id=study_id)
    ).one()
    budget = study.budget or {}
    spent = spending(connection, study_id)
    if study.deadline is not None:
        left_s = (study.deadline - study.now).total_seconds()
        if left_s <= spent.mean_s:
            return "none"
    device_s = budget.get("device_seconds")
    if device_s is not None and spent.device_s + spent.mean_s > device_s:
        return "none"
    number = budget.get("points")
    return "started" if number is not None and spent.points >= number else "all"


@dataclass(frozen=True)
class Spending:
    points: int
    """Begun, of the search."""
    device_s: float
    """Of all attempts at them; those that run are charged at the mean at least."""
    mean_s: float
    """Of a finished attempt; 0 before the first."""


def spending(connection: Connection, study_id: int) -> Spending:
    """What the search has cost so far."""
    elapsed = func.extract("epoch", func.now() - attempts.c.started_at)
    seconds = func.coalesce(attempts.c.seconds, elapsed)
    finished = attempts.c.outcome.in_(FINISHED)
    mine = and_(points.c.study_id == study_id, points.c.rung == 0)
    joined = points.outerjoin(attempts, attempts.c.point_id == points.c.id)
    mean = connection.execute(
        select(func.avg(attempts.c.seconds)).select_from(joined).where(mine, finished)
    ).scalar()
    mean_s = float(mean or 0.0)
    charged = case((attempts.c.outcome.is_(None), func.greatest(seconds, mean_s)), else_=seconds)
    row = connection.execute(
        select(func.count(points.c.id.distinct()), func.sum(charged))
        .select_from(joined)
        .where(mine, points.c.attempt > 0)
    ).one()
    return Spending(points=row[0], device_s=float(row[1] or 0.0), mean_s=mean_s)
