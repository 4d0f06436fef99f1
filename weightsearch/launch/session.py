"""A launch from its first check to the promoted checkpoint.

Each step is safe to repeat: the same launch resumes where the last one stopped.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

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
from weightsearch.store.connection.outage import reason, retry_while_away
from weightsearch.store.ledger import queries, studies, study_control
from weightsearch.store.ledger.stored_promotion import PromotionVerdict
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import OPEN, Rung, StudyState
from weightsearch.study.spec import StudySpec
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
    study = prepare(database, spec, request)
    failpoints.reach("after-plan")
    work(database, study, Rung.SEARCH, "search", request)
    failpoints.reach("after-search")
    if retry_while_away(lambda: queries.leader(database.engine, study)) is None:
        raise StudyError(
            f"study '{study.name}' must have a finished point to rank, but has none;"
            f" `weightsearch status {study.name}` shows why."
        )
    verdict = None
    if request.promote and spec.promote is not None:
        verdict = promote_study(database, study, request)
    else:
        mirror(database, study)
    points = retry_while_away(lambda: queries.counts(database.engine, study))
    judged = replace(study, promoted=verdict)
    return Launched(
        ranking=retry_while_away(lambda: answer.found(database.engine, judged)),
        points=points,
        coverage=queries.share_done(points),
        equivalent_left_out=study.equivalent_left_out,
        home=request.home,
    )


def promote_study(database: Database, study: Study, request: Request) -> PromotionVerdict:
    """Trains the finalists in full and marks the winner; the verdict. Raises WeightsearchError."""
    retry_while_away(lambda: studies.refuse_other_revision(database.engine, study))
    if study.spec.data is not None:
        digests = pack(study.spec, request)[1]
        retry_while_away(lambda: studies.record_data(database.engine, study, *digests))
    retry_while_away(lambda: promote.plan(database.engine, study))
    failpoints.reach("after-promotion-plan")
    work(database, study, Rung.PROMOTION, "promotion", request)
    failpoints.reach("after-promotion-runs")
    verdict = retry_while_away(lambda: promotion_verdict.decide(database.engine, study))
    mirror(database, study)
    return verdict


def work(database: Database, study: Study, rung: int, title: str, request: Request) -> None:
    """Runs workers until the rung is done, or the budget used up; shows how far it is.

    Raises WeightsearchError where neither can be reached.
    """
    engine = database.engine
    counts = retry_while_away(lambda: queries.counts(engine, study, rung))
    open_points = sum(counts[state] for state in OPEN)
    if not open_points:
        return
    placed = PLACED[request.on](request.device, request.workers)
    command = Command(
        study=study.name,
        data=request.data,
        environment=_environment(database, request),
        logs=request.home / "logs" / study.name,
        path=request.path,
        folder=os.getcwd(),
    )
    used = placed[:open_points]
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


def _environment(database: Database, request: Request) -> dict[str, str]:
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
            f" ({type(error).__name__}: {reason(error)}); every result is safe: mend that, and run"
            " the same launch."
        ) from error
    try:
        from weightsearch.report.optuna_dashboard import publish  # draws with plotly

        publish(database, study.name)
    except Exception as error:
        log.warning("the dashboard's figures are behind: %s", type(error).__name__)
