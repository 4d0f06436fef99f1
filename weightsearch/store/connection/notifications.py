"""Waiting for something to do without asking for it all the time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

import psycopg
from psycopg import sql

from weightsearch.errors import StorageError
from weightsearch.store.connection.connecting import Connection
from weightsearch.store.connection.database import Database
from weightsearch.store.tables.schema import channel

POLL_S = 5.0  # the longest wait: a notification that was lost costs no more
LOOK_S = 0.1  # between looks whether to give up


class Listener:
    """A connection on which a study's changes are heard, open only while there is nothing to do."""

    def __init__(self, database: Database, study_id: int) -> None:
        self.database, self.channel = database, channel(study_id)
        self.connection: Connection | None = None

    def wait(self, longest_s: float | None, give_up: Callable[[], bool]) -> None:
        """Returns when the study may have changed, after `longest_s`, or where `give_up` says so.

        The first call returns at once: what changed before anybody listened must be looked for.
        """
        try:
            if self.connection is None:
                self.connection = self.database.connect()
                self.connection.autocommit = True
                self.connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self.channel)))
                return
            self._hear(
                time.monotonic() + min(POLL_S, POLL_S if longest_s is None else longest_s),
                self.connection,
                give_up,
            )
        except (psycopg.Error, StorageError):  # whoever asks the database next will say so
            self.close()
            time.sleep(LOOK_S)

    @staticmethod
    def _hear(until: float, connection: Connection, give_up: Callable[[], bool]) -> None:
        while not give_up() and (left_s := until - time.monotonic()) > 0:
            if list(connection.notifies(timeout=min(LOOK_S, left_s), stop_after=1)):
                return

    def close(self) -> None:
        if self.connection is not None:
            with contextlib.suppress(psycopg.Error):
                self.connection.close()
            self.connection = None
