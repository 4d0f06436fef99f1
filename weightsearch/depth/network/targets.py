"""What the loss compares: depth in metres, its inverse or its logarithm, and the range of those."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from weightsearch.study.data_spec import DataSpec

MOST_INVERSE = 100.0
"""DenseDepth's range of max_depth_m / d: 1000 cm / 10 cm (arXiv 1812.11941, its loss.py)."""


class Range(NamedTuple):
    """Of the values that a term compares."""

    low: float
    """The least value that ground truth within the bounds has. Where it is 0 (log), 0 is only where
    the scale begins, and ratios of values mean nothing."""
    size: float
    """The range that constants are relative to: SSIM's L."""


def represent(depth_m: Float[Tensor, "*shape"], data: DataSpec) -> Float[Tensor, "*shape"]:
    """What the loss compares: d, max_depth_m / d, or ln(d / min_depth_m).

    The logarithm counts from the least depth, so that within the bounds it is not negative:
    of metres it would change its sign at 1 m. `depth_m` must be above 0; of less than a micrometre,
    which a network may predict, the logarithm is that of a micrometre.
    """
    if data.target == "depth":
        return depth_m
    if data.target == "inverse":
        return data.max_depth_m / depth_m
    return torch.log(depth_m.clamp(min=1e-6) / data.min_depth_m)


def value_range(data: DataSpec) -> Range:
    """The range of the represented values.

    depth: up to max_depth_m. log: ln(max_depth_m / min_depth_m). inverse: values lie between 1 and
    max_depth_m / min_depth_m, which is 800 for 0.1 to 80 m; but constants relative to 800 (SSIM's
    K1 L = 8) would swamp all that is beyond a tenth of the largest depth. So it is DenseDepth's 100
    at most, with which K1 L is at most 1, the least value.
    """
    if data.target == "depth":
        return Range(data.min_depth_m, data.max_depth_m)
    ratio = data.max_depth_m / data.min_depth_m
    if data.target == "inverse":
        return Range(1.0, min(ratio, MOST_INVERSE))
    return Range(0.0, math.log(ratio))
