"""What can go wrong through no fault of the code: each error is one line that a user can act on.

WeightsearchError              exit code 1, one line on stderr
├── ConfigError                a study file, an option or an environment variable
├── DataError                  a data set, a pack or a prediction
├── StorageError               the database: unreachable, too old, of another schema version
├── StudyError                 a study: unknown, changed under its old name, or not ready
├── ObjectiveError             a user's objective: not found, or not as its contract asks
├── DeviceError                a device that this machine lacks
├── WeightsError               pretrained weights that cannot be had
└── CheckpointError            a checkpoint: missing, damaged, or of another model

Not errors but verdicts of an attempt, raised by objectives and recorded by the worker:
NonFiniteLoss                  the loss is no longer a number: the point is done, and not ranked
Interrupted                    the attempt was asked to stop and has saved what it needs to resume
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class WeightsearchError(Exception):
    """A stated error: what must hold, what was got, what to do next."""


class ConfigError(WeightsearchError):
    """A study file, an option or an environment variable does not hold."""


class DataError(WeightsearchError):
    """A data set, a pack or a prediction is missing, foreign or damaged."""


class StorageError(WeightsearchError):
    """The database cannot be reached or used."""


class StudyError(WeightsearchError):
    """A study is unknown, was changed under its old name, or is not ready for the question."""


class ObjectiveError(WeightsearchError):
    """An objective cannot be imported, fails, or yields what the service cannot record."""

    def __init__(self, said: str, trace: str = "") -> None:
        """`trace` is the traceback of the user's code, of any number of lines; commands show it
        above the line of the error."""
        super().__init__(said)
        self.trace = trace


class DeviceError(WeightsearchError):
    """A device was asked for that this machine lacks."""


class WeightsError(WeightsearchError):
    """Pretrained weights cannot be had."""


class CheckpointError(WeightsearchError):
    """A checkpoint is missing, damaged, or belongs to another model."""


class NonFiniteLoss(Exception):
    """The loss stopped being a number; the message names the term and the frame."""


class Interrupted(Exception):
    """The attempt was asked to stop; what it needs to resume is saved in its folder."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of an error message about an unknown name: the nearest known one, or all of them."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean '{near[0]}'?" if near else f"known are: {', '.join(known)}."


SHOWN = 10
"""Of many errors of one kind."""


def others(names: Sequence[str]) -> str:
    """What an error message adds to the first of several: up to ten in all, so that a listing can
    be mended at once. Empty for a single one; the message says how many there are."""
    return f"; also {', '.join(names[1:SHOWN])}{', ...' * (len(names) > SHOWN)}" * (len(names) > 1)
