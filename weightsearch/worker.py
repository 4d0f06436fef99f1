"""A worker: claims a point, runs the objective on it, records what came of it, until none is left.

The route of one trial: `run` claims (store/ledger.py) → `_attempt` → `_train` drives the objective,
an epoch at a time → `_deliver` spools the result and commits it (store/spool.py) → `mirroring`
shows it in the Optuna study (upkeep.py, store/mirror.py).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import threading
import time
import uuid
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy.exc import DBAPIError

from weightsearch import objective, plan, provenance, space
from weightsearch.config import StudySpec
from weightsearch.errors import Interrupted, NonFiniteLoss, ObjectiveError, WeightsearchError
from weightsearch.objective import Context, Objective, Summary
from weightsearch.stopping import Stop, StopNow
from weightsearch.store import ledger, reading, spool
from weightsearch.store.database import Database
from weightsearch.store.ledger import PROMOTION, Lease, Study
from weightsearch.store.outage import patiently
from weightsearch.upkeep import mirroring, renewing

LEASE_S = 60.0  # a worker that was not heard of for this long is taken for dead
SAME_FAILURES = 3  # so many points, and nothing else so far: the study is broken, not they
IDLE_S = 0.5  # between looks for points that others may give up

log = logging.getLogger(__name__)


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
    name: str = field(
        default_factory=lambda: f"{platform.node()}-{os.getpid()}-{uuid.uuid4().hex[:6]}"
    )
    cache: dict[str, Any] = field(default_factory=dict)


def run(worker: Worker) -> int:
    """Runs points until none is left, or a stop is asked for; how many were finished.

    Raises the objective's own WeightsearchError, having given the point back: what is wrong with
    this machine or the study must not use up the plan.
    """
    engine, study, stop = worker.database.engine, worker.study, worker.stop
    trained = objective.load(study.spec.objective.run)
    results = spool.folder(engine, worker.home)
    if saved := spool.replay(engine, results):
        log.info("%d results of an earlier process were on disk and are committed now", saved)
    ledger.sign_on(engine, study, worker.name, platform.node(), os.getpid(), worker.device)
    finished = 0
    try:
        with stop.on_signals(), mirroring(worker.database, study, worker.name):
            while not stop.asked():
                try:
                    lease = patiently(lambda: _claim(worker), stop.asked)
                    left = lease or patiently(
                        lambda: ledger.unfinished(engine, study.id), stop.asked
                    )
                except DBAPIError:  # the database is away, and we were asked to stop
                    break
                if lease is not None:
                    finished += _attempt(worker, trained, results, lease)
                elif left:
                    time.sleep(IDLE_S)  # another worker may yet give a point up
                else:
                    break
    except StopNow:
        pass
    finally:
        with contextlib.suppress(Exception):
            ledger.sign_off(engine, worker.name)
    return finished


def _claim(worker: Worker) -> Lease | None:
    """A point, chosen now where an adaptive sampler has the choice; None where there is none."""
    engine, study = worker.database.engine, worker.study
    while lease := ledger.claim(engine, study.id, worker.name, worker.device, worker.lease_s):
        if lease.point is not None:
            return lease
        point = plan.ask(study.spec, lease.number, ledger.seen(engine, study))
        if point is None:
            ledger.fail(engine, lease, "every configuration of the study was tried already")
        elif ledger.fill(engine, lease, point):
            return replace(lease, point=point)
        else:  # another worker chose the same a moment ago: choose again, knowing that
            ledger.give_back(engine, lease, "its choice was another's", paused=False)
    return None


def _attempt(worker: Worker, trained: Objective, results: Path, lease: Lease) -> bool:
    """One go at a point; whether its result was committed."""
    engine = worker.database.engine
    began = time.monotonic()
    log.info("point %d started  %s", lease.number, _shown(lease))
    with renewing(worker.database, lease, worker.lease_s) as lost:
        try:
            result, outcome = _train(worker, trained, lease, lost), "done"
        except NonFiniteLoss as verdict:
            result, outcome = {"metrics": {}, "reason": str(verdict)}, "diverged"
        except Interrupted:
            _give_back(worker, lease, lost, "asked to stop", paused=True)
            return False
        except StopNow:
            _give_back(worker, lease, lost, "asked to stop", paused=False)
            raise
        except WeightsearchError as error:
            _give_back(worker, lease, lost, str(error), paused=False)
            raise
        except DBAPIError:  # the database, not the objective; `patiently` has said so
            _give_back(worker, lease, lost, "the database was away", paused=False)
            return False
        except Exception as error:
            log.exception("point %d failed", lease.number)
            reason = f"{type(error).__name__}: {error}".splitlines()[0]
            with contextlib.suppress(DBAPIError):  # else its lease runs out
                patiently(lambda: ledger.fail(engine, lease, reason), worker.stop.asked)
                _stop_a_broken_study(worker, reason)
            return False
        seconds = time.monotonic() - began
        result |= {"outcome": outcome, "seconds": seconds, "device": worker.device}
        result |= {"host": platform.node(), "attempt": lease.attempt}
        result |= {"commit": provenance.commit(), "versions": provenance.versions()}
        with worker.stop.held_off():
            kept = _deliver(worker, results, lease, result, outcome)
    log.info("point %d %s  %s  %.1f s", lease.number, outcome, _shown(lease), seconds)
    return kept


def _stop_a_broken_study(worker: Worker, reason: str) -> None:
    """Raises ObjectiveError where nothing but this failure has come of the study so far."""
    counts = reading.counts(worker.database.engine, worker.study)
    reasons = {
        failure["reason"] for failure in reading.failed(worker.database.engine, worker.study)
    }
    if counts["done"] == 0 and counts["failed"] >= SAME_FAILURES and reasons == {reason}:
        raise ObjectiveError(
            f"the first {counts['failed']} points must not all fail, but did: {reason}; mend the"
            " objective and start the study under another name."
        )


def _deliver(
    worker: Worker, results: Path, lease: Lease, result: dict[str, Any], outcome: str
) -> bool:
    """Commits a result, through an outage too; once asked to stop, it is left to the spool."""
    engine = worker.database.engine
    try:
        return patiently(
            lambda: spool.deliver(engine, results, lease, result, outcome), worker.stop.asked
        )
    except DBAPIError:
        log.warning("point %d: its result waits on disk for the next worker here", lease.number)
        return False


def _give_back(
    worker: Worker, lease: Lease, lost: threading.Event, reason: str, paused: bool
) -> None:
    """Lets another worker have the point at once; where that fails, its lease runs out."""
    if not lost.is_set():
        with contextlib.suppress(DBAPIError):
            ledger.give_back(worker.database.engine, lease, reason, paused)
            log.info("point %d given back", lease.number)


def _train(
    worker: Worker, trained: Objective, lease: Lease, lost: threading.Event
) -> dict[str, Any]:
    """Drives the objective to its end; what is worth keeping of its best epoch.

    Raises Interrupted where a stop was asked for or the lease was lost, NonFiniteLoss where the
    metric is no number.
    """
    assert lease.point is not None
    spec, metric = worker.study.spec, worker.study.spec.objective.metric
    context = _context(worker, lease, lost)
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
        if metric not in summary.metrics:
            raise ObjectiveError(
                f"objective '{spec.objective.run}' must yield the metric '{metric}', but yields"
                f" {sorted(summary.metrics)}."
            )
        if not math.isfinite(summary.metrics[metric]):
            raise NonFiniteLoss(f"{metric} is {summary.metrics[metric]} after epoch {epochs}.")
        known = patiently(
            lambda: ledger.report(worker.database.engine, lease, summary.metrics),  # noqa: B023
            worker.stop.asked,
        )
        if not known:
            log.warning("point %d: its lease was lost, and so is this attempt", lease.number)
            lost.set()
        if best is None or _better(spec, summary.metrics[metric], best.metrics[metric]):
            best, best_epoch = summary, epochs
        if lost.is_set() or (worker.stop.asked() and epochs < context.epochs):
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
    }


def _context(worker: Worker, lease: Lease, lost: threading.Event) -> Context:
    spec = worker.study.spec
    assert lease.point is not None
    final = lease.rung == PROMOTION
    full = spec.promote if final else None
    place = f"{lease.point.id()}-s{lease.seed}" + ("-full" if final else "")
    return Context(
        spec=spec,
        study=worker.study.name,
        seed=lease.seed,
        epochs=full.epochs if full else spec.train.epochs,
        patience=full.patience if full else spec.train.patience,
        device=worker.device,
        folder=worker.home / "checkpoints" / worker.study.name / place,
        home=worker.home,
        data=worker.data,
        data_digest=worker.study.data_digest,
        final=final,
        grace_s=worker.stop.grace_s,
        lost=lost.is_set,
        cache=worker.cache,
    )


def _shown(lease: Lease) -> str:
    assert lease.point is not None
    weights = " ".join(f"{t}={w:g}" for t, w in space.decimals(lease.point.weights).items())
    params = " ".join(f"{name}={value}" for name, value in lease.point.params.items())
    return f"{weights} {params} seed={lease.seed}"
