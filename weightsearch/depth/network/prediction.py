"""From a picture to depth in metres, by whatever network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weightsearch.data.frames.resize import resize_rgb

Predict = Callable[[Tensor], Tensor]
"""RGB (b, 3, h, w) in 0..1 to depth in metres (b, 1, h', w')."""


def network_input(
    rgb: npt.NDArray[np.uint8], size: tuple[int, int], device: torch.device | str
) -> Tensor:
    """Float (b, 3, *size) in 0..1 of rgb (b, h, w, 3), resized as training copies are."""
    if rgb.shape[1:3] != size:
        rgb = np.stack([resize_rgb(image, size) for image in rgb])
    return torch.from_numpy(rgb).to(device).permute(0, 3, 1, 2).float() / 255


def depth_maps(
    predict: Predict,
    rgb: npt.NDArray[np.uint8],
    size: tuple[int, int],
    device: torch.device | str,
    mirrored: bool = False,
) -> list[Tensor]:
    """Metres (b, 1, h, w) of pictures rgb (b, h, w, 3), at their own size: float32, without
    gradients. The network is given the whole picture, at `size` (height, width).

    This is what `predict` writes and what every evaluation judges, so that the two agree. With
    `mirrored` a second map follows: that of the mirrored picture, turned back.
    """
    inputs = network_input(rgb, size, device)
    with torch.no_grad():
        small_m = [predict(inputs).float()]
        if mirrored:
            small_m.append(predict(inputs.flip(-1)).float().flip(-1))
        return [_sized(one, rgb.shape[1:3]) for one in small_m]


def _sized(depth_m: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear. What is no number stays so at its own pixels, and takes no neighbour along."""
    finite = depth_m.isfinite()
    if finite.all():
        return interpolate(depth_m, size, mode="bilinear")
    total = interpolate(torch.where(finite, depth_m, 0.0), size, mode="bilinear")
    share = interpolate(finite.to(depth_m.dtype), size, mode="bilinear")
    nearest = interpolate(depth_m, size, mode="nearest")
    return torch.where(nearest.isfinite(), total / share, nearest)


def depth_beside(
    predict: Predict,
    rgb: npt.NDArray[np.uint8],
    shape: tuple[int, int],
    size: tuple[int, int],
    device: torch.device | str,
) -> npt.NDArray[np.float32]:
    """The map of one picture (h, w, 3) at its ground truth's `shape`, to be shown beside it."""
    (depth_m,) = depth_maps(predict, rgb[None], size, device)
    beside: npt.NDArray[np.float32] = (
        interpolate(depth_m, shape, mode="bilinear")[0, 0].cpu().numpy()
    )
    return beside
