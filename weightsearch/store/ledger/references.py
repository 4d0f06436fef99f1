"""What the database refers to outside itself: checkpoints, packs, results on their way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Engine, Select, inspect, select, text, true

from weightsearch.store.connection import connecting
from weightsearch.store.ledger import looked, queries
from weightsearch.store.ledger import studies as studies_module
from weightsearch.store.tables.schema import meta, points, studies
from weightsearch.store.tables.states import REPEATED, PointState, Rung
from weightsearch.study import search_space
from weightsearch.study.looks import pilot
from weightsearch.study.objective_contract import BEST, LAST
from weightsearch.study.search_space import Point
from weightsearch.study.tables.share_spec import Form


@dataclass(frozen=True)
class Referred:
    """By name or number, all that a file can be kept for."""

    identity: str
    """The database's own, which its workers' spools are named after."""
    checkpoints: dict[str, frozenset[str]]
    """By study: the names of the folders that somebody may yet read."""
    spent: dict[str, dict[str, tuple[str, ...]]]
    """By study and folder: the parts of a done run that nobody reads any more."""
    data: frozenset[tuple[str, tuple[int, int]]]
    """Digests of packs, each with an input size."""
    undecided: frozenset[str]
    """Readers of studies that have not yet said which data they are about."""
    undone: frozenset[int]
    """Points without a result."""
    artifacts: frozenset[str]
    """Files that Optuna's studies and trials note as theirs."""


def checkpoint_folder(
    point: Point, seed: int, rung: int, number: int = 0, form: Form = Form.SCRATCH
) -> str:
    """The name of a point's folder below its study's, of each form its own; of a repeated promotion
    another one, since what the one before promoted stays."""
    if rung == Rung.SEARCH:
        return f"{point.id()}-s{seed}{f'-{form.name.lower()}' * (form != Form.SCRATCH)}"
    again = "" if number < REPEATED else str(number // REPEATED + 1)
    return f"{point.id()}-s{seed}-full{again}"


@contextlib.contextmanager
def referred(engine: Engine, hold: bool) -> Iterator[Referred]:
    """What is referred to; with `hold`, no study is planned until the block ends."""
    with contextlib.ExitStack() as stack:
        if hold:
            connection = stack.enter_context(connecting.unhurried(engine))
            connection.execute(text(f"LOCK TABLE {studies.name} IN SHARE MODE"))
        yield _referred(engine)


def _referred(engine: Engine) -> Referred:
    with engine.connect() as connection:
        identity = connection.execute(select(meta.c.identity)).scalar_one()
        names = connection.execute(select(studies.c.name)).scalars().all()
        undone = connection.execute(
            select(points.c.id).where(points.c.state != PointState.DONE)
        ).scalars()
        undone_points = frozenset(undone)
    known = [studies_module.find(engine, name) for name in names]
    folders = {study.name: _checkpoints(engine, study) for study in known}
    sources = [(study.spec.data, study.data_digest) for study in known if study.spec.data]
    return Referred(
        identity=identity,
        checkpoints={name: frozenset(found) for name, found in folders.items()},
        spent={study.name: _spent(engine, study, folders[study.name]) for study in known},
        data=frozenset(
            (study.data_digest, size)
            for study in known
            if study.spec.data and study.data_digest
            for size in search_space.sizes(study.spec)
        ),
        undecided=frozenset(spec.source for spec, digest in sources if not digest),
        undone=undone_points,
        artifacts=_artifacts(engine),
    )


def outdone(engine: Engine, study: studies_module.Study) -> frozenset[str]:
    """Folders of full runs that were compared, and whose networks the study does not keep."""
    verdict = study.promoted
    if verdict is None or study.spec.keep.full != "best":
        return frozenset()
    compared = {(f.point, seed) for f in verdict.finalists for seed in verdict.lineage.seeds}
    kept = {Path(folder).name for f in verdict.finalists for folder in f.checkpoints}
    return frozenset(
        checkpoint_folder(run.point, run.seed, Rung.PROMOTION, run.number)
        for run in queries.done(engine, study, Rung.PROMOTION)
        if (run.point.id(), run.seed) in compared
    ) - (kept | _promoted_before(study))


def _promoted_before(study: studies_module.Study) -> set[str]:
    """Folders of what earlier promotions of the study promoted."""
    before = study.promoted.previous if study.promoted else ()
    now = [study.promoted.checkpoint] if study.promoted else []
    folders = [*now, *(verdict.get("checkpoint") for verdict in before)]
    return {Path(folder).name for folder in folders if folder}


def _spent(
    engine: Engine, study: studies_module.Study, folders: Mapping[str, bool | None]
) -> dict[str, tuple[str, ...]]:
    lost, keep = outdone(engine, study), study.spec.keep.full
    over = {name: final for name, final in folders.items() if final is not None}
    found = {name: (LAST,) for name, final in over.items() if not (final and keep == "all")}
    return found | {name: (LAST, BEST) for name in over if name in lost}


def _artifacts(engine: Engine) -> frozenset[str]:
    """The last part of the attributes that note them, whoever wrote those."""
    with engine.connect() as connection:
        if not inspect(connection).has_table("studies"):  # Optuna's
            return frozenset()
        keys = connection.execute(
            text(
                "SELECT key FROM study_system_attributes WHERE key LIKE '%artifacts:%'"
                " UNION SELECT key FROM trial_system_attributes WHERE key LIKE '%artifacts:%'"
            )
        ).scalars()
        return frozenset(key.rpartition(":")[2] for key in keys)


def _to_be_gone_on_with(study: studies_module.Study) -> Select[Any]:
    """Runs that ended an early stage, and that no look has dropped or sent on yet."""
    later = points.alias()
    return select(points.c.id).where(
        points.c.study_id == study.id,
        points.c.rung == Rung.SEARCH,
        points.c.stage < len(study.spec.stages()) - 1,
        ~select(later.c.id)
        .where(
            later.c.study_id == points.c.study_id,
            later.c.key == points.c.key,
            later.c.rung == points.c.rung,
            later.c.stage > points.c.stage,
            later.c.state.in_((PointState.DONE, PointState.FAILED, PointState.DROPPED)),
        )
        .exists(),
    )


def _checkpoints(engine: Engine, study: studies_module.Study) -> dict[str, bool | None]:
    """Folders of what is still to be done, of every finalist, and of the best of the search (of all
    of it, where `keep.search` says so), each with whether it is a full run's; None: it is not done.

    A promotion trains from the start, so it reads no checkpoint of the search; the best one's stays
    for the objectives that keep one.
    """
    is_search, is_full = points.c.rung == Rung.SEARCH, points.c.rung == Rung.PROMOTION
    halfway: ColumnElement[bool] = points.c.id.in_(_to_be_gone_on_with(study))
    if study.spec.share.kind == "trunk" and _forks_may_come(engine, study):
        halfway |= points.c.stage == Form.TRUNK
    undone = points.c.state.not_in((PointState.DONE, PointState.DROPPED)) | halfway
    wanted = is_full | (is_search & (undone if study.spec.keep.search == "none" else true()))
    with engine.connect() as connection:
        rows = connection.execute(
            select(points, undone.label("undone")).where(
                points.c.study_id == study.id, points.c.weights.is_not(None), wanted
            )
        ).all()
    kept: dict[str, bool | None] = {
        checkpoint_folder(
            Point(search_space.decode(r.weights), r.params),
            r.seed,
            r.rung,
            r.number,
            study.spec.share.form(r.stage) if r.rung == Rung.SEARCH else Form.SCRATCH,
        ): (None if r.undone else r.rung == Rung.PROMOTION)
        for r in rows
    }
    kept |= {name: True for name in _promoted_before(study) if name not in kept}
    best = queries.leader(engine, study)
    if best is not None:
        form = ranked_form(engine, study)
        kept[checkpoint_folder(best[0], study.spec.train.seed, Rung.SEARCH, form=form)] = False
    return kept


def ranked_form(engine: Engine, study: studies_module.Study) -> Form:
    """Of the runs that the study ranks."""
    if study.spec.share.kind == "none":
        return Form.SCRATCH
    with engine.connect() as connection:
        found = pilot.outcome(looked.taken(connection, study))
    return Form.SHARED if found is not None and found.shared else Form.SCRATCH


def _forks_may_come(engine: Engine, study: studies_module.Study) -> bool:
    """Whether somebody may yet go on from a trunk: what failed can be tried again."""
    with engine.connect() as connection:
        found = looked.read(connection, study)
    return found.is_open or found.is_due() or bool(found.failed_runs)
