"""Removing a study from the database: its rows in the ledger, and its Optuna studies.

Optuna's own `delete_study` loads every trial: 42 s for 5000 of 25 epochs, where this takes 0.5 s,
both in one run on two busy cores. Here it is one statement for each of the tables that Optuna's
models describe.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from optuna.storages._rdb.models import BaseModel
from sqlalchemy import Connection, Engine, delete, func, inspect, select

from weightsearch.errors import StorageError, StudyError
from weightsearch.store.connection import connecting
from weightsearch.store.ledger.studies import Study, optuna_names
from weightsearch.store.optuna_mirror import MIRROR_LOCK
from weightsearch.store.tables.schema import points, studies
from weightsearch.store.tables.states import PointState

NOTED = ("goal", "objective", "loss", "train")
"""What the mirror notes of every study it makes: by all of them together it is known as ours."""
OPTUNA = BaseModel.metadata.tables


@dataclass(frozen=True)
class Deleted:
    """What went."""

    points: int
    trials: int
    """Of the Optuna studies."""


def check_right(engine: Engine) -> None:
    """Raises StorageError where this role may not delete: a worker's or a viewer's."""
    with engine.connect() as connection:
        role, may = connection.execute(
            select(func.current_user(), func.has_table_privilege(studies.name, "DELETE"))
        ).one()
    if not may:
        raise StorageError(
            f"a study is deleted by the owner of the tables, but role '{role}' may not; name the"
            " owner in the URL."
        )


def delete_study(engine: Engine, study: Study, force: bool = False) -> Deleted:
    """Removes the study, all of it or nothing.

    Raises StudyError where workers hold points of it, unless `force`: what they bring afterwards is
    dropped like that of any worker whose lease was lost.
    """
    with connecting.unhurried(engine) as connection:
        # In the order in which others take them: the mirror's lock first, then rows from the top.
        connection.execute(select(func.pg_advisory_xact_lock(MIRROR_LOCK, study.id)))
        mine = studies.c.id == study.id
        if connection.execute(select(studies.c.id).where(mine).with_for_update()).first() is None:
            raise StudyError(f"study '{study.name}' was deleted by somebody else just now.")
        of_it = points.c.study_id == study.id
        # From here on nothing of it can be claimed: a claim skips what is locked.
        locked = connection.execute(select(points.c.id).where(of_it).with_for_update()).all()
        held = connection.execute(
            select(points.c.worker)
            .where(of_it, points.c.state == PointState.LEASED, points.c.lease_until > func.now())
            .order_by(points.c.worker)
        ).scalars()
        holders = list(held)
        if holders and not force:
            raise StudyError(
                f"study '{study.name}' must be at rest to be deleted, but {len(holders)} of its"
                f" points are held by workers ({holders[0]}{', ...' if holders[1:] else ''}); stop"
                " them, or delete with --force."
            )
        trials = _delete_optuna(connection, optuna_names(study.name))
        connection.execute(delete(studies).where(mine))
    return Deleted(len(locked), trials)


def optuna_leftovers(engine: Engine, remove: bool) -> list[str]:
    """Optuna studies that show a study which does not exist (a worker made them anew just after it
    was deleted); their names. Those that somebody else made lack what the mirror notes on its own.
    """
    with connecting.unhurried(engine) as connection:
        if not inspect(connection).has_table("studies"):
            return []
        noted, named = OPTUNA["study_user_attributes"].c, OPTUNA["studies"].c
        ours = select(noted.study_id).where(noted.key.in_(NOTED))
        ours = ours.group_by(noted.study_id).having(func.count() == len(NOTED))
        names = connection.execute(select(named.study_name).where(named.study_id.in_(ours)))
        there = connection.execute(select(studies.c.name)).scalars().all()
        shown = {name for study in there for name in optuna_names(study)}
        gone = sorted(set(names.scalars()) - shown)
        if remove:
            _delete_optuna(connection, gone)
    return gone


def _delete_optuna(connection: Connection, names: Sequence[str]) -> int:
    """Removes Optuna's studies of these names, where there are any; how many trials they had."""
    if not inspect(connection).has_table("studies"):
        return 0
    named = OPTUNA["studies"].c
    ids = list(
        connection.execute(select(named.study_id).where(named.study_name.in_(names))).scalars()
    )
    trials = OPTUNA["trials"].c
    of_them = select(trials.trial_id).where(trials.study_id.in_(ids))
    number: int = connection.execute(
        select(func.count()).select_from(of_them.subquery())
    ).scalar_one()
    for table in reversed(BaseModel.metadata.sorted_tables):  # what refers to others goes first
        if "study_id" in table.c:
            connection.execute(delete(table).where(table.c.study_id.in_(ids)))
        elif "trial_id" in table.c:
            connection.execute(delete(table).where(table.c.trial_id.in_(of_them)))
    return number
