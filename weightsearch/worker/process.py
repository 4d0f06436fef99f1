"""What one worker process has in hand."""

from __future__ import annotations

import os
import platform
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from weightsearch.runtime.stop_signals import Stop
from weightsearch.store.connection.database import Database
from weightsearch.store.ledger.studies import Study

LEASE_S = 60.0  # a worker that was not heard of for this long is taken for dead


def new_name(ending: str | None = None) -> str:
    """Nobody else's, ever: it is part of the fence. A launcher chooses the ending, so that it knows
    the name of a worker that died (launch/places/local.py)."""
    return f"{platform.node()}-{os.getpid()}-{ending or uuid.uuid4().hex[:8]}"


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
    name: str = field(default_factory=new_name)
    replaces: str | None = None
    """The name of a worker whose process is known to be gone: what it held is free at once."""
    cache: dict[str, Any] = field(default_factory=dict)


class Unfit(Exception):
    """This process cannot go on, though nothing is wrong with the study: it is to be replaced."""
