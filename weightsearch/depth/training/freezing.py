"""An encoder that stays as it is while the decoder is trained."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor

from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.study.tables.train_spec import TrainSpec

ENCODER = "encoder."
"""What the names of its tensors begin with."""


def epochs(train: TrainSpec) -> float:
    """For how many epochs of a run it stays so."""
    return math.inf if train.freeze == "all" else train.freeze


def set_mode(net: DepthNet, frozen: bool) -> None:
    """Training mode, but for an encoder that is frozen: it normalises with its statistics, which
    then do not move, and drops nothing."""
    net.train()
    if frozen:
        net.encoder.eval()


def held(model: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The network with an encoder that no gradient reaches, so that the optimizer passes it by."""
    return {n: v.detach() if n.startswith(ENCODER) else v for n, v in model.items()}
