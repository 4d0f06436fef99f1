"""Decoders: from an encoder's feature maps to one channel at half the input size.

A decoder is built from the maps' channels and reductions and a width, called with the maps and the
input's size, and gives (b, 1, (h + 1) // 2, (w + 1) // 2), any real numbers. Its last convolution
to one channel is its `head`, which `DepthNet` starts at zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from weightsearch.depth.network import feature_pyramid, smp_decoders
from weightsearch.depth.network.feature_pyramid import LEVELS, Size, resize

SLOPE = 0.2


class DenseDepth(nn.Module):
    """The decoder of DenseDepth (arXiv 1812.11941), for feature maps of any sizes.

    A 1x1 convolution, then for 1/16, 1/8, 1/4 and 1/2 of the input size: bilinear to the skip's
    size, concatenate the skip, two 3x3 convolutions with LeakyReLU; then 3x3 to one channel. A
    level without a feature map is reached without a skip. No normalisation layers, as there, but on
    request; `residual` adds what the two convolutions are given to what they make of it.
    """

    def __init__(
        self,
        channels: Sequence[int],
        reductions: Sequence[int],
        width: float,
        *,
        norm: bool = False,
        residual: bool = False,
    ) -> None:
        super().__init__()
        inner = max(16, int(channels[-1] * width))
        self.skips = feature_pyramid.skips(reductions)
        self.entry = nn.Conv2d(channels[-1], inner, 1)
        ups: list[nn.Module] = []
        for i, skip in enumerate(self.skips):
            before, after = inner >> i, inner >> (i + 1)
            before += 0 if skip is None else channels[skip]
            ups.append((_Residual if residual else _convolutions)(before, after, norm))
        self.ups = nn.ModuleList(ups)
        self.head = nn.Conv2d(inner >> len(LEVELS), 1, 3, padding=1)
        for layer in self.ups.modules():
            if isinstance(layer, nn.Conv2d):
                # torch's own default shrinks the signal by more than half a layer: nine layers
                # later the image could no longer be seen in the output.
                nn.init.kaiming_normal_(layer.weight, a=SLOPE)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)
        if residual:
            for up in self.ups:
                # Sums would double the variance at each level; so they start as their short cut.
                up.last.weight.data.zero_()  # type: ignore[union-attr, operator]

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        x = self.entry(maps[-1])
        for up, level, skip in zip(self.ups, LEVELS, self.skips, strict=True):
            x = resize(x, _target(maps, skip, level, size))
            if skip is not None:
                x = torch.cat((x, resize(maps[skip], (x.shape[-2], x.shape[-1])).to(x.dtype)), 1)
            x = up(x)
        return self.head(x)  # type: ignore[no-any-return]


class Nearest(nn.Module):
    """A decoder as FastDepth's (Wofk et al. 2019, arXiv 1903.03273), for few operations.

    Up to 1/16, 1/8, 1/4 and 1/2 of the input size: a depthwise 5x5 and a pointwise convolution,
    each normalised, to half the channels, then nearest neighbours; the feature map of that size is
    added, through a 1x1 convolution where its channels are others. A fifth pair ends it.
    """

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], width: float) -> None:
        super().__init__()
        inner = int(channels[-1] * width)
        sizes = [channels[-1], *(max(16, inner >> i) for i in range(1, 6))]
        self.skips = feature_pyramid.skips(reductions)
        self.stages = nn.ModuleList(_separable(a, b) for a, b in pairwise(sizes))
        self.fit = nn.ModuleList(
            nn.Identity()
            if skip is None or channels[skip] == after
            else nn.Conv2d(channels[skip], after, 1)
            for skip, after in zip(self.skips, sizes[1:-1], strict=True)
        )
        self.head = nn.Conv2d(sizes[-1], 1, 1)

    def forward(self, maps: Sequence[Tensor], size: Size) -> Tensor:
        x = maps[-1]
        for stage, fit, level, skip in zip(self.stages, self.fit, LEVELS, self.skips, strict=False):
            target = _target(maps, skip, level, size)
            x = F.interpolate(stage(x), size=target, mode="nearest")
            if skip is not None:
                x = x + fit(resize(maps[skip], target))
        return self.head(self.stages[-1](x))  # type: ignore[no-any-return]


DECODERS: dict[str, Callable[[Sequence[int], Sequence[int], float], nn.Module]] = {
    "densedepth": DenseDepth,
    "densedepth_norm": partial(DenseDepth, norm=True),
    "densedepth_residual": partial(DenseDepth, residual=True),
    "unet": smp_decoders.UNet,
    "unet_attention": partial(smp_decoders.UNet, attention="scse"),
    "fpn": smp_decoders.FPN,
    "deeplabv3plus": smp_decoders.DeepLabV3Plus,
    "dpt": smp_decoders.DPT,
    "nn": Nearest,
}


def _target(maps: Sequence[Tensor], skip: int | None, level: int, size: Size) -> Size:
    """The size at which a level is computed: its map's own, but at the end just half."""
    if skip is None or level == LEVELS[-1]:
        return feature_pyramid.part(size, level)
    return maps[skip].shape[-2], maps[skip].shape[-1]


def _convolutions(before: int, after: int, norm: bool) -> nn.Sequential:
    layers = [*_convolution(before, after, norm), nn.LeakyReLU(SLOPE, inplace=True)]
    layers += [*_convolution(after, after, norm), nn.LeakyReLU(SLOPE, inplace=True)]
    return nn.Sequential(*layers)


class _Residual(nn.Module):
    def __init__(self, before: int, after: int, norm: bool) -> None:
        super().__init__()
        self.first = nn.Sequential(*_convolution(before, after, norm), nn.LeakyReLU(SLOPE))
        self.last = nn.Conv2d(after, after, 3, padding=1)
        self.short = nn.Conv2d(before, after, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.short(x) + self.last(self.first(x)), SLOPE)


def _convolution(before: int, after: int, norm: bool) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, 3, padding=1, bias=not norm)
    return [convolution, nn.BatchNorm2d(after)] if norm else [convolution]


def _separable(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, before, 5, padding=2, groups=before, bias=False),
        nn.BatchNorm2d(before),
        nn.ReLU(inplace=True),
        nn.Conv2d(before, after, 1, bias=False),
        nn.BatchNorm2d(after),
        nn.ReLU(inplace=True),
    )
