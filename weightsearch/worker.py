"""A worker: claims a point, runs the objective on it, records what came of it, until none is left.

The route of one trial: `run` claims (store/ledger.py) → `_attempt` → `_train` drives the objective,
an epoch at a time → the result is spooled and committed (store/spool.py) → `_mirroring` shows it in
the Optuna study (store/mirror.py).
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import platform
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from weightsearch import objective, plan, space
from weightsearch.config import StudySpec
from weightsearch.errors import Interrupted, NonFiniteLoss, ObjectiveError, WeightsearchError
from weightsearch.objective import Context, Objective, Summary
from weightsearch.store import ledger, spool
from weightsearch.store.database import Database
from weightsearch.store.ledger import PROMOTION, Lease, Study
from weightsearch.store.outage import patiently

LEASE_S = 60.0  # a worker that was not heard of for this long is taken for dead
GRACE_S = 30.0  # after a stop is asked for: an epoch that would take longer is cut short
IDLE_S = 0.5  # between looks for points that others may give up
MIRROR_S = 2.0  # between looks for what the Optuna study does not show yet

log = logging.getLogger(__name__)


class StopNow(BaseException):
    """A second signal: give the point back and leave at once."""


@dataclass
class Stop:
    """Whether this worker was asked to stop, and when."""

    asked_at: float | None = None

    def asked(self) -> bool:
        return self.asked_at is not None

    def grace_s(self) -> float | None:
        """None, or the seconds left until the stop takes effect."""
        if self.asked_at is None:
            return None
        return max(0.0, self.asked_at + GRACE_S - time.monotonic())

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT ask for a stop; a second one stops at once."""

        def ask(number: int, frame: FrameType | None) -> None:
            if self.asked_at is not None:
                raise StopNow
            self.asked_at = time.monotonic()
            log.warning("stopping: the point in hand is given back; a second signal stops at once")

        before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


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
    engine, study = worker.database.engine, worker.study
    trained = objective.load(study.spec.objective.run)
    results = spool.folder(engine, worker.home)
    if saved := spool.replay(engine, results):
        log.info("%d results of an earlier process were on disk and are committed now", saved)
    ledger.sign_on(engine, study, worker.name, platform.node(), os.getpid(), worker.device)
    finished = 0
    try:
        with worker.stop.on_signals(), _mirroring(worker):
            while not worker.stop.asked():
                lease = patiently(lambda: _claim(worker), worker.stop.asked)
                if lease is not None:
                    finished += _attempt(worker, trained, results, lease)
                elif patiently(lambda: ledger.unfinished(engine, study.id), worker.stop.asked):
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
    """A point, filled in where an adaptive sampler has yet to choose."""
    engine, study = worker.database.engine, worker.study
    lease = ledger.claim(engine, study.id, worker.name, worker.device, worker.lease_s)
    while lease is not None and lease.point is None:
        point = plan.ask(study.spec, lease.number, ledger.seen(engine, study))
        if ledger.fill(engine, lease, point):
            return Lease(**{**vars(lease), "point": point})
    return lease


def _attempt(worker: Worker, trained: Objective, results: Path, lease: Lease) -> bool:
    """One go at a point; whether its result was committed."""
    assert lease.point is not None
    engine = worker.database.engine
    began = time.monotonic()
    log.info("point %d started  %s", lease.number, _shown(lease))
    with _renewing(worker, lease) as lost:
        try:
            result, outcome = _train(worker, trained, lease, lost), "done"
        except NonFiniteLoss as verdict:
            result, outcome = {"metrics": {}, "reason": str(verdict)}, "diverged"
        except (Interrupted, StopNow) as stopped:
            paused = isinstance(stopped, Interrupted)
            if not lost.is_set():
                with contextlib.suppress(Exception):  # else its lease runs out: no more than that
                    ledger.give_back(engine, lease, "asked to stop", paused)
                log.info("point %d given back", lease.number)
            if not paused:
                raise
            return False
        except WeightsearchError as error:
            ledger.give_back(engine, lease, str(error), paused=False)
            raise
        except Exception as error:
            log.exception("point %d failed", lease.number)
            reason = f"{type(error).__name__}: {error}"
            patiently(lambda: ledger.fail(engine, lease, reason))
            return False
        seconds = time.monotonic() - began
        result |= {"outcome": outcome, "seconds": seconds, "device": worker.device}
        result |= {"point_id": lease.point.id(), "attempt": lease.attempt}
        kept = patiently(lambda: spool.deliver(engine, results, lease, result, outcome))
    log.info("point %d %s  %s  %.1f s", lease.number, outcome, _shown(lease), seconds)
    return kept


def _train(
    worker: Worker, trained: Objective, lease: Lease, lost: threading.Event
) -> dict[str, Any]:
    """Drives the objective to its end; what is worth keeping of its best epoch.

    Raises Interrupted where a stop was asked for, NonFiniteLoss where the metric is no number.
    """
    assert lease.point is not None
    spec, metric = worker.study.spec, worker.study.spec.objective.metric
    context = _context(worker, lease)
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
    """A summary as JSON; values per sample only of the metrics that are compared."""
    return {
        "metrics": {n: v for n, v in summary.metrics.items() if math.isfinite(v)},
        "samples": {name: summary.samples[name] for name in kept if name in summary.samples},
        "groups": summary.groups,
        "images": summary.images,
    }


def _context(worker: Worker, lease: Lease) -> Context:
    spec = worker.study.spec
    assert lease.point is not None
    final = lease.rung == PROMOTION
    full = spec.promote if final else None
    place = f"{lease.point.id()}-s{lease.seed}" + ("-full" if final else "")
    return Context(
        spec=spec,
        seed=lease.seed,
        epochs=full.epochs if full else spec.train.epochs,
        patience=full.patience if full else spec.train.patience,
        device=worker.device,
        folder=worker.home / "checkpoints" / worker.study.name / place,
        home=worker.home,
        data=worker.data,
        final=final,
        grace_s=worker.stop.grace_s,
        cache=worker.cache,
    )


def _shown(lease: Lease) -> str:
    assert lease.point is not None
    weights = " ".join(f"{t}={w:g}" for t, w in space.decimals(lease.point.weights).items())
    params = " ".join(f"{name}={value}" for name, value in lease.point.params.items())
    return f"{weights} {params} seed={lease.seed}"


@contextlib.contextmanager
def _renewing(worker: Worker, lease: Lease) -> Iterator[threading.Event]:
    """Renews the lease in a thread of its own; sets the event once the lease is another's.

    The thread is joined before the next claim: one that outlived its lease would renew, or give up,
    the next point.
    """
    lost, over = threading.Event(), threading.Event()

    def renewed() -> bool:
        return ledger.renew(worker.database.engine, lease, worker.lease_s)

    def renew() -> None:
        while not over.wait(worker.lease_s / 4):
            try:
                if not patiently(renewed, over.is_set):
                    lost.set()
                    return
            except Exception as error:  # it must go on renewing whatever went wrong once
                if not over.is_set():
                    log.warning("renewing the lease failed: %s", type(error).__name__)

    thread = threading.Thread(target=renew, name="renew", daemon=True)
    thread.start()
    try:
        yield lost
    finally:
        over.set()
        thread.join()


@contextlib.contextmanager
def _mirroring(worker: Worker) -> Iterator[None]:
    """Keeps the Optuna study up to date from a thread, off the way of the training; and says that
    this worker is there."""
    over = threading.Event()

    def mirror() -> None:
        from weightsearch.store.mirror import Mirror  # imports optuna: half a second

        opened: Mirror | None = None
        told = False
        while True:
            last = over.is_set()
            try:
                opened = opened or Mirror(worker.database, worker.study)
                opened.sync()
                ledger.seen_alive(worker.database.engine, worker.name)
                told = False
            except Exception as error:  # the ledger holds everything; a later call repairs it
                if not told:
                    log.warning("the Optuna study is behind for now: %s", type(error).__name__)
                told = True
            if last:
                break
            over.wait(MIRROR_S)
        if opened is not None:
            opened.close()

    thread = threading.Thread(target=mirror, name="mirror", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
