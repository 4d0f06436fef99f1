"""The states of studies and points, how attempts end, and the rungs: the words in the tables."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum, StrEnum


class StudyState(StrEnum):
    """Whether workers may claim points of a study."""

    RUNNING = "running"
    PAUSED = "paused"
    """Workers wait."""
    STOPPED = "stopped"
    """Workers leave."""


class Phase(StrEnum):
    """Where a study stands, as people are told: what its workers may do, and whether there is
    anything left to do."""

    WAITING = "waiting"
    """There is, and nobody does it."""
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    PROMOTING = "promoting"
    """The search is done, and full runs are trained."""
    DONE = "done"
    """Nothing is left, or nothing that the budget allows; and nothing was promoted."""
    PROMOTED = "promoted"


class PointState(StrEnum):
    """waiting → leased → done | failed; or waiting → dropped."""

    WAITING = "waiting"
    LEASED = "leased"
    """A worker has it, until its lease runs out."""
    PAUSED = "paused"
    """Given back with a checkpoint to resume from."""
    DONE = "done"
    FAILED = "failed"
    """Given up; `weightsearch retry --failed` lets it be tried again."""
    DROPPED = "dropped"
    """Never begun: a look at what was done before found its configuration worse."""


OPEN = (PointState.WAITING, PointState.PAUSED, PointState.LEASED)
ENDED = (PointState.DONE, PointState.FAILED, PointState.DROPPED)


class Outcome(StrEnum):
    """How an attempt at a point ended."""

    DONE = "done"
    DIVERGED = "diverged"
    """A non-finite loss or metric: the point is done with that verdict, and not ranked."""
    FAILED = "failed"
    LOST = "lost"
    """The worker died, or its lease ran out."""
    GIVEN_BACK = "given back"
    DROPPED = "dropped"
    """No attempt at all: it stands for a point that a look has dropped, in the Optuna study too."""


FINISHED = (Outcome.DONE, Outcome.DIVERGED)


class Rung(IntEnum):
    """A fidelity at which a point is measured."""

    SEARCH = 0
    PROMOTION = 1
    """Trained in full, with a fresh seed. Higher: full runs that a later promotion left out."""


REPEATED = 1000
"""Where a promotion is repeated with other settings, its new runs are numbered from the next
multiple of this on."""


def phase(
    state: str,
    search: Mapping[str, int],
    full: Mapping[str, int],
    promoted: bool,
    workers: bool,
    left: bool = True,
) -> Phase:
    """From the study's own state, the points of its search and its full runs by state, whether
    there is a verdict, whether anybody is at work, and whether its budget leaves anything to do
    (`Standing.left`): points that it does not reach are waited for by nobody."""
    if state != StudyState.RUNNING:
        return Phase(state)
    if any(full.get(s, 0) for s in OPEN):
        return Phase.PROMOTING if workers or full.get(PointState.LEASED) else Phase.WAITING
    if left and any(search.get(s, 0) for s in OPEN):
        return Phase.RUNNING if workers or search.get(PointState.LEASED) else Phase.WAITING
    return Phase.PROMOTED if promoted else Phase.DONE
