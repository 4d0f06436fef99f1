"""What figures and pages are made of: a study's recorded attempts and results as plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from fractions import Fraction
from functools import cached_property

from sqlalchemy import Engine, func, select

from weightsearch.report.evidence.configurations import Configuration, configurations
from weightsearch.report.evidence.headline import Headline, headline
from weightsearch.report.evidence.ranking import (
    RankedPoint,
    comparable,
    ranking,
    repeated,
    yardstick,
)
from weightsearch.report.evidence.sharing import Sharing, sharing
from weightsearch.report.evidence.units import group, is_of_depth, label, sample
from weightsearch.runtime.safe_text import counted
from weightsearch.stats import comparison
from weightsearch.store.ledger import queries, studies
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.tables.schema import attempts, points
from weightsearch.store.tables.statements import device_time
from weightsearch.store.tables.states import Outcome, Rung
from weightsearch.study import search_space
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec


@dataclass(frozen=True)
class Attempt:
    """One go of one worker at a point."""

    number: int
    """The point's place in the plan."""
    rung: int
    seed: int
    attempt: int
    point: Point
    worker: str
    device: str
    began_s: float
    """Since the study's first attempt began."""
    ended_s: float
    """The same; of one that runs, when the records were read."""
    outcome: str | None
    """None while it runs; done, diverged, failed, lost, given back."""
    reason: str | None = None
    epochs: Sequence[Mapping[str, float]] = ()
    """The metrics after each epoch."""
    device_s: float = 0.0
    """Its share of its worker's time, which attempts that are run at once divide."""

    def seconds(self) -> float:
        """From its beginning to its end."""
        return max(0.0, self.ended_s - self.began_s)


@dataclass(frozen=True)
class Records:
    """One study."""

    study: str
    spec: StudySpec
    attempts: Sequence[Attempt] = ()
    """In the order in which they began; of the search and of the promotion."""
    done: Sequence[Done] = ()
    """The search's results."""
    full: Sequence[Done] = ()
    """The promotion's."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """The search's points by state, and `total`."""
    promoted: PromotionVerdict | None = None
    data_digest: str | None = None
    equivalent_left_out: int = 0
    device_seconds: float = 0.0
    """What all attempts took together, promotion and losses among them."""
    sharing: Sharing | None = None
    """Of a study with [share]."""

    @cached_property
    def rows(self) -> list[RankedPoint]:
        """The ranking: best first, with intervals, and verdicts against the best."""
        return ranking(self.spec, self.done)

    @cached_property
    def headline(self) -> Headline | None:
        """None while nothing is ranked."""
        return headline(self.spec, self.done, self.full, self.promoted, self.device_seconds)

    @cached_property
    def configurations(self) -> list[Configuration]:
        """Those that may stand beside each other, each with all of its runs."""
        return configurations(self.spec, comparable(self.done))

    @property
    def metric(self) -> str:
        return self.spec.objective.metric

    @property
    def smaller(self) -> bool:
        """Whether a smaller metric is better."""
        return self.spec.objective.direction == "minimize"

    @cached_property
    def metrics(self) -> list[str]:
        """The deciding one, then the guards."""
        return list(dict.fromkeys((self.metric, *self.spec.objective.guards)))

    @cached_property
    def encoders(self) -> list[str]:
        """All that the study has, tried or not; one nameless where it has no encoder."""
        found = [str(e) for e in search_space.levels(self.spec).get("encoder", ())]
        tried = {encoder(one.point) for one in self.done}
        tried |= {encoder(one.point) for one in self.attempts}
        return list(dict.fromkeys([*found, *sorted(tried)])) or [""]

    @cached_property
    def searched(self) -> list[str]:
        """The choices that have more than one option."""
        return list(search_space.varied(self.spec))

    @cached_property
    def terms(self) -> list[str]:
        return list(self.spec.loss.terms)

    @property
    def of_depth(self) -> bool:
        """Else of an own objective, whose metrics and samples may be of anything."""
        return is_of_depth(self.spec)

    @property
    def sample(self) -> str:
        """`image`, or `sample`."""
        return sample(self.of_depth)

    @property
    def group(self) -> str:
        """`scene`, or `group`."""
        return group(self.of_depth)

    def images(self) -> int | None:
        return next((row.images for row in self.rows), None)

    def seeds(self) -> str:
        """How many runs each value of the ranking is of: what stands beside the former."""
        return repeated(self.rows)

    def measured(self) -> str:
        """By which protocol, on which split, over how many images: what stands beside numbers."""
        by = yardstick(self.spec)
        images = self.images()
        split = {"val": "validation"}.get(by.split, by.split)
        parts = [f"{split} split"] + ([f"n = {counted(images, self.sample)}"] if images else [])
        return ", ".join([f"protocol {by.protocol}", *parts] if by.protocol else parts)

    def smaller_is_better(self, metric: str) -> bool:
        return comparison.smaller_is_better(metric, self.metric, self.smaller)

    def label(self, metric: str | None = None) -> str:
        """`RMSE (m)`; of an own objective `RMSE`."""
        return label(metric or self.metric, self.of_depth)


def encoder(point: Point) -> str:
    """The encoder's name; empty where the study has none."""
    return str(point.params.get("encoder", ""))


def directions(point: Point) -> tuple[Fraction, ...]:
    """The weights as shares of their sum, exact: equal where Adam sees no difference."""
    total = sum(point.weights.values(), Fraction(0))
    return tuple(weight / total for weight in point.weights.values())


def read(engine: Engine, name: str | None) -> Records:
    """The study's records as they are now; raises StudyError where there is none."""
    study = studies.find(engine, name)
    return Records(
        study=study.name,
        spec=study.spec,
        attempts=_attempts(engine, study.id, study.spec.loss.terms),
        done=queries.done(engine, study, Rung.SEARCH),
        full=queries.done(engine, study, Rung.PROMOTION),
        counts=queries.counts(engine, study),
        promoted=study.promoted,
        data_digest=study.data_digest,
        equivalent_left_out=study.equivalent_left_out,
        device_seconds=queries.device_seconds(engine, study),
        sharing=sharing(engine, study),
    )


def _attempts(engine: Engine, study: int, terms: Sequence[str]) -> list[Attempt]:
    with engine.connect() as connection:
        rows = connection.execute(
            select(attempts, points.c.number, points.c.rung, points.c.seed)
            .add_columns(points.c.weights, points.c.params, func.now().label("now"))
            .add_columns(device_time().label("device_s"))
            .join(points, points.c.id == attempts.c.point_id)
            .where(
                points.c.study_id == study,
                points.c.weights.is_not(None),
                attempts.c.outcome.is_distinct_from(Outcome.DROPPED),
            )
            .order_by(attempts.c.started_at, points.c.number, attempts.c.attempt)
        ).all()
    if not rows:
        return []
    start: datetime = rows[0].started_at
    return [
        Attempt(
            number=row.number,
            rung=row.rung,
            seed=row.seed,
            attempt=row.attempt,
            point=Point(search_space.decode(row.weights, terms), row.params),
            worker=row.worker,
            device=row.device or "",
            began_s=(row.started_at - start).total_seconds(),
            ended_s=((row.ended_at or row.now) - start).total_seconds(),
            outcome=row.outcome,
            reason=row.reason,
            epochs=row.epochs,
            device_s=float(row.device_s),
        )
        for row in rows
    ]
