"""Activations that write over their input, as most of timm's do, otherwise while they are traced.

Results are the same. But torch.onnx takes each such operator apart again, with all the shapes that
are left free: of tf_efficientnet_l2, which has 268, that took 9 of the 31 s of its decomposition.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from torch import nn


@contextlib.contextmanager
def out_of_place(network: nn.Module) -> Iterator[None]:
    """In the block, they give a new tensor."""
    changed = [layer for layer in network.modules() if getattr(layer, "inplace", None) is True]
    for layer in changed:
        layer.inplace = False  # type: ignore[assignment]
    try:
        yield
    finally:
        for layer in changed:
            layer.inplace = True  # type: ignore[assignment]
