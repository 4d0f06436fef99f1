"""Waiting out a database that is away: a restart, a dropped connection, a full connection table."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError

from weightsearch.errors import StorageError

T = TypeVar("T")

FIRST_WAIT_S = 0.2
LONGEST_WAIT_S = 10.0

log = logging.getLogger(__name__)


def patiently(call: Callable[[], T], give_up: Callable[[], bool] = lambda: False) -> T:
    """The call's result, tried again while the database is away; one log line an outage.

    Waits grow with jitter, so that a fleet does not knock in step. Raises the last error where
    `give_up` says so.
    """
    wait_s, began = FIRST_WAIT_S, 0.0
    while True:
        try:
            result = call()
        except (OperationalError, InterfaceError, DBAPIError, StorageError) as error:
            if not _is_away(error) or give_up():
                raise
            if not began:
                began = time.monotonic()
                log.warning("the database is away; trying until it is back: %s", reason(error))
            time.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)
        else:
            if began:
                log.warning("the database is back after %.0f s", time.monotonic() - began)
            return result


def reason(error: Exception) -> str:
    """What the driver says, in one line without the statement."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _is_away(error: Exception) -> bool:
    if isinstance(error, DBAPIError):
        return isinstance(error, OperationalError | InterfaceError) or error.connection_invalidated
    return isinstance(error, StorageError)
