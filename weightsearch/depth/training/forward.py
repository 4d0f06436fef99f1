"""A lane's predictions: the shared graph, called with the lane's own tensors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.modules.batchnorm import _NormBase
from torch.utils.checkpoint import checkpoint


def forward(graph: nn.Module, model: Mapping[str, Tensor], rgb: Tensor, bf16: bool) -> Tensor:
    """Depth in metres (b, 1, h', w') of rgb (b, 3, h, w) in 0..1, by the tensors of `model`."""
    rgb = rgb.to(memory_format=torch.channels_last)
    with torch.autocast(rgb.device.type, dtype=torch.bfloat16, enabled=bf16):
        return functional_call(graph, dict(model), (rgb,))  # type: ignore[no-any-return]


def in_parts(
    graph: nn.Module, predict: Callable[[Tensor], Tensor], rgb: Tensor, count: int
) -> Tensor:
    """What `predict` makes of a batch with the graph, where only one of `count` parts keeps
    activations.

    Those of the other frames are computed again on the way back (torch.utils.checkpoint).
    """
    if count == 1:
        return predict(rgb)

    def twice() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
        """Around the first forward pass, and around the second: running means move once."""
        return contextlib.nullcontext(), _means_held(graph)

    # Even parts: of what is left over, one image could be too few for batch normalisation.
    parts = [
        checkpoint(predict, part, use_reentrant=False, context_fn=twice)
        for part in torch.tensor_split(rgb, count)
    ]
    return torch.cat(parts)


@contextlib.contextmanager
def _means_held(graph: nn.Module) -> Iterator[None]:
    layers = [m for m in graph.modules() if isinstance(m, _NormBase) and m.momentum]
    momenta = [layer.momentum for layer in layers]
    try:
        for layer in layers:
            layer.momentum = 0.0
        yield
    finally:
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum
