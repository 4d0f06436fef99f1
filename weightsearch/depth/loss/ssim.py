"""The structural similarity of windows."""

from __future__ import annotations

import torch
from pytorch_msssim import SSIM
from torch import Tensor

from weightsearch.depth.loss.masked import (
    Map,
    Mask,
    Scalar,
    fully_valid,
    masked_mean,
    weighted_sum_along,
    zero_invalid,
)
from weightsearch.errors import ConfigError

WINDOW: tuple[float, ...] = tuple(
    SSIM(win_size=11, win_sigma=1.5, channel=1).win.flatten().tolist()
)
K1, K2 = 0.01, 0.03


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
    x, y = (zero_invalid(values, valid) for values in (pred, true))
    moments = _blur(torch.stack((x, y, x * x, y * y, x * y)))
    mean_x, mean_y, xx, yy, xy = moments.unbind()
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    variances = xx - mean_x**2 + yy - mean_y**2
    contrast = (2 * (xy - mean_x * mean_y) + c2) / (variances + c2)
    return masked_mean((1 - luminance * contrast) / 2, fully_valid(valid, len(WINDOW)))


def _blur(maps: Tensor) -> Tensor:
    for axis in (-1, -2):
        maps = weighted_sum_along(maps, axis, WINDOW)
    return maps
