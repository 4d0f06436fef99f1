"""A worker: claims a point, runs the objective on it, records what came of it, until none is left.

The route of one trial: `run` claims (store/ledger/leases.py) → `_attempt` → `_train` drives the
objective, an epoch at a time → `_deliver` spools the result and commits it
(store/ledger/result_spool.py) → `mirroring` shows it in the Optuna study (worker/background.py,
store/optuna_mirror.py).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import shutil
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from weightsearch.errors import Interrupted, NonFiniteLoss, ObjectiveError, WeightsearchError
from weightsearch.runtime import failpoints, provenance
from weightsearch.runtime.stop_signals import Stop, StopNow
from weightsearch.store.connection.database import Database
from weightsearch.store.connection.notifications import Listener
from weightsearch.store.connection.outage import retry_while_away
from weightsearch.store.ledger import leases, queries, result_spool, study_control
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.references import checkpoint_folder
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import Outcome, PointState, Rung, StudyState
from weightsearch.study import objective, planning, search_space
from weightsearch.study.objective import Context, Objective, Summary
from weightsearch.study.spec import StudySpec
from weightsearch.worker import failure_kinds
from weightsearch.worker.background import Hold, mirroring, renewing

LEASE_S = 60.0  # a worker that was not heard of for this long is taken for dead
SAME_FAILURES = 3  # so many points, and nothing else so far: the study is broken, not they
IDLE_S = 0.5
EXPIRED_S = 0.05  # after a lease's end, so that it has ended by the database's clock too

log = logging.getLogger(__name__)


def new_name(ending: str | None = None) -> str:
    """Nobody else's, ever: it is part of the fence. A launcher chooses the ending, so that it knows
    the name of a worker that died (launch/places/local.py)."""
    return f"{platform.node()}-{os.getpid()}-{ending or uuid.uuid4().hex[:8]}"


@dataclass
class Worker:
    """What one worker process has in hand."""

    database: Database
    study: Study
    home: Path
    device: str
    data: Path | None = None
    lease_s: float = LEASE_S
    stop: Stop = field(default_factory=Stop)
    name: str = field(default_factory=new_name)
    replaces: str | None = None
    """The name of a worker whose process is known to be gone: what it held is free at once."""
    cache: dict[str, Any] = field(default_factory=dict)


class Unfit(Exception):
    """This process cannot go on, though nothing is wrong with the study: it is to be replaced."""


def run(worker: Worker) -> int:
    """Runs points until none is left, or a stop is asked for; how many were finished.

    Raises the objective's own WeightsearchError, having given the point back: what is wrong with
    this machine or the study must not use up the plan. Raises Unfit where the device was lost.
    """
    engine, study, stop = worker.database.engine, worker.study, worker.stop
    trained = objective.load(study.spec.objective.run)
    results = retry_while_away(lambda: result_spool.folder(engine, worker.home), stop.asked)
    retry_while_away(lambda: _arrive(worker, results), stop.asked)
    changes = Listener(worker.database, study.id)
    finished = 0
    lease: Lease | None = None
    try:
        with stop.on_signals(), mirroring(worker.database, study, worker.name):
            while not stop.asked():
                try:
                    if lease is None:  # whenever there is nothing better to do
                        retry_while_away(lambda: result_spool.replay(engine, results), stop.asked)
                    lease = retry_while_away(lambda: _claim(worker), stop.asked)
                    if lease is None:
                        now = retry_while_away(
                            lambda: study_control.standing(engine, study.id), stop.asked
                        )
                        if now.state == StudyState.STOPPED or not now.left:
                            break
                except DBAPIError:  # the database is away, and we were asked to stop
                    break
                if lease is None:  # another worker may yet give a point up
                    changes.wait(_until_next(now), stop.asked)
                else:
                    changes.close()
                    failpoints.reach("after-claim")
                    finished += _attempt(worker, trained, results, lease)
    except StopNow:
        pass
    finally:
        changes.close()
        with contextlib.suppress(Exception):
            study_control.sign_off(engine, worker.name)
    return finished


def _arrive(worker: Worker, results: Path) -> None:
    """Commits what lies on disk, frees what the replaced worker held, and signs on.

    In this order: that worker's last result may be on disk, and then nothing of it was lost.
    """
    engine = worker.database.engine
    result_spool.replay(engine, results)
    if worker.replaces is not None:
        study_control.sign_off(engine, worker.replaces, "its process died")
    name, host, pid = worker.name, platform.node(), os.getpid()
    study_control.sign_on(engine, worker.study, name, host, pid, worker.device)


def _until_next(now: study_control.Standing) -> float | None:
    """Until the next lease runs out; None where nothing is leased."""
    if now.expires_s is None:
        return None
    # One that ran out and yet is not free: the server was away, and gives everybody a lease more.
    return now.expires_s + EXPIRED_S if now.expires_s else IDLE_S


def _claim(worker: Worker) -> Lease | None:
    """A point, chosen now where an adaptive sampler has the choice; None where there is none."""
    engine, study, most = worker.database.engine, worker.study, worker.study.spec.retry.attempts
    while lease := leases.claim(engine, study.id, worker.name, worker.device, worker.lease_s, most):
        if lease.point is not None:
            return lease
        point = planning.ask(study.spec, lease.number, leases.seen(engine, study))
        if point is None:
            leases.fail(engine, lease, "every configuration of the study was tried already")
        elif leases.fill(engine, lease, point):
            return replace(lease, point=point)
        else:  # another worker chose the same a moment ago: choose again, knowing that
            leases.give_back(engine, lease, "another worker chose the same point", paused=False)
    return None


def _attempt(worker: Worker, trained: Objective, results: Path, lease: Lease) -> bool:
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
            result, outcome = _train(worker, trained, lease, hold), Outcome.DONE
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
        except Exception as error:
            log.exception("point %d failed", lease.number)
            failed = failure_kinds.Failure.of(error)
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
    if kept and lease.rung == Rung.SEARCH:  # nobody goes on from there any more
        shutil.rmtree(_folder(worker, lease) / objective.LAST, ignore_errors=True)
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


def _train(worker: Worker, trained: Objective, lease: Lease, hold: Hold) -> dict[str, Any]:
    """Drives the objective to its end; what is worth keeping of its best epoch.

    Raises Interrupted where a stop was asked for, the study was paused or stopped, or the lease was
    lost; NonFiniteLoss where the metric is no number.
    """
    assert lease.point is not None
    spec, metric = worker.study.spec, worker.study.spec.objective.metric
    context = _context(worker, lease, hold)
    weights = {term: float(weight) for term, weight in lease.point.weights.items()}
    run = trained(weights, lease.point.params, context)
    best: Summary | None = None
    best_epoch = epochs = 0
    while True:
        try:
            summary = objective.summarise(next(run))
        except StopIteration as end:
            test = objective.summarise(end.value) if end.value is not None else None
            break
        epochs += 1
        hold.epoch_began = time.monotonic()
        if metric not in summary.metrics:
            raise ObjectiveError(
                f"objective '{spec.objective.run}' must yield the metric '{metric}', but yields"
                f" {sorted(summary.metrics)}."
            )
        if not math.isfinite(summary.metrics[metric]):
            raise NonFiniteLoss(f"{metric} is {summary.metrics[metric]} after epoch {epochs}.")
        state = retry_while_away(
            lambda: leases.report(worker.database.engine, lease, epochs, summary.metrics),  # noqa: B023
            worker.stop.asked,
        )
        hold.heard(state)
        if hold.lost.is_set():
            log.warning("point %d: its lease was lost, and so is this attempt", lease.number)
        if best is None or _better(spec, summary.metrics[metric], best.metrics[metric]):
            best, best_epoch = summary, epochs
        halted = worker.stop.asked() or hold.halted_at is not None
        if hold.lost.is_set() or (halted and epochs < context.epochs):
            run.close()
            raise Interrupted
    if best is None:
        raise ObjectiveError(f"objective '{spec.objective.run}' must yield at least one epoch.")
    kept = (metric, *spec.objective.guards)
    result = {"epoch": best_epoch, "epochs": epochs, "folder": str(context.folder)}
    result |= _facts(best, kept)
    return result | ({"test": _facts(test, kept)} if test is not None else {})


def _better(spec: StudySpec, value: float, than: float) -> bool:
    return value < than if spec.objective.direction == "minimize" else value > than


def _facts(summary: Summary, kept: tuple[str, ...]) -> dict[str, Any]:
    """A summary as JSON, which has no NaN; values per sample only of what is compared."""
    samples = {name: summary.samples[name] for name in kept if name in summary.samples}
    return {
        "metrics": {n: v for n, v in summary.metrics.items() if math.isfinite(v)},
        "samples": {n: v for n, v in samples.items() if all(map(math.isfinite, v))},
        "groups": summary.groups,
        "images": summary.images,
        **({"about": dict(summary.about)} if summary.about else {}),
    }


def _folder(worker: Worker, lease: Lease) -> Path:
    assert lease.point is not None
    place = checkpoint_folder(lease.point, lease.seed, lease.rung)
    return worker.home / "checkpoints" / worker.study.name / place


def _context(worker: Worker, lease: Lease, hold: Hold) -> Context:
    spec = worker.study.spec
    final = lease.rung == Rung.PROMOTION
    full = spec.promote if final else None

    def grace_s() -> float | None:
        given = [s for s in (worker.stop.grace_s(), hold.grace_s()) if s is not None]
        return min(given, default=None)

    return Context(
        spec=spec,
        study=worker.study.name,
        seed=lease.seed,
        epochs=full.epochs if full else spec.train.epochs,
        patience=full.patience if full else spec.train.patience,
        device=worker.device,
        folder=_folder(worker, lease),
        home=worker.home,
        data=worker.data,
        data_digest=worker.study.data_digest,
        final=final,
        grace_s=grace_s,
        lost=hold.lost.is_set,
        shrink=lease.shrink,
        cache=worker.cache,
    )


def _shown(lease: Lease) -> str:
    assert lease.point is not None
    weights = " ".join(f"{t}={w:g}" for t, w in search_space.decimals(lease.point.weights).items())
    params = " ".join(f"{name}={value}" for name, value in lease.point.params.items())
    return f"{weights} {params} seed={lease.seed}"
