"""Waiting out a database that is away: a restart, a dropped connection, a full connection table.

An outage is the whole process's: whichever of its threads meets it first says so, once; all of them
take turns at trying again, so that one worker knocks at most once a second however much it wants to
do; and when one gets through, the others follow at once.
"""

from __future__ import annotations

import logging
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

import psycopg
from sqlalchemy.exc import DBAPIError

from weightsearch.errors import StorageError

T = TypeVar("T")

FIRST_WAIT_S = 1.0
LONGEST_WAIT_S = 3.0
GROWTH = 1.5  # also the most that chance adds to a wait: a fleet must not knock in step
LOOK_S = 0.1  # between looks whether to give up

AWAY = (
    "08",  # connection exception
    "53",  # insufficient resources: too many connections, the server's disk is full
    "57",  # operator intervention: shutting down, starting up, a statement cancelled
    "58",  # system error: input and output
    "25P03",  # a transaction that was left open too long: this process was stopped
    "40",  # rolled back for the sake of another transaction
    "55P03",  # somebody holds a lock
)
FOR_GOOD = ("57P04",)  # the database was dropped

REFUSED = re.compile(
    r"authentication failed for user|no password supplied|no pg_hba\.conf entry"
    r"|FATAL: .* does not exist|permission denied for database|not permitted to log in"
    r"|certificate|SSL was required|invalid \w+ value"
)
"""What a server or libpq says to who will never get in. libpq gives no SQLSTATE for a connection
that was refused; a server that says it in another language is taken to be away."""

log = logging.getLogger(__name__)


def retry_while_away(call: Callable[[], T], give_up: Callable[[], bool] = lambda: False) -> T:
    """The call's result, tried again while the database is away.

    Raises the last error where `give_up` says so, and at once any error that is not the outage's.
    """
    waits = back = False
    try:
        while True:
            try:
                result = call()
            except (DBAPIError, StorageError) as error:
                if not is_away(error) or give_up():
                    raise
                if not waits:
                    waits = True
                    _outage.enter(reason(error))
                if not _outage.await_turn(give_up):
                    raise
            else:
                back = True
                return result
    finally:
        if waits:
            _outage.leave(back)


def is_away(error: BaseException | None) -> bool:
    """Whether this is an outage, after which the same call may succeed."""
    if isinstance(error, DBAPIError):
        return is_away(error.orig)
    if not isinstance(error, psycopg.Error):  # StorageError, or Optuna's StorageInternalError
        return error is not None and is_away(error.__cause__)
    if error.sqlstate:
        return error.sqlstate.startswith(AWAY) and error.sqlstate not in FOR_GOOD
    # One line for each of several hosts: any of them may come back.
    attempts = [line for line in str(error).splitlines() if line.startswith("- host: ")]
    refused = all(REFUSED.search(attempt) for attempt in attempts or [str(error)])
    return isinstance(error, psycopg.OperationalError) and not refused


def reason(error: BaseException) -> str:
    """What the driver says, in one line without the statement."""
    lines = str(getattr(error, "orig", None) or error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def named(error: BaseException) -> str:
    """The same, after the error's type."""
    return f"{type(error).__name__}: {reason(error)}"


@dataclass
class _Outage:
    """What this process's threads share of an outage; `waiting` says how many of them are in it."""

    changed: threading.Condition = field(default_factory=threading.Condition)
    waiting: int = 0
    successes: int = 0
    began: float = 0.0
    next_turn: float = 0.0
    wait_s: float = FIRST_WAIT_S

    def enter(self, why: str) -> None:
        with self.changed:
            self.waiting += 1
            if self.waiting == 1:
                self.began = self.next_turn = time.monotonic()
                self.wait_s = FIRST_WAIT_S
                log.warning("the database is away; trying until it is back: %s", why)

    def await_turn(self, give_up: Callable[[], bool]) -> bool:
        """Returns when this thread may try; False where it is to give up instead."""
        with self.changed:
            wait_s = self.wait_s * random.uniform(1.0, GROWTH)
            turn = self.next_turn = max(self.next_turn, time.monotonic()) + wait_s
            self.wait_s = min(GROWTH * self.wait_s, LONGEST_WAIT_S)
            successes = self.successes
            while successes == self.successes and (left_s := turn - time.monotonic()) > 0:
                if give_up():
                    return False
                self.changed.wait(min(left_s, LOOK_S))
        return True

    def leave(self, back: bool) -> None:
        with self.changed:
            self.waiting -= 1
            if back:
                self.successes += 1
                self.changed.notify_all()
                if self.waiting == 0:
                    log.warning("the database is back after %.0f s", time.monotonic() - self.began)


_outage = _Outage()
