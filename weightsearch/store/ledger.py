"""What must be done and who does it: plan, claim, renew, report, finish, fail, give back.

Claiming a waiting point and taking over one whose lease ran out are the same statement, so there
is no reaper that could crash, and a recovered point keeps its place in the order. All times are the
database's. Every write carries (point, attempt, worker): a worker that was given up for dead and
comes back changes no row, and learns so from the returned False.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, and_, case, func, insert, literal, or_, select, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from weightsearch import config, space
from weightsearch.config import StudySpec
from weightsearch.errors import StudyError, did_you_mean
from weightsearch.plan import Plan, Seen
from weightsearch.space import Point
from weightsearch.store.schema import attempts, points, studies, workers

SEARCH, PROMOTION = 0, 1  # rungs

ATTEMPTS = 3
"""A point whose worker was lost this often is failed, rather than taking down every worker."""


@dataclass(frozen=True)
class Study:
    id: int
    name: str
    spec: StudySpec
    equivalent_left_out: int
    data_digest: str | None
    promoted: Mapping[str, Any] | None


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


def create(engine: Engine, name: str, spec: StudySpec, plan: Plan) -> Study:
    """Plans a study, all of its points in one transaction; or finds it, planned the same before.

    Two processes may ask at once. Raises StudyError where another study has the name.
    """
    with engine.begin() as connection:
        made = connection.execute(
            upsert(studies)
            .values(
                name=name,
                spec=spec.resolved(),
                digest=spec.digest(),
                equivalent_left_out=plan.equivalent_left_out,
            )
            .on_conflict_do_nothing(index_elements=["name"])
            .returning(studies.c.id)
        ).scalar()
        if made is not None:
            rows = [
                _row(made, number, point, spec.train.seed, SEARCH)
                for number, point in enumerate(plan.points)
            ]
            connection.execute(insert(points), rows)
        else:
            found = connection.execute(select(studies.c.digest).filter_by(name=name)).scalar_one()
            if found != spec.digest():
                raise StudyError(
                    f"study '{name}' was planned from other settings (digest {found}, now"
                    f" {spec.digest()}); restore them, or choose another name with --name."
                )
    return find(engine, name)


def _row(study: int, number: int, point: Point | None, seed: int, rung: int) -> dict[str, Any]:
    return {
        "study_id": study,
        "number": number,
        "key": point.key() if point else f"place {number}",
        "weights": space.encode(point.weights) if point else None,
        "params": dict(point.params) if point else None,
        "seed": seed,
        "rung": rung,
    }


def find(engine: Engine, name: str | None = None) -> Study:
    """The study of that name, or the newest; raises StudyError where there is none."""
    with engine.connect() as connection:
        wanted = select(studies).order_by(studies.c.id.desc()).limit(1)
        row = connection.execute(wanted.filter_by(name=name) if name else wanted).one_or_none()
        if row is None:
            known = connection.execute(select(studies.c.name)).scalars().all()
            if not known:
                raise StudyError("there is no study yet; start one with `weightsearch launch`.")
            raise StudyError(f"unknown study '{name}'; {did_you_mean(str(name), known)}")
    spec = config.parse(row.spec, f"study '{row.name}' in the database")
    return Study(row.id, row.name, spec, row.equivalent_left_out, row.data_digest, row.promoted)


def add_promotion(engine: Engine, study: Study, finalists: Sequence[Point]) -> None:
    """Plans the promotion's points beside the search's: each finalist with each fresh seed.

    Asked again, it adds nothing.
    """
    assert study.spec.promote is not None
    seeds = study.spec.promote.seeds
    pairs = [(point, seed) for point in finalists for seed in seeds]
    rows = [_row(study.id, k, point, seed, PROMOTION) for k, (point, seed) in enumerate(pairs)]
    with engine.begin() as connection:
        connection.execute(upsert(points).values(rows).on_conflict_do_nothing())


def record_data(engine: Engine, study: Study, digest: str) -> None:
    """States which data the study is about; raises StudyError where it was other data before."""
    with engine.begin() as connection:
        connection.execute(
            update(studies)
            .where(studies.c.id == study.id, studies.c.data_digest.is_(None))
            .values(data_digest=digest)
        )
        found = connection.execute(
            select(studies.c.data_digest).where(studies.c.id == study.id)
        ).scalar_one()
    if found != digest:
        raise StudyError(
            f"study '{study.name}' was begun on data with digest {found[:12]}, but --data has"
            f" {digest[:12]}; name the same data, or choose another name with --name."
        )


def claim(engine: Engine, study_id: int, worker: str, device: str, lease_s: float) -> Lease | None:
    """The first point in order that is free, or whose lease ran out; None where there is none.

    The search's points come before the promotion's.
    """
    expired = and_(points.c.state == "leased", points.c.lease_until < func.now())
    mine = points.c.study_id == study_id
    with engine.begin() as connection:
        given_up = connection.execute(
            update(points)
            .where(mine, expired, points.c.spent + 1 >= ATTEMPTS)
            .values(state="failed", reason=f"its worker was lost {ATTEMPTS} times")
            .returning(points.c.id)
        ).scalars()
        _mark_lost(connection, list(given_up))
        first = (
            select(points.c.id)
            .where(mine, or_(points.c.state.in_(("waiting", "paused")), expired))
            .order_by(points.c.rung, points.c.number)
            .limit(1)
            .with_for_update(skip_locked=True)
            .scalar_subquery()
        )
        row = connection.execute(
            update(points)
            .where(points.c.id == first)
            .values(
                state="leased",
                worker=worker,
                attempt=points.c.attempt + 1,
                spent=points.c.spent + case((points.c.state == "leased", 1), else_=0),
                lease_until=_from_now(lease_s),
            )
            .returning(points)
        ).one_or_none()
        if row is None:
            return None
        _mark_lost(connection, [row.id])
        connection.execute(
            insert(attempts).values(
                point_id=row.id, attempt=row.attempt, worker=worker, device=device
            )
        )
    point = Point(space.decode(row.weights), row.params) if row.weights is not None else None
    return Lease(row.id, row.study_id, row.number, row.rung, row.seed, row.attempt, worker, point)


def _from_now(seconds: float) -> Any:
    return func.now() + func.make_interval(0, 0, 0, 0, 0, 0, seconds)


def _mark_lost(connection: Connection, ids: list[int]) -> None:
    """Closes the open attempts at these points: their workers are taken for dead."""
    if ids:
        connection.execute(
            update(attempts)
            .where(attempts.c.point_id.in_(ids), attempts.c.outcome.is_(None))
            .values(outcome="lost", reason="its lease ran out", ended_at=func.now())
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
                    weights=space.encode(point.weights),
                    params=dict(point.params),
                )
            )
    except IntegrityError:
        return False
    return filled.rowcount == 1


def seen(engine: Engine, study: Study) -> list[Seen]:
    """What an adaptive sampler learns from: finished points, and those that run."""
    metric = study.spec.objective.metric
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.weights, points.c.params, points.c.result)
            .where(
                points.c.study_id == study.id,
                points.c.rung == SEARCH,
                points.c.weights.is_not(None),
            )
            .order_by(points.c.number)
        ).all()
    return [
        Seen(
            Point(space.decode(row.weights), row.params),
            row.result["metrics"].get(metric) if row.result else None,
        )
        for row in rows
    ]


def _fence(lease: Lease) -> Any:
    return and_(
        points.c.id == lease.point_id,
        points.c.attempt == lease.attempt,
        points.c.worker == lease.worker,
        points.c.state == "leased",
    )


def renew(engine: Engine, lease: Lease, lease_s: float) -> bool:
    """Keeps the claim for another `lease_s` seconds; False: it is lost to another worker."""
    with engine.begin() as connection:
        renewed = connection.execute(
            update(points).where(_fence(lease)).values(lease_until=_from_now(lease_s))
        )
    return renewed.rowcount == 1


def report(engine: Engine, lease: Lease, metrics: Mapping[str, float]) -> bool:
    """Records the metrics of one more epoch of an attempt; False: the claim is lost."""
    epoch = {name: value for name, value in metrics.items() if math.isfinite(value)}
    with engine.begin() as connection:
        added = connection.execute(
            update(attempts)
            .where(
                attempts.c.point_id == lease.point_id,
                attempts.c.attempt == lease.attempt,
                attempts.c.worker == lease.worker,
                attempts.c.outcome.is_(None),
            )
            .values(epochs=attempts.c.epochs.concat(literal([epoch], JSONB)))
        )
    return added.rowcount == 1


def finish(engine: Engine, lease: Lease, result: Mapping[str, Any], outcome: str = "done") -> bool:
    """Commits a result; False where the point is no longer this attempt's.

    `outcome` is `done` or `diverged` (a verdict too: done, but never ranked). Committing the same
    attempt's result again changes nothing and is True again.
    """
    values = {"state": "done", "result": dict(result), "lease_until": None, "reason": None}
    if _end(engine, lease, values, outcome, result.get("reason")):
        return True
    with engine.connect() as connection:
        committed = connection.execute(
            select(attempts.c.outcome).where(
                attempts.c.point_id == lease.point_id, attempts.c.attempt == lease.attempt
            )
        ).scalar()
    return committed in ("done", "diverged")


def fail(engine: Engine, lease: Lease, reason: str) -> bool:
    """Gives the point up for good, with the reason."""
    return _end(engine, lease, {"state": "failed", "reason": reason}, "failed", reason)


def give_back(engine: Engine, lease: Lease, reason: str, paused: bool) -> bool:
    """Lets another worker have the point, at its own place, without counting a lost attempt."""
    state = "paused" if paused else "waiting"
    values = {"state": state, "worker": None, "lease_until": None}
    return _end(engine, lease, values, "given back", reason)


def _end(
    engine: Engine, lease: Lease, values: Mapping[str, Any], outcome: str, reason: str | None
) -> bool:
    with engine.begin() as connection:
        ended = connection.execute(update(points).where(_fence(lease)).values(**values))
        if ended.rowcount != 1:
            return False
        elapsed = func.extract("epoch", func.now() - attempts.c.started_at)
        connection.execute(
            update(attempts)
            .where(attempts.c.point_id == lease.point_id, attempts.c.attempt == lease.attempt)
            .values(outcome=outcome, reason=reason, ended_at=func.now(), seconds=elapsed)
        )
    return True


def promote(engine: Engine, study: Study, verdict: Mapping[str, Any]) -> None:
    """Marks the promotion's verdict, with its lineage."""
    with engine.begin() as connection:
        connection.execute(
            update(studies).where(studies.c.id == study.id).values(promoted=dict(verdict))
        )


def sign_on(engine: Engine, study: Study, worker: str, host: str, pid: int, device: str) -> None:
    """Lists a worker, for those who ask who is there."""
    with engine.begin() as connection:
        connection.execute(
            insert(workers).values(id=worker, study_id=study.id, host=host, pid=pid, device=device)
        )


def unfinished(engine: Engine, study_id: int) -> bool:
    """Whether any point is still to be done, by whomever."""
    with engine.connect() as connection:
        return (
            connection.execute(
                select(points.c.id)
                .where(
                    points.c.study_id == study_id,
                    points.c.state.in_(("waiting", "paused", "leased")),
                )
                .limit(1)
            ).first()
            is not None
        )


def seen_alive(engine: Engine, worker: str) -> None:
    with engine.begin() as connection:
        connection.execute(update(workers).where(workers.c.id == worker).values(seen_at=func.now()))


def sign_off(engine: Engine, worker: str) -> None:
    with engine.begin() as connection:
        connection.execute(
            update(workers).where(workers.c.id == worker).values(stopped_at=func.now())
        )
