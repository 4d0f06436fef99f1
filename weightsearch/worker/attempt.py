"""One attempt at a point: run the objective, then record the outcome."""

from __future__ import annotations

import contextlib
import logging
import platform
import shutil
import time
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
from weightsearch.study import objective_contract, search_space
from weightsearch.study.objective_contract import Objective
from weightsearch.worker import failure_kinds
from weightsearch.worker.background import Hold, renewing
from weightsearch.worker.objective_run import checkpoints_of, drive
from weightsearch.worker.process import Unfit, Worker

SAME_FAILURES = 3  # so many points, and nothing else so far: the study is broken, not they

log = logging.getLogger(__name__)


def attempt(worker: Worker, trained: Objective, results: Path, lease: Lease) -> bool:
    """One go at a point; whether its result was committed."""
    began = time.monotonic()
    log.info("point %d started  %s", lease.number, _shown(lease))
    failed: failure_kinds.Failure | None = None

    def hung() -> None:
        said = f"an epoch took longer than {worker.study.spec.retry.epoch_limit_s:g} s"
        _failed(worker, lease, failure_kinds.Failure("hang", said))

    limit_s = worker.study.spec.retry.epoch_limit_s
    with renewing(worker.database, lease, worker.lease_s, limit_s, hung) as hold:
        try:
            result, outcome = drive(worker, trained, lease, hold), Outcome.DONE
        except NonFiniteLoss as verdict:
            result, outcome = {"metrics": {}, "reason": str(verdict)}, Outcome.DIVERGED
        except Interrupted:
            why = "asked to stop" if worker.stop.asked() else "the study was paused or stopped"
            _give_back(worker, lease, hold, why, paused=True)
            return False
        except StopNow:
            _give_back(worker, lease, hold, "asked to stop", paused=False)
            raise
        except WeightsearchError as error:
            _give_back(worker, lease, hold, str(error), paused=False)
            raise
        except DBAPIError:  # the database, not the objective; `retry_while_away` has said so
            _give_back(worker, lease, hold, "the database was away", paused=False)
            return False
        except (Exception, SystemExit) as error:  # an objective's `sys.exit` is no order to us
            failed = failure_kinds.Failure.of(error)
            log.error("point %d failed, %s", lease.number, own_traceback.shown(failed.trace))
        if failed is not None:  # here the failed attempt's memory can be freed
            _failed(worker, lease, failed)
            return False
        failpoints.reach("after-compute")
        seconds = time.monotonic() - began
        result |= {"outcome": outcome, "seconds": seconds, "device": worker.device}
        result |= {"host": platform.node(), "attempt": lease.attempt, "shrink": lease.shrink}
        result |= {"commit": provenance.commit(), "versions": provenance.versions()}
        with worker.stop.held_off():
            kept = _deliver(worker, results, lease, result, outcome)
            failpoints.reach("after-commit")
    if kept and lease.rung == Rung.SEARCH:  # nobody resumes from there any more
        shutil.rmtree(checkpoints_of(worker, lease) / objective_contract.LAST, ignore_errors=True)
    log.info("point %d %s  %s  %.1f s", lease.number, outcome, _shown(lease), seconds)
    return kept


def _failed(worker: Worker, lease: Lease, failed: failure_kinds.Failure) -> None:
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


def _give_back(worker: Worker, lease: Lease, hold: Hold, reason: str, paused: bool) -> None:
    """Lets another worker have the point at once; where that fails, its lease runs out."""
    if not hold.lost.is_set():
        with contextlib.suppress(DBAPIError):
            leases.give_back(worker.database.engine, lease, reason, paused)
            log.info("point %d given back", lease.number)


def _shown(lease: Lease) -> str:
    assert lease.point is not None
    weights = " ".join(f"{t}={w:g}" for t, w in search_space.decimals(lease.point.weights).items())
    params = " ".join(f"{name}={value}" for name, value in lease.point.params.items())
    return f"{weights} {params} seed={lease.seed}"
