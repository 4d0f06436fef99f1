"""Runs beside the training, in threads: the lease is renewed, the Optuna study follows, and
with it the figures that a dashboard shows.

Their threads import Optuna, and it sqlalchemy.orm, which is therefore imported here, before them:
half imported, it fails a statement of another thread that compares a column with an enum, which
ended a launch on busy cores.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import sqlalchemy.orm  # noqa: F401
from sqlalchemy.exc import DBAPIError

from weightsearch.errors import StudyError
from weightsearch.runtime.stop_signals import GRACE_S
from weightsearch.store.connection.database import Database
from weightsearch.store.connection.outage import is_away, named, retry_while_away
from weightsearch.store.ledger import leases, queries, study_control
from weightsearch.store.ledger.leases import Lease
from weightsearch.store.ledger.studies import Study
from weightsearch.store.tables.states import StudyState
from weightsearch.worker import failure_kinds

MIRROR_S = 4.0  # between looks for what the Optuna study does not show yet
PUBLISH_S = 60.0  # between drawings of the dashboard's figures
HUNG_S = 10.0  # for a process that hangs to write down that it does

log = logging.getLogger(__name__)


@dataclass
class Hold:
    """What became of a worker's claim on a point while it trains."""

    lost: threading.Event = field(default_factory=threading.Event)
    """The point is another worker's."""
    halted_at: float | None = None
    """When it was heard that the study is paused or stopped."""
    epoch_began: float = field(default_factory=time.monotonic)
    spent_s: float = 0.0
    """Of the worker's time, its part."""
    over: bool = False
    """The attempt has ended: there is nothing to renew."""

    def heard(self, state: str | None) -> None:
        """Takes in what the ledger answered: the study's state, or None where the claim is lost."""
        if state is None:
            self.lost.set()
        elif state != StudyState.RUNNING and self.halted_at is None:
            self.halted_at = time.monotonic()

    def grace_s(self) -> float | None:
        """None, or the seconds left until the point must be given back."""
        if self.halted_at is None:
            return None
        return max(0.0, self.halted_at + GRACE_S - time.monotonic())


@contextlib.contextmanager
def renewing(
    database: Database,
    claimed: Sequence[Lease],
    lease_s: float,
    limit_s: float | None = None,
    hung: Callable[[], None] = lambda: None,
) -> Iterator[list[Hold]]:
    """Renews the leases while the block runs, and hears what becomes of each.

    Where an epoch takes longer than `limit_s` for each point that is trained, calls `hung` and ends
    the process: nothing else gets at a training that hangs. The thread is joined before the next
    claim: one that outlived its lease would renew, or give up, the next point.
    """
    holds = [Hold() for _ in claimed]

    def left_s() -> float:
        going = [hold for hold in holds if not hold.over]
        if limit_s is None or not going:
            return float("inf")
        latest = max(hold.epoch_began for hold in holds)
        return latest + limit_s * len(going) - time.monotonic()

    def renew(over: threading.Event) -> None:
        while not over.wait(max(0.0, min(lease_s / 4, left_s()))):
            if left_s() <= 0:
                _end_process(hung)
            for lease, hold in zip(claimed, holds, strict=True):
                if not (hold.over or hold.lost.is_set()):
                    _renew(database, lease, hold, lease_s, over)
            if all(hold.over or hold.lost.is_set() for hold in holds):
                return

    with _beside("renew", renew):
        yield holds


def _renew(
    database: Database, lease: Lease, hold: Hold, lease_s: float, over: threading.Event
) -> None:
    try:
        state = retry_while_away(lambda: leases.renew(database.engine, lease, lease_s), over.is_set)
    except Exception as error:  # it must go on renewing whatever went wrong once
        if not over.is_set():
            log.warning("renewing the lease failed: %s", type(error).__name__)
        return
    if not hold.over:
        hold.heard(state)


@contextlib.contextmanager
def _beside(name: str, go_on: Callable[[threading.Event], None]) -> Iterator[None]:
    """Runs `go_on` in a thread while the block runs; at its end sets the event, and waits."""
    over = threading.Event()
    thread = threading.Thread(target=go_on, args=(over,), name=name, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _end_process(last_words: Callable[[], None]) -> None:
    said = threading.Thread(target=last_words, daemon=True)
    said.start()
    said.join(HUNG_S)
    os._exit(failure_kinds.REPLACE_ME)


@dataclass
class Mirrored:
    """Whether the Optuna study could follow."""

    failure: str | None = None
    """Why the last look failed; not that the database was away, which the next process makes up
    for."""


@contextlib.contextmanager
def mirroring(database: Database, study: Study, worker: str) -> Iterator[Mirrored]:
    """Keeps the Optuna study up to date while the block runs, and says that this worker is there.

    The last look waits for any other process that is at it, so that nothing stays unshown. Gives
    what became of it, to be read after the block.
    """
    found = Mirrored()

    def mirror(over: threading.Event) -> None:
        opened: object = None
        told = False
        while True:
            last = over.is_set()
            try:
                behind = study_control.seen_alive(database.engine, study, worker)
                if behind or last:
                    from weightsearch.store.optuna_mirror import (
                        Mirror,  # imports optuna: half a second
                    )

                    if not isinstance(opened, Mirror):
                        opened = Mirror(database, study)
                    opened.sync(wait=last)
                told, found.failure = False, None
            except StudyError:  # it was deleted: there is nothing to show
                found.failure = None
            except Exception as error:  # the ledger holds everything; a later call repairs it
                why = named(error)
                found.failure = None if is_away(error) else why
                if not told:
                    log.warning("the Optuna study is behind for now: %s", why)
                told = True
            if last:
                break
            over.wait(MIRROR_S)

    with _beside("mirror", mirror):
        yield found


@contextlib.contextmanager
def publishing(database: Database, study: Study, every_s: float = PUBLISH_S) -> Iterator[None]:
    """Redraws the dashboard's figures every so often while the block runs, and says where the
    Optuna study does not keep up; what is left at its end is the caller's."""

    def publish(over: threading.Event) -> None:
        told = said = False
        while not over.wait(every_s):
            with contextlib.suppress(DBAPIError):
                late = queries.behind(database.engine, study)
                if late and not said:
                    log.warning("the Optuna study is behind by %d attempts: see the logs", late)
                said = late > 0
            try:
                from weightsearch.report import (
                    optuna_dashboard as publish,  # imports optuna and plotly: a second
                )

                publish.publish(database, study.name)
                told = False
            except Exception as error:  # the next time, or the launch's end, makes up for it
                if not told:
                    log.warning("the dashboard's figures are behind: %s", named(error))
                told = True

    with _beside("publish", publish):
        yield
