"""The optimizer of a run, and its groups of parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from weightsearch.depth.loss.weightings import Weighting
from weightsearch.depth.training.freezing import ENCODER
from weightsearch.study.tables.train_spec import TrainSpec

OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "sgd": torch.optim.SGD,
}


def build(
    train: TrainSpec, model: Mapping[str, Tensor], weighting: Weighting | None, lr: float
) -> torch.optim.Optimizer:
    """Of what of the network requires gradients, in its order, then of the weighting's.

    The encoder's lr is `train.encoder_lr` of the others'. A weighting has `lr` and no weight decay,
    which would pull a variance to 1. A schedule's factor is that of every group's `initial_lr`.
    """
    trained = {name: value for name, value in model.items() if value.requires_grad}
    encoder = {n: v for n, v in trained.items() if n.startswith(ENCODER)}
    rest = {n: v for n, v in trained.items() if n not in encoder}
    groups = [_group(trained, lr)]
    if train.encoder_lr != 1:
        groups = [_group(encoder, lr * train.encoder_lr), _group(rest, lr)]
    if weighting is not None and weighting.trained():
        groups.append({**_group(weighting.trained(), lr), "weight_decay": 0.0})
    options = {"amsgrad": True} if train.amsgrad else {}
    return OPTIMIZERS[train.optimizer](
        groups, lr=lr, weight_decay=train.weight_decay, fused=True, **options
    )


def _group(named: Mapping[str, Tensor], lr: float) -> dict[str, Any]:
    return {"params": list(named.values()), "lr": lr, "initial_lr": lr}
