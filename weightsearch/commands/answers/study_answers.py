"""What the commands that only look answer: JSON-ready dicts, which `commands/text/study_text.py`
prints for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from weightsearch.commands.home import disk_usage
from weightsearch.report.evidence.ranking import measured, ranking
from weightsearch.store.ledger import claim, queries, studies
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import PointState, Rung


def status(engine: Engine, name: str | None, home: Path) -> dict[str, Any]:
    """Where a study stands, with its resolved settings, and what lies under `home`."""
    study = studies.find(engine, name)
    done = queries.done(engine, study)
    points, workers = queries.counts(engine, study), queries.present(engine, study)
    each = queries.point_seconds(engine, study)
    left = points["total"] - points[PointState.DONE] - points[PointState.FAILED]
    best = ranking(study.spec, done, first=1)
    return {
        "study": study.name,
        "goal": study.spec.goal,
        "state": study.state,
        "state_reason": study.state_reason,
        "points": points,
        "coverage": queries.coverage(engine, study),
        "budget": budget(engine, study),
        "disk": disk_usage.disk(home, engine),
        "promotion": queries.counts(engine, study, Rung.PROMOTION),
        "equivalent_left_out": study.equivalent_left_out,
        "workers": workers,
        "best": best[0] if best else None,
        "seconds_a_point": each,
        "images_per_second": queries.images_per_second(engine, study),
        "seconds_left": each * left / len(workers) if each is not None and workers else None,
        "failures": queries.failed(engine, study),
        "diverged": [d.number for d in done if d.diverged()],
        "promoted": study.promoted,
        "spec": study.spec.resolved(),
        "digest": study.spec.digest(),
        "data_digest": study.data_digest,
    }


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
    """Points that were given up, and every attempt that brought no result, with the reasons."""
    study = studies.find(engine, name)
    return {
        "study": study.name,
        "failed": queries.failed(engine, study),
        "attempts": queries.troubles(engine, study),
    }


def verify(engine: Engine, name: str | None) -> dict[str, Any]:
    """Whether each planned point is done exactly once."""
    return queries.verify(engine, studies.find(engine, name))


def best(engine: Engine, name: str | None) -> dict[str, Any]:
    """The ranking, and by which protocol and on which split it was measured."""
    study = studies.find(engine, name)
    return {
        "study": study.name,
        **measured(study.spec),
        "ranking": ranking(study.spec, queries.done(engine, study)),
        "guards": list(study.spec.objective.guards),
        "promoted": study.promoted,
    }
