"""Pieces that statements on the tables share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from sqlalchemy import (
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


def ended_now() -> dict[str, Any]:
    elapsed = func.extract("epoch", func.now() - attempts.c.started_at)
    return {"ended_at": func.now(), "seconds": elapsed}
