"""What the commands that only look answer; `commands/printing/` prints it for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from weightsearch.commands.home import disk_usage
from weightsearch.report.evidence import answer
from weightsearch.report.evidence.headline import Headline
from weightsearch.report.evidence.ranking import RankedPoint, not_comparable, ranking
from weightsearch.report.evidence.verdict import next_step
from weightsearch.store.ledger import claim, looked, queries, studies, study_control, verification
from weightsearch.store.ledger.queries import Done
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.ledger.studies import Study
from weightsearch.store.ledger.verification import Verification
from weightsearch.store.tables.states import OPEN, Phase, Rung, phase


@dataclass(frozen=True)
class Status:
    """Where a study stands."""

    headline: Headline | None
    """The answer so far, as `best` has it; None while nothing is ranked."""
    next_step: str
    """What to do next, as `best` has it."""
    study: str
    goal: str
    state: Phase
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
    history: Sequence[Mapping[str, Any]]
    """How it grew: when, from which digest, what changed."""
    looks: Sequence[Mapping[str, Any]]
    """What each look decided, in words (`told`) and as it is stored; and which of those that it
    dropped are trained on, and were really better (`audits`, with the last one)."""

    def to_json(self) -> dict[str, Any]:
        return vars(self) | {
            "headline": self.headline.to_json() if self.headline else None,
            "best": self.best.to_json() if self.best else None,
            "promoted": self.promoted.to_json() if self.promoted else None,
        }


def status(engine: Engine, name: str | None, home: Path, last: Status | None = None) -> Status:
    """Where a study stands, with its resolved settings, and what lies under `home`. The `last` one
    gives its headline and best where nothing has ended since: to find them anew takes a training's
    time."""
    study = studies.find(engine, name)
    done = queries.done(engine, study)
    points, workers = queries.counts(engine, study), queries.present(engine, study)
    full = queries.counts(engine, study, Rung.PROMOTION)
    each = queries.point_seconds(engine, study)
    left = sum(points[state] for state in OPEN)
    is_as_last = last is not None and (last.points, last.promotion, last.promoted) == (
        points, full, study.promoted,
    )  # fmt: skip
    if last and is_as_last:
        told, best = last.headline, last.best
    else:
        told = answer.told(engine, study, done)
        best = next(iter(ranking(study.spec, done, first=1)), None)
    return Status(
        headline=told,
        next_step=next_step(study.name, study.spec, points, told, study.promoted),
        study=study.name,
        goal=study.spec.goal,
        state=phase(
            study.state,
            points,
            full,
            promoted=study.promoted is not None,
            workers=bool(workers),
            left=study_control.standing(engine, study.id).left,
        ),
        state_reason=study.state_reason,
        points=points,
        coverage=queries.coverage(points),
        budget=budget(engine, study),
        disk=disk_usage.disk(home, engine),
        promotion=full,
        equivalent_left_out=study.equivalent_left_out,
        workers=workers,
        best=best,
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
        history=study.history,
        looks=_looks(engine, study),
    )


def _looks(engine: Engine, study: Study) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        found = looked.read(connection, study)
    audits = found.audits()
    return [
        {
            **decision.to_json(),
            "told": found.told(decision),
            "audits": [
                {
                    "key": one.key,
                    "difference": one.compared.difference,
                    "verdict": one.compared.verdict,
                    "is_better": one.is_better,
                    "is_shown_better": one.is_shown_better,
                }
                for one in audits
                if one.look == decision.look
            ],
        }
        for decision in found.decisions
    ]


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
    return verification.verify(engine, studies.find(engine, name))
