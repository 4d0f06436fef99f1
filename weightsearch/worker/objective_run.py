"""Drives the objective of one attempt, an epoch at a time."""

from __future__ import annotations

import contextlib
import logging
import math
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any, NoReturn

from weightsearch.errors import Interrupted, ObjectiveError
from weightsearch.store.connection.outage import retry_while_away
from weightsearch.store.ledger import leases
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.references import checkpoint_folder
from weightsearch.store.tables.states import Rung
from weightsearch.study import objective_contract, planning, search_space
from weightsearch.study.objective_contract import Context, Fork, Run, Summary
from weightsearch.study.search_space import Point
from weightsearch.study.spec import StudySpec
from weightsearch.study.tables.share_spec import Form
from weightsearch.worker.background import Hold
from weightsearch.worker.process import Worker

log = logging.getLogger(__name__)


def drive(
    worker: Worker, run: Run, context: Context, lease: Lease, hold: Hold
) -> Generator[None, None, dict[str, Any]]:
    """Drives an objective's run to its end, and lets others have a turn after each epoch; returns
    what is worth keeping of the best one.

    Raises Interrupted where a stop was asked for, the study was paused or stopped, or the lease was
    lost; NonFiniteLoss where the metric is no number.
    """
    spec, metric = worker.study.spec, worker.study.spec.objective.metric
    until = context.until or context.epochs
    common = _common_epochs(spec, lease)
    goes_on = any((at / objective_contract.LAST).exists() for at in _goes_on_from(context))
    if common and not goes_on:
        log.warning(
            "point %d: the checkpoint of its first %d epochs is not here; it starts anew%s",
            lease.number,
            common,
            ", as its trunk did" if context.fork else "",
        )
    shared = context.fork.epochs if context.fork else 0
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
        objective_contract.check_metric(spec, summary, f" after epoch {epochs}.")
        _report(worker, lease, hold, epochs, summary)
        if epochs <= shared:
            pass  # the trunk's, which says nothing of this point
        elif best is None or _better(spec, summary.metrics[metric], best.metrics[metric]):
            best, best_epoch = summary, epochs
        if epochs < until:
            yield
        halted = worker.stop.asked() or hold.halted_at is not None
        if hold.lost.is_set() or (halted and epochs < until):
            _interrupt(run, hold.lost.is_set())
        if epochs == context.until:
            run.close()
            test = None
            break
    if best is None:
        raise ObjectiveError(f"objective '{spec.objective.run}' must yield at least one epoch.")
    kept = (metric, *spec.objective.guards)
    result = {"epoch": best_epoch, "epochs": epochs, "folder": _kept(context)}
    result |= _facts(best, kept)
    result |= shared_facts(spec, lease, anew=not goes_on)
    return result | ({"test": _facts(test, kept)} if test is not None else {})


def _interrupt(run: Run, lost: bool) -> NoReturn:
    """Ends a run between two epochs. Unless the point is lost, it may save what was not worth
    saving before: others have had their turns since."""
    with contextlib.suppress(StopIteration):
        if not lost:
            run.throw(Interrupted())
    run.close()
    raise Interrupted


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
    form = form_of(worker.study.spec, lease)
    return _folder(worker, lease.point, lease.seed, lease.rung, lease.number, form)


def _folder(worker: Worker, point: Point, seed: int, rung: int, number: int, form: Form) -> Path:
    place = checkpoint_folder(point, seed, rung, number, form)
    return worker.home / "checkpoints" / worker.study.name / place


def form_of(spec: StudySpec, lease: Lease) -> Form:
    """A full run is from scratch, whatever the search shares."""
    return Form.SCRATCH if lease.rung != Rung.SEARCH else spec.share.form(lease.stage)


def weights_of(worker: Worker, lease: Lease) -> dict[str, float]:
    """As an objective is given them: in the order of the study's terms."""
    assert lease.point is not None
    ordered = search_space.in_order(lease.point.weights, worker.study.spec.loss.terms)
    return {term: float(weight) for term, weight in ordered.items()}


def context_of(worker: Worker, lease: Lease, hold: Hold) -> Context:
    """All else that an objective is told."""
    spec = worker.study.spec
    final = lease.rung == Rung.PROMOTION
    full = spec.promote if final else None
    form = form_of(spec, lease)
    if form == Form.SHARED and spec.share.kind == "frozen":
        frozen = spec.train.model_copy(update={"freeze": "all", "encoder_lr": 1.0})
        spec = spec.model_copy(update={"train": frozen})

    def grace_s() -> float | None:
        given = [s for s in (worker.stop.grace_s(), hold.grace_s()) if s is not None]
        return min(given, default=None)

    return Context(
        spec=spec,
        study=worker.study.name,
        seed=lease.seed,
        fold=lease.fold,
        until=_until(spec, lease),
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
        fork=_fork(worker, lease) if form == Form.SHARED else None,
    )


def _fork(worker: Worker, lease: Lease) -> Fork | None:
    spec = worker.study.spec
    if spec.share.kind != "trunk":
        return None
    assert lease.point is not None
    trunk = planning.trunk(spec, lease.point)
    return Fork(
        weights={term: float(weight) for term, weight in trunk.weights.items()},
        epochs=spec.share.trunk_epochs(spec.train.epochs),
        folder=_folder(worker, trunk, lease.seed, lease.rung, 0, Form.TRUNK),
        moments=spec.share.moments,
    )


def shared_facts(spec: StudySpec, lease: Lease, anew: bool) -> dict[str, Any]:
    """What a result says of a run that is not from scratch; `anew` where a fork had to train the
    epochs of its trunk itself."""
    form, epochs = form_of(spec, lease), spec.share.trunk_epochs(spec.train.epochs)
    if form == Form.SCRATCH:
        return {}
    if spec.share.kind == "frozen":
        return {"shared": {"form": "frozen encoder"}}
    if form == Form.TRUNK:
        return {"shared": {"form": "trunk", "epochs": epochs}}
    facts = {"form": "forked", "epochs": epochs, "moments": spec.share.moments}
    return {"shared": facts | ({"trunk_anew": True} if anew else {})}


def _common_epochs(spec: StudySpec, lease: Lease) -> int:
    """Those that a run of before has trained for this one."""
    if spec.share.kind != "none":
        is_fork = form_of(spec, lease) == Form.SHARED
        return spec.share.trunk_epochs(spec.train.epochs) if is_fork else 0
    return spec.stages()[lease.stage - 1] if lease.stage else 0


def _goes_on_from(context: Context) -> list[Path]:
    return [context.folder, *([context.fork.folder] if context.fork else [])]


def _until(spec: StudySpec, lease: Lease) -> int | None:
    if spec.share.kind != "none":
        is_trunk = form_of(spec, lease) == Form.TRUNK
        return spec.share.trunk_epochs(spec.train.epochs) if is_trunk else None
    stages = spec.stages()
    is_whole = lease.rung == Rung.PROMOTION or lease.stage == len(stages) - 1
    return None if is_whole else stages[lease.stage]
