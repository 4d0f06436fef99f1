"""Ground truth for the protocols."""

from __future__ import annotations

import torch
from torch import Tensor


def valid_like(gt_m: Tensor) -> Tensor:
    return torch.ones_like(gt_m, dtype=torch.bool)
