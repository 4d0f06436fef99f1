"""Feature maps by level: which of an encoder's maps stands for 1/2, 1/4, ... of the input size."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

LEVELS = (16, 8, 4, 2)
"""Those that a decoder climbs, as parts of the input size; it ends at the last."""

Size = tuple[int, int]


def at_level(reductions: Sequence[int], level: int) -> int | None:
    """The deepest map whose reduction rounds to `level` (ViTs with patches of 14 pixels exist)."""
    near = [i for i, r in enumerate(reductions) if rounded(r) == level]
    return near[-1] if near else None


def skips(reductions: Sequence[int]) -> list[int | None]:
    """For each of LEVELS the map to take in there; the deepest map is where a decoder starts."""
    return [at_level(reductions[:-1], level) for level in LEVELS]


def nearest(reductions: Sequence[int], levels: Sequence[int]) -> list[int]:
    """For each level the map nearest to it, for decoders that cannot do without.

    Levels to which the same maps are nearest, as with a ViT whose maps are all of one size, get
    them in order, evenly spread, the last one the deepest.
    """
    candidates = []
    for level in levels:
        apart = [abs(math.log2(rounded(r) / level)) for r in reductions]
        candidates.append([i for i, a in enumerate(apart) if a == min(apart)])
    found = []
    for place, maps in enumerate(candidates):
        after = sum(other == maps for other in candidates[place + 1 :])
        among = max(1, sum(other == maps for other in candidates) - 1)
        found.append(maps[-1 - round(after * (len(maps) - 1) / among)])
    return found


def rounded(reduction: int) -> int:
    """The power of two nearest to a reduction."""
    return 1 << round(math.log2(reduction))


def part(size: Size, level: int) -> Size:
    """1/level of an image's size, rounded up."""
    # Not -(-size // level): ONNX divides towards zero.
    return (size[0] + level - 1) // level, (size[1] + level - 1) // level


def regular(x: Tensor, size: Size, level: int) -> Tensor:
    """The map at exactly 32/level times the size of 1/32 of the image.

    For decoders that double their maps and would not fit them to those of images of any size.
    """
    least = part(size, 32)
    return resize(x, (least[0] * 32 // level, least[1] * 32 // level))


def resize(x: Tensor, size: Size) -> Tensor:
    # An export for any size must not take the path that suits the size it was traced with.
    exporting = torch.compiler.is_exporting()
    if not exporting and x.shape[-2:] == size:
        return x
    larger = F.interpolate(x, size=size, mode="bilinear", align_corners=False)
    if larger.requires_grad and larger.device.type == "cpu" and not exporting:
        larger.register_hook(_laid_out)  # type: ignore[no-untyped-call]
    return larger


def _laid_out(gradient: Tensor) -> Tensor:
    """Of a map that was concatenated the gradient is a part of a larger one, for which torch has a
    slow way back: of 128 channels from 30x40 to 60x80 (batch 8, one core) 14 ms instead of 3."""
    return gradient.contiguous(memory_format=torch.channels_last)
