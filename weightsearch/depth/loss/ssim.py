"""The structural similarity of windows."""

from __future__ import annotations

import torch
from pytorch_msssim import SSIM
from torch import Tensor

from weightsearch.depth.loss.masked import (
    Map,
    Mask,
    Scalar,
    masked_mean,
    weighted_sum_along,
    zero_invalid,
)
from weightsearch.depth.network.targets import Range
from weightsearch.errors import ConfigError

WINDOW: tuple[float, ...] = tuple(
    SSIM(win_size=11, win_sigma=1.5, channel=1).win.flatten().tolist()
)
K1, K2 = 0.01, 0.03
MIN_SHARE = 1 / 8
"""Of a window's weight that must be valid for the window to count.

That is some 15 pixels of 121. Of ten KITTI frames (annotated depth) in training copies of 96x320,
160x512 and 352x1216 pixels 73, 66 and 55 % of the windows have it; 9, 0.6 and 0 % are wholly valid.
"""


def ssim(pred: Map, true: Map, valid: Mask, span: Range, min_share: float = MIN_SHARE) -> Scalar:
    """The mean of (1 - SSIM) / 2 over the windows of 11x11 of whose weight `min_share` is valid.

    Wang et al. 2004: Gaussian windows with sigma 1.5, wholly inside, K 0.01 and 0.03 of
    `span.size`, as in `pytorch_msssim`, which gives means only and so cannot leave windows out. The
    moments of a window are those of its valid pixels (normalised convolution: Knutsson and Westin,
    CVPR 1993). Where values count from 0 (logarithms), the luminance, which compares ratios, is
    that of values raised by `span.size`; variances do not see a shift. Raises ConfigError for maps
    smaller than the window.
    """
    x, y = (zero_invalid(values, valid) for values in (pred, true))
    error = x - y
    share = _share(valid, x.dtype)
    count = share >= min_share
    moments = _blur(torch.stack((x, y, x * x + y * y, error, error * error)))
    mean_x, mean_y, squares, mean, square = (moments / torch.where(count, share, 1.0)).unbind()
    c1, c2 = (K1 * span.size) ** 2, (K2 * span.size) ** 2
    # What luminance and contrast lack of 1: (2ab + c) / (a^2 + b^2 + c) is 1 - (a - b)^2 / (...),
    # and the moments of the error are small where SSIM is near 1, so that float32 is enough.
    contrast = _not_negative(square - mean**2) / (
        _not_negative(squares - mean_x**2 - mean_y**2) + c2
    )
    if span.low <= 0:
        mean_x, mean_y = mean_x + span.size, mean_y + span.size
    luminance = mean**2 / (mean_x**2 + mean_y**2 + c1)
    return masked_mean((luminance + contrast - luminance * contrast) / 2, count)


def _not_negative(variance: Tensor) -> Tensor:
    """Without what rounding may make of a variance of 0."""
    return variance.clamp(min=0)


def windows(valid: Mask) -> Tensor:
    """Which windows count: those of whose weight a share of `MIN_SHARE` is valid.

    Raises ConfigError for maps smaller than the window.
    """
    return _share(valid, torch.float32) >= MIN_SHARE


def _share(valid: Mask, dtype: torch.dtype) -> Tensor:
    """The share of each window's weight that is valid; exactly 1 where all is."""
    if min(valid.shape[-2:]) < len(WINDOW):
        raise ConfigError(
            f"ssim compares windows of {len(WINDOW)}x{len(WINDOW)} pixels, but the output is"
            f" {valid.shape[-2]}x{valid.shape[-1]}; enlarge data.size or leave ssim out."
        )
    whole = _blur(torch.ones((1, 1, len(WINDOW), len(WINDOW)), dtype=dtype, device=valid.device))
    return _blur(valid.to(dtype)) / whole


def _blur(maps: Tensor) -> Tensor:
    for axis in (-1, -2):
        maps = weighted_sum_along(maps, axis, WINDOW)
    return maps
