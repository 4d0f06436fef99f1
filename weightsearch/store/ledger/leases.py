"""What must be done and who does it: plan, claim, renew, report, finish, fail, give back.

Claiming a waiting point and taking over one whose lease ran out are the same statement, so there
is no reaper that could crash, and a recovered point keeps its place in the order. All times are the
database's. Every write carries (point, attempt, worker): a worker that was given up for dead and
comes back changes no row, and learns so from the answer. Every statement may be sent again when its
answer was lost on the way: it then does nothing twice. Reasons are other people's texts, and
are kept as `presentable` has them: without a secret.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    Engine,
    Row,
    and_,
    case,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError

from weightsearch.runtime.safe_text import presentable
from weightsearch.store.ledger import attempt_end
from weightsearch.store.ledger import claim as claiming
from weightsearch.store.ledger.results import Result
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables import statements
from weightsearch.store.tables.schema import attempts, channel, points, studies
from weightsearch.store.tables.states import FINISHED, Outcome, PointState, Rung
from weightsearch.study import search_space
from weightsearch.study.samplers.contract import Seen
from weightsearch.study.search_space import Point


@dataclass(frozen=True)
class Lease:
    """One worker's claim on one point, for one attempt."""

    point_id: int
    study_id: int
    number: int
    rung: int
    seed: int
    attempt: int
    worker: str
    point: Point | None
    """None where an adaptive sampler has not chosen yet."""
    shrink: int = 0
    """How often the point ran out of memory."""
    share: float = 1.0
    """Of its worker's time meanwhile, which points that are trained together divide."""
    place: int = 0
    """Of its configuration in the plan."""
    repeat: int = 0
    fold: int | None = None
    """Of the validation frames, where they are divided."""
    stage: int = 0
    """How far it is trained (`StudySpec.stages`)."""


def claim(
    engine: Engine, study_id: int, worker: str, device: str, lease_s: float, attempts: int = 3
) -> Lease | None:
    """The first point in order that is free, or whose lease ran out; None where there is none, or
    where the study is paused or stopped or has used up its budget.

    The search's points come before the promotion's. A point whose worker was lost `attempts` times
    is failed instead, rather than taking down every worker. A worker that already holds a point
    is given the same again: the answer to its first claim was lost on the way.
    """
    row = claiming.first(engine, study_id, worker, device, lease_s, attempts)
    return None if row is None else _lease(row, study_id, worker)


def claim_beside(
    engine: Engine, lease: Lease, device: str, lease_s: float, most: int, apart: Sequence[str]
) -> list[Lease]:
    """Up to `most` points that may be trained beside the one claimed, in the plan's order: free,
    of the same rung, stage, repeat, fold, seed and parameters but for those named `apart`, chosen
    already, and neither lost nor failed before. There are none beside a point that was lost or
    failed before.

    Each is an attempt of its own. A worker that holds such points is given them again.
    """
    rows = claiming.beside(
        engine,
        lease.study_id,
        lease.point_id,
        lease.rung,
        lease.attempt,
        lease.worker,
        device,
        lease_s,
        most,
        apart,
    )
    return [_lease(row, lease.study_id, lease.worker) for row in rows]


def _lease(row: Row[Any], study_id: int, worker: str) -> Lease:
    point = Point(search_space.decode(row.weights), row.params) if row.weights is not None else None
    return Lease(
        point_id=row.id,
        study_id=study_id,
        number=row.number,
        rung=row.rung,
        seed=row.seed,
        attempt=row.attempt,
        worker=worker,
        point=point,
        shrink=row.shrink,
        place=row.place,
        repeat=row.repeat,
        fold=row.fold,
        stage=row.stage,
    )


def fill(engine: Engine, lease: Lease, point: Point) -> bool:
    """Puts an adaptive sampler's choice in its place.

    False where another place has the same choice, or the lease is lost.
    """
    try:
        with engine.begin() as connection:
            filled = connection.execute(
                update(points)
                .where(_fence(lease))
                .values(
                    key=point.key(),
                    weights=search_space.encode(point.weights),
                    params=dict(point.params),
                )
            )
            # Its repeats may be claimed from now on.
            connection.execute(select(func.pg_notify(channel(lease.study_id), "")))
    except IntegrityError:
        return False
    return filled.rowcount == 1


def chosen(engine: Engine, lease: Lease) -> Point | None:
    """What the first run at this place of the plan was given; None where it never was."""
    with engine.connect() as connection:
        row = connection.execute(
            select(points.c.weights, points.c.params).where(
                points.c.study_id == lease.study_id,
                points.c.rung == lease.rung,
                points.c.place == lease.place,
                points.c.repeat == 0,
                points.c.weights.is_not(None),
            )
        ).first()
    return None if row is None else Point(search_space.decode(row.weights), row.params)


def seen(engine: Engine, study: Study) -> list[Seen]:
    """What an adaptive sampler learns from: finished points, and those that run. Of repeats it is
    the first, which every configuration has."""
    metric = study.spec.objective.metric
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.weights, points.c.params, points.c.result, points.c.seed)
            .where(
                points.c.study_id == study.id,
                points.c.rung == Rung.SEARCH,
                points.c.repeat == 0,
                points.c.stage == 0,
                points.c.weights.is_not(None),
            )
            .order_by(points.c.number)
        ).all()
    return [
        Seen(
            Point(search_space.decode(row.weights), row.params),
            Result.from_json(row.result).metrics.get(metric) if row.result else None,
            row.seed,
        )
        for row in rows
    ]


def _fence(lease: Lease) -> Any:
    return and_(
        points.c.id == lease.point_id,
        points.c.attempt == lease.attempt,
        points.c.worker == lease.worker,
        points.c.state == PointState.LEASED,
    )


def _state_of(lease: Lease) -> Any:
    return select(studies.c.state).where(studies.c.id == lease.study_id).scalar_subquery()


def renew(engine: Engine, lease: Lease, lease_s: float) -> str | None:
    """Keeps the claim for another `lease_s` seconds; the study's state, or None where the claim is
    lost to another worker."""
    with statements.at_once(engine) as connection:
        renewed = connection.execute(
            update(points)
            .where(_fence(lease))
            .values(lease_until=statements.from_now(lease_s))
            .returning(_state_of(lease))
        )
        return renewed.scalar()


def report(engine: Engine, lease: Lease, number: int, metrics: Mapping[str, float]) -> str | None:
    """Records the metrics of epoch `number` of an attempt; the study's state, or None where the
    claim is lost."""
    epoch = {name: value for name, value in metrics.items() if math.isfinite(value)}
    known = func.jsonb_array_length(attempts.c.epochs) >= number
    with statements.at_once(engine) as connection:
        added = connection.execute(
            update(attempts)
            .where(
                attempts.c.point_id == lease.point_id,
                attempts.c.attempt == lease.attempt,
                attempts.c.worker == lease.worker,
                attempts.c.outcome.is_(None),
            )
            .values(
                epochs=case(
                    (known, attempts.c.epochs),
                    else_=attempts.c.epochs.concat(literal([epoch], JSONB)),
                )
            )
            .returning(_state_of(lease))
        )
        return added.scalar()


def finish(
    engine: Engine, lease: Lease, result: Mapping[str, Any], outcome: str = Outcome.DONE
) -> bool:
    """Commits a result; False where the point is no longer this attempt's.

    `outcome` is `done` or `diverged` (a verdict too: done, but never ranked). Committing the same
    attempt's result again changes nothing and is True again.
    """
    kept = dict(result)
    if "reason" in kept:
        kept["reason"] = presentable(kept["reason"])
    if _end(engine, lease, attempt_end.FINISH, outcome, kept.get("reason"), its_result=kept):
        return True
    with engine.connect() as connection:
        committed = connection.execute(
            select(attempts.c.outcome).where(
                attempts.c.point_id == lease.point_id, attempts.c.attempt == lease.attempt
            )
        ).scalar()
    return committed in FINISHED


def fail(engine: Engine, lease: Lease, reason: str) -> bool:
    """Gives the point up for good, with the reason."""
    return _end(engine, lease, attempt_end.FAIL, Outcome.FAILED, presentable(reason))


def give_back(engine: Engine, lease: Lease, reason: str, paused: bool) -> bool:
    """Lets another worker have the point, at its own place, without counting a lost attempt."""
    state = PointState.PAUSED if paused else PointState.WAITING
    return _end(
        engine,
        lease,
        attempt_end.GIVE_BACK,
        Outcome.GIVEN_BACK,
        presentable(reason),
        new_state=state,
    )


def retry(
    engine: Engine, lease: Lease, reason: str, attempts: int, out_of_memory: bool = False
) -> bool:
    """Lets the point be tried again, at its own place; failed with the reason instead once it was
    tried `attempts` times."""
    reason = presentable(reason)
    tried = f"{reason} (tried {attempts} times)"
    facts = {"at_most": attempts, "tried": tried, "more_shrink": int(out_of_memory)}
    return _end(engine, lease, attempt_end.RETRY, Outcome.FAILED, reason, **facts)


def _end(
    engine: Engine, lease: Lease, statement: Any, outcome: str, reason: str | None, **facts: Any
) -> bool:
    """Runs one of the endings; False where the claim is lost."""
    given = {
        "of_point": lease.point_id,
        "of_attempt": lease.attempt,
        "by_worker": lease.worker,
        "of_study": lease.study_id,
        "the_outcome": outcome,
        "its_share": lease.share,
        "why": reason,
        "channel": channel(lease.study_id),
    }
    with statements.at_once(engine) as connection:
        return connection.execute(statement, given | facts).first() is not None
