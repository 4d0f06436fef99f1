"""What is known of one point's attempts: the ledger's rows, and its part of the workers' logs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Engine, select

from weightsearch.errors import StudyError
from weightsearch.store.ledger import studies
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.schema import attempts, points
from weightsearch.store.tables.states import Rung

STARTED = re.compile(r"point (\d+) started .* seed=(\d+)$")
"""What a worker logs when it begins an attempt (worker/attempt.py)."""


def find(
    engine: Engine, name: str | None, number: int, promotion: bool, home: Path
) -> dict[str, Any]:
    """The attempts at a point in their order, and the lines of each log that are about it.

    Raises StudyError where the study has no such point.
    """
    study = studies.find(engine, name)
    rung = Rung.PROMOTION if promotion else Rung.SEARCH
    rows = _attempts(engine, study, number, rung)
    folder = home / "logs" / study.name
    seeds = study.spec.promote.seeds if study.spec.promote else ()
    logs = [
        {"file": str(file), "lines": lines}
        for file in sorted(folder.glob("*.log"), key=lambda file: file.stat().st_mtime)
        for lines in parts(file.read_text(errors="replace").splitlines(), number, seeds, promotion)
    ]
    kind = "promotion run" if promotion else "point"
    return {
        "study": study.name, "kind": kind, "point": number,
        "attempts": rows, "logs": logs, "folder": str(folder),
    }  # fmt: skip


def parts(
    lines: Sequence[str], number: int, seeds: Sequence[int], promotion: bool
) -> Iterator[list[str]]:
    """The lines from each start of the point to the next start of any. A run of the promotion and a
    point of the search may have one number; the first has a fresh seed, one of `seeds`."""
    part: list[str] = []
    is_ours = False
    for line in lines:
        if begun := STARTED.search(line):
            if part:
                yield part
            part = []
            is_ours = int(begun[1]) == number and (int(begun[2]) in seeds) == promotion
        if is_ours:
            part.append(line)
    if part:
        yield part


def _attempts(engine: Engine, study: Study, number: int, rung: int) -> list[dict[str, Any]]:
    point = select(points.c.id).filter_by(study_id=study.id, number=number, rung=rung)
    with engine.connect() as connection:
        found = connection.execute(point).scalar()
        if found is None:
            raise StudyError(
                f"study '{study.name}' must have the point, but has no {number};"
                f" `weightsearch best {study.name}` lists them."
            )
        rows = connection.execute(
            select(
                attempts.c.attempt, attempts.c.worker, attempts.c.device, attempts.c.started_at,
                attempts.c.seconds, attempts.c.outcome, attempts.c.reason,
            )
            .filter_by(point_id=found)
            .order_by(attempts.c.attempt)
        ).all()  # fmt: skip
    return [{**row._mapping, "started_at": row.started_at.isoformat()} for row in rows]
