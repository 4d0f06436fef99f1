"""Pieces that statements on the tables share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Engine,
    func,
)

from weightsearch.store.tables.schema import attempts


@contextlib.contextmanager
def at_once(engine: Engine) -> Iterator[Connection]:
    """A connection where each statement is its own transaction: one round trip instead of three."""
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="AUTOCOMMIT")


def from_now(seconds: Any) -> Any:
    return func.now() + _seconds(seconds)


def _seconds(number: Any) -> Any:
    return func.make_interval(0, 0, 0, 0, 0, 0, number)


def ended_now(share: Any = 1.0) -> dict[str, Any]:
    """`share`: the attempt's of its worker's time, which lanes divide."""
    elapsed = func.extract("epoch", func.now() - attempts.c.started_at)
    return {"ended_at": func.now(), "seconds": elapsed * share}


def device_time() -> ColumnElement[float]:
    """Seconds that an attempt has had of its worker's time: as it ended, or of one that runs, by
    now. Attempts that one worker runs at once share its time.

    A window function: the statement has to select all that run.
    """
    until = func.coalesce(attempts.c.ended_at, func.now())
    elapsed = func.extract("epoch", until - attempts.c.started_at)
    lanes = func.count().over(partition_by=(attempts.c.worker, attempts.c.outcome.is_(None)))
    found: ColumnElement[float] = func.coalesce(attempts.c.seconds, elapsed / lanes)
    return found
