"""The terms of the loss: each compares two maps where there is a measurement, and only there.

A term takes `pred`, `true` (b, 1, h, w), `valid` of that shape (True = measured) and the range of
the values, and gives a float32 scalar, under autocast too. What stands in invalid pixels, NaN and
infinity included, changes neither value nor gradient; without a valid pixel both are 0.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from jaxtyping import Bool, Float
from pytorch_msssim import SSIM
from torch import Tensor

from weightsearch.errors import ConfigError

WINDOW: tuple[float, ...] = tuple(
    SSIM(win_size=11, win_sigma=1.5, channel=1).win.flatten().tolist()
)
K1, K2 = 0.01, 0.03

Map = Float[Tensor, "b 1 h w"]
Mask = Bool[Tensor, "b 1 h w"]
Scalar = Float[Tensor, ""]
Term = Callable[[Map, Map, Mask, float], Scalar]


def mae(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """Mean absolute error over the valid pixels, in the unit of the values."""
    return _mean(_error(pred, true, valid).abs(), valid)


def edge(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """Mean |dx e| + mean |dy e| of the error e: forward differences of valid neighbours.

    As in DenseDepth (arXiv 1812.11941), but a pair with an invalid pixel does not count.
    """
    error = _error(pred, true, valid)
    parts = []
    for axis in (-1, -2):
        size = error.shape[axis] - 1
        both = valid.narrow(axis, 1, size) & valid.narrow(axis, 0, size)
        step = error.narrow(axis, 1, size) - error.narrow(axis, 0, size)
        parts.append(_mean(step.abs(), both))
    return parts[0] + parts[1]


def ssim(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """(1 - SSIM) / 2 over the windows of 11x11 that are wholly valid and wholly inside.

    Wang et al. 2004: Gaussian window with sigma 1.5, K 0.01 and 0.03, as in `pytorch_msssim`,
    which gives means only and so cannot leave windows out. Raises ConfigError for maps smaller
    than the window.
    """
    if min(pred.shape[-2:]) < len(WINDOW):
        raise ConfigError(
            f"ssim compares windows of {len(WINDOW)}x{len(WINDOW)} pixels, but the output is"
            f" {pred.shape[-2]}x{pred.shape[-1]}; enlarge data.size or leave ssim out."
        )
    x, y = (torch.where(valid, v.float(), 0.0) for v in (pred, true))
    moments = _blur(torch.stack((x, y, x * x, y * y, x * y)))
    mean_x, mean_y, xx, yy, xy = moments.unbind()
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    variances = xx - mean_x**2 + yy - mean_y**2
    contrast = (2 * (xy - mean_x * mean_y) + c2) / (variances + c2)
    return _mean((1 - luminance * contrast) / 2, _whole(valid))


LOSS_TERMS: dict[str, Term] = {"mae": mae, "edge": edge, "ssim": ssim}


def total(terms: Mapping[str, Scalar], weights: Float[Tensor, "terms"]) -> Scalar:
    """The weighted sum; `weights` is in the order of the terms."""
    return (torch.stack(tuple(terms.values())) * weights).sum()


def _error(pred: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, pred.float() - true.float(), 0.0)


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def _blur(maps: Tensor) -> Tensor:
    """Weighted sums of shifted maps: a convolution would run in TF32 on some GPUs, whose ten bits
    are too few for the difference of two nearly equal moments."""
    for axis in (-1, -2):
        size = maps.shape[axis] - len(WINDOW) + 1
        blurred = torch.zeros((), device=maps.device)
        for shift, weight in enumerate(WINDOW):
            blurred = blurred + weight * maps.narrow(axis, shift, size)
        maps = blurred
    return maps


def _whole(valid: Tensor) -> Tensor:
    """Whether all pixels of each window are valid."""
    invalid = (~valid).float()
    return torch.nn.functional.max_pool2d(invalid, len(WINDOW), stride=1) == 0
