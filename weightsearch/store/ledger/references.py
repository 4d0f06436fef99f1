"""What the database refers to outside itself: checkpoints, packs, results on their way."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Engine, inspect, select, text

from weightsearch.store.connection import connecting
from weightsearch.store.ledger import queries
from weightsearch.store.ledger import studies as studies_module
from weightsearch.store.tables.schema import meta, points, studies
from weightsearch.store.tables.states import PointState, Rung
from weightsearch.study import search_space
from weightsearch.study.search_space import Point


@dataclass(frozen=True)
class Referred:
    """By name or number, all that a file can be kept for."""

    identity: str
    """The database's own, which its workers' spools are named after."""
    checkpoints: dict[str, frozenset[str]]
    """By study: the names of the folders that somebody may yet read."""
    data: frozenset[tuple[str, tuple[int, int]]]
    """Digests of packs, each with an input size."""
    undecided: frozenset[str]
    """Readers of studies that have not yet said which data they are about."""
    undone: frozenset[int]
    """Points without a result."""
    artifacts: frozenset[str]
    """Files that Optuna's studies and trials note as theirs."""


def checkpoint_folder(point: Point, seed: int, rung: int) -> str:
    """The name of a point's folder below its study's."""
    return f"{point.id()}-s{seed}" + ("-full" if rung == Rung.PROMOTION else "")


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
    sources = [(study.spec.data, study.data_digest) for study in known if study.spec.data]
    return Referred(
        identity=identity,
        checkpoints={study.name: _checkpoints(engine, study) for study in known},
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


def _checkpoints(engine: Engine, study: studies_module.Study) -> frozenset[str]:
    """Folders of what is still to be done, of every finalist, and of the best of the search.

    A promotion trains from the start, so it reads no checkpoint of the search; the best one's stays
    for the objectives that keep one.
    """
    with engine.connect() as connection:
        rows = connection.execute(
            select(points.c.weights, points.c.params, points.c.seed, points.c.rung).where(
                points.c.study_id == study.id,
                points.c.weights.is_not(None),
                (points.c.state != PointState.DONE) | (points.c.rung == Rung.PROMOTION),
            )
        ).all()
    kept = {
        checkpoint_folder(Point(search_space.decode(r.weights), r.params), r.seed, r.rung)
        for r in rows
    }
    best = queries.leader(engine, study)
    if best is not None:
        kept.add(checkpoint_folder(best[0], study.spec.train.seed, Rung.SEARCH))
    return frozenset(kept)
