"""The terms of the loss: each compares two maps where there is a measurement, and only there.

A term takes `pred`, `true` (b, 1, h, w), `valid` of that shape (True = measured) and the range of
the values, and gives a scalar: float64 of float64 maps, else float32, under autocast too. None is
negative. Only pixels, pairs and windows that are wholly valid count: what stands in invalid pixels,
NaN and infinity included, changes neither value nor gradient; where none counts both are 0.
What the values are (metres, their inverse or logarithm) is decided in `weighted_sum.py`.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float
from pytorch_msssim import SSIM
from torch import Tensor

from weightsearch.errors import ConfigError

WINDOW: tuple[float, ...] = tuple(
    SSIM(win_size=11, win_sigma=1.5, channel=1).win.flatten().tolist()
)
K1, K2 = 0.01, 0.03
SCALES = 4

Map = Float[Tensor, "b 1 h w"]
Mask = Bool[Tensor, "b 1 h w"]
Scalar = Float[Tensor, ""]
Term = Callable[[Map, Map, Mask, float], Scalar]


def mae(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """Mean absolute error over the valid pixels, in the unit of the values."""
    return _mean(_error(pred, true, valid).abs(), valid)


def berhu(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """The mean of |e| up to c, and of (e^2 + c^2) / 2c above it, in the unit of the values.

    c is a fifth of the largest |e| of the batch (Laina et al. 2016, arXiv 1606.00373), and
    a constant to the gradient: otherwise the largest error would be pushed up to raise c.
    """
    size = _error(pred, true, valid).abs()
    c = size.detach().amax() / 5
    square = (size**2 + c**2) / (2 * c).clamp(min=torch.finfo(c.dtype).tiny)
    return _mean(torch.where(size <= c, size, square), valid)


def log_l1(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """The mean of ln(1 + 2 |e|).

    That is ln(|e| + 0.5) of Hu et al. (WACV 2019, arXiv 1803.08673) less its value at e = 0:
    the same gradient, but a perfect prediction costs nothing.
    """
    return _mean((2 * _error(pred, true, valid).abs()).log1p(), valid)


def silog(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """sqrt(mean e^2 - 0.85 (mean e)^2) over the valid pixels of the batch; e is of logarithms.

    Lee et al. 2019 (BTS, arXiv 1907.10326), without their factor 10, which is a weight.
    """
    error = _error(pred, true, valid)
    mean = _mean(error, valid)
    # The same number as in the formula, but a sum of squares: it cannot come out below 0.
    square = _mean((error - mean) ** 2, valid) + 0.15 * mean**2
    some = square > 0  # the slope of a root is infinite at 0
    return torch.where(some, torch.where(some, square, 1.0).sqrt(), 0.0)


def edge(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """Mean |dx e| + mean |dy e| of the error e: forward differences of valid neighbours.

    As in DenseDepth (arXiv 1812.11941), but a pair with an invalid pixel does not count.
    """
    return _steps(_error(pred, true, valid), valid)


def gradient(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """The sum of `edge` over four scales: every pixel, every 2nd, 4th and 8th of the error.

    Li and Snavely 2018 (MegaDepth, arXiv 1804.00607) and Ranftl et al. 2020 (MiDaS, arXiv
    1907.01341), with the mean over the pairs of each scale.
    """
    error = _error(pred, true, valid)
    strides = [2**k for k in range(SCALES)]
    return torch.stack([_steps(error[..., ::s, ::s], valid[..., ::s, ::s]) for s in strides]).sum()


def sobel_edge(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """Mean |Sx e| + mean |Sy e| of the error e over the windows of 3x3 that are wholly valid.

    S is Sobel's operator divided by 8, so that a ramp gives its slope, as in `edge`.
    """
    whole = _whole(valid, 3)
    x, y = _sobel(_error(pred, true, valid))
    return (_mean(x.abs(), whole) + _mean(y.abs(), whole)) / 8


def normal(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """The mean of 1 - cos between the normals (-Sx, -Sy, 1) of the two surfaces.

    Hu et al. (WACV 2019, arXiv 1803.08673) with the Sobel sums of their code: eight times
    the slope per pixel. Only windows of 3x3 that are wholly valid count.
    """
    unit = []
    for values in (pred, true):
        x, y = _sobel(_cleaned(values, valid))
        length = (x**2 + y**2 + 1).sqrt()
        unit.append(torch.cat((-x / length, -y / length, 1 / length), 1))
    # Half the squared distance of two unit vectors is 1 - cos, but without its cancellation.
    apart = ((unit[0] - unit[1]) ** 2).sum(1, keepdim=True) / 2
    return _mean(apart, _whole(valid, 3))


def smoothness(pred: Map, true: Map, valid: Mask, data_range: float) -> Scalar:
    """mean |dx pred| exp(mean |dx true|) + the same for y: forward differences of valid neighbours.

    The "edge" term of the keras.io example on depth estimation (examples/vision/
    depth_estimation.py in keras-team/keras-io). It prefers flat predictions, whatever the truth.
    """
    parts = []
    for axis in (-1, -2):
        pair = [_step(_cleaned(values, valid), valid, axis) for values in (pred, true)]
        (flat, both), (steep, _) = pair
        parts.append(_mean(flat.abs(), both) * _mean(steep.abs(), both).exp())
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
    x, y = (_cleaned(values, valid) for values in (pred, true))
    moments = _blur(torch.stack((x, y, x * x, y * y, x * y)))
    mean_x, mean_y, xx, yy, xy = moments.unbind()
    c1, c2 = (K1 * data_range) ** 2, (K2 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    variances = xx - mean_x**2 + yy - mean_y**2
    contrast = (2 * (xy - mean_x * mean_y) + c2) / (variances + c2)
    return _mean((1 - luminance * contrast) / 2, _whole(valid, len(WINDOW)))


def _error(pred: Tensor, true: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, _precise(pred) - _precise(true), 0.0)


def _cleaned(values: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, _precise(values), 0.0)


def _precise(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()


def _mean(values: Tensor, valid: Tensor) -> Tensor:
    return torch.where(valid, values, 0.0).sum() / valid.sum().clamp(min=1)


def _step(values: Tensor, valid: Tensor, axis: int) -> tuple[Tensor, Tensor]:
    """Differences of neighbours along an axis, and whether both are valid."""
    size = values.shape[axis] - 1
    both = valid.narrow(axis, 1, size) & valid.narrow(axis, 0, size)
    return values.narrow(axis, 1, size) - values.narrow(axis, 0, size), both


def _steps(values: Tensor, valid: Tensor) -> Tensor:
    """Mean |dx| + mean |dy|."""
    parts = []
    for axis in (-1, -2):
        step, both = _step(values, valid, axis)
        parts.append(_mean(step.abs(), both))
    return parts[0] + parts[1]


def _sobel(values: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's sums along x and y of each window of 3x3 that is inside."""
    x = _weighted(_weighted(values, -1, (-1.0, 0.0, 1.0)), -2, (1.0, 2.0, 1.0))
    y = _weighted(_weighted(values, -2, (-1.0, 0.0, 1.0)), -1, (1.0, 2.0, 1.0))
    return x, y


def _blur(maps: Tensor) -> Tensor:
    for axis in (-1, -2):
        maps = _weighted(maps, axis, WINDOW)
    return maps


def _weighted(maps: Tensor, axis: int, weights: tuple[float, ...]) -> Tensor:
    """Weighted sums of shifted maps: a convolution would run in TF32 on some GPUs, whose ten bits
    are too few for the difference of two nearly equal moments."""
    size = maps.shape[axis] - len(weights) + 1
    total = torch.zeros((), device=maps.device)
    for shift, weight in enumerate(weights):
        total = total + weight * maps.narrow(axis, shift, size)
    return total


def _whole(valid: Tensor, window: int) -> Tensor:
    """Whether all pixels of each window are valid."""
    invalid = (~valid).float()
    return torch.nn.functional.max_pool2d(invalid, window, stride=1) == 0
