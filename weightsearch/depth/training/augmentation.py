"""Augmentation on the device: DenseDepth's two, each for half of the images."""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Num
from torch import Tensor

SHARE = 0.5


def augment(
    rgb: Num[Tensor, "b 3 h w"],
    depth_m: Num[Tensor, "b 1 hd wd"],
    kinds: Collection[str],
    generator: torch.Generator,
) -> tuple[Num[Tensor, "b 3 h w"], Num[Tensor, "b 1 hd wd"]]:
    """Mirrored images, and images with their colour channels in another order.

    rgb (b, 3, h, w), depth_m (b, 1, h', w'); `kinds` holds "mirror", "channels" or both.
    All random numbers come from the CPU generator and are drawn for both kinds, so that neither the
    device nor leaving one kind out changes the other.
    """
    count = len(rgb)
    mirrored = torch.rand(count, generator=generator) < SHARE
    orders = torch.rand(count, 3, generator=generator).argsort(1)
    reordered = torch.rand(count, generator=generator) < SHARE
    if "channels" in kinds:
        orders = torch.where(reordered[:, None], orders, torch.arange(3))
        each = torch.arange(count)[:, None]
        rgb = rgb[each.to(rgb.device), orders.to(rgb.device)]
    if "mirror" in kinds:
        flip = mirrored.view(-1, 1, 1, 1).to(rgb.device)
        rgb, depth_m = (torch.where(flip, x.flip(-1), x) for x in (rgb, depth_m))
    return rgb, depth_m
