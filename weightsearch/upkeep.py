"""What goes on beside the training, in threads: the lease is renewed, the Optuna study follows."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

from weightsearch.store import ledger
from weightsearch.store.database import Database
from weightsearch.store.ledger import Lease, Study
from weightsearch.store.outage import patiently

MIRROR_S = 2.0  # between looks for what the Optuna study does not show yet

log = logging.getLogger(__name__)


@contextlib.contextmanager
def renewing(database: Database, lease: Lease, lease_s: float) -> Iterator[threading.Event]:
    """Renews the lease while the block runs; sets the event once the lease is another's.

    The thread is joined before the next claim: one that outlived its lease would renew, or give up,
    the next point.
    """
    lost, over = threading.Event(), threading.Event()

    def renewed() -> bool:
        return ledger.renew(database.engine, lease, lease_s)

    def renew() -> None:
        while not over.wait(lease_s / 4):
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
def mirroring(database: Database, study: Study, worker: str) -> Iterator[None]:
    """Keeps the Optuna study up to date while the block runs, and says that this worker is there.

    The last look waits for any other process that is at it, so that nothing stays unshown.
    """
    over = threading.Event()

    def mirror() -> None:
        from weightsearch.store.mirror import Mirror  # imports optuna: half a second

        opened: Mirror | None = None
        told = False
        while True:
            last = over.is_set()
            try:
                ledger.seen_alive(database.engine, worker)
                opened = opened or Mirror(database, study)
                opened.sync(wait=last)
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
