"""An exponential moving average of a network's weights over the steps of its training.

Averages of iterates: Polyak and Juditsky 1992; the exponential form as torch.optim.swa_utils has
it. Short runs are why its decay grows: after 240 steps of 0.999, 79 % of it were the start.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.optim.swa_utils import get_ema_multi_avg_fn

from weightsearch.study.tables.train_spec import TrainSpec

STATISTICS = ("running_mean", "running_var")
"""Buffers that training moves, of batch normalisation; others are taken from the network itself."""


@dataclass(frozen=True)
class Average:
    """The averages of one run's parameters and batch statistics."""

    decay: float
    values: dict[str, Tensor]
    """By name, of the network's own form."""

    def update(self, model: Mapping[str, Tensor], before: int) -> None:
        """Takes in the network after a step that `before` others came before.

        The first is copied; then average = d average + (1 - d) network,
        d = min(decay, (1 + before) / (10 + before)): the ramp of TensorFlow's
        ExponentialMovingAverage, under which the average is of the last tenth or so of the steps.
        """
        decay = min(self.decay, (1 + before) / (10 + before)) if before else 0.0
        latest = [model[name].detach() for name in self.values]
        update = get_ema_multi_avg_fn(decay)  # type: ignore[no-untyped-call]
        update([*self.values.values()], latest, before)


def of(train: TrainSpec, model: Mapping[str, Tensor]) -> Average | None:
    """That of a run that begins with this network; None where nothing is averaged."""
    if train.average == "none":
        return None
    moved = {n: v for n, v in model.items() if v.requires_grad or n.endswith(STATISTICS)}
    return Average(train.decay, {name: value.detach().clone() for name, value in moved.items()})
