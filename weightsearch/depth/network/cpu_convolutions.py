"""Convolutions that torch computes slowly on a CPU, asked for in another way there.

Values are the same but for rounding. Measured on one core of an AMD EPYC with AVX-512 and torch
2.15, forward and backward, batch 8, channels_last, in milliseconds of CPU time:

    1x1, float32, one thread         16 to 96 channels of 60x80     8.6, with a dilation 2.9
                                     256 to 128 channels of 30x40   20.5 and 9.0
                                     576 to 144 channels of 1x1     0.14 and 0.25
    depthwise, bfloat16 or float32   5x5, 1152 channels of 4x5      8.0 and 2.5
                                     3x3 by 2, 96 channels of 60x80 21.0 and 2.2
                                     3x3, 144 channels of 30x40     0.7 and 1.1

One kind ends the process: of 1x1 windows two pixels apart or more, over fewer than 8 channels (the
first layer of repvgg, mobileone and fastvit), the gradient of the weights is a segmentation fault
with AVX2 and torch 2.15, wherever the stride divides height and width.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def quicken(network: nn.Module) -> None:
    """Has the convolutions of a network on the CPU take the faster kernels; once is enough.

    The layers change their class alone, so that a copy of the network is as quick, and has weights
    of its own.
    """
    for layer in network.modules():
        if not isinstance(layer, nn.Conv2d) or isinstance(
            layer, _Pointwise | _StridedPointwise | _InFloat32
        ):
            continue
        if type(layer) is nn.Conv2d and _is_pointwise(layer):
            layer.__class__ = _Pointwise
        elif type(layer) is nn.Conv2d and _ends_the_process(layer):
            layer.__class__ = _StridedPointwise
        elif layer.groups == layer.in_channels > 1 and not _is_quick_in_bf16(layer):
            layer.__class__ = _in_float32(type(layer))  # type: ignore[arg-type]


def _is_pointwise(layer: nn.Conv2d) -> bool:
    window = layer.kernel_size, layer.stride, layer.padding
    return layer.groups == 1 and window == ((1, 1), (1, 1), (0, 0))


def _ends_the_process(layer: nn.Conv2d) -> bool:
    window = layer.kernel_size, layer.padding, layer.groups
    few = 16  # floats in the widest register; 8 with AVX2
    return window == ((1, 1), (0, 0), 1) and max(layer.stride) > 1 and layer.in_channels < few


def _is_quick_in_bf16(layer: nn.Conv2d) -> bool:
    return layer.kernel_size == (3, 3) and layer.stride == (1, 1)


class _Pointwise(nn.Conv2d):
    """A dilation changes nothing of a window of one pixel; but with it torch takes oneDNN's kernel,
    also where one thread and fewer than 16 images would make it multiply image by image."""

    def forward(self, x: Tensor) -> Tensor:
        dilation = 2 if x.shape[-2:].numel() > 1 else 1  # not of pooled maps: overhead is all there
        return F.conv2d(x, self.weight, self.bias, dilation=dilation)


class _StridedPointwise(nn.Conv2d):
    """Windows of one pixel see no pixel between them, so these are left out beforehand."""

    def forward(self, x: Tensor) -> Tensor:
        down, right = self.stride
        return F.conv2d(x[..., ::down, ::right], self.weight, self.bias)


class _InFloat32(nn.Conv2d):
    """For depthwise convolutions, of which oneDNN computes some gradients in bfloat16 with its
    reference code."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", enabled=False):
            return super().forward(x.float()).to(x.dtype)


@cache
def _in_float32(layer: type[nn.Conv2d]) -> type[nn.Conv2d]:
    """That kind of layer (timm has one that pads as TensorFlow does) computed in float32."""
    return type(f"InFloat32{layer.__name__}", (_InFloat32, layer), {})
