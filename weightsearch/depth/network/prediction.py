"""From a picture to depth in metres, by whatever network."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

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
