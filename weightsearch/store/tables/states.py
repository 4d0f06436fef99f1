"""The states of studies and points, how attempts end, and the rungs: the words in the tables."""

from __future__ import annotations

from enum import IntEnum, StrEnum


class StudyState(StrEnum):
    """Whether workers may claim points of a study."""

    RUNNING = "running"
    PAUSED = "paused"
    """Workers wait."""
    STOPPED = "stopped"
    """Workers leave."""


class PointState(StrEnum):
    """waiting → leased → done | failed."""

    WAITING = "waiting"
    LEASED = "leased"
    """A worker has it, until its lease runs out."""
    PAUSED = "paused"
    """Given back with a checkpoint to resume from."""
    DONE = "done"
    FAILED = "failed"
    """Given up; `weightsearch retry --failed` lets it be tried again."""


OPEN = (PointState.WAITING, PointState.PAUSED, PointState.LEASED)
ENDED = (PointState.DONE, PointState.FAILED)


class Outcome(StrEnum):
    """How an attempt at a point ended."""

    DONE = "done"
    DIVERGED = "diverged"
    """A non-finite loss or metric: the point is done with that verdict, and not ranked."""
    FAILED = "failed"
    LOST = "lost"
    """The worker died, or its lease ran out."""
    GIVEN_BACK = "given back"


FINISHED = (Outcome.DONE, Outcome.DIVERGED)


class Rung(IntEnum):
    """A fidelity at which a point is measured."""

    SEARCH = 0
    PROMOTION = 1
    """Trained in full, with a fresh seed."""
