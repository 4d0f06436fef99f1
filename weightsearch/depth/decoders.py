"""Decoders: from an encoder's feature maps to one channel at half the input size."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LEVELS = (16, 8, 4, 2)
SLOPE = 0.2


class DenseDepth(nn.Module):
    """The decoder of DenseDepth (arXiv 1812.11941), for feature maps of any sizes.

    A 1x1 convolution, then for 1/16, 1/8, 1/4 and 1/2 of the input size: bilinear to the skip's
    size, concatenate the skip, two 3x3 convolutions with LeakyReLU; then 3x3 to one channel. A
    level without a feature map is reached without a skip. No normalisation layers, as there.
    """

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], width: float) -> None:
        super().__init__()
        inner = max(16, int(channels[-1] * width))
        self.skips = [_at_level(reductions[:-1], level) for level in LEVELS]
        self.entry = nn.Conv2d(channels[-1], inner, 1)
        ups = []
        for i, skip in enumerate(self.skips):
            before, after = inner >> i, inner >> (i + 1)
            ups.append(_convolutions(before + (0 if skip is None else channels[skip]), after))
        self.ups = nn.ModuleList(ups)
        self.head = nn.Conv2d(inner >> len(LEVELS), 1, 3, padding=1)
        for layer in self.ups.modules():
            if isinstance(layer, nn.Conv2d):
                # torch's own default shrinks the signal by more than half a layer: nine layers
                # later the image could no longer be seen in the output.
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
        """(b, 1, (h + 1) // 2, (w + 1) // 2), any real numbers; `size` is the input's (h, w)."""
        x = self.entry(maps[-1])
        for up, level, skip in zip(self.ups, LEVELS, self.skips, strict=True):
            if skip is None or level == LEVELS[-1]:
                target = ((size[0] + level - 1) // level, (size[1] + level - 1) // level)
            else:
                target = (maps[skip].shape[-2], maps[skip].shape[-1])
            x = _resize(x, target)
            if skip is not None:
                x = torch.cat((x, _resize(maps[skip], target).to(x.dtype)), 1)
            x = up(x)
        return self.head(x)  # type: ignore[no-any-return]


DECODERS: dict[str, Callable[[Sequence[int], Sequence[int], float], DenseDepth]] = {
    "densedepth": DenseDepth,
}


def _at_level(reductions: Sequence[int], level: int) -> int | None:
    """The deepest map whose reduction rounds to `level` (ViTs with patches of 14 pixels exist)."""
    near = [i for i, r in enumerate(reductions) if round(math.log2(r)) == round(math.log2(level))]
    return near[-1] if near else None


def _convolutions(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.LeakyReLU(SLOPE, inplace=True),
        nn.Conv2d(after, after, 3, padding=1),
        nn.LeakyReLU(SLOPE, inplace=True),
    )


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
