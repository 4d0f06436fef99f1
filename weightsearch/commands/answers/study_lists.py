"""The study files that can be launched by name, and the studies of the database."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, func, select

from weightsearch.store.ledger import claim, study_control
from weightsearch.store.tables.schema import points, studies
from weightsearch.store.tables.states import PointState, Rung, phase
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
    verdict = studies.c.promoted["verdict"].as_string()
    with engine.connect() as connection:
        known = connection.execute(
            select(studies.c.id, studies.c.name, studies.c.state, verdict.label("verdict"))
            .add_columns(claim.is_limited().label("budgeted"))
            .order_by(studies.c.id.desc())
        ).all()
        counted = connection.execute(
            select(points.c.study_id, points.c.rung, points.c.state, func.count().label("n"))
            .where(points.c.rung <= Rung.PROMOTION)
            .group_by(points.c.study_id, points.c.rung, points.c.state)
        ).all()
    by: dict[tuple[int, int], dict[str, int]] = {}
    for row in counted:
        by.setdefault((row.study_id, row.rung), {})[row.state] = row.n
    found = []
    for row in known:
        search, full = (by.get((row.id, rung), {}) for rung in (Rung.SEARCH, Rung.PROMOTION))
        left = not row.budgeted or study_control.standing(engine, row.id).left
        found.append(
            {
                "name": row.name,
                "state": phase(row.state, search, full, row.verdict is not None, False, left),
                "points": sum(search.values()),
                "done": search.get(PointState.DONE, 0),
                "verdict": row.verdict,
            }
        )
    return found
