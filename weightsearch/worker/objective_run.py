"""Drives the objective of one attempt, an epoch at a time."""

from __future__ import annotations

import logging
import math
import time
from pathlib import Path
from typing import Any

from weightsearch.errors import Interrupted, NonFiniteLoss, ObjectiveError
from weightsearch.store.connection.outage import retry_while_away
from weightsearch.store.ledger import leases
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.references import checkpoint_folder
from weightsearch.store.tables.states import Rung
from weightsearch.study import objective_contract
from weightsearch.study.objective_contract import Context, Objective, Summary
from weightsearch.study.spec import StudySpec
from weightsearch.worker.background import Hold
from weightsearch.worker.process import Worker

log = logging.getLogger(__name__)


def drive(worker: Worker, trained: Objective, lease: Lease, hold: Hold) -> dict[str, Any]:
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
            summary = objective_contract.summarise(next(run))
        except StopIteration as end:
            test = objective_contract.summarise(end.value) if end.value is not None else None
            break
        epochs += 1
        hold.epoch_began = time.monotonic()
        _check(spec, summary, epochs)
        _report(worker, lease, hold, epochs, summary)
        if best is None or _better(spec, summary.metrics[metric], best.metrics[metric]):
            best, best_epoch = summary, epochs
        halted = worker.stop.asked() or hold.halted_at is not None
        if hold.lost.is_set() or (halted and epochs < context.epochs):
            run.close()
            raise Interrupted
    if best is None:
        raise ObjectiveError(f"objective '{spec.objective.run}' must yield at least one epoch.")
    kept = (metric, *spec.objective.guards)
    result = {"epoch": best_epoch, "epochs": epochs, "folder": _kept(context)}
    result |= _facts(best, kept)
    return result | ({"test": _facts(test, kept)} if test is not None else {})


def _check(spec: StudySpec, summary: Summary, epoch: int) -> None:
    """Raises ObjectiveError where the metric is missing, NonFiniteLoss where it is no number."""
    metric = spec.objective.metric
    if metric not in summary.metrics:
        raise ObjectiveError(
            f"objective '{spec.objective.run}' must yield the metric '{metric}', but yields"
            f" {sorted(summary.metrics)}."
        )
    if not math.isfinite(summary.metrics[metric]):
        raise NonFiniteLoss(f"{metric} is {summary.metrics[metric]} after epoch {epoch}.")


def _report(worker: Worker, lease: Lease, hold: Hold, epoch: int, summary: Summary) -> None:
    """Writes an epoch's metrics down, and hears whether the study was paused or the lease lost."""
    engine = worker.database.engine
    hold.heard(
        retry_while_away(
            lambda: leases.report(engine, lease, epoch, summary.metrics), worker.stop.asked
        )
    )
    if hold.lost.is_set():
        log.warning("point %d: its lease was lost, and so is this attempt", lease.number)


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


def _kept(context: Context) -> str | None:
    """The folder of the objective's checkpoints; None where it has written none that will stay."""
    passing = () if context.final else (objective_contract.LAST,)
    try:
        written = any(file.name not in passing for file in context.folder.iterdir())
    except OSError:
        return None
    return str(context.folder) if written else None


def checkpoints_of(worker: Worker, lease: Lease) -> Path:
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
        folder=checkpoints_of(worker, lease),
        home=worker.home,
        data=worker.data,
        data_digest=worker.study.data_digest,
        final=final,
        grace_s=grace_s,
        lost=hold.lost.is_set,
        shrink=lease.shrink,
        cache=worker.cache,
    )
