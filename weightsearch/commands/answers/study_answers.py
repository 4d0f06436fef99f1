"""What the commands that only look answer; `commands/printing/` prints it for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from weightsearch.commands.home import disk_usage
from weightsearch.report.evidence import answer
from weightsearch.report.evidence.answer import Ranking
from weightsearch.report.evidence.ranking import RankedPoint, not_comparable, ranking
from weightsearch.store.ledger import claim, queries, studies
from weightsearch.store.ledger.queries import Done, Verification
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import PointState, Rung, StudyState


@dataclass(frozen=True)
class Status:
    """Where a study stands."""

    study: str
    goal: str
    state: StudyState
    state_reason: str | None
    points: Mapping[str, int]
    """The search's, by state, and `total`."""
    coverage: float
    """The share of them that is done."""
    budget: Mapping[str, Any] | None
    """None where nothing limits it."""
    disk: Mapping[str, int]
    """Bytes by what they are for."""
    promotion: Mapping[str, int]
    """The promotion's runs, like `points`."""
    equivalent_left_out: int
    workers: Sequence[Mapping[str, Any]]
    best: RankedPoint | None
    seconds_a_point: float | None
    images_per_second: float | None
    seconds_left: float | None
    """Of the search; None before the first point, and without workers."""
    failures: Sequence[Mapping[str, Any]]
    diverged: Sequence[int]
    """Numbers of points that are done, but not ranked."""
    not_comparable: Mapping[str, Sequence[int]]
    """The same of points whose metrics do not compare with others, by the reason."""
    promoted: PromotionVerdict | None
    spec: Mapping[str, Any]
    """The study's settings, resolved."""
    digest: str
    """Of the settings."""
    data_digest: str | None

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {
            "best": self.best.to_json() if self.best else None,
            "promoted": self.promoted.to_json() if self.promoted else None,
        }


def status(engine: Engine, name: str | None, home: Path) -> Status:
    """Where a study stands, with its resolved settings, and what lies under `home`."""
    study = studies.find(engine, name)
    done = queries.done(engine, study)
    points, workers = queries.counts(engine, study), queries.present(engine, study)
    each = queries.point_seconds(engine, study)
    left = points["total"] - points[PointState.DONE] - points[PointState.FAILED]
    best = ranking(study.spec, done, first=1)
    return Status(
        study=study.name,
        goal=study.spec.goal,
        state=study.state,
        state_reason=study.state_reason,
        points=points,
        coverage=queries.coverage(engine, study),
        budget=budget(engine, study),
        disk=disk_usage.disk(home, engine),
        promotion=queries.counts(engine, study, Rung.PROMOTION),
        equivalent_left_out=study.equivalent_left_out,
        workers=workers,
        best=best[0] if best else None,
        seconds_a_point=each,
        images_per_second=queries.images_per_second(engine, study),
        seconds_left=each * left / len(workers) if each is not None and workers else None,
        failures=queries.failed(engine, study),
        diverged=[d.number for d in done if d.diverged()],
        not_comparable=_not_comparable(done),
        promoted=study.promoted,
        spec=study.spec.resolved(),
        digest=study.spec.digest(),
        data_digest=study.data_digest,
    )


def _not_comparable(done: Sequence[Done]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for point in done:
        if (why := not_comparable(point)) is not None:
            found.setdefault(why, []).append(point.number)
    return found


def budget(engine: Engine, study: Study) -> dict[str, Any] | None:
    """What the search may cost, and what it has cost so far; None where nothing limits it."""
    if study.budget is None and study.deadline is None:
        return None
    with engine.connect() as connection:
        spent = claim.spending(connection, study.id)
    return {
        **(study.budget or {}),
        "until": study.deadline.isoformat(timespec="seconds") if study.deadline else None,
        "spent": {"points": spent.points, "device_seconds": spent.device_s},
    }


def workers(engine: Engine, name: str | None) -> dict[str, Any]:
    """Who is at it."""
    study = studies.find(engine, name)
    return {"study": study.name, "workers": queries.present(engine, study)}


def failures(engine: Engine, name: str | None) -> dict[str, Any]:
    """Points that were given up, and attempts that ended without a result, with the reasons."""
    study = studies.find(engine, name)
    return {
        "study": study.name,
        "failed": queries.failed(engine, study),
        "attempts": queries.troubles(engine, study),
    }


def verify(engine: Engine, name: str | None) -> Verification:
    """Whether each planned point is done exactly once."""
    return queries.verify(engine, studies.find(engine, name))


def best(engine: Engine, name: str | None) -> Ranking:
    """The ranking with its headline, and by which protocol and on which split it was measured."""
    return answer.found(engine, studies.find(engine, name))
