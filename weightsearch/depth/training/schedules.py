"""Schedules of the learning rate over the steps of a run, by torch's own schedulers.

What a scheduler does depends on the number of steps alone, so it is asked once, for an lr of 1, and
its answer kept: step t of a run takes entry t, wherever the run was interrupted. Formulas:
docs/training.md.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler, OneCycleLR

from weightsearch.study.tables.train_spec import TrainSpec

DIV_FACTOR = 25.0
"""What an lr that rises begins at, as a part of the largest: OneCycleLR's."""
FINAL_DIV_FACTOR = 1e4
"""By what onecycle's last lr is below its first: OneCycleLR's."""
BETA1 = (0.85, 0.95)
"""Adam's beta1 at onecycle's largest lr, and at its ends: OneCycleLR's."""


@dataclass(frozen=True)
class Schedule:
    """What each step of a run takes, by its number."""

    factors: tuple[float, ...]
    """Of the lr of every group of parameters."""
    beta1: tuple[float, ...] | None = None
    """Adam's; None where it stays as it is."""

    def set(self, optimizer: Optimizer, step: int) -> None:
        """Prepares an optimizer for step `step` of the run; beyond the last one, for that."""
        step = min(step, len(self.factors) - 1)
        for group in optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.factors[step]
            if self.beta1 is not None:
                group["betas"] = (self.beta1[step], group["betas"][1])


def of(train: TrainSpec, steps: int) -> Schedule | None:
    """That of a run of so many steps; None where the lr stays as it is."""
    if train.schedule == "constant" and not train.warm_up_share():
        return None
    return _schedule(train.schedule, train.warm_up_share(), steps, train.optimizer != "sgd")


@functools.lru_cache(maxsize=4)
def _schedule(kind: str, warm_up: float, steps: int, adam: bool) -> Schedule:
    if kind == "onecycle":
        rows = _asked(lambda o: _onecycle(o, warm_up, steps), steps)
        lrs, beta1 = zip(*rows, strict=True)
        return Schedule(lrs, beta1 if adam else None)
    rising = min(round(warm_up * steps), steps - 1)
    rows = _asked(lambda o: LinearLR(o, start_factor=1 / DIV_FACTOR, total_iters=rising), rising)
    if kind == "cosine":
        rows += _asked(lambda o: CosineAnnealingLR(o, T_max=steps - rising), steps - rising)
    else:
        rows += [(1.0, 0.0)] * (steps - rising)
    return Schedule(tuple(lr for lr, _ in rows))


def _onecycle(optimizer: Optimizer, warm_up: float, steps: int) -> OneCycleLR:
    if warm_up * steps == 1:  # torch would divide by the length of a rise from step 0 to step 0
        warm_up *= 1 + 1e-9
    return OneCycleLR(
        optimizer,
        max_lr=1.0,
        total_steps=steps,
        pct_start=float(warm_up),
        div_factor=DIV_FACTOR,
        final_div_factor=FINAL_DIV_FACTOR,
        base_momentum=BETA1[0],
        max_momentum=BETA1[1],
    )


def _asked(make: Callable[[Optimizer], LRScheduler], steps: int) -> list[tuple[float, float]]:
    """The lr and beta1 that a scheduler gives each of the first steps, from an lr of 1."""
    rows: list[tuple[float, float]] = []
    if not steps:
        return rows
    optimizer = torch.optim.Adam([torch.zeros(1)], lr=1.0)
    scheduler = make(optimizer)
    for _ in range(steps):
        group = optimizer.param_groups[0]
        rows.append((float(group["lr"]), float(group["betas"][0])))
        optimizer.step()
        scheduler.step()
    return rows
