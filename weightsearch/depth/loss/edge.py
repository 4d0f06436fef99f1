"""Terms that compare edges: differences of neighbouring pixels."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from weightsearch.depth.loss.masked import (
    Map,
    Mask,
    Scalar,
    both_valid,
    fully_valid,
    masked_error,
    masked_mean,
    mean_step,
    sobel,
)
from weightsearch.depth.network.targets import Range

STRIDES = (1, 2, 4, 8)
"""Of `gradient`."""


def edge(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """Mean |dx e| + mean |dy e| of the error e: forward differences of valid neighbours.

    As in DenseDepth (arXiv 1812.11941), but a pair with an invalid pixel does not count.
    """
    return mean_step(masked_error(pred, true, valid), valid)


def gradient(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """The sum of `edge` over four scales: every pixel, every 2nd, 4th and 8th of the error.

    Li and Snavely 2018 (MegaDepth, arXiv 1804.00607) and Ranftl et al. 2020 (MiDaS, arXiv
    1907.01341), with the mean over the pairs of each scale.
    """
    error = masked_error(pred, true, valid)
    return torch.stack(
        [mean_step(error[..., ::s, ::s], valid[..., ::s, ::s]) for s in STRIDES]
    ).sum()


def sobel_edge(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """Mean |Sx e| + mean |Sy e| of the error e over the windows of 3x3 that are wholly valid.

    S is Sobel's operator divided by 8, so that a ramp gives its slope, as in `edge`.
    """
    whole = fully_valid(valid, 3)
    x, y = sobel(masked_error(pred, true, valid))
    return (masked_mean(x.abs(), whole) + masked_mean(y.abs(), whole)) / 8


def pairs(valid: Mask) -> Iterator[Tensor]:
    """Which pairs of neighbours count, along x and along y."""
    for axis in (-1, -2):
        yield both_valid(valid, axis)


def pairs_of_all_scales(valid: Mask) -> Iterator[Tensor]:
    """Which pairs count at each of the scales of `gradient`."""
    for stride in STRIDES:
        yield from pairs(valid[..., ::stride, ::stride])
