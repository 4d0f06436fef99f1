"""The name of a worker process: HOST-PID-ENDING, nobody else's ever, as it is part of the fence."""

from __future__ import annotations

import os
import platform
import uuid


def new_ending() -> str:
    """What tells two workers apart that had the same number on the same host."""
    return uuid.uuid4().hex[:8]


def worker_name(ending: str | None = None, pid: int | None = None) -> str:
    """Of this process, or of `pid`. A launcher chooses the ending of a worker that it starts, and
    so knows the name of one that died."""
    return f"{platform.node()}-{pid or os.getpid()}-{ending or new_ending()}"
