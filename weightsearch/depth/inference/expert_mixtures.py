"""timm's conditional convolutions (`*_cc_*`, arXiv 1904.04971) in a form that can be exported.

Each picture has weights of its own there, a mixture of experts, and timm convolves a batch as one
picture with as many groups as there are pictures: a batch that is left free cannot be expressed so.
A convolution is linear in its weights, so the mixture of the experts' results is the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch.nn.functional as F
from timm.layers import cond_conv2d
from timm.layers.cond_conv2d import CondConv2d
from torch import Tensor


@contextlib.contextmanager
def of_results() -> Iterator[None]:
    """In the block, conditional convolutions mix what each expert gives, for any batch. That costs
    as many times more as there are experts (4 or 8)."""
    before = CondConv2d.forward
    CondConv2d.forward = _mixed  # type: ignore[method-assign]
    try:
        yield
    finally:
        CondConv2d.forward = before  # type: ignore[method-assign]


def _mixed(layer: CondConv2d, x: Tensor, routing: Tensor) -> Tensor:
    """(b, out, h', w') of x (b, in, h, w) and the experts' shares `routing` (b, experts)."""
    experts, groups, each = layer.num_experts, layer.groups, layer.out_channels // layer.groups
    shape = layer.weight_shape[1:]  # of one filter
    weight = layer.weight.view(experts, groups, each, *shape).transpose(0, 1).flatten(0, 2)
    # By its name in the module: `same_padding` may have put another in its place.
    convolve = vars(cond_conv2d)["conv2d_same"] if layer.dynamic_padding else F.conv2d
    results = convolve(x, weight, None, layer.stride, layer.padding, layer.dilation, groups)
    apart = results.view(x.shape[0], groups, experts, each, *results.shape[-2:])
    mixed: Tensor = (apart * routing[:, None, :, None, None, None]).sum(2).flatten(1, 2)
    if layer.bias is None:
        return mixed
    return mixed + (routing @ layer.bias)[:, :, None, None]
