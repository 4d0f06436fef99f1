"""A study file of the trivial objective, for launches that need no data."""

from __future__ import annotations

STUDY = """
goal = "test"
[objective]
run = "weightsearch.study.trivial_objective:run"
[loss]
weights = { grid = "simplex", steps = 3 }
[params]
epoch_s = EPOCH_S
[train]
epochs = 2
"""


def trivial_study(epoch_s: float, more: str = "") -> str:
    """The study file: ten points of two epochs, each of `epoch_s` seconds; `more` is appended."""
    return STUDY.replace("EPOCH_S", str(epoch_s)) + more
