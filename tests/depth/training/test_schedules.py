"""The learning rate over a run: torch's own schedulers, and where a run stands in them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from support.depth_studies import WEIGHTS, depth_spec
from support.lanes import trainer, unscored
from torch.optim.lr_scheduler import (
    CosineAnnealingLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    SequentialLR,
)

from weightsearch.depth.loss.weightings import Learned
from weightsearch.depth.training import schedules
from weightsearch.study.tables.train_spec import TrainSpec

LRS = (1e-4, 3e-3)


def asked(make: Callable[[torch.optim.Optimizer], LRScheduler], steps: int) -> list[list[float]]:
    """Of each step, the lr of two groups of parameters and beta1, as torch sets them."""
    groups = [{"params": [torch.zeros(1)], "lr": lr} for lr in LRS]
    optimizer = torch.optim.Adam(groups)
    scheduler, found = make(optimizer), []
    for _ in range(steps):
        found.append([g["lr"] for g in optimizer.param_groups] + [groups[0]["betas"][0]])  # type: ignore[index]
        optimizer.step()
        scheduler.step()
    return found


def ours(train: TrainSpec, steps: int) -> list[list[float]]:
    schedule, found = schedules.of(train, steps), []
    groups = [{"params": [torch.zeros(1)], "lr": lr, "initial_lr": lr} for lr in LRS]
    optimizer = torch.optim.Adam(groups)
    for step in range(steps):
        if schedule is not None:
            schedule.set(optimizer, step)
        found.append([g["lr"] for g in optimizer.param_groups] + [groups[0]["betas"][0]])  # type: ignore[index]
    return found


@pytest.mark.parametrize("warm_up", [0.0, 0.01, 0.3, 0.9])
def test_onecycle_is_torchs(warm_up: float) -> None:
    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        return OneCycleLR(optimizer, max_lr=list(LRS), total_steps=60, pct_start=warm_up)

    mine = ours(TrainSpec(schedule="onecycle", warm_up=warm_up), 60)
    torch.testing.assert_close(mine, asked(make, 60), rtol=1e-9, atol=0.0)
    if warm_up == 0.3:
        assert ours(TrainSpec(schedule="onecycle"), 60) == mine


@pytest.mark.parametrize("rising", [0, 1, 15, 59])
def test_cosine_with_its_warm_up_is_torchs(rising: int) -> None:
    def make(optimizer: torch.optim.Optimizer) -> LRScheduler:
        after = CosineAnnealingLR(optimizer, T_max=60 - rising)
        if not rising:
            return after
        before = LinearLR(optimizer, start_factor=1 / 25, total_iters=rising)
        return SequentialLR(optimizer, [before, after], milestones=[rising])

    mine = ours(TrainSpec(schedule="cosine", warm_up=rising / 60), 60)
    torch.testing.assert_close(mine, asked(make, 60), rtol=1e-9, atol=0.0)


def test_a_constant_lr_rises_and_then_stays() -> None:
    assert schedules.of(TrainSpec(), 10) is None
    schedule = schedules.of(TrainSpec(warm_up=0.4), 10)
    assert schedule is not None
    assert schedule.factors == pytest.approx([0.04, 0.28, 0.52, 0.76, *[1.0] * 6])
    assert schedule.factors[4:] == (1.0,) * 6


@pytest.mark.parametrize("kind", ["onecycle", "cosine"])
@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_runs_of_few_steps_have_a_schedule_too(kind: str, steps: int) -> None:
    """torch's OneCycleLR divides by zero where the rise is one step long: of 10 steps, 0.1."""
    for warm_up in (0.0, 0.1, 0.5, 0.99):
        schedule = schedules.of(
            TrainSpec.model_validate({"schedule": kind, "warm_up": warm_up}), steps
        )
        assert schedule is not None
        assert len(schedule.factors) == steps
        assert all(0 < factor <= 1 for factor in schedule.factors)


def test_momentum_is_not_cycled_where_there_is_none() -> None:
    schedule = schedules.of(TrainSpec(schedule="onecycle", optimizer="sgd"), 10)
    assert schedule is not None
    assert schedule.beta1 is None


def test_every_group_of_a_lane_follows_the_schedule_of_its_own_run() -> None:
    """A promotion's is longer; a learned weighting has the decoder's lr."""
    train = {"schedule": "cosine", "warm_up": 0.25, "encoder_lr": 0.1, "batch": 12, "epochs": 2}
    on = trainer(depth_spec(train=train, loss={"weightings": ["uncertainty"]}))
    for epochs in (None, 4):
        lane = on.lane(WEIGHTS, 0, 1e-3, 0, Learned("uncertainty", epochs or 2), epochs)
        names = [len(group["params"]) for group in lane.optimizer.param_groups]
        assert names == [len(on._graph.encoder.state_dict()) - _buffers(on), names[1], 1]
        next(on.run(lane, 2, unscored))
        schedule = schedules.of(on.train, 2 * (epochs or 2))
        assert schedule is not None
        lr = 1e-3 * schedule.factors[1]
        found = [group["lr"] for group in lane.optimizer.param_groups]
        assert found == pytest.approx([0.1 * lr, lr, lr])


def _buffers(on: object) -> int:
    return len(dict(on._graph.encoder.named_buffers()))  # type: ignore[attr-defined]
