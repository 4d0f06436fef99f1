"""Homes with studies in them, and what is left of them."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import func, select

from support.specs import make_spec
from weightsearch.store import study_removal
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import full_runs, studies
from weightsearch.store.ledger.studies import Study
from weightsearch.store.optuna_mirror import Mirror
from weightsearch.store.tables.schema import metadata
from weightsearch.study import planning
from weightsearch.study.search_space import Point
from weightsearch.worker import loop
from weightsearch.worker.process import Worker

DAY_S = 86400.0


def create(database: Database, name: str = "study", **tables: Any) -> Study:
    spec = make_spec(**tables)
    return studies.create(database.engine, name, spec, planning.plan(spec))


def run(database: Database, study: Study, home: Path) -> None:
    """Works on the study, in this process, until nothing is left."""
    loop.run(Worker(database, study, home, "cpu"))


def promote(database: Database, study: Study, finalists: Sequence[Point]) -> None:
    """Plans full runs of these, by the study's settings."""
    assert study.spec.promote
    full_runs.plan(database.engine, study, study.spec.promote, finalists)


def show(database: Database, study: Study) -> None:
    """Makes the Optuna studies, and brings them up to date."""
    Mirror(database, study).sync(wait=True)


def write(path: Path, content: str = "x" * 100, age_s: float = DAY_S) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    aged(path.parent, age_s)
    return path


def aged(path: Path, age_s: float = DAY_S) -> None:
    """Makes a folder, and all in it, look as if nobody had used it for so long."""
    then = time.time() - age_s
    for place in (path, *path.rglob("*")):
        os.utime(place, (then, then))


def rows(database: Database) -> dict[str, int]:
    """How many rows each table has, ours and Optuna's."""
    tables = [*metadata.sorted_tables, *study_removal.OPTUNA.values()]
    with database.engine.connect() as connection:
        return {
            table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
            for table in tables
        }


def removed(found: dict[str, Any]) -> set[str]:
    return {row["path"] for row in found["removed"]}
