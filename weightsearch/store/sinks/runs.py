"""The attempts of a study that have ended, as trackers of experiments show runs.

An attempt that has ended never changes, so what was shown of it is right for good, and whoever is
killed over it begins again with what is not shown yet.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, Select, select, tuple_

from weightsearch.store.ledger import references
from weightsearch.store.ledger.results import Result
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, meta, points
from weightsearch.store.tables.states import FINISHED, Outcome
from weightsearch.study import search_space
from weightsearch.study.search_space import Point
from weightsearch.study.spec_fields import Value

BATCH = 200  # attempts that are in memory together, with every epoch

Key = tuple[int, int]
"""Of an attempt: its point's number in the table, and its own."""


@dataclass(frozen=True)
class Run:
    """An attempt that has ended."""

    id: str
    """`DATABASE/POINT/ATTEMPT`: no other attempt has it, in any database."""
    name: str
    """`7c0e9b5ad2-s0-a1`: point, seed, attempt; `-full` after the seed of a promotion's."""
    number: int
    """The point's place in the plan."""
    seed: int
    started_at: datetime
    ended_at: datetime
    outcome: Outcome
    reason: str | None
    worker: str
    device: str | None
    weights: Mapping[str, float]
    params: Mapping[str, Value]
    epochs: Sequence[Mapping[str, float]]
    """The metrics after each."""
    best: Mapping[str, float]
    """The metrics of the best epoch; empty unless it is this attempt that has the result."""
    test: Mapping[str, float]
    """Of a promotion, on the test split."""
    best_epoch: int
    """From 1; 0 where there is none, or the objective does not say."""

    @property
    def is_finished(self) -> bool:
        return self.outcome in FINISHED


def identity(engine: Engine) -> str:
    """Of the database: ids of two of them do not meet."""
    with engine.connect() as connection:
        return str(connection.execute(select(meta.c.identity)).scalar_one())


def ended(engine: Engine, study: Study, shown: Collection[str]) -> Iterator[Run]:
    """The study's ended attempts but for those with ids in `shown`, in the order they began."""
    database = identity(engine)
    mine = (points.c.study_id == study.id) & attempts.c.outcome.is_not(None)
    joined = attempts.join(points, points.c.id == attempts.c.point_id)
    order = (attempts.c.started_at, attempts.c.point_id, attempts.c.attempt)
    listed = select(attempts.c.point_id, attempts.c.attempt).select_from(joined).where(mine)
    with engine.connect() as connection:
        keys = connection.execute(listed.order_by(*order)).all()
    left = [(k.point_id, k.attempt) for k in keys if _id(database, *k) not in shown]
    whole: Select[Any] = select(
        *(c for c in attempts.c if c.name != "reason"),
        *(attempts.c.reason.label("why"), points.c.attempt.label("last_attempt")),
        *(points.c.number, points.c.seed, points.c.rung, points.c.stage),
        *(points.c.weights, points.c.params, points.c.result),
    ).select_from(joined)
    this = tuple_(attempts.c.point_id, attempts.c.attempt)
    for first in range(0, len(left), BATCH):
        with engine.connect() as connection:
            wanted = whole.where(this.in_(left[first : first + BATCH])).order_by(*order)
            rows = connection.execute(wanted).all()
        for row in rows:
            yield _run(database, study, row)


def _id(database: str, point: int, attempt: int) -> str:
    return f"{database}/{point}/{attempt}"


def _run(database: str, study: Study, row: Row[Any]) -> Run:
    point = Point(search_space.decode(row.weights), row.params)
    form = study.spec.share.form(row.stage)
    folder = references.checkpoint_folder(point, row.seed, row.rung, form=form)
    has_result = row.outcome in FINISHED and row.attempt == row.last_attempt and row.result
    result = Result.from_json(row.result) if has_result else None
    return Run(
        id=_id(database, row.point_id, row.attempt),
        name=f"{folder}-a{row.attempt}",
        number=row.number,
        seed=row.seed,
        started_at=row.started_at,
        ended_at=row.ended_at,
        outcome=Outcome(row.outcome),
        reason=row.why,
        worker=row.worker,
        device=row.device,
        weights={term: float(weight) for term, weight in point.weights.items()},
        params=row.params,
        epochs=[_numbers(metrics) for metrics in row.epochs],
        best=_numbers(result.metrics) if result else {},
        test=_numbers(result.test.metrics) if result and result.test else {},
        best_epoch=(result.epoch or 0) if result else 0,
    )


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {
        name: float(value)
        for name, value in metrics.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }
