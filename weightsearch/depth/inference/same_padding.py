"""TensorFlow's SAME padding, which timm's `tf_*` encoders have, in a form that can be exported.

How much SAME pads depends on the size of its input: on its remainder by the stride. timm computes
that from the size in floats; for a size that is left free this makes torch.export solve equations
in them, layer in layer, for minutes. Here such a convolution is one operator whose output has
ceil(size / stride) pixels, and which ONNX has by itself (`auto_pad`).
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CALLERS = ("timm.layers.conv2d_same", "timm.layers.cond_conv2d")
"""Modules of timm that call a function `conv2d_same`."""


def sized_by_input(network: nn.Module) -> bool:
    """Whether any layer pads by the size of its input."""
    return any(_pads_by_size(layer) for layer in network.modules())


def exportable(network: nn.Module) -> bool:
    """Whether every such layer is a convolution that `as_operator` replaces."""
    return all(
        type(layer).__module__ in CALLERS for layer in network.modules() if _pads_by_size(layer)
    )


@contextlib.contextmanager
def as_operator() -> Iterator[None]:
    """In the block, timm's convolutions with SAME padding are one operator each."""
    modules = [importlib.import_module(name) for name in CALLERS]
    before = [vars(module)["conv2d_same"] for module in modules]
    try:
        for module in modules:
            vars(module)["conv2d_same"] = _as_timm_calls_it
        yield
    finally:
        for module, was in zip(modules, before, strict=True):
            vars(module)["conv2d_same"] = was


def onnx_operators() -> dict[Any, Callable[..., Any]]:
    """What torch.onnx makes of the operator."""
    from onnxscript import opset18 as op

    def convolved(
        x: Any,
        weight: Any,
        bias: Any,
        stride: Sequence[int],
        dilation: Sequence[int],
        groups: int,
    ) -> Any:
        return op.Conv(
            *(x, weight, bias),
            auto_pad="SAME_UPPER",
            strides=list(stride),
            dilations=list(dilation),
            group=groups,
        )

    return {OPERATOR: convolved}


def _pads_by_size(layer: nn.Module) -> bool:
    return type(layer).__name__.endswith("Same") or bool(getattr(layer, "dynamic_padding", False))


@torch.library.custom_op("weightsearch::conv2d_same", mutates_args=())
def _conv2d_same(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    around: list[int] = []
    for size, kernel, s, d in zip(x.shape[-2:], weight.shape[-2:], stride, dilation, strict=True):
        total = max((kernel - 1) * d - (size - 1) % s, 0)
        around = [total // 2, total - total // 2, *around]
    return F.conv2d(F.pad(x, around), weight, bias, stride, 0, dilation, groups)


@_conv2d_same.register_fake
def _(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: list[int],
    dilation: list[int],
    groups: int,
) -> Tensor:
    # As a convolution padded on both sides has it, so that sizes are found to be equal.
    size = [(n - 1) // s + 1 for n, s in zip(x.shape[-2:], stride, strict=True)]
    return x.new_empty((x.shape[0], weight.shape[0], *size))


OPERATOR = torch.ops.weightsearch.conv2d_same.default
"""x, weight, bias, stride, dilation, groups."""


def _as_timm_calls_it(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Sequence[int] = (1, 1),
    padding: Sequence[int] = (0, 0),
    dilation: Sequence[int] = (1, 1),
    groups: int = 1,
) -> Tensor:
    found: Tensor = _conv2d_same(x, weight, bias, list(stride), list(dilation), groups)
    return found
