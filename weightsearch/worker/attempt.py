"""One attempt at a point: run the objective, then record the outcome."""

from __future__ import annotations

import contextlib
import logging
import platform
import shutil
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from weightsearch.errors import Interrupted, NonFiniteLoss, ObjectiveError, WeightsearchError
from weightsearch.runtime import failpoints, own_traceback, provenance
from weightsearch.runtime.stop_signals import StopNow
from weightsearch.store.connection.outage import retry_while_away
from weightsearch.store.ledger import leases, queries, result_spool, study_control
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.tables.states import Outcome, PointState, Rung, StudyState
from weightsearch.study import objective_contract, point_text
from weightsearch.study.objective_contract import Context, Run
from weightsearch.study.spec import StudySpec
from weightsearch.study.tables.share_spec import Form
from weightsearch.worker import failure_kinds
from weightsearch.worker.background import Hold
from weightsearch.worker.objective_run import checkpoints_of, drive
from weightsearch.worker.process import Unfit, Worker

SAME_FAILURES = 3  # so many points, and nothing else so far: the study is broken, not they

Turns = Generator[None, None, bool]

log = logging.getLogger(__name__)


class TooManyLanes(Exception):
    """Memory ran out, and points were trained together."""


def attempt(
    worker: Worker,
    run: Run,
    context: Context,
    results: Path,
    lease: Lease,
    hold: Hold,
    has_company: Callable[[], bool],
    share: Callable[[], float],
) -> Turns:
    """One go at a point, an epoch at each turn; returns whether its result was committed.

    `has_company`: whether others are trained beside it; `share`: its part of the worker's time.
    Raises TooManyLanes where memory ran out in company, and has then written nothing down.
    """
    log.info("point %d started  %s", lease.number, _shown(lease))
    failed: failure_kinds.Failure | None = None

    def leave(reason: str, paused: bool = False) -> None:
        give_back(worker, replace(lease, share=share()), hold, reason, paused)

    try:
        result, outcome = (yield from drive(worker, run, context, lease, hold)), Outcome.DONE
    except NonFiniteLoss as verdict:
        result, outcome = {"metrics": {}, "reason": str(verdict)}, Outcome.DIVERGED
    except Interrupted:
        why = "asked to stop" if worker.stop.asked() else "the study was paused or stopped"
        leave(why, paused=True)
        return False
    except StopNow:
        leave("asked to stop")
        raise
    except WeightsearchError as error:
        leave(str(error))
        raise
    except DBAPIError:  # the database, not the objective; `retry_while_away` has said so
        leave("the database was away")
        return False
    except (Exception, SystemExit) as error:  # an objective's `sys.exit` is no order to us
        failed = failure_kinds.Failure.of(error)
        log.error("point %d failed, %s", lease.number, own_traceback.shown(failed.trace))
    lease = replace(lease, share=share())
    if failed is not None:  # here the failed attempt's memory can be freed
        if failed.kind == "memory" and has_company():
            raise TooManyLanes(failed.reason)
        fail(worker, lease, failed)
        return False
    failpoints.reach("after-compute")
    seconds = hold.spent_s
    result |= {"outcome": outcome, "seconds": seconds, "device": worker.device}
    result |= {"host": platform.node(), "attempt": lease.attempt, "shrink": lease.shrink}
    result |= {"commit": provenance.commit(), "versions": provenance.versions()}
    with worker.stop.held_off():
        kept = _deliver(worker, results, lease, result, outcome)
        failpoints.reach("after-commit")
    if kept:
        _tidy(worker, lease)
    log.info("point %d %s  %s  %.1f s", lease.number, outcome, _shown(lease), seconds)
    return kept


def _tidy(worker: Worker, lease: Lease) -> None:
    """Removes what nobody resumes from any more; what a crash leaves of it, `gc` does."""
    folder, final = checkpoints_of(worker, lease), lease.rung == Rung.PROMOTION
    if final and worker.study.spec.keep.full == "all":
        return
    if not final and _others_go_on(worker.study.spec, lease):
        return
    with contextlib.suppress(OSError):
        if objective_contract.passes(folder, final):
            shutil.rmtree(folder / objective_contract.LAST, ignore_errors=True)
            folder.rmdir()  # where nothing else is in it


def _others_go_on(spec: StudySpec, lease: Lease) -> bool:
    """From its checkpoint: a later stage of the same run, or runs that fork from a trunk."""
    is_trunk = spec.share.form(lease.stage) == Form.TRUNK
    return is_trunk or (spec.share.kind == "none" and lease.stage < len(spec.stages()) - 1)


def fail(worker: Worker, lease: Lease, failed: failure_kinds.Failure) -> None:
    """Writes a failure down, so that the point is tried again or given up, by what kind it is.

    Raises Unfit where this process is of no more use, ObjectiveError where the study is not.
    """
    engine, most = worker.database.engine, worker.study.spec.retry.attempts
    if failed.kind == "memory":
        worker.cache.clear()
        failure_kinds.free_memory()

    def write() -> bool:
        if failed.kind == "code":
            return leases.fail(engine, lease, failed.reason)
        return leases.retry(engine, lease, failed.reason, most, failed.kind == "memory")

    with contextlib.suppress(DBAPIError):  # else its lease runs out
        retry_while_away(write, worker.stop.asked)
        if failed.kind == "code":
            _stop_a_broken_study(worker, failed.reason)
    if failed.kind == "device":
        raise Unfit(f"the device {worker.device} failed: {failed.reason}")


def _stop_a_broken_study(worker: Worker, reason: str) -> None:
    """Raises ObjectiveError where nothing but this failure has come of the study so far."""
    counts = queries.counts(worker.database.engine, worker.study)
    reasons = {
        failure["reason"] for failure in queries.failed(worker.database.engine, worker.study)
    }
    if (
        counts[PointState.DONE] == 0
        and counts[PointState.FAILED] >= SAME_FAILURES
        and reasons == {reason}
    ):
        said = f"the first {counts['failed']} points all failed: {reason}"
        study_control.set_state(worker.database.engine, worker.study, StudyState.STOPPED, said)
        raise ObjectiveError(
            f"the first {counts['failed']} points must not all fail, but did: {reason}; mend the"
            f" objective, then `weightsearch retry {worker.study.name} --failed` and launch again."
        )


def _deliver(
    worker: Worker, results: Path, lease: Lease, result: dict[str, Any], outcome: str
) -> bool:
    """Commits a result, through an outage too; once asked to stop, it is left to the spool."""
    engine = worker.database.engine
    try:
        return retry_while_away(
            lambda: result_spool.deliver(engine, results, lease, result, outcome), worker.stop.asked
        )
    except DBAPIError:
        log.warning("point %d: its result waits on disk for the next worker here", lease.number)
        return False


def give_back(worker: Worker, lease: Lease, hold: Hold, reason: str, paused: bool) -> None:
    """Lets another worker have the point at once; where that fails, its lease runs out."""
    if not hold.lost.is_set():
        with contextlib.suppress(DBAPIError):
            leases.give_back(worker.database.engine, lease, reason, paused)
            log.info("point %d given back", lease.number)


def _shown(lease: Lease) -> str:
    assert lease.point is not None
    return f"{point_text.described(lease.point)} [{lease.point.id()}] seed={lease.seed}"
