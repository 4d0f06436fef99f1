"""Terms about the surface: its normals, and how smooth it is."""

from __future__ import annotations

import torch

from weightsearch.depth.loss.masked import (
    Map,
    Mask,
    Scalar,
    fully_valid,
    masked_mean,
    sobel,
    step,
    zero_invalid,
)
from weightsearch.depth.network.targets import Range


def normal(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """The mean of 1 - cos between the normals (-Sx, -Sy, 1) of the two surfaces.

    Hu et al. (WACV 2019, arXiv 1803.08673) with the Sobel sums of their code: eight times
    the slope per pixel. Only windows of 3x3 that are wholly valid count.
    """
    unit = []
    for values in (pred, true):
        x, y = sobel(zero_invalid(values, valid))
        length = (x**2 + y**2 + 1).sqrt()
        unit.append(torch.cat((-x / length, -y / length, 1 / length), 1))
    # Half the squared distance of two unit vectors is 1 - cos, but without its cancellation.
    apart = ((unit[0] - unit[1]) ** 2).sum(1, keepdim=True) / 2
    return masked_mean(apart, fully_valid(valid, 3))


def smoothness(pred: Map, true: Map, valid: Mask, span: Range) -> Scalar:
    """mean |dx pred| exp(mean |dx true|) + the same for y: forward differences of valid neighbours.

    The "edge" term of the keras.io example on depth estimation (examples/vision/
    depth_estimation.py in keras-team/keras-io), which is of logarithms: an exponent must have no
    unit. It prefers flat predictions, whatever the truth.
    """
    parts = []
    for axis in (-1, -2):
        pair = [step(zero_invalid(values, valid), valid, axis) for values in (pred, true)]
        (flat, both), (steep, _) = pair
        parts.append(masked_mean(flat.abs(), both) * masked_mean(steep.abs(), both).exp())
    return parts[0] + parts[1]
