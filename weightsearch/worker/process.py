"""What one worker process has in hand."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightsearch.runtime.stop_signals import Stop
from weightsearch.runtime.worker_name import worker_name
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger.studies import Study

LEASE_S = 60.0  # a worker that was not heard of for this long is taken for dead


@dataclass
class Worker:
    """What one worker process has in hand."""

    database: Database
    study: Study
    home: Path
    device: str
    data: Path | None = None
    lease_s: float = LEASE_S
    stop: Stop = field(default_factory=Stop)
    name: str = field(default_factory=worker_name)
    replaces: str | None = None
    """The name of a worker whose process is known to be gone: what it held is free at once."""
    lanes: int | None = 1
    """How many points are trained together; None: as many as are fastest on the device."""
    cache: dict[str, Any] = field(default_factory=dict)
    fastest: dict[str, int] = field(default_factory=dict)
    """What was measured of that, by the parameters of the points."""
    most: dict[str, int] = field(default_factory=dict)
    """How many of them fit in memory at once, where more have run out of it."""


class Unfit(Exception):
    """This process cannot go on, though nothing is wrong with the study: it is to be replaced."""
