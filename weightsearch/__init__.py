"""weightsearch: finds the weights of a multi-term loss, and the encoder to go with them.

What a program of your own may rely on: the exceptions, the contract of an objective
(docs/own-objective.md), and a study read from its file.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsearch.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        DeviceError,
        Interrupted,
        NonFiniteLoss,
        ObjectiveError,
        StorageError,
        StudyError,
        WeightsearchError,
        WeightsError,
    )
    from weightsearch.study.loading import load, study_file
    from weightsearch.study.objective_contract import Context, Epoch, Objective
    from weightsearch.study.spec import StudySpec

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Context",
    "DataError",
    "DeviceError",
    "Epoch",
    "Interrupted",
    "NonFiniteLoss",
    "Objective",
    "ObjectiveError",
    "StorageError",
    "StudyError",
    "StudySpec",
    "WeightsError",
    "WeightsearchError",
    "load",
    "study_file",
]

_ELSEWHERE = {
    **dict.fromkeys(("load", "study_file"), "weightsearch.study.loading"),
    **dict.fromkeys(("Context", "Epoch", "Objective"), "weightsearch.study.objective_contract"),
    "StudySpec": "weightsearch.study.spec",
}


def __getattr__(name: str) -> object:
    # On demand, so that a process that needs none of it does not pay for pydantic.
    if name not in __all__:
        raise AttributeError(f"module 'weightsearch' has no attribute '{name}'")
    return getattr(import_module(_ELSEWHERE.get(name, "weightsearch.errors")), name)
