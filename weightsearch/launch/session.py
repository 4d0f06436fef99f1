"""A launch from its first check to the promoted checkpoint.

Each step is safe to repeat: the same launch resumes where the last one stopped.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Engine

from weightsearch.errors import StudyError, WeightsearchError
from weightsearch.launch import promotion as promote
from weightsearch.launch import promotion_verdict
from weightsearch.launch.display.progress import display, standing
from weightsearch.launch.places import LAUNCHERS, PLACED
from weightsearch.launch.places.local import Command
from weightsearch.launch.preparation import Request, pack, prepare
from weightsearch.report.evidence import answer
from weightsearch.report.evidence.answer import Ranking
from weightsearch.runtime import failpoints
from weightsearch.runtime.stop_signals import GRACE_S, interruptible
from weightsearch.store.connection.database import Database
from weightsearch.store.connection.outage import named, reason, retry_while_away
from weightsearch.store.ledger import looks, queries, references, studies, study_control
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import OPEN, Rung, StudyState
from weightsearch.study.objective_contract import BEST, LAST
from weightsearch.study.spec import PromoteSpec, StudySpec
from weightsearch.worker.background import publishing

LOOK_EVERY_S = 0.5
LOOK_AT_LEAST_EVERY_S = 5.0

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Launched:
    """What a launch came to."""

    ranking: Ranking
    points: Mapping[str, int]
    """The search's, by state."""
    coverage: float
    """The share of them that is done."""
    equivalent_left_out: int
    home: Path

    def to_json(self) -> dict[str, Any]:
        found = self.ranking.to_json()
        study, promoted = found.pop("study"), found.pop("promoted")
        del found["guards"]
        return {
            "study": study,
            "points": dict(self.points),
            "coverage": self.coverage,
            "equivalent_left_out": self.equivalent_left_out,
            **found,
            "promoted": promoted,
            "home": str(self.home),
        }


def launch(database: Database, spec: StudySpec, request: Request) -> Launched:
    """Plans a study or resumes it, runs it, ranks it and promotes the best.

    Raises WeightsearchError for whatever the user can put right; KeyboardInterrupt leaves a state
    that the same launch continues.
    """
    return run(database, prepare(database, spec, request), spec, request)


def run(database: Database, study: Study, spec: StudySpec, request: Request) -> Launched:
    """Runs a study that is planned and packed, ranks it and promotes the best; as `launch`."""
    failpoints.reach("after-plan")
    work(database, study, Rung.SEARCH, "search", request)
    # Where every worker was gone before the look that its last result made due.
    while _look(database.engine, study):
        work(database, study, Rung.SEARCH, "search", request)
    failpoints.reach("after-search")
    if retry_while_away(lambda: queries.leader(database.engine, study)) is None:
        raise StudyError(
            f"study '{study.name}' must have a finished point to rank, but has none;"
            f" `weightsearch status {study.name}` shows why."
        )
    if request.promote and spec.promote is not None:
        verdict = promote_study(database, study, request, _settings(study, spec, request))
        study = replace(study, promoted=verdict)
    else:
        mirror(database, study)
    points = retry_while_away(lambda: queries.counts(database.engine, study))
    return Launched(
        ranking=retry_while_away(lambda: answer.found(database.engine, study)),
        points=points,
        coverage=queries.coverage(points),
        equivalent_left_out=study.equivalent_left_out,
        home=request.home,
    )


def _settings(study: Study, spec: StudySpec, request: Request) -> PromoteSpec | None:
    """By which the best are promoted: full runs that are there keep theirs, unless others are asked
    for by name, so that the same launch may always be given again."""
    if study.spec.promote != spec.promote and not request.repeat:
        log.warning(
            "the full runs of study %s were planned by other [promote] settings than the file has"
            " now, and stay; --promote-top, --promote-seeds or --promote-epochs repeats them by the"
            " file's",
            study.name,
        )
        return study.spec.promote
    return spec.promote


def _look(engine: Engine, study: Study) -> bool:
    """Takes the look that is due; whether there is more to do."""
    known = retry_while_away(lambda: looks.count(engine, study))
    return retry_while_away(lambda: looks.take(engine, study, known))


def promote_study(
    database: Database, study: Study, request: Request, asked: PromoteSpec | None = None
) -> PromotionVerdict:
    """Trains the finalists in full and marks the winner; the verdict. Raises WeightsearchError.

    Other settings than the study's, where they are asked for, are its settings from then on.
    """
    retry_while_away(lambda: studies.refuse_other_revision(database.engine, study))
    if study.spec.data is not None:
        digests = pack(study.spec, request)[1]
        retry_while_away(lambda: studies.record_data(database.engine, study, *digests))
        study = retry_while_away(lambda: studies.find(database.engine, study.name))
    if settings := asked or study.spec.promote:
        coming = retry_while_away(lambda: promote.ahead(database.engine, study, settings))
        devices = PLACED[request.on](request.device, request.workers)
        log.info("promotion of study %s: %s", study.name, coming.told(devices))
    retry_while_away(lambda: promote.plan(database.engine, study, settings))
    study = retry_while_away(lambda: studies.find(database.engine, study.name))
    failpoints.reach("after-promotion-plan")
    work(database, study, Rung.PROMOTION, "promotion", request)
    failpoints.reach("after-promotion-runs")
    verdict = retry_while_away(lambda: promotion_verdict.decide(database.engine, study))
    _tidy(database.engine, request.home, replace(study, promoted=verdict))
    mirror(database, study)
    return verdict


def _tidy(engine: Engine, home: Path, study: Study) -> None:
    """Removes the networks that `keep` lets go; what lies elsewhere, or stays, `gc` finds."""
    for name in references.outdone(engine, study):
        folder = home / "checkpoints" / study.name / name
        for part in (BEST, LAST):
            shutil.rmtree(folder / part, ignore_errors=True)
        with contextlib.suppress(OSError):  # an objective has files of its own there
            folder.rmdir()


def work(database: Database, study: Study, rung: int, title: str, request: Request) -> None:
    """Runs workers until the rung is done, or the budget used up; shows how far it is.

    Raises WeightsearchError where neither can be reached.
    """
    engine = database.engine
    counts = retry_while_away(lambda: queries.counts(engine, study, rung))
    open_points = sum(counts[state] for state in OPEN)
    if not open_points:
        return
    full = study.spec.promote if rung == Rung.PROMOTION else None
    each = full.devices if full else 1
    placed = PLACED[request.on](request.device, request.workers, each)
    command = Command(
        study=study.name,
        data=request.data,
        environment=child_environment(database, request),
        logs=request.home / "logs" / study.name,
        path=request.path,
        folder=os.getcwd(),
        lanes=request.lanes,
        each=each,
    )
    # A look may plan more than is open now.
    looking = rung == Rung.SEARCH and study.spec.has_looks()
    used = placed if looking else placed[:open_points]
    check: Callable[[int], bool]
    with (
        interruptible() as raise_if_interrupted,
        display(title, request.quiet) as shown,
        publishing(database, study),
        LAUNCHERS[request.on](command, used, GRACE_S + 15) as check,
    ):
        while True:
            began = time.monotonic()
            now = retry_while_away(lambda: standing(engine, study, rung, len(used)))
            pause_s = _pause_s(time.monotonic() - began)
            shown.show(now)
            raise_if_interrupted()
            if not check(now.finished):
                break
            time.sleep(pause_s)
        shown.show(retry_while_away(lambda: standing(engine, study, rung, len(used))))
    _settle(database, study, rung)


def _pause_s(look_s: float) -> float:
    """Until the next look, after one that took so long: looks read the whole table, and shall keep
    the server busy for a twentieth of its time, but a worker that died is replaced by them too."""
    return min(LOOK_AT_LEAST_EVERY_S, max(LOOK_EVERY_S, 19 * look_s))


def _settle(database: Database, study: Study, rung: int) -> None:
    """Raises StudyError unless the rung is done, or as much of it as the budget allows."""
    engine = database.engine
    counts = retry_while_away(lambda: queries.counts(engine, study, rung))
    left = sum(counts[state] for state in OPEN)
    if not left:
        return
    now = retry_while_away(lambda: study_control.standing(engine, study.id))
    if now.state == StudyState.STOPPED:
        why = retry_while_away(lambda: studies.find(engine, study.name)).state_reason
        raise StudyError(
            f"study '{study.name}' must run to its end, but was stopped with {left} points left"
            f"{f' ({why})' if why else ''}; run the same launch to resume it."
        )
    if now.left or rung != Rung.SEARCH:
        raise StudyError(
            f"every point must be done before the next step, but the workers stopped with"
            f" {left} left; run the same command to resume."
        )
    log.warning(
        "the budget is used up: %d of %d points were tried, and the rest is left out; the same"
        " command with another --budget, or with --budget none, resumes",
        counts["total"] - left,
        counts["total"],
    )


def child_environment(database: Database, request: Request) -> dict[str, str]:
    """How a worker finds the database: never in its arguments, which anyone can read."""
    found = {"WEIGHTSEARCH_HOME": str(request.home)}
    if not database.embedded:
        found["WEIGHTSEARCH_STORAGE"] = database.url.render_as_string(hide_password=False)
    return found


def mirror(database: Database, study: Study) -> None:
    """The last look, so that the Optuna study is whole when the launch ends; what is seen beside it
    is a convenience, and no reason to fail. Raises StudyError where it cannot be made whole."""
    from weightsearch.store.optuna_mirror import Mirror  # imports optuna

    try:
        retry_while_away(lambda: Mirror(database, study).sync(wait=True))
    except WeightsearchError:
        raise
    except Exception as error:
        raise StudyError(
            f"the Optuna study of '{study.name}' must show what was done, but is behind"
            f" ({named(error)}); every result is safe: mend that, and run"
            " the same launch."
        ) from error
    try:
        from weightsearch.report.optuna_dashboard import publish  # draws with plotly

        publish(database, study.name)
    except Exception as error:
        log.warning("the dashboard's figures are behind: %s", named(error))
    _track(database, study)


def _track(database: Database, study: Study) -> None:
    """Shows the study where its table [track] says; what cannot be shown now can be later."""
    if study.spec.track is None:
        return
    try:
        from weightsearch.store.sinks.tracking import track

        track(database.engine, study, study.spec.track)
    except Exception as error:
        why = str(error) if isinstance(error, WeightsearchError) else reason(error)
        log.warning(
            "not tracked: %s; `weightsearch track %s` makes up for it", why.rstrip("."), study.name
        )
