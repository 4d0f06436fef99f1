"""timm, imported without Weights & Biases.

Only timm's own training scripts log to it, but the package imports it wherever it is installed:
half a second of each process, and two temporary folders that nobody removes.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def _without(name: str) -> Iterator[None]:
    """In the block, a module that was not imported yet cannot be."""
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[name]


with _without("wandb"):
    import timm

__all__ = ["timm"]
