"""Objectives whose runs may share their start, with state in a file as a network has it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from weightsearch.study.objective_contract import LAST, Context, Run

SHARES = ("trunk", "frozen")
TARGET = (0.5, 0.3, 0.2)


def remembering(weights: Mapping[str, float], params: Mapping[str, Any], context: Context) -> Run:
    """Each epoch moves a state towards the weights; the error is its distance from a target, and,
    in "noise", of a run whose start is shared, turned over: the best is the worst."""
    fork, epochs = context.fork, list[Any]()
    places = [(context.folder, None), *([(fork.folder, fork.epochs)] if fork else [])]
    for folder, until in places:
        file = folder / LAST / "state.json"
        if file.is_file() and (until is None or len(json.loads(file.read_text())) == until):
            epochs = json.loads(file.read_text())
            break
    state = epochs[-1]["state"] if epochs else [0.0] * len(weights)
    yield from (told(epoch) for epoch in epochs)
    is_shared = fork is not None or context.spec.train.freeze == "all"
    for epoch in range(len(epochs) + 1, context.epochs + 1):
        moving = fork.weights if fork and epoch <= fork.epochs else weights
        state = [s + 0.5 * (w - s) for s, w in zip(state, moving.values(), strict=True)]
        error = sum((s - t) ** 2 for s, t in zip(state, TARGET, strict=True))
        error = 1 / (1 + 10 * error) if is_shared and params.get("contrary") else error
        epochs.append({"state": state, "rmse": 1 + error})
        (context.folder / LAST).mkdir(parents=True, exist_ok=True)
        (context.folder / LAST / "state.json").write_text(json.dumps(epochs))
        yield told(epochs[-1])
    return None


def told(epoch: Mapping[str, Any]) -> dict[str, Any]:
    error = epoch["rmse"]
    rmse = [error + 0.01 * (k % 3) for k in range(6)]
    return {
        "rmse": rmse,
        "rel": 0.1 * error,
        "log10": 0.1,
        "groups": [f"s{k // 2}" for k in range(6)],
    }
