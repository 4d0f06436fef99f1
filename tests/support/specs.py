"""Studies for tests."""

from __future__ import annotations

from typing import Any

from weightsearch.study import loading
from weightsearch.study.spec import StudySpec


def make_spec(**tables: Any) -> StudySpec:
    """A study of the trivial objective; keyword arguments replace whole tables."""
    plain: dict[str, Any] = {
        "goal": "test",
        "objective": {"run": "weightsearch.study.trivial_objective:run"},
        "loss": {"weights": {"grid": "simplex", "steps": 3}},
        "train": {"epochs": 2},
        "promote": {"top": 2, "seeds": [1, 2], "epochs": 3},
    }
    return loading.parse(plain | tables, "test")
