"""weightsearch: finds the weights of a multi-term loss, and the encoder to go with them.

What a program of your own may rely on (docs/python.md): a study launched, read as tables and
figures, its checkpoint as a network; the contract of an objective (docs/own-objective.md); the
exceptions. Importing it loads none of torch, Optuna and the database.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from weightsearch.api.launching import Launch, launch
    from weightsearch.api.study_view import Study, study
    from weightsearch.depth.inference.model import DepthModel, load
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
    from weightsearch.study.loading import load as read_study
    from weightsearch.study.loading import study_file
    from weightsearch.study.objective_contract import Context, Epoch, Objective
    from weightsearch.study.spec import StudySpec

__all__ = [
    "CheckpointError",
    "ConfigError",
    "Context",
    "DataError",
    "DepthModel",
    "DeviceError",
    "Epoch",
    "Interrupted",
    "Launch",
    "NonFiniteLoss",
    "Objective",
    "ObjectiveError",
    "StorageError",
    "Study",
    "StudyError",
    "StudySpec",
    "WeightsError",
    "WeightsearchError",
    "launch",
    "load",
    "read_study",
    "study",
    "study_file",
]

_ELSEWHERE = {
    "DepthModel": "weightsearch.depth.inference.model",
    "Launch": "weightsearch.api.launching",
    "Study": "weightsearch.api.study_view",
    "load": "weightsearch.depth.inference.model",
    "study_file": "weightsearch.study.loading",
    **dict.fromkeys(("Context", "Epoch", "Objective"), "weightsearch.study.objective_contract"),
    "StudySpec": "weightsearch.study.spec",
}


def __getattr__(name: str) -> object:
    # On demand, so that a process that needs none of it does not pay for pydantic.
    if name not in __all__:
        raise AttributeError(f"module 'weightsearch' has no attribute '{name}'")
    if name in ("launch", "study"):  # rooms of that name, which can be called
        return import_module(f"weightsearch.{name}")
    if name == "read_study":
        return import_module("weightsearch.study.loading").load
    return getattr(import_module(_ELSEWHERE.get(name, "weightsearch.errors")), name)
