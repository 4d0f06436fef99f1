"""When a run has its best epoch behind it, by the study's own metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from weightsearch.study.objective_contract import Context, summarise


def best(epochs: Sequence[Mapping[str, Any]], context: Context) -> int:
    """The number, from 1, of the first epoch with the best metric; those of a trunk, which say
    nothing of the run, do not count. Raises ValueError where there is no other."""
    goal = context.spec.objective
    sign = 1 if goal.direction == "minimize" else -1
    before = context.fork.epochs if context.fork else 0
    values = [sign * summarise(epoch).metrics[goal.metric] for epoch in epochs[before:]]
    return before + values.index(min(values)) + 1


def ran_out(epochs: Sequence[Mapping[str, Any]], context: Context) -> bool:
    """Whether as many epochs as patience allows went by without a better metric."""
    if context.patience is None or not epochs:
        return False
    return len(epochs) - best(epochs, context) >= context.patience
