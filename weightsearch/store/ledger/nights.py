"""Nights of a sweep that is repeated, and the baselines they are judged by.

A night is made once, whoever asks first; its final verdict stays. Baselines are only ever added:
which one counted when, who accepted it and why, can always be told.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Engine, Row, func, select, true, update
from sqlalchemy.dialects.postgresql import insert as upsert

from weightsearch.errors import StudyError, did_you_mean
from weightsearch.stats.night_values import NightValues
from weightsearch.store.ledger.stored_night import Acceptance, NightVerdict
from weightsearch.store.tables import statements
from weightsearch.store.tables.schema import baselines, nights

CONTINUED_S = 12 * 3600.0
"""A night that began so recently, of the same commit, is resumed after midnight."""


@dataclass(frozen=True)
class Night:
    id: int
    sweep: str
    night: str
    commit: str
    digest: str
    began_at: datetime
    verdict: NightVerdict | None
    final: bool


@dataclass(frozen=True)
class Baseline:
    id: int
    night: str
    digest: str
    measured: NightValues
    accepted_by: str
    accepted_at: datetime
    why: str
    previous_id: int | None

    def acceptance(self) -> Acceptance:
        """Everything but the values."""
        return Acceptance(
            id=self.id,
            night=self.night,
            accepted_by=self.accepted_by,
            accepted_at=self.accepted_at.isoformat(timespec="seconds"),
            why=self.why,
            previous=self.previous_id,
        )


def begin(engine: Engine, sweep: str, date: str | None, commit: str, digest: str) -> Night:
    """The night of that date and commit, made where it is not there yet; of several that ask at
    once, all get the same.

    Without a date it is today's (UTC, by the database's clock), or one that began before midnight
    and has no final verdict. Raises StudyError where it was begun with other settings.
    """
    mine = (nights.c.sweep == sweep) & (nights.c.commit == commit)
    with engine.begin() as connection:
        name = f"{date}-{commit}" if date else None
        if name is None:
            name = connection.execute(
                select(nights.c.night)
                .where(mine, ~nights.c.final, nights.c.began_at > statements.from_now(-CONTINUED_S))
                .order_by(nights.c.id.desc())
                .limit(1)
            ).scalar()
        if name is None:
            today = func.to_char(func.timezone("UTC", func.now()), "YYYY-MM-DD")
            name = f"{connection.execute(select(today)).scalar_one()}-{commit}"
        connection.execute(
            upsert(nights)
            .values(sweep=sweep, night=name, commit=commit, digest=digest)
            .on_conflict_do_nothing()
        )
        row = connection.execute(select(nights).filter_by(sweep=sweep, night=name)).one()
    if row.digest != digest:
        raise StudyError(
            f"night {name} of '{sweep}' was begun with other settings (digest {row.digest}, now"
            f" {digest}); restore them, or name another night with --date or another sweep with"
            " --name."
        )
    return _night(row)


def _night(row: Row[Any]) -> Night:
    verdict = NightVerdict.from_json(row.verdict) if row.verdict else None
    return Night(**{**row._mapping, "verdict": verdict})


def judge(engine: Engine, night: Night, verdict: NightVerdict, final: bool) -> None:
    """Records the verdict, unless a final one is there."""
    with engine.begin() as connection:
        connection.execute(
            update(nights)
            .where(nights.c.id == night.id, ~nights.c.final)
            .values(verdict=verdict.to_json(), final=final)
        )


def history(engine: Engine, sweep: str | None, last: int | None = None) -> list[Night]:
    """The nights of a sweep, or of all, the newest first."""
    with engine.connect() as connection:
        rows = connection.execute(
            select(nights)
            .where(true() if sweep is None else nights.c.sweep == sweep)
            .order_by(nights.c.began_at.desc(), nights.c.id.desc())
            .limit(last)
        ).all()
    return [_night(row) for row in rows]


def numbered(engine: Engine, number: int) -> Night | None:
    """The night with that id."""
    with engine.connect() as connection:
        row = connection.execute(select(nights).where(nights.c.id == number)).one_or_none()
    return None if row is None else _night(row)


def newest(engine: Engine, sweep: str | None) -> str:
    """The sweep of that name, or the one of the newest night; raises StudyError."""
    with engine.connect() as connection:
        known = connection.execute(
            select(nights.c.sweep).group_by(nights.c.sweep).order_by(func.max(nights.c.id).desc())
        ).scalars()
        names = list(known)
    if not names:
        raise StudyError("there was no night yet; start one with `weightsearch nightly STUDY`.")
    if sweep is not None and sweep not in names:
        raise StudyError(f"unknown sweep '{sweep}'; {did_you_mean(sweep, names)}")
    return sweep or names[0]


def accept(
    engine: Engine, night: Night, digest: str, measured: NightValues, by: str, why: str
) -> Baseline:
    """Makes a night's values what later nights are judged by."""
    with engine.begin() as connection:
        # One after another, so that each knows which one it replaces.
        connection.execute(select(nights.c.id).filter_by(sweep=night.sweep).with_for_update())
        newest_id = select(func.max(baselines.c.id)).filter_by(sweep=night.sweep)
        connection.execute(
            baselines.insert().values(
                sweep=night.sweep,
                night_id=night.id,
                digest=digest,
                measured=measured.to_json(),
                accepted_by=by,
                why=why,
                previous_id=newest_id.scalar_subquery(),
            )
        )
    found = baseline(engine, night.sweep)
    assert found is not None
    return found


def baseline(engine: Engine, sweep: str) -> Baseline | None:
    """The one that counts now."""
    return next(iter(accepted(engine, sweep)), None)


def accepted(engine: Engine, sweep: str) -> list[Baseline]:
    """Every baseline of a sweep, the newest first."""
    wanted = [column for column in baselines.c if column.name not in ("sweep", "night_id")]
    with engine.connect() as connection:
        rows = connection.execute(
            select(*wanted, nights.c.night)
            .join(nights, nights.c.id == baselines.c.night_id)
            .where(baselines.c.sweep == sweep)
            .order_by(baselines.c.id.desc())
        ).all()
    return [
        Baseline(**{**row._mapping, "measured": NightValues.from_json(row.measured)})
        for row in rows
    ]
