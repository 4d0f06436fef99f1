"""Points that a worker trains together: how many, and whose turn it is.

Each is an attempt of its own (attempt.py), with its lease, checkpoints and end. An epoch of each in
turn: the first that is asked for has the objective train all that are as far, and the others find
theirs done (`run_together` in study/objective_contract.py).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sqlalchemy.exc import DBAPIError

from weightsearch.errors import ObjectiveError
from weightsearch.runtime import own_traceback
from weightsearch.store.connection.outage import retry_while_away
from weightsearch.store.ledger import leases
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.tables.states import Rung
from weightsearch.study.objective_contract import Context, Objective, Run, Together
from weightsearch.worker import failure_kinds
from weightsearch.worker.attempt import TooManyLanes, Turns, attempt, fail, give_back
from weightsearch.worker.background import Hold, renewing
from weightsearch.worker.objective_run import context_of, form_of, weights_of
from weightsearch.worker.process import Worker

log = logging.getLogger(__name__)


@dataclass(eq=False)
class Lane:
    """One of the points in hand."""

    lease: Lease
    hold: Hold
    share: Callable[[], float]
    """Of the worker's time so far."""
    turns: Turns
    epochs: int = 0

    def give_back(self, worker: Worker, reason: str) -> None:
        charged = replace(self.lease, share=self.share())
        give_back(worker, charged, self.hold, reason, paused=False)
        self.hold.over = True


def beside(worker: Worker, together: Together | None, lead: Lease) -> list[Lease]:
    """Further points, to be trained beside the one that was claimed."""
    if together is None:
        return []
    more = _how_many(worker, together, lead) - 1
    if more < 1:
        return []
    engine, apart = worker.database.engine, together.apart
    with suppress(DBAPIError):  # the database is away, and we were asked to stop
        return retry_while_away(
            lambda: leases.claim_beside(engine, lead, worker.device, worker.lease_s, more, apart),
            worker.stop.asked,
        )
    return []


def _how_many(worker: Worker, together: Together, lead: Lease) -> int:
    """Points to train at once: as asked, or what has measured fastest for points like this one.

    On a CPU one: there they only take turns. So is a full run that takes several devices.
    """
    assert lead.point is not None
    full = worker.study.spec.promote if lead.rung == Rung.PROMOTION else None
    if full is not None and full.devices != 1:
        return 1
    key = _kind(worker, together, lead)
    asked = _asked(worker, together, lead, key)
    return min(asked, worker.most.get(key, asked))


def _kind(worker: Worker, together: Together, lease: Lease) -> str:
    """Of a run: its form, as a frozen encoder takes less memory, and its point's parameters but for
    those in which points that are trained together differ. What fits on the device at once, and
    what is fastest, is known of each kind apart."""
    assert lease.point is not None
    alike = {n: value for n, value in lease.point.params.items() if n not in together.apart}
    if form := form_of(worker.study.spec, lease):
        alike["form"] = form.name.lower()
    return json.dumps(alike, sort_keys=True, default=str)


def _asked(worker: Worker, together: Together, lead: Lease, key: str) -> int:
    """As many as were asked for, or have measured fastest for points of this kind."""
    assert lead.point is not None
    if worker.lanes is not None:
        return worker.lanes
    if worker.device == "cpu" or together.fastest is None or lead.shrink:
        return 1
    if key not in worker.fastest:
        with renewing(worker.database, [lead], worker.lease_s) as (hold,):
            context = context_of(worker, lead, hold)
            try:
                found = int(together.fastest(weights_of(worker, lead), lead.point.params, context))
            except Exception as error:  # one at a time may still work, and says what does not
                log.warning("how many lanes are fastest is unknown: %s", own_traceback.line(error))
                found = 1
        failure_kinds.free_memory()
        log.info("points with %s are trained %d at a time", key, found)
        worker.fastest[key] = max(1, found)
    return worker.fastest[key]


def train(
    worker: Worker,
    objective: Objective,
    together: Together | None,
    results: Path,
    claimed: Sequence[Lease],
) -> int:
    """One go at each of the points, an epoch of each in turn; how many results were committed.

    Whoever is behind comes first, so that points that go on from different epochs meet. Raises what
    `attempt` raises, having given the others back.
    """
    going: list[Lane] = []
    committed = 0

    def hung() -> None:
        said = f"an epoch took longer than {limit_s:g} s"
        first, *others = sorted(going, key=lambda lane: lane.epochs)
        for lane in others:
            lane.give_back(worker, "a point beside it hung")
        charged = replace(first.lease, share=first.share())
        fail(worker, charged, failure_kinds.Failure("hang", said))

    limit_s = worker.study.spec.retry.epoch_limit_s
    with renewing(worker.database, claimed, worker.lease_s, limit_s, hung) as holds:
        contexts = [context_of(worker, *one) for one in zip(claimed, holds, strict=True)]
        runs = _runs(worker, objective, together, claimed, contexts)
        shares = _Shares(going)
        for lease, hold, context, run in zip(claimed, holds, contexts, runs, strict=True):
            has_company, share = partial(_has_company, going), partial(shares.of, hold)
            turns = attempt(worker, run, context, results, lease, hold, has_company, share)
            going.append(Lane(lease, hold, share, turns))
        while going:
            lane = min(going, key=lambda lane: lane.epochs)
            try:
                next(lane.turns)
                lane.epochs += 1
                shares.divide()
            except StopIteration as end:
                committed += end.value
                shares.divide()
                lane.hold.over = True
                going.remove(lane)
            except TooManyLanes as error:
                _halve(worker, together, going, str(error))
            except BaseException as error:
                going.remove(lane)
                _leave(worker, going, f"the worker leaves: {own_traceback.line(error)}")
                raise
    return committed


def _has_company(going: Sequence[Lane]) -> bool:
    return len(going) > 1


def _runs(
    worker: Worker,
    objective: Objective,
    together: Together | None,
    claimed: Sequence[Lease],
    contexts: Sequence[Context],
) -> list[Run]:
    """A run of each point; where they cannot be had, each raises why."""
    points = [
        (weights_of(worker, one), one.point.params) for one in claimed if one.point is not None
    ]
    if len(claimed) == 1 or together is None:
        return [objective(*point, one) for point, one in zip(points, contexts, strict=True)]
    try:
        runs = list(together.run(points, contexts))
        if len(runs) != len(claimed):
            raise ObjectiveError(
                f"`run_together` must return a run for each of {len(claimed)} points, but returned"
                f" {len(runs)}."
            )
    except Exception as error:
        return [_raising(error) for _ in claimed]
    return runs


def _raising(error: Exception) -> Run:
    raise error
    yield {}


def _halve(worker: Worker, together: Together | None, going: list[Lane], reason: str) -> None:
    """Gives all points back, and trains half as many of their kind at once from now on: none is to
    blame, and a smaller network may still have more."""
    assert together is not None  # else there was one
    key, half = _kind(worker, together, going[0].lease), max(1, len(going) // 2)
    worker.most[key] = half
    log.warning("memory ran out with %d lanes of %s, now %d: %s", len(going), key, half, reason)
    _leave(worker, going, f"memory ran out with {len(going)} lanes: {reason}")
    going.clear()
    worker.cache.clear()
    failure_kinds.free_memory()


def _leave(worker: Worker, going: Sequence[Lane], reason: str) -> None:
    for lane in going:
        with suppress(Exception):
            lane.turns.close()
        lane.give_back(worker, reason)


class _Shares:
    """Divides the worker's time among the lanes that are going."""

    def __init__(self, going: Sequence[Lane]) -> None:
        self.going = going
        self.began = self.divided = time.monotonic()

    def divide(self) -> None:
        """What passed since the last time, equally."""
        now = time.monotonic()
        for lane in self.going:
            lane.hold.spent_s += (now - self.divided) / len(self.going)
        self.divided = now

    def of(self, hold: Hold) -> float:
        """The share of the time so far that the lane has had."""
        self.divide()
        return hold.spent_s / max(self.divided - self.began, 1e-9)
