"""Studies in the ledger: created with their points, found again, promoted."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Engine, Row, func, insert, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from weightsearch.errors import StudyError, did_you_mean
from weightsearch.store.ledger import other_settings
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.tables.schema import channel, points, studies
from weightsearch.store.tables.states import Rung, StudyState
from weightsearch.study import loading, planning, search_space
from weightsearch.study.samplers.contract import Plan, Run
from weightsearch.study.spec import PromoteSpec, StudySpec

log = logging.getLogger(__name__)

BATCH = 1000  # points in one statement
PROMOTION = "-promotion"
"""Ends the name of Optuna's study of the full runs."""


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
    history: Sequence[Mapping[str, Any]] = ()
    """What was extended: when, from which digest, what changed."""


def create(engine: Engine, name: str, spec: StudySpec, plan: Plan) -> Study:
    """Plans a study, all of its points in one transaction; or finds it, planned the same before.

    Two processes may ask at once. Raises StudyError where another study has the name.
    """
    rows = [
        row_of(0, number, run, Rung.SEARCH) for number, run in enumerate(planning.runs(spec, plan))
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
            held = connection.execute(select(studies).filter_by(name=name)).one()
            _refuse_other_settings(name, held, spec)
            # What the digest leaves out may have changed: the goal's wording, how often to try.
            new = spec.resolved()
            if _has_full_runs(connection, held.id):  # whose settings these are (full_runs.py)
                new["promote"] = held.spec["promote"]
            connection.execute(
                update(studies).filter_by(name=name).values(spec=new, digest=spec.digest())
            )
    return find(engine, name)


def extend(engine: Engine, name: str, spec: StudySpec, plan: Plan) -> Study:
    """Grows a study to a larger plan, in one transaction: what it has stays, what the plan has more
    is added behind it, and the study's history says what changed. Asked again it adds nothing.

    Raises StudyError where there is no such study, or where the plan would shrink.
    """
    wanted = planning.runs(spec, plan)
    with engine.begin() as connection:
        found = connection.execute(
            select(studies).filter_by(name=name).with_for_update()
        ).one_or_none()
        if found is None:
            raise StudyError(f"there is no study '{name}' to extend; launch it first.")
        if spec.share.kind != "none":
            raise StudyError(
                f"a study with [share] cannot grow, as its pilot speaks for the points that it had,"
                f" but '{name}' has share.kind = '{spec.share.kind}'; launch it under a new --name."
            )
        if found.looks:
            raise StudyError(
                f"a study whose looks have dropped configurations cannot grow, but '{name}' has"
                f" taken {len(found.looks)}; launch it under a new --name."
            )
        there = {
            (row.place, row.seed): (row.key, row.number)
            for row in connection.execute(
                select(points.c.place, points.c.seed, points.c.key, points.c.number).where(
                    points.c.study_id == found.id, points.c.rung == Rung.SEARCH
                )
            )
        }
        _refuse_other_plan(name, wanted, there)
        most = spec.sampler.trials
        if most is not None and len(plan.points) < most:
            raise StudyError(
                f"an extended study must have as many points as are asked for, but '{name}' has"
                f" {len(plan.points)} in all and got trials={most}; leave trials out, or ask for"
                " repeats."
            )
        first = 1 + max((number for _, number in there.values()), default=-1)
        more = [run for run in wanted if (run.place, run.seed) not in there]
        rows = [row_of(found.id, k, run, Rung.SEARCH) for k, run in enumerate(more, first)]
        for begin in range(0, len(rows), BATCH):
            connection.execute(insert(points), rows[begin : begin + BATCH])
        # What an older release did not have, it had by default.
        before = loading.parse(found.spec, f"study '{name}' in the database").resolved()
        if changed := other_settings.changed(before, spec.resolved()):
            entry = {
                "at": datetime.now(UTC).isoformat(timespec="seconds"),
                "digest": found.digest,
                "changed": changed,
            }
            connection.execute(
                update(studies)
                .filter_by(id=found.id)
                .values(
                    spec=spec.resolved(),
                    digest=spec.digest(),
                    equivalent_left_out=plan.equivalent_left_out,
                    history=[*found.history, entry],
                )
            )
        connection.execute(select(func.pg_notify(channel(found.id), "")))
    return find(engine, name)


def _refuse_other_plan(
    name: str, wanted: Sequence[Run], there: Mapping[tuple[int, int], tuple[str, int]]
) -> None:
    """Raises StudyError where something that is there is not wanted any more, or is another."""
    planned = {(run.place, run.seed): run.point for run in wanted}
    gone = [place for place in there if place not in planned]
    if gone:
        raise StudyError(
            f"an extended study must keep what it has, but of {len(there)} runs of '{name}' the"
            f" plan leaves out {len(gone)}; ask for more trials and repeats, not fewer."
        )
    for place, (key, number) in there.items():
        point = planned[place]
        if point is not None and point.key() != key:
            raise StudyError(
                f"an extended study must keep what it has, but point {number} of '{name}' would be"
                " another one; launch it under a new --name."
            )


def _has_full_runs(connection: Connection, study: int) -> bool:
    full = select(points.c.id).filter_by(study_id=study, rung=Rung.PROMOTION).limit(1)
    return connection.execute(full).first() is not None


def is_planned(engine: Engine, name: str, spec: StudySpec) -> bool:
    """Whether a study of that name is there, which a launch resumes. Raises StudyError where it was
    planned from other settings, or is not there and must not have the name."""
    with engine.connect() as connection:
        found = connection.execute(select(studies).filter_by(name=name)).one_or_none()
        if found is None:
            _refuse_shared_name(connection, name)
    if found is not None:
        _refuse_other_settings(name, found, spec)
    return found is not None


def optuna_names(study: str) -> tuple[str, str]:
    """Of Optuna's studies of one of ours: its search, its promotion."""
    return study, f"{study}{PROMOTION}"


def _refuse_shared_name(connection: Connection, name: str) -> None:
    """Raises StudyError for two studies of which one's search would be the other's promotion."""
    other = name.removesuffix(PROMOTION) if name.endswith(PROMOTION) else optuna_names(name)[1]
    if connection.execute(select(studies.c.id).filter_by(name=other)).first() is not None:
        raise StudyError(
            f"study '{name}' must not be named as what Optuna shows of study '{other}', nor the"
            " other way round; give it another name with --name."
        )


def _refuse_other_settings(name: str, held: Row[Any], spec: StudySpec) -> None:
    if held.digest == spec.digest():
        return
    # Of a release in which it was part of the digest how the best are promoted.
    promote = PromoteSpec(**held.spec["promote"]) if held.spec["promote"] else None
    if held.digest != spec.model_copy(update={"promote": promote}).digest(promotion=True):
        before = loading.parse(held.spec, f"study '{name}' in the database")
        raise StudyError(other_settings.refusal(name, before, spec))


def row_of(study: int, number: int, run: Run, rung: int) -> dict[str, Any]:
    """A run as the table has it."""
    point = run.point
    return {
        "study_id": study,
        "number": number,
        "place": run.place,
        "key": point.key() if point else f"place {run.place}",
        "weights": search_space.encode(point.weights) if point else None,
        "params": dict(point.params) if point else None,
        "seed": run.seed,
        "repeat": run.repeat,
        "fold": run.fold,
        "stage": run.stage,
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
        history=row.history,
    )


def refuse_other_revision(engine: Engine, study: Study) -> None:
    """Raises StudyError where this release computes the study's results otherwise than the one that
    planned it: what is done and what is left would not compare."""
    with engine.connect() as connection:
        planned = connection.execute(
            select(studies.c.digest).where(studies.c.id == study.id)
        ).scalar_one()
    if planned not in (study.spec.digest(), study.spec.digest(promotion=True)):
        raise StudyError(
            f"study '{study.name}' must be computed as it was planned, but this release has another"
            f" loss for it (digest {planned}, now {study.spec.digest()}); go on with the release"
            " that planned it, or launch it under another --name."
        )


def record_data(
    engine: Engine, study: Study, digest: str, decoded: str = "", rounded: str = ""
) -> None:
    """States which data the study is about; raises StudyError where it was other data before.

    `decoded` and `rounded` are digests that the same data had in earlier releases: of frames that
    are computed, by their pixels; and of depth that was rounded.
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
    if found == rounded:
        log.warning(
            "study %s was begun on depth that an earlier release rounded; the rest uses what the"
            " files hold, so that metrics may differ in their fourth digit",
            study.name,
        )
    elif found not in (digest, decoded):
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
