"""Studies in the ledger: created with their points, found again, promoted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import (
    Engine,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from weightsearch.errors import StudyError, did_you_mean
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.tables.schema import channel, points, studies
from weightsearch.store.tables.states import Rung, StudyState
from weightsearch.study import loading, search_space
from weightsearch.study.samplers.contract import Plan
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec

log = logging.getLogger(__name__)

BATCH = 1000  # points in one statement


@dataclass(frozen=True)
class Study:
    id: int
    name: str
    spec: StudySpec
    equivalent_left_out: int
    data_digest: str | None
    promoted: PromotionVerdict | None
    state: StudyState = StudyState.RUNNING
    state_reason: str | None = None
    budget: Mapping[str, float] | None = None
    deadline: datetime | None = None


def create(engine: Engine, name: str, spec: StudySpec, plan: Plan) -> Study:
    """Plans a study, all of its points in one transaction; or finds it, planned the same before.

    Two processes may ask at once. Raises StudyError where another study has the name.
    """
    seeds = plan.seeds or (spec.train.seed,) * len(plan.points)
    rows = [
        _row(0, number, point, seed, Rung.SEARCH)
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
            _refuse_other_settings(name, found, spec)
            # What the digest leaves out may have changed: the goal's wording, how often to try.
            connection.execute(update(studies).filter_by(name=name).values(spec=spec.resolved()))
    return find(engine, name)


def is_planned(engine: Engine, name: str, spec: StudySpec) -> bool:
    """Whether a study of that name is there, which a launch resumes. Raises StudyError where it was
    planned from other settings."""
    with engine.connect() as connection:
        found = connection.execute(select(studies.c.digest).filter_by(name=name)).scalar()
    if found is not None:
        _refuse_other_settings(name, found, spec)
    return found is not None


def _refuse_other_settings(name: str, digest: str, spec: StudySpec) -> None:
    if digest != spec.digest():
        raise StudyError(
            f"study '{name}' was planned from other settings (digest {digest}, now"
            f" {spec.digest()}); restore them, or choose another name with --name."
        )


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
        promoted=PromotionVerdict.from_json(row.promoted) if row.promoted else None,
        state=StudyState(row.state),
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
    rows = [_row(study.id, k, point, seed, Rung.PROMOTION) for k, (point, seed) in enumerate(pairs)]
    with engine.begin() as connection:
        # One at a time: half of one's finalists and half of another's would be nobody's choice.
        connection.execute(select(studies.c.id).filter_by(id=study.id).with_for_update())
        planned = select(points.c.id).filter_by(study_id=study.id, rung=Rung.PROMOTION).limit(1)
        if connection.execute(planned).first() is None:
            connection.execute(insert(points), rows)
            connection.execute(select(func.pg_notify(channel(study.id), "")))


def refuse_other_revision(engine: Engine, study: Study) -> None:
    """Raises StudyError where this release computes the study's results otherwise than the one that
    planned it: what is done and what is left would not compare."""
    with engine.connect() as connection:
        planned = connection.execute(
            select(studies.c.digest).where(studies.c.id == study.id)
        ).scalar_one()
    if planned != study.spec.digest():
        raise StudyError(
            f"study '{study.name}' must be computed as it was planned, but this release has another"
            f" loss for it (digest {planned}, now {study.spec.digest()}); go on with the release"
            " that planned it, or launch it under another --name."
        )


def record_data(engine: Engine, study: Study, digest: str, earlier: str = "") -> None:
    """States which data the study is about; raises StudyError where it was other data before.

    `earlier` is the digest that the same data had in an earlier release, which rounded depth.
    """
    with engine.begin() as connection:
        connection.execute(
            update(studies)
            .where(studies.c.id == study.id, studies.c.data_digest.is_(None))
            .values(data_digest=digest)
        )
        found = connection.execute(
            select(studies.c.data_digest).where(studies.c.id == study.id)
        ).scalar_one()
    if found == earlier:
        log.warning(
            "study %s was begun on depth that an earlier release rounded; the rest uses what the"
            " files hold, so that metrics may differ in their fourth digit",
            study.name,
        )
    elif found != digest:
        raise StudyError(
            f"study '{study.name}' was begun on data with digest {found[:12]}, but --data has"
            f" {digest[:12]}; name the same data, or choose another name with --name."
        )


def promote(engine: Engine, study: Study, verdict: PromotionVerdict) -> None:
    """Marks the promotion's verdict, with its lineage."""
    with engine.begin() as connection:
        connection.execute(
            update(studies).where(studies.c.id == study.id).values(promoted=verdict.to_json())
        )
