"""Questions to the ledger: how far, how good, and whether each point is done exactly once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Engine,
    Float,
    Select,
    Table,
    column,
    func,
    or_,
    select,
    table,
    true,
)

from weightsearch.store.ledger.results import Result
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points, studies, workers
from weightsearch.store.tables.states import FINISHED, Outcome, PointState, Rung
from weightsearch.study import search_space
from weightsearch.study.objective_contract import NOT_COMPARABLE
from weightsearch.study.search_space import Direction, Point

OPTUNAS = table("studies", column("study_id"), column("study_name"))
"""Of Optuna's own tables; its models would take half a second to import."""
ITS_POINT = select(points).where(points.c.id == attempts.c.point_id).offset(0).lateral("its_point")
"""Of an attempt. The offset has PostgreSQL look each one up: few attempts are unshown, but it takes
them for many until its next statistics, and would read every point."""
SHOWN_S = 60
"""Within this time the Optuna study shows that an attempt has ended; workers look every 4 s."""
LISTED_S = 120
"""A worker that was not seen for this long is no longer listed."""


@dataclass(frozen=True)
class Done:
    """A finished point with its result."""

    point_id: int
    number: int
    seed: int
    point: Point
    result: Result

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


def coverage(engine: Engine, study: Study) -> float:
    """The share of the search's points that are done; below 1 where a budget ran out."""
    return share_done(counts(engine, study))


def share_done(points: Mapping[str, int]) -> float:
    """Of points by state, with their `total`."""
    return points[PointState.DONE] / points["total"] if points["total"] else 1.0


def troubles(engine: Engine, study: Study) -> list[dict[str, Any]]:
    """Every attempt that ended without a result, with the reason, in the order they ended in."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(
                points.c.number,
                points.c.rung,
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
                attempts.c.outcome.is_not(None),
                attempts.c.outcome != Outcome.DONE,
            )
            .order_by(attempts.c.ended_at, points.c.number, attempts.c.attempt)
        ).all()
    return [dict(row._mapping) for row in rows]


def done(engine: Engine, study: Study, rung: int = Rung.SEARCH) -> list[Done]:
    """Every finished point, in the plan's order."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(points)
            .where(
                points.c.study_id == study.id,
                points.c.rung == rung,
                points.c.state == PointState.DONE,
            )
            .order_by(points.c.number)
        ).all()
    return [
        Done(
            point_id=row.id,
            number=row.number,
            seed=row.seed,
            point=Point(search_space.decode(row.weights), row.params),
            result=Result.from_json(row.result),
        )
        for row in rows
    ]


def leader(engine: Engine, study: Study, rung: int = Rung.SEARCH) -> tuple[Point, float] | None:
    """The best point so far that may stand beside others, and its metric, found by the database:
    cheap enough to ask often."""
    metric = points.c.result["metrics"][study.spec.objective.metric].as_float()
    order = metric.asc() if study.spec.objective.direction == "minimize" else metric.desc()
    with engine.connect() as connection:
        row = connection.execute(
            select(points.c.weights, points.c.params, metric)
            .where(
                points.c.study_id == study.id,
                points.c.rung == rung,
                points.c.state == PointState.DONE,
                metric.is_not(None),
                points.c.result["about"][NOT_COMPARABLE].as_string().is_(None),
            )
            .order_by(order, points.c.number)
            .limit(1)
        ).one_or_none()
    return None if row is None else (Point(search_space.decode(row[0]), row[1]), row[2])


def places(engine: Engine, study: Study) -> list[tuple[Direction, str]]:
    """The weights and the state of each point of the search that has its weights already."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.weights, points.c.state).where(
                points.c.study_id == study.id,
                points.c.rung == Rung.SEARCH,
                points.c.weights.is_not(None),
            )
        ).all()
    return [(search_space.decode(row.weights), row.state) for row in rows]


def images_per_second(engine: Engine, study: Study) -> float | None:
    """What the running attempts trained in their latest epochs, together; None where none has
    ended an epoch, or the objective does not say."""
    speed = attempts.c.epochs[-1]["images_per_second"].as_float()
    with engine.connect() as connection:
        found = connection.execute(
            select(func.sum(speed))
            .join(points, points.c.id == attempts.c.point_id)
            .where(
                points.c.study_id == study.id,
                points.c.state == PointState.LEASED,
                attempts.c.outcome.is_(None),
            )
        ).scalar()
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
    found = [Point(search_space.decode(weights), params) for weights, params in rows]
    return list({point.key(): point for point in found}.values())


def failed(engine: Engine, study: Study) -> list[dict[str, Any]]:
    """Points that were given up, each with its reason."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.number, points.c.rung, points.c.key, points.c.reason)
            .where(points.c.study_id == study.id, points.c.state == PointState.FAILED)
            .order_by(points.c.rung, points.c.number)
        ).all()
    return [dict(row._mapping) for row in rows]


def present(engine: Engine, study: Study) -> list[dict[str, Any]]:
    """Workers that are at it, with the point that each one holds."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(
                workers.c.id,
                workers.c.host,
                workers.c.pid,
                workers.c.device,
                points.c.number.label("point"),
                func.extract("epoch", func.now() - workers.c.seen_at).cast(Float).label("seen_s"),
            )
            .outerjoin(
                points, (points.c.worker == workers.c.id) & (points.c.state == PointState.LEASED)
            )
            .where(
                workers.c.study_id == study.id,
                workers.c.stopped_at.is_(None),
                workers.c.seen_at > func.now() - func.make_interval(0, 0, 0, 0, 0, 0, LISTED_S),
            )
            .order_by(workers.c.started_at)
        ).all()
    return [dict(row._mapping) for row in rows]


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

    @property
    def ok(self) -> bool:
        return not self.missing and not self.duplicated and not self.behind

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
    outcomes: dict[str | None, int] = {row[0]: row[1] for row in ended}
    return Verification(
        study=study.name,
        points=len(rows),
        done_once=sum(state == PointState.DONE and times == 1 for _, state, times in rows),
        missing=[n for n, state, times in rows if state != PointState.DONE or times == 0],
        duplicated=[n for n, _, times in rows if times > 1],
        starts=sum(outcomes.values()),
        lost=outcomes.get(Outcome.LOST, 0),
        given_back=outcomes.get(Outcome.GIVEN_BACK, 0),
        behind=behind(engine, study),
    )
