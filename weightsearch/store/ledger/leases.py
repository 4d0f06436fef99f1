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
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Engine,
    and_,
    case,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.exc import IntegrityError

from weightsearch.errors import StudyError, did_you_mean
from weightsearch.runtime.safe_text import presentable
from weightsearch.store.ledger import attempt_end
from weightsearch.store.ledger import claim as claiming
from weightsearch.store.tables.schema import attempts, channel, points, studies
from weightsearch.study import loading, search_space
from weightsearch.study.planning import Plan, Seen
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

SEARCH, PROMOTION = 0, 1  # rungs
BATCH = 1000  # points in one statement


@dataclass(frozen=True)
class Study:
    id: int
    name: str
    spec: StudySpec
    equivalent_left_out: int
    data_digest: str | None
    promoted: Mapping[str, Any] | None
    state: str = "running"
    state_reason: str | None = None
    budget: Mapping[str, float] | None = None
    deadline: datetime | None = None


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


def create(engine: Engine, name: str, spec: StudySpec, plan: Plan) -> Study:
    """Plans a study, all of its points in one transaction; or finds it, planned the same before.

    Two processes may ask at once. Raises StudyError where another study has the name.
    """
    seeds = plan.seeds or (spec.train.seed,) * len(plan.points)
    rows = [
        _row(0, number, point, seed, SEARCH)
        for number, (point, seed) in enumerate(zip(plan.points, seeds, strict=True))
    ]
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
            # A batch at a time: the server ends a transaction that is idle for as long as this side
            # may need for a hundred thousand rows.
            for first in range(0, len(rows), BATCH):
                batch = [row | {"study_id": made} for row in rows[first : first + BATCH]]
                connection.execute(insert(points), batch)
        else:
            found = connection.execute(select(studies.c.digest).filter_by(name=name)).scalar_one()
            if found != spec.digest():
                raise StudyError(
                    f"study '{name}' was planned from other settings (digest {found}, now"
                    f" {spec.digest()}); restore them, or choose another name with --name."
                )
            # What the digest leaves out may have changed: the goal's wording, how often to try.
            connection.execute(update(studies).filter_by(name=name).values(spec=spec.resolved()))
    return find(engine, name)


def _row(study: int, number: int, point: Point | None, seed: int, rung: int) -> dict[str, Any]:
    return {
        "study_id": study,
        "number": number,
        "key": point.key() if point else f"place {number}",
        "weights": search_space.encode(point.weights) if point else None,
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
    return Study(
        id=row.id,
        name=row.name,
        spec=loading.parse(row.spec, f"study '{row.name}' in the database"),
        equivalent_left_out=row.equivalent_left_out,
        data_digest=row.data_digest,
        promoted=row.promoted,
        state=row.state,
        state_reason=row.state_reason,
        budget=row.budget,
        deadline=row.deadline,
    )


def add_promotion(engine: Engine, study: Study, finalists: Sequence[Point]) -> None:
    """Plans the promotion's points beside the search's: each finalist with each fresh seed.

    Asked again, it adds nothing: of two who ask at once, the first one's finalists are taken.
    """
    assert study.spec.promote is not None
    seeds = study.spec.promote.seeds
    pairs = [(point, seed) for point in finalists for seed in seeds]
    rows = [_row(study.id, k, point, seed, PROMOTION) for k, (point, seed) in enumerate(pairs)]
    with engine.begin() as connection:
        # One at a time: half of one's finalists and half of another's would be nobody's choice.
        connection.execute(select(studies.c.id).filter_by(id=study.id).with_for_update())
        planned = select(points.c.id).filter_by(study_id=study.id, rung=PROMOTION).limit(1)
        if connection.execute(planned).first() is None:
            connection.execute(insert(points), rows)
            connection.execute(select(func.pg_notify(channel(study.id), "")))


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
    if row is None:
        return None
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
            Point(search_space.decode(row.weights), row.params),
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


def _state_of(lease: Lease) -> Any:
    return select(studies.c.state).where(studies.c.id == lease.study_id).scalar_subquery()


def renew(engine: Engine, lease: Lease, lease_s: float) -> str | None:
    """Keeps the claim for another `lease_s` seconds; the study's state, or None where the claim is
    lost to another worker."""
    with claiming.at_once(engine) as connection:
        renewed = connection.execute(
            update(points)
            .where(_fence(lease))
            .values(lease_until=claiming.from_now(lease_s))
            .returning(_state_of(lease))
        )
        return renewed.scalar()


def report(engine: Engine, lease: Lease, number: int, metrics: Mapping[str, float]) -> str | None:
    """Records the metrics of epoch `number` of an attempt; the study's state, or None where the
    claim is lost."""
    epoch = {name: value for name, value in metrics.items() if math.isfinite(value)}
    known = func.jsonb_array_length(attempts.c.epochs) >= number
    with claiming.at_once(engine) as connection:
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


def finish(engine: Engine, lease: Lease, result: Mapping[str, Any], outcome: str = "done") -> bool:
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
    return committed in ("done", "diverged")


def fail(engine: Engine, lease: Lease, reason: str) -> bool:
    """Gives the point up for good, with the reason."""
    return _end(engine, lease, attempt_end.FAIL, "failed", presentable(reason))


def give_back(engine: Engine, lease: Lease, reason: str, paused: bool) -> bool:
    """Lets another worker have the point, at its own place, without counting a lost attempt."""
    state = "paused" if paused else "waiting"
    return _end(
        engine, lease, attempt_end.GIVE_BACK, "given back", presentable(reason), new_state=state
    )


def retry(
    engine: Engine, lease: Lease, reason: str, attempts: int, out_of_memory: bool = False
) -> bool:
    """Lets the point be tried again, at its own place; failed with the reason instead once it was
    tried `attempts` times."""
    reason = presentable(reason)
    tried = f"{reason} (tried {attempts} times)"
    facts = {"at_most": attempts, "tried": tried, "more_shrink": int(out_of_memory)}
    return _end(engine, lease, attempt_end.RETRY, "failed", reason, **facts)


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
        "why": reason,
        "channel": channel(lease.study_id),
    }
    with claiming.at_once(engine) as connection:
        return connection.execute(statement, given | facts).first() is not None


def promote(engine: Engine, study: Study, verdict: Mapping[str, Any]) -> None:
    """Marks the promotion's verdict, with its lineage."""
    with engine.begin() as connection:
        connection.execute(
            update(studies).where(studies.c.id == study.id).values(promoted=dict(verdict))
        )
