"""Terms that compare pixel by pixel."""

from __future__ import annotations

import torch

from weightsearch.depth.loss.masked import Map, Mask, Scalar, masked_error, masked_mean
from weightsearch.depth.network.targets import Range


def mae(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """Mean absolute error over the valid pixels, in the unit of the values."""
    return masked_mean(masked_error(pred, true, valid).abs(), valid)


def berhu(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """The mean of |e| up to c, and of (e^2 + c^2) / 2c above it, in the unit of the values.

    c is a fifth of the largest |e| of the batch (Laina et al. 2016, arXiv 1606.00373), and
    a constant to the gradient: otherwise the largest error would be pushed up to raise c.
    """
    size = masked_error(pred, true, valid).abs()
    c = size.detach().amax() / 5
    square = (size**2 + c**2) / (2 * c).clamp(min=torch.finfo(c.dtype).tiny)
    return masked_mean(torch.where(size <= c, size, square), valid)


def log_l1(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """The mean of ln(1 + 2 |e|).

    That is ln(|e| + 0.5) of Hu et al. (WACV 2019, arXiv 1803.08673) less its value at e = 0:
    the same gradient, but a perfect prediction costs nothing.
    """
    return masked_mean((2 * masked_error(pred, true, valid).abs()).log1p(), valid)


def silog(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """sqrt(mean e^2 - 0.85 (mean e)^2) over the valid pixels of the batch; e is of logarithms.

    Lee et al. 2019 (BTS, arXiv 1907.10326), without their factor 10, which is a weight.
    """
    error = masked_error(pred, true, valid)
    mean = masked_mean(error, valid)
    # The same number as in the formula, but a sum of squares: it cannot come out below 0.
    square = masked_mean((error - mean) ** 2, valid) + 0.15 * mean**2
    some = square > 0  # the slope of a root is infinite at 0
    return torch.where(some, torch.where(some, square, 1.0).sqrt(), 0.0)
