"""A sweep that is repeated every night: run, judged against an accepted baseline, remembered.

The route of a night: `run` finds or makes the night (store/ledger/nights.py) → its canaries and
its search are two ordinary studies (launch/session.py), so whoever starts it late, again or twice
at once goes on with the same points → `verdict.verdict` reads what came of them and compares
(verdict.py, stats/drift.py) → the verdict is recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Engine

from weightsearch.errors import ConfigError, StudyError, WeightsearchError
from weightsearch.launch import preparation, session
from weightsearch.launch.preparation import Request
from weightsearch.nightly import verdict as nightly
from weightsearch.stats.night_values import NightValues
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger import nights
from weightsearch.store.ledger.nights import Night
from weightsearch.store.ledger.stored_night import Acceptance, NightVerdict, NightWord
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import Rung
from weightsearch.study import planning
from weightsearch.study.samplers.contract import Plan
from weightsearch.study.spec import StudySpec

EXIT = {NightWord.OK: 0, NightWord.REGRESSION: 3, NightWord.NOT_JUDGED: 4}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class NightRequest:
    """Which night, beside what a launch is asked for."""

    sweep: str
    commit: str
    date: str | None
    """YYYY-MM-DD; by default the night that is resumed or begins now."""
    request: Request


def run(database: Database, spec: StudySpec, asked: NightRequest) -> NightVerdict:
    """Runs or resumes a night; its verdict. One that was judged is only reported.

    Cut short by its budget, an interrupt, a stop or an error of the workers, it is judged by what
    there is. Raises WeightsearchError where it cannot begin.
    """
    if spec.nightly is None:
        raise ConfigError("a study that is repeated must have a table [nightly] with canaries.")
    canaries, search = nightly.canary_study(spec), nightly.search_study(spec)
    planned = planning.canaries(canaries)
    begun = nights.begin(
        database.engine, asked.sweep, asked.date, asked.commit, nightly.digest(spec)
    )
    if begun.final and begun.verdict is not None:
        log.info("night %s of %s was judged before", begun.night, begun.sweep)
        return begun.verdict
    log.info("night %s of %s", begun.night, begun.sweep)
    parts = [_prepare(database, canaries, begun, nightly.CANARIES, asked.request, planned)]
    if search is not None:
        parts.append(_prepare(database, search, begun, nightly.SEARCH, asked.request))
    cut: list[str] = []
    try:
        for study, title, request in parts:
            session.work(database, study, Rung.SEARCH, title, request)
    except KeyboardInterrupt:
        cut.append("it was interrupted, and the same command goes on")
    except WeightsearchError as error:
        cut.append(str(error).rstrip("."))
    for study, _, _ in parts:
        session.mirror(database, study)
    found = nightly.verdict(database.engine, begun, cut)
    nights.judge(database.engine, begun, found, final=not found.reasons)
    return found


def _prepare(
    database: Database,
    spec: StudySpec,
    begun: Night,
    part: str,
    request: Request,
    planned: Plan | None = None,
) -> tuple[Study, str, Request]:
    named = replace(request, name=nightly.study_name(begun, part))
    return preparation.prepare(database, spec, named, planned), part, named


@dataclass(frozen=True)
class Accepted:
    """A baseline that was made."""

    sweep: str
    made: Acceptance
    before: Acceptance | None
    """What it replaces."""
    worse: Sequence[str]
    """The metrics in which it is worse than what it replaces; only by force."""
    measured: NightValues
    """Without the values per image."""

    def to_json(self) -> dict[str, Any]:
        return {
            "sweep": self.sweep,
            **self.made.to_json(),
            "before": self.before.to_json() if self.before else None,
            "worse": list(self.worse),
            "measured": self.measured.to_json(),
        }


def accept(
    engine: Engine, sweep: str | None, night: str, by: str, why: str, force: bool = False
) -> Accepted:
    """Makes that night's canaries and best the baseline.

    Raises StudyError where not all of it is done, a run gave no number, or, unless `force`, it is
    worse than the baseline that counts now.
    """
    name = nights.newest(engine, sweep)
    known = {n.night: n for n in nights.history(engine, name)}
    if night not in known:
        raise StudyError(
            f"--night must name a night of sweep '{name}', but got '{night}'; the newest is"
            f" {next(iter(known))}, and `weightsearch nightly history {name}` lists them all."
        )
    chosen = known[night]
    found = nightly.measure(engine, chosen)
    _check_whole(chosen, found)
    # Against the baseline of now: its own verdict may be of an older one.
    worse = nightly.worse_now(engine, chosen)
    if worse and not force:
        raise StudyError(
            f"a baseline must not be worse than the one it replaces, but night {night} is:"
            f" {'; '.join(worse)}; name another with --night, or add --force where that is meant."
        )
    before = nights.baseline(engine, name)
    made = nights.accept(engine, chosen, found.digest, found.measured, by, why)
    return Accepted(
        sweep=name,
        made=made.acceptance(),
        before=before.acceptance() if before is not None else None,
        worse=worse,
        measured=found.measured.means_only(),
    )


def _check_whole(chosen: Night, found: nightly.Found) -> None:
    if found.lacking:
        raise StudyError(
            f"night {chosen.night} must be done to become the baseline, but"
            f" {'; '.join(found.lacking)}; run it to its end, or name another with --night."
        )
    for canary, runs in found.measured.canaries.items():
        for seed, metrics in runs.seeds.items():
            if found.spec.objective.metric not in metrics:
                raise StudyError(
                    f"every run of a baseline must have ended with a number, but canary {canary}"
                    f" has none with seed {seed}; name another night with --night."
                )


@dataclass(frozen=True)
class History:
    """A sweep so far, the newest first."""

    sweep: str
    nights: Sequence[Night]
    baselines: Sequence[Acceptance]

    def verdicts(self) -> list[NightVerdict]:
        """Of the nights that have one."""
        return [night.verdict for night in self.nights if night.verdict is not None]

    def to_json(self) -> dict[str, Any]:
        return {
            "sweep": self.sweep,
            "nights": [_shown(night) for night in self.nights],
            "baselines": [accepted.to_json() for accepted in self.baselines],
        }


def _shown(night: Night) -> dict[str, Any]:
    if night.verdict is not None:
        return night.verdict.to_json()
    began_at = night.began_at.isoformat(timespec="seconds")
    return {"night": night.night, "commit": night.commit, "began_at": began_at, "verdict": None}


def history(engine: Engine, sweep: str | None, last: int | None = None) -> History:
    """Nights with their verdicts and baselines with their reasons, the newest first."""
    name = nights.newest(engine, sweep)
    return History(
        sweep=name,
        nights=nights.history(engine, name, last),
        baselines=[baseline.acceptance() for baseline in nights.accepted(engine, name)],
    )
