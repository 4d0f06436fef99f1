"""The study files that can be launched by name, and the studies of the database."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from weightsearch.store.tables.schema import points, studies
from weightsearch.store.tables.states import PointState, Rung
from weightsearch.study import loading


def files(here: Path) -> list[dict[str, str]]:
    """Those that come with the package, by name, and those in `here`, by file: name and goal."""
    named = [(name, file) for name, file in loading.study_files().items()]
    own = [(file.name, file) for file in sorted(here.glob("*.toml"))]
    return [*_listed([*named, *own])]


def _listed(found: list[tuple[str, Path]]) -> Iterator[dict[str, str]]:
    """Those of them that are studies: other programs keep TOML too."""
    for name, file in found:
        try:
            tables = tomllib.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue
        if isinstance(goal := tables.get("goal"), str) and "loss" in tables:
            yield {"name": name, "goal": goal, "file": str(file)}


def planned(engine: Engine) -> list[dict[str, Any]]:
    """The newest first: name, state, points of the search and how many are done, the verdict."""
    done = func.count(points.c.id).filter(points.c.state == PointState.DONE)
    searched = (points.c.study_id == studies.c.id) & (points.c.rung == Rung.SEARCH)
    verdict = studies.c.promoted["verdict"].as_string()
    with engine.connect() as connection:
        rows = connection.execute(
            select(
                studies.c.name, studies.c.state, func.count(points.c.id).label("points"),
                done.label("done"), verdict.label("verdict"),
            )
            .outerjoin(points, searched)
            .group_by(studies.c.id)
            .order_by(studies.c.id.desc())
        ).all()  # fmt: skip
    return [dict(row._mapping) for row in rows]
