"""Maps of which only valid pixels count: the arithmetic that the terms share.

Shapes are (b, 1, h, w); a mask is True where there is a measurement. What stands in invalid pixels,
NaN and infinity included, changes neither value nor gradient.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from weightsearch.depth.network.targets import Range

Map = Float[Tensor, "b 1 h w"]
Mask = Bool[Tensor, "b 1 h w"]
Scalar = Float[Tensor, ""]
Term = Callable[[Map, Map, Mask, Range], Scalar]


def masked_error(pred: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    """pred - true where valid, 0 elsewhere, in float32 at least."""
    return torch.where(valid, _precise(pred) - _precise(true), 0.0)


def zero_invalid(values: Tensor, valid: Tensor) -> Tensor:
    """The values where valid, 0 elsewhere, in float32 at least."""
    return torch.where(valid, _precise(values), 0.0)


def masked_mean(values: Tensor, valid: Tensor) -> Tensor:
    """The mean over what is valid; 0 where nothing is."""
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def both_valid(valid: Tensor, axis: int) -> Tensor:
    """Whether both neighbours of each pair along an axis are valid."""
    size = valid.shape[axis] - 1
    return valid.narrow(axis, 1, size) & valid.narrow(axis, 0, size)


def step(values: Tensor, valid: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Differences of neighbours along an axis, and whether both are valid."""
    size = values.shape[axis] - 1
    difference = values.narrow(axis, 1, size) - values.narrow(axis, 0, size)
    return difference, both_valid(valid, axis)


def mean_step(values: Tensor, valid: Tensor) -> Tensor:
    """Mean |dx| + mean |dy|."""
    parts = []
    for axis in (-1, -2):
        difference, both = step(values, valid, axis)
        parts.append(masked_mean(difference.abs(), both))
    return parts[0] + parts[1]


def sobel(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's sums along x and y of each window of 3x3 that is inside."""
    x = weighted_sum_along(weighted_sum_along(values, -1, (-1.0, 0.0, 1.0)), -2, (1.0, 2.0, 1.0))
    y = weighted_sum_along(weighted_sum_along(values, -2, (-1.0, 0.0, 1.0)), -1, (1.0, 2.0, 1.0))
    return x, y


def weighted_sum_along(maps: Tensor, axis: int, weights: tuple[float, ...]) -> Tensor:
    """Weighted sums of shifted maps: a convolution would run in TF32 on some GPUs, whose ten bits
    are too few for the difference of two nearly equal moments."""
    size = maps.shape[axis] - len(weights) + 1
    total = torch.zeros((), device=maps.device)
    for shift, weight in enumerate(weights):
        total = total + weight * maps.narrow(axis, shift, size)
    return total


def fully_valid(valid: Tensor, window: int) -> Tensor:
    """Whether all pixels of each window are valid."""
    invalid = (~valid).float()
    return torch.nn.functional.max_pool2d(invalid, window, stride=1) == 0


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
