"""The claim, in one statement (claim.sql); and what a budget allows to be claimed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from sqlalchemy import (
    BigInteger,
    Boolean,
    Connection,
    Double,
    Engine,
    Row,
    Select,
    Text,
    and_,
    bindparam,
    case,
    func,
    select,
    text,
)

from weightsearch.store.tables.schema import attempts, points, studies
from weightsearch.store.tables.statements import at_once
from weightsearch.store.tables.states import ENDED, FINISHED

ROW = ("id", "number", "rung", "seed", "attempt", "weights", "params", "shrink")
"""Of a claimed point, as claim.sql gives it."""

Allowed = Literal["all", "started", "none"]
"""Which of the search's points may be claimed: all, those that were begun before, or none."""


def open_points(study_id: Any) -> Select[Any]:
    """The points of a study that are still to be done, by whomever, from the plan's end.

    From its end, because the index of open points (ws_point_open) keeps the places of points that
    are done until the next vacuum, and those lie at the plan's beginning: 386 pages at 50,000 done.
    To ask whether there is any, take the first: PostgreSQL would drop the order from an EXISTS.
    The states are literals: of parameters it could not know that they are the index's.
    """
    states: Any = bindparam("ended_states", ENDED, expanding=True, literal_execute=True)
    return (
        select(points.c.id)
        .where(points.c.study_id == study_id, points.c.state.not_in(states))
        .order_by(points.c.rung.desc(), points.c.number.desc())
    )


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


def _statement() -> str:
    """claim.sql without its comments, which would be sent at each claim."""
    lines = resources.files(__package__).joinpath("claim.sql").read_text("utf-8").splitlines()
    return "\n".join(line for full in lines if (line := full.partition("--")[0].rstrip()))


CLAIM = (
    text(_statement())
    .bindparams(
        *(bindparam(name, type_=BigInteger) for name in ("of_study", "at_most")),
        *(bindparam(name, type_=Text) for name in ("by_worker", "on_device", "allowed")),
        bindparam("lease_s", type_=Double),
        bindparam("budgeted", type_=Boolean),
    )
    .columns(*(points.c[name] for name in ROW))
)


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
