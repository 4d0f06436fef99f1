"""The full runs of a promotion in the ledger: planned once, and anew where its settings change.

The runs of the latest promotion are those of rung 1. Where it is repeated with other settings, runs
that fit these are taken over; the others move to a rung of their own, with their results, where
nothing reads them but who looks for the history. The stored study's `promote` table is always that
of rung 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Engine, Row, case, func, insert, select, update

from weightsearch.errors import StudyError
from weightsearch.store.ledger.studies import Study, row_of
from weightsearch.store.tables.schema import attempts, channel, points, studies
from weightsearch.store.tables.states import OPEN, REPEATED, Outcome, PointState, Rung
from weightsearch.study.samplers.contract import Run
from weightsearch.study.search_space import Point
from weightsearch.study.spec import PromoteSpec

LATER = "left out by a later promotion"

Runs = Sequence[tuple[Point, int]]
"""Finalists with seeds."""


@dataclass(frozen=True)
class Change:
    """What settings make of the runs that are there."""

    new: Runs
    """To be planned."""
    taken_over: int
    """Done, failed, or on their way: so many `open`."""
    open: int
    left_out: Sequence[int]
    """Numbers of points in the database that the settings do not ask for."""


def change(engine: Engine, study: Study, asked: PromoteSpec, finalists: Sequence[Point]) -> Change:
    """What `plan` would do, which it does not."""
    with engine.connect() as connection:
        return _change(connection, study, asked, finalists)


def plan(engine: Engine, study: Study, asked: PromoteSpec, finalists: Sequence[Point]) -> None:
    """Plans each finalist with each seed beside the search's points, and notes the settings.

    Asked again for the same, it adds nothing: of two who ask at once, the first one's finalists are
    taken. Raises StudyError where runs that the settings leave out are being trained.
    """
    with engine.begin() as connection:
        # One at a time: half of one's finalists and half of another's would be nobody's choice.
        stored = connection.execute(
            select(studies.c.spec, studies.c.promoted).filter_by(id=study.id).with_for_update()
        ).one()
        found = _change(connection, study, asked, finalists)
        highest, rung = connection.execute(
            select(func.max(points.c.number), func.max(points.c.rung)).where(
                points.c.study_id == study.id, points.c.rung > Rung.SEARCH
            )
        ).one()
        first = 0 if highest is None else (highest // REPEATED + 1) * REPEATED
        if found.left_out:
            _leave_out(connection, study, found.left_out, rung + 1)
        places = {point.key(): place for place, point in enumerate(finalists)}
        rows = [
            row_of(study.id, first + k, run, Rung.PROMOTION)
            for k, run in enumerate(
                # The fold by the seed, so that another list of seeds leaves each its own.
                Run(places[point.key()], point, seed, seed, study.spec.fold_of(seed))
                for point, seed in found.new
            )
        ]
        if rows:
            connection.execute(insert(points), rows)
        settings, promoted = asked.model_dump(mode="json"), stored.promoted
        if promoted is not None and stored.spec["promote"] != settings:
            promoted = {"settings": stored.spec["promote"]} | promoted
        connection.execute(
            update(studies)
            .filter_by(id=study.id)
            .values(spec=stored.spec | {"promote": settings}, promoted=promoted)
        )
        connection.execute(select(func.pg_notify(channel(study.id), "")))


def has_grown(engine: Engine, study: Study) -> bool:
    """Whether the search was extended after its full runs were planned."""
    latest = (
        select(func.max(points.c.id).filter(points.c.rung == rung))
        .where(points.c.study_id == study.id)
        .scalar_subquery()
        for rung in (Rung.SEARCH, Rung.PROMOTION)
    )
    with engine.connect() as connection:
        search, full = connection.execute(select(*latest)).one()
    return full is not None and search > full


def epoch_seconds(engine: Engine, study: Study) -> float | None:
    """How long an epoch of a finished point took on average, of runs that had all of theirs to
    train; None before the first."""
    epochs = func.nullif(func.jsonb_array_length(attempts.c.epochs), 0)
    with engine.connect() as connection:
        found = connection.execute(
            select(func.avg(attempts.c.seconds / epochs))
            .join(points, points.c.id == attempts.c.point_id)
            .where(
                points.c.study_id == study.id,
                points.c.rung == Rung.SEARCH,
                points.c.stage == 0,  # later ones go on from what others were charged for
                attempts.c.outcome == Outcome.DONE,
            )
        ).scalar()
    return None if found is None else float(found)


def _change(
    connection: Connection, study: Study, asked: PromoteSpec, finalists: Sequence[Point]
) -> Change:
    rows = connection.execute(
        select(points.c.id, points.c.key, points.c.seed, points.c.state).where(
            points.c.study_id == study.id, points.c.rung == Rung.PROMOTION
        )
    ).all()
    spec, promoted = connection.execute(
        select(studies.c.spec, studies.c.promoted).filter_by(id=study.id)
    ).one()
    held = PromoteSpec(**spec["promote"]) if spec["promote"] else None
    chosen = {point.key() for point in finalists}
    if rows and held == asked and {row.key for row in rows} == chosen:
        return Change((), len(rows), _open(rows), ())
    wanted = {(point.key(), seed): (point, seed) for point in finalists for seed in asked.seeds}
    networks_went = promoted is not None and study.spec.keep.full == "best"
    fit = rows if held and _same_runs(held, asked, networks_went) else []
    kept = {(row.key, row.seed): row for row in fit if (row.key, row.seed) in wanted}
    return Change(
        new=[run for name, run in wanted.items() if name not in kept],
        taken_over=len(kept),
        open=_open(kept.values()),
        left_out=sorted({row.id for row in rows} - {row.id for row in kept.values()}),
    )


def _open(rows: Iterable[Any]) -> int:
    return sum(row.state in OPEN for row in rows)


def _same_runs(held: PromoteSpec, asked: PromoteSpec, networks_went: bool) -> bool:
    """Whether runs of the one are runs of the other. Where only the best run's network was kept,
    fewer seeds might choose one that is gone."""

    def facts(settings: PromoteSpec) -> Any:
        return settings.epochs, settings.patience, settings.protocol

    seeds_stay = {*asked.seeds} >= {*held.seeds}
    return facts(held) == facts(asked) and (seeds_stay or not networks_went)


def _leave_out(connection: Connection, study: Study, ids: Sequence[int], rung: int) -> None:
    """Moves runs to a rung of their own; what is not done there never will be."""
    held = points.c.id.in_(ids)
    rows: Sequence[Row[Any]] = connection.execute(
        select(points.c.number).where(
            held, points.c.state == PointState.LEASED, points.c.lease_until > func.now()
        )
    ).all()
    if rows:
        raise StudyError(
            f"the full runs of study '{study.name}' must rest while their settings change, but"
            f" {len(rows)} are being trained; wait for them, or run `weightsearch stop"
            f" {study.name}` first."
        )
    connection.execute(
        update(attempts)
        .where(attempts.c.point_id.in_(ids), attempts.c.outcome.is_(None))
        .values(outcome=Outcome.LOST, ended_at=func.now(), reason=LATER)
    )
    is_done = points.c.state == PointState.DONE
    connection.execute(
        update(points)
        .where(held)
        .values(
            rung=rung,
            state=case((is_done, points.c.state), else_=PointState.FAILED),
            reason=case((is_done, points.c.reason), else_=LATER),
        )
    )
