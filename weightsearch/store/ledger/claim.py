"""The claim, in one statement (claim.sql), and that of points to be trained beside it
(claim_beside.sql); and what a budget allows to be claimed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any, Literal

from sqlalchemy import (
    ARRAY,
    BigInteger,
    Boolean,
    ColumnElement,
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
from weightsearch.store.tables.statements import at_once, device_time
from weightsearch.store.tables.states import ENDED, FINISHED, Rung

ROW = (
    *("id", "number", "place", "rung", "seed", "repeat", "fold", "stage"),
    *("attempt", "weights", "params", "shrink"),
)
"""Of a claimed point, as both statements give it."""

MOST = 1 << 30
"""As good as no limit."""

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
        if row is not None or not connection.execute(_limits(study_id)).first():
            return row
    with engine.begin() as connection:
        limit = allowance(connection, study_id, alone=True)
        values |= {"allowed": limit.allowed, "budgeted": True}
        return connection.execute(CLAIM, values).one_or_none()


def beside(
    engine: Engine,
    study_id: int,
    point_id: int,
    rung: int,
    attempt: int,
    worker: str,
    device: str,
    lease_s: float,
    most: int,
    apart: Sequence[str],
) -> Sequence[Row[Any]]:
    """Claims points that may be trained beside one that the worker has; their rows. See
    `ledger.claim_beside`."""
    values = {
        "of_study": study_id,
        "of_point": point_id,
        "of_attempt": attempt,
        "by_worker": worker,
        "on_device": device,
        "lease_s": lease_s,
        "most": most,
        "apart": list(apart),
        "allowed": "all",
        "room": MOST,
    }
    with engine.begin() as connection:
        if rung == Rung.SEARCH:  # all of them are of the same rung, and full runs have no budget
            limit = allowance(connection, study_id, alone=True)
            values |= {"allowed": limit.allowed, "room": limit.room}
        return connection.execute(BESIDE, values).all()


def _statement(file: str) -> str:
    """The file without its comments, which would be sent at each claim, and what it answers."""
    lines = resources.files(__package__).joinpath(file).read_text("utf-8").splitlines()
    bare = [line for full in lines if (line := full.partition("--")[0].rstrip())]
    columns = ", ".join(ROW)
    return "\n".join(
        [
            *bare,
            f"SELECT {columns} FROM claimed UNION ALL",
            f"SELECT {columns} FROM ws_points JOIN held USING (id) ORDER BY number",
        ]
    )


CLAIM = (
    text(_statement("claim.sql"))
    .bindparams(
        *(bindparam(name, type_=BigInteger) for name in ("of_study", "at_most")),
        *(bindparam(name, type_=Text) for name in ("by_worker", "on_device", "allowed")),
        bindparam("lease_s", type_=Double),
        bindparam("budgeted", type_=Boolean),
    )
    .columns(*(points.c[name] for name in ROW))
)
BESIDE = (
    text(_statement("claim_beside.sql"))
    .bindparams(
        *(bindparam(n, type_=BigInteger) for n in ("of_study", "of_point", "of_attempt")),
        *(bindparam(name, type_=BigInteger) for name in ("most", "room")),
        *(bindparam(name, type_=Text) for name in ("by_worker", "on_device", "allowed")),
        bindparam("lease_s", type_=Double),
        bindparam("apart", type_=ARRAY(Text)),
    )
    .columns(*(points.c[name] for name in ROW))
)


@dataclass(frozen=True)
class Allowance:
    """What a study's budget leaves of its search; full runs are never limited."""

    allowed: Allowed = "all"
    room: int = MOST
    """How many more points fit, each charged at what one has cost on average."""


def allowance(connection: Connection, study_id: int, alone: bool = False) -> Allowance:
    """What the study's budget allows to be claimed, and how much. With `alone`, the study is
    locked until the transaction ends: what each worker takes must count for the next."""
    limits = _limits(study_id)
    study = connection.execute(limits.with_for_update() if alone else limits).first()
    if study is None:
        return Allowance()
    spent, room = spending(connection, study_id), float(MOST)
    budget = study.budget or {}
    number, device_s = budget.get("points"), budget.get("device_seconds")
    used_up = False
    if study.deadline is not None:
        left_s = (study.deadline - study.now).total_seconds()
        used_up |= left_s <= spent.mean_s
        if spent.mean_s > 0:  # one after the other: lanes share the worker's time
            room = min(room, left_s / spent.mean_s - 1)
    if device_s is not None:
        used_up |= spent.device_s + spent.mean_s > device_s
        if spent.mean_s > 0:
            room = min(room, (device_s - spent.device_s) / spent.mean_s)
    if used_up:
        return Allowance("none", 0)
    if number is not None and spent.points >= number:
        return Allowance("started", max(0, int(room)))  # which were counted when they began
    if number is not None:
        room = min(room, number - spent.points)
    return Allowance("all", max(0, int(room)))


def is_limited() -> ColumnElement[bool]:
    """Of a study: whether it has a budget of any kind."""
    return studies.c.budget.is_not(None) | studies.c.deadline.is_not(None)


def _limits(study_id: int) -> Select[Any]:
    """The budget, the deadline and the time of a study that has one of them; else no row."""
    return select(studies.c.budget, studies.c.deadline, func.now().label("now")).where(
        studies.c.id == study_id, is_limited()
    )


@dataclass(frozen=True)
class Spending:
    points: int
    """Begun, of the search."""
    device_s: float
    """Of all attempts at them; those that run are charged at the mean at least."""
    mean_s: float
    """Of a finished attempt; 0 before the first."""


def spending(connection: Connection, study_id: int) -> Spending:
    """What the search has cost so far, in one statement."""
    runs = attempts.c.outcome.is_(None)
    mine = and_(points.c.study_id == study_id, points.c.rung == Rung.SEARCH)
    joined = points.outerjoin(attempts, attempts.c.point_id == points.c.id)
    finished = attempts.c.outcome.in_(FINISHED)
    mean = (
        select(func.coalesce(func.avg(attempts.c.seconds), 0.0).label("s"))
        .select_from(joined)
        .where(mine, finished)
        .cte("mean")  # found once, and used twice
    )
    mean_s = select(mean.c.s).scalar_subquery()
    so_far = device_time()
    charged = case((runs, func.greatest(so_far, mean_s)), else_=so_far)
    of_search = (
        select(points.c.id, charged.label("charged"))
        .select_from(joined)
        .where(mine, points.c.attempt > 0)
        .subquery()
    )
    row = connection.execute(
        select(func.count(of_search.c.id.distinct()), func.sum(of_search.c.charged), mean_s)
    ).one()
    return Spending(points=row[0], device_s=float(row[1] or 0.0), mean_s=float(row[2]))
