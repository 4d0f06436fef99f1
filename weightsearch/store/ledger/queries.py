"""Questions to the ledger: how far, how good, and whether each point is done exactly once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Engine,
    Float,
    Select,
    Table,
    case,
    column,
    func,
    or_,
    select,
    table,
    true,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from weightsearch.store.ledger.results import Result
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points, studies, workers
from weightsearch.store.tables.statements import device_time
from weightsearch.store.tables.states import FINISHED, Outcome, PointState, Rung
from weightsearch.study import search_space
from weightsearch.study.objective_contract import NOT_COMPARABLE
from weightsearch.study.search_space import Direction, Point
from weightsearch.study.tables.share_spec import Form

OPTUNAS = table("studies", column("study_id"), column("study_name"))
"""Of Optuna's own tables; its models would take half a second to import."""
ITS_POINT = select(points).where(points.c.id == attempts.c.point_id).offset(0).lateral("its_point")
"""Of an attempt. The offset has PostgreSQL look each one up: few attempts are unshown, but it takes
them for many until its next statistics, and would read every point."""
SHOWN_S = 60
"""Within this time the Optuna study shows that an attempt has ended; workers look every 4 s."""
LISTED_S = 120  # a worker that was not seen for this long is no longer listed


@dataclass(frozen=True)
class Done:
    """A finished point with its result."""

    point_id: int
    number: int
    seed: int
    point: Point
    result: Result
    place: int = 0
    """Of its configuration in the plan."""
    repeat: int = 0
    fold: int | None = None
    """Of the validation frames, where they are divided."""

    def diverged(self) -> bool:
        return self.result.outcome == Outcome.DIVERGED


def counts(engine: Engine, study: Study, rung: int = Rung.SEARCH) -> dict[str, int]:
    """Points by state, and `total`; the states add up to it."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.state, func.count())
            .where(points.c.study_id == study.id, points.c.rung == rung)
            .group_by(points.c.state)
        ).all()
    found: dict[str, int] = {row[0]: row[1] for row in rows}
    return {"total": sum(found.values())} | {state: found.get(state, 0) for state in PointState}


def coverage(points: Mapping[str, int]) -> float:
    """The share that is done of the search's points by state, with their `total`, without those
    that looks have dropped; below 1 where a budget ran out."""
    wanted = points["total"] - points[PointState.DROPPED]
    return points[PointState.DONE] / wanted if wanted else 1.0


def troubles(engine: Engine, study: Study) -> list[dict[str, Any]]:
    """Every attempt that ended without a result, with the reason, in the order they ended in."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(
                points.c.number,
                points.c.rung,
                points.c.key,
                points.c.state,
                attempts.c.attempt,
                attempts.c.outcome,
                attempts.c.reason,
                attempts.c.worker,
                attempts.c.device,
                attempts.c.seconds,
            )
            .join(points, points.c.id == attempts.c.point_id)
            .where(
                points.c.study_id == study.id,
                attempts.c.outcome.not_in((Outcome.DONE, Outcome.DROPPED)),
            )
            .order_by(attempts.c.ended_at, points.c.number, attempts.c.attempt)
        ).all()
    return [dict(row._mapping) for row in rows]


def whole(study: Study, rung: int) -> ColumnElement[bool]:
    """Of points that are trained to the end, in the one form that the study has: runs of an earlier
    stage, and of another form, do not compare with them."""
    if rung == Rung.SEARCH and study.spec.share.kind != "none":
        shares = studies.c.looks.contains([{"pilot": {"shared": True}}])
        is_shared = select(shares).where(studies.c.id == study.id).scalar_subquery()
        form = case((is_shared, int(Form.SHARED)), else_=int(Form.SCRATCH))
        return (points.c.rung == rung) & (points.c.stage == form)
    last = len(study.spec.stages()) - 1 if rung == Rung.SEARCH else 0
    return (points.c.rung == rung) & (points.c.stage == last)


def done(engine: Engine, study: Study, rung: int = Rung.SEARCH) -> list[Done]:
    """Every finished point that was trained to the end, in the plan's order."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(points)
            .where(
                points.c.study_id == study.id,
                whole(study, rung),
                points.c.state == PointState.DONE,
            )
            .order_by(points.c.number)
        ).all()
    return [
        Done(
            point_id=row.id,
            number=row.number,
            seed=row.seed,
            point=Point(search_space.decode(row.weights, study.spec.loss.terms), row.params),
            result=Result.from_json(row.result),
            place=row.place,
            repeat=row.repeat,
            fold=row.fold,
        )
        for row in rows
    ]


def leader(engine: Engine, study: Study, rung: int = Rung.SEARCH) -> tuple[Point, float] | None:
    """The best point so far that may stand beside others, and its metric, found by the database:
    cheap enough to ask often. Where points are repeated it is the best mean of those that have been
    most often."""
    metric = points.c.result["metrics"][study.spec.objective.metric].as_float()
    found = select(points.c.weights, points.c.params, metric).where(
        points.c.study_id == study.id,
        whole(study, rung),
        points.c.state == PointState.DONE,
        metric.is_not(None),
        points.c.result["about"][NOT_COMPARABLE].as_string().is_(None),
    )
    order: list[Any] = [metric]
    first: Any = points.c.number
    if study.spec.answer.repeats > 1:
        mean = func.avg(metric)
        found = found.with_only_columns(points.c.weights, points.c.params, mean)
        found = found.group_by(points.c.weights, points.c.params)
        order, first = [func.count().desc(), mean], func.min(points.c.number)
    if study.spec.objective.direction == "maximize":
        order[-1] = order[-1].desc()
    with engine.connect() as connection:
        row = connection.execute(found.order_by(*order, first).limit(1)).one_or_none()
    if row is None:
        return None
    return Point(search_space.decode(row[0], study.spec.loss.terms), row[1]), row[2]


def places(engine: Engine, study: Study) -> list[tuple[Direction, str]]:
    """The weights and the state of each point of the search that has its weights already; those of
    a learned weighting are nowhere."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.weights, points.c.state).where(
                points.c.study_id == study.id,
                points.c.rung == Rung.SEARCH,
                points.c.weights.is_not(None),
                points.c.params[search_space.WEIGHTING].is_(None),
            )
        ).all()
    return [(search_space.decode(row.weights), row.state) for row in rows]


def images_per_second(engine: Engine, study: Study) -> float | None:
    """What the workers trained in their latest epochs, together; None where none has ended one, or
    the objective does not say. Points that one worker trains at once each report the same pass."""
    speed = attempts.c.epochs[-1]["images_per_second"].as_float()
    passes = (
        select(func.avg(speed).label("speed"))
        .join(points, points.c.id == attempts.c.point_id)
        .where(
            points.c.study_id == study.id,
            points.c.state == PointState.LEASED,
            attempts.c.outcome.is_(None),
        )
        .group_by(attempts.c.worker)
        .subquery()
    )
    with engine.connect() as connection:
        found = connection.execute(select(func.sum(passes.c.speed))).scalar()
    return None if found is None else float(found)


def planned(engine: Engine, study: Study, rung: int = Rung.SEARCH) -> list[Point]:
    """The configurations of a rung in order, each once whatever the number of its seeds."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.weights, points.c.params)
            .where(
                points.c.study_id == study.id,
                points.c.rung == rung,
                points.c.weights.is_not(None),
            )
            .order_by(points.c.number)
        ).all()
    terms = study.spec.loss.terms
    found = [Point(search_space.decode(weights, terms), params) for weights, params in rows]
    return list({point.key(): point for point in found}.values())


def failed(engine: Engine, study: Study) -> list[dict[str, Any]]:
    """Points that were given up, each with its reason."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.number, points.c.rung, points.c.key, points.c.reason)
            .where(points.c.study_id == study.id, points.c.rung <= Rung.PROMOTION)
            .where(points.c.state == PointState.FAILED)
            .order_by(points.c.rung, points.c.number)
        ).all()
    return [dict(row._mapping) for row in rows]


def present(engine: Engine, study: Study) -> list[dict[str, Any]]:
    """Workers that are at it, each once, with the `points` that it holds, and the first as `point`,
    which is None between two."""
    held = (
        select(
            points.c.worker,
            func.array_agg(
                aggregate_order_by(points.c.number, points.c.number), type_=ARRAY(BigInteger)
            ).label("points"),
        )
        .where(points.c.study_id == study.id, points.c.state == PointState.LEASED)
        .group_by(points.c.worker)
        .subquery()
    )
    with engine.connect() as connection:
        rows = connection.execute(
            select(
                workers.c.id,
                workers.c.host,
                workers.c.pid,
                workers.c.device,
                held.c.points[1].label("point"),
                held.c.points,
                func.extract("epoch", func.now() - workers.c.seen_at).cast(Float).label("seen_s"),
            )
            .outerjoin(held, held.c.worker == workers.c.id)
            .where(
                workers.c.study_id == study.id,
                workers.c.stopped_at.is_(None),
                workers.c.seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, LISTED_S),
            )
            .order_by(workers.c.started_at)
        ).all()
    return [dict(row._mapping) | {"points": row.points or []} for row in rows]


def point_seconds(engine: Engine, study: Study, rung: int = Rung.SEARCH) -> float | None:
    """How long a finished point took on average; None before the first."""
    with engine.connect() as connection:
        found = connection.execute(
            select(func.avg(attempts.c.seconds))
            .join(points, points.c.id == attempts.c.point_id)
            .where(
                points.c.study_id == study.id,
                points.c.rung == rung,
                attempts.c.outcome.in_(FINISHED),
            )
        ).scalar()
    return None if found is None else float(found)


def device_seconds(engine: Engine, study: Study) -> float:
    """What all attempts took so far of their workers' time: the promotion's are among them, lost
    ones, and those that run."""
    each = (
        select(device_time().label("s"))
        .join(points, points.c.id == attempts.c.point_id)
        .where(points.c.study_id == study.id, attempts.c.outcome.is_distinct_from(Outcome.DROPPED))
        .subquery()
    )
    with engine.connect() as connection:
        return float(connection.execute(select(func.sum(each.c.s))).scalar() or 0.0)


def trial(engine: Engine, study: Study, promoted: PromotionVerdict) -> int | None:
    """The Optuna trial of the promoted run; None where it is not shown there yet."""
    with engine.connect() as connection:
        found = connection.execute(
            select(attempts.c.trial_id, points.c.weights, points.c.params)
            .join(points, points.c.id == attempts.c.point_id)
            .where(
                points.c.study_id == study.id,
                points.c.rung == Rung.PROMOTION,
                points.c.seed == promoted.seed,
                attempts.c.outcome == Outcome.DONE,
            )
        ).all()
    return next(
        (r[0] for r in found if Point(search_space.decode(r[1]), r[2]).id() == promoted.point),
        None,
    )


def listed(engine: Engine) -> list[dict[str, Any]]:
    """The studies that have been begun, the newest first: `name`, `number` in Optuna's tables,
    `points` and `done` of the search, `state`, and the promotion's `verdict` or None."""
    counted = (
        select(
            points.c.study_id,
            func.count().label("points"),
            func.count().filter(points.c.state == PointState.DONE).label("done"),
        )
        .where(points.c.rung == Rung.SEARCH)
        .group_by(points.c.study_id)
        .subquery()
    )
    with engine.connect() as connection:
        rows = connection.execute(
            select(
                studies.c.name,
                OPTUNAS.c.study_id.label("number"),
                func.coalesce(counted.c.points, 0).label("points"),
                func.coalesce(counted.c.done, 0).label("done"),
                studies.c.state,
                studies.c.promoted["verdict"].as_string().label("verdict"),
            )
            .join(OPTUNAS, OPTUNAS.c.study_name == studies.c.name)
            .outerjoin(counted, counted.c.study_id == studies.c.id)
            .order_by(studies.c.id.desc())
        ).all()
    return [dict(row._mapping) for row in rows]


def named(engine: Engine, number: int) -> str | None:
    """The study that has this number in Optuna's tables; None for one that is not planned here."""
    known = select(studies.c.name).join(OPTUNAS, OPTUNAS.c.study_name == studies.c.name)
    with engine.connect() as connection:
        return connection.execute(known.where(OPTUNAS.c.study_id == number)).scalar()


def unshown(study_id: int, *columns: Table | ColumnElement[Any]) -> Select[Any]:
    """Attempts of which the Optuna study does not show something yet (optuna_mirror.py)."""
    return (
        select(*columns)
        .select_from(attempts)
        .join(ITS_POINT, true())
        .where(
            ~attempts.c.mirrored_end,
            ITS_POINT.c.study_id == study_id,
            ITS_POINT.c.weights.is_not(None),
            or_(
                attempts.c.trial_id.is_(None),
                attempts.c.mirrored_epochs < func.jsonb_array_length(attempts.c.epochs),
                attempts.c.outcome.is_not(None),
            ),
        )
    )


def behind(engine: Engine, study: Study) -> int:
    """How many ended attempts the Optuna study should show by now, and does not: for longer than
    `SHOWN_S`, or though every worker has left, which is to show its last before it does."""
    mine = select(workers.c.id).where(workers.c.study_id == study.id)
    all_left = mine.exists() & ~mine.where(workers.c.stopped_at.is_(None)).exists()
    since = func.now() - func.make_interval(0, 0, 0, 0, 0, 0, SHOWN_S)
    late = unshown(study.id, func.count()).where(
        attempts.c.outcome.is_not(None), (attempts.c.ended_at < since) | all_left
    )
    with engine.connect() as connection:
        return int(connection.execute(late).scalar_one())
