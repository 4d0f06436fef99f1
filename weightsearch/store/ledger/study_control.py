"""What is done to a study while it runs: paused, stopped, limited, tried again; and its workers."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Engine, and_, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from weightsearch.store.ledger import claim, queries
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables import statements
from weightsearch.store.tables.schema import attempts, channel, points, studies, workers
from weightsearch.store.tables.states import Outcome, PointState, Rung, StudyState
from weightsearch.study.budget import Budget


def set_state(engine: Engine, study: Study, state: str, reason: str | None = None) -> None:
    """Lets a study run, pauses it (workers wait), or stops it (workers leave)."""
    with engine.begin() as connection:
        connection.execute(
            update(studies).where(studies.c.id == study.id).values(state=state, state_reason=reason)
        )
        connection.execute(select(func.pg_notify(channel(study.id), "")))


def set_budget(engine: Engine, study: Study, budget: Budget | None) -> None:
    """Limits what the search may cost from now on; the wall-clock starts now."""
    plain = budget.plain() if budget is not None else {}
    seconds = plain.pop("seconds", None)
    deadline = None if seconds is None else statements.from_now(seconds)
    with engine.begin() as connection:
        connection.execute(
            update(studies)
            .where(studies.c.id == study.id)
            .values(budget=plain or None, deadline=deadline)
        )
        connection.execute(select(func.pg_notify(channel(study.id), "")))


def retry_failed(engine: Engine, study: Study) -> int:
    """Lets every failed point be tried again, with all its attempts; how many there are."""
    with engine.begin() as connection:
        again = connection.execute(
            update(points)
            .where(
                points.c.study_id == study.id,
                points.c.state == PointState.FAILED,
                points.c.rung <= Rung.PROMOTION,
            )
            .values(state=PointState.WAITING, spent=0, reason=None, worker=None)
        )
        connection.execute(select(func.pg_notify(channel(study.id), "")))
    return again.rowcount


@dataclass(frozen=True)
class Standing:
    """What a worker without a point has to know."""

    state: str
    left: bool
    """Whether there is, or may yet be, something to claim."""
    expires_s: float | None
    """Until the next lease runs out; None where nothing is leased."""
    looks: int = 0
    """How many were taken."""


def standing(engine: Engine, study_id: int) -> Standing:
    """Whether to wait for a point, and for how long at most."""
    leased = and_(points.c.study_id == study_id, points.c.state == PointState.LEASED)
    remaining = func.extract("epoch", func.min(points.c.lease_until) - func.now())
    left = claim.open_points(study_id)
    with statements.at_once(engine) as connection:
        study = connection.execute(
            select(
                studies.c.state,
                claim.is_limited().label("budgeted"),
                left.limit(1).scalar_subquery().is_not(None).label("left"),
                select(remaining).where(leased).scalar_subquery().label("expires"),
                func.jsonb_array_length(studies.c.looks).label("looks"),
            ).filter_by(id=study_id)
        ).one_or_none()
        if study is None:  # it was deleted under us
            return Standing(StudyState.STOPPED, False, None)
        found = study.left
        if study.budgeted:
            within = {
                "all": points.c.rung >= 0,
                "started": or_(points.c.rung > 0, points.c.attempt > 0),
                "none": or_(points.c.rung > 0, points.c.state == PointState.LEASED),
            }
            left = left.where(within[claim.allowance(connection, study_id).allowed])
            found = connection.execute(left.limit(1)).first() is not None
    expires = None if study.expires is None else max(0.0, float(study.expires))
    return Standing(study.state, found, expires, study.looks)


def sign_on(engine: Engine, study: Study, worker: str, host: str, pid: int, device: str) -> None:
    """Lists a worker, for those who ask who is there."""
    with statements.at_once(engine) as connection:
        connection.execute(
            upsert(workers)
            .values(id=worker, study_id=study.id, host=host, pid=pid, device=device)
            .on_conflict_do_nothing()
        )


def seen_alive(engine: Engine, study: Study, worker: str) -> bool:
    """Notes that a worker lives; whether the Optuna study is behind."""
    behind = queries.unshown(study.id, attempts.c.point_id).exists()
    with statements.at_once(engine) as connection:
        noted = connection.execute(
            update(workers)
            .where(workers.c.id == worker)
            .values(seen_at=func.now())
            .returning(select(behind).scalar_subquery())
        )
        return bool(noted.scalar())


def sign_off(engine: Engine, worker: str, reason: str | None = None) -> int:
    """Takes a worker from the list; how many points it still held.

    What it held is free for others at once: only for whoever knows that the worker is gone, the
    worker itself or the launcher whose child it was.
    """
    with engine.begin() as connection:
        connection.execute(
            update(workers)
            .where(workers.c.id == worker, workers.c.stopped_at.is_(None))
            .values(stopped_at=func.now())
        )
        held = connection.execute(
            update(points)
            .where(points.c.worker == worker, points.c.state == PointState.LEASED)
            # Expired, not waiting: the claim that takes it over counts the lost attempt. And long
            # ago: claim.sql then takes it over even where the server has just been started.
            .values(lease_until=func.to_timestamp(0))
            .returning(points.c.id, points.c.study_id)
        ).all()
        if held and reason:
            connection.execute(
                update(attempts)
                .where(
                    attempts.c.point_id.in_([row.id for row in held]), attempts.c.outcome.is_(None)
                )
                # Points that it trained at once have had a share of its time each.
                .values(outcome=Outcome.LOST, reason=reason, **statements.ended_now(1 / len(held)))
            )
        for study_id in {row.study_id for row in held}:
            connection.execute(select(func.pg_notify(channel(study_id), "")))
    return len(held)
