"""Tables of studies whose looks drop configurations; of the trivial objective, ten directions."""

from __future__ import annotations

from typing import Any

GRID = {"weights": {"grid": "simplex", "steps": 3}}


def racing(repeats: int) -> dict[str, Any]:
    return {"answer": {"repeats": repeats}, "pruner": {"kind": "racing"}, "loss": GRID}


def rungs(repeats: int, audit: float) -> dict[str, Any]:
    """Judged after one and two of four epochs."""
    pruner = {"kind": "rungs", "rungs": [1, 2], "audit": audit}
    return {"answer": {"repeats": repeats}, "pruner": pruner, "train": {"epochs": 4}, "loss": GRID}
