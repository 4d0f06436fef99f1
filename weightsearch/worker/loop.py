"""A worker: claims a point, runs the objective on it, records the result, until none is left.

The route of one trial: `run` claims (store/ledger/leases.py), with --lanes others beside it →
`train` gives each its turns (lanes.py) → `attempt` (attempt.py) → `drive` runs the objective, an
epoch at a time (objective_run.py) → `_deliver` spools the result and commits it
(store/ledger/result_spool.py) → `mirroring` shows it in the Optuna study (background.py,
store/optuna_mirror.py).
"""

from __future__ import annotations

import contextlib
import logging
import os
import platform
from dataclasses import replace
from pathlib import Path

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from weightsearch.errors import StudyError
from weightsearch.runtime import failpoints
from weightsearch.runtime.stop_signals import StopNow
from weightsearch.store.connection.notifications import Listener
from weightsearch.store.connection.outage import retry_while_away
from weightsearch.store.ledger import leases, looks, result_spool, study_control
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import StudyState
from weightsearch.study import objective_contract, planning
from weightsearch.study.search_space import Point
from weightsearch.worker import lanes
from weightsearch.worker.background import mirroring
from weightsearch.worker.process import Worker

IDLE_S = 0.5
EXPIRED_S = 0.05  # after a lease's end, so that it has ended by the database's clock too

log = logging.getLogger(__name__)


def run(worker: Worker) -> int:
    """Runs points until none is left, or a stop is asked for; how many were finished.

    Raises the objective's own WeightsearchError, having given the point back: what is wrong with
    this machine or the study must not use up the plan. Raises Unfit where the device was lost, and
    StudyError where the Optuna study could not follow and no launch is there to make up for it.
    """
    engine, study, stop = worker.database.engine, worker.study, worker.stop
    objective = objective_contract.load(study.spec.objective.run)
    together = objective_contract.together(study.spec.objective.run, worker.lanes)
    results = retry_while_away(lambda: result_spool.folder(engine, worker.home), stop.asked)
    retry_while_away(lambda: _arrive(worker, results), stop.asked)
    changes = Listener(worker.database, study.id)
    finished = 0
    lease: Lease | None = None
    try:
        with stop.on_signals(), mirroring(worker.database, study, worker.name) as shown:
            while not stop.asked():
                try:
                    if lease is None:  # whenever there is nothing better to do
                        retry_while_away(lambda: result_spool.replay(engine, results), stop.asked)
                    lease = retry_while_away(lambda: _claim(worker), stop.asked)
                    if lease is None:
                        now = retry_while_away(
                            lambda: study_control.standing(engine, study.id), stop.asked
                        )
                        if now.state == StudyState.STOPPED:
                            log.info("study %s is stopped; run its launch to continue", study.name)
                            break
                        if not now.left:
                            if not _look(worker, now.looks):
                                log.info("study %s has no point left to run", study.name)
                                break
                            continue
                except DBAPIError:  # the database is away, and we were asked to stop
                    break
                if lease is None:  # another worker may yet give a point up
                    changes.wait(_until_next(now), stop.asked)
                else:
                    changes.close()
                    failpoints.reach("after-claim")
                    claimed = [lease, *lanes.beside(worker, together, lease)]
                    finished += lanes.train(worker, objective, together, results, claimed)
    except StopNow:
        pass
    finally:
        changes.close()
        with contextlib.suppress(Exception):
            study_control.sign_off(engine, worker.name)
    if shown.failure and stop.launcher is None and not stop.asked():
        raise StudyError(
            f"the Optuna study must show what was done, but is behind ({shown.failure}); every"
            f" result is safe: mend that, and `weightsearch launch` it again."
        )
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


def _look(worker: Worker, known: int) -> bool:
    """Takes the look that is due, with nothing left to claim; whether there is more to do."""
    engine, study = worker.database.engine, worker.study
    return retry_while_away(lambda: looks.take(engine, study, known), worker.stop.asked)


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
        point = _choice(engine, study, lease)
        if point is None and lease.repeat:
            leases.fail(engine, lease, f"place {lease.place} of the plan was never filled")
        elif point is None:
            leases.fail(engine, lease, "every configuration of the study was tried already")
        elif leases.fill(engine, lease, point):
            return replace(lease, point=point)
        else:  # another worker chose the same a moment ago: choose again, knowing that
            leases.give_back(engine, lease, "another worker chose the same point", paused=False)
    return None


def _choice(engine: Engine, study: Study, lease: Lease) -> Point | None:
    """What an adaptive sampler wants tried; a repeat takes what its first run was given."""
    if lease.repeat:
        return leases.chosen(engine, lease)
    return planning.ask(study.spec, lease.place, leases.seen(engine, study))
