"""A checkpoint as a torch module that takes pictures and gives metres."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor, nn

from weightsearch.depth.files.depth_maps import Depth
from weightsearch.depth.files.input_pictures import Rgb, read_rgb
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.prediction import depth_maps
from weightsearch.errors import CheckpointError, DataError


class DepthModel(nn.Module):
    """A trained network, in evaluation mode."""

    def __init__(self, network: DepthNet) -> None:
        super().__init__()
        self.network = network

    def forward(self, rgb: Tensor) -> Tensor:
        """Metres (b, 1, (h + 1) // 2, (w + 1) // 2) of rgb (b, 3, h, w) in 0..1."""
        depth_m: Tensor = self.network(rgb)
        return depth_m

    def predict(self, image: str | Path | Image.Image | npt.NDArray[np.uint8]) -> Depth:
        """Metres (h, w), float32, of a picture's own size: as `weightsearch predict` writes.

        `image` is a file, a PIL image, or rgb (h, w, 3) in uint8. Raises DataError for what is
        none, CheckpointError where depth is not finite.
        """
        rgb = _rgb(image)
        device = next(self.parameters()).device
        (depth_m,) = depth_maps(self.network, rgb[None], self.network.data.size, device)
        found: Depth = depth_m[0, 0].cpu().numpy()
        if not np.isfinite(found).all():
            raise CheckpointError(
                "a checkpoint must give finite depth, but this one does not for this picture; it"
                " did not train."
            )
        return found


def load(checkpoint: str | Path, device: str | torch.device = "cpu") -> DepthModel:
    """The network of a checkpoint: a folder, or its manifest.

    Raises CheckpointError where it is damaged, of another model, or not of numbers.
    """
    network = checkpoints.network(Path(checkpoint), torch.device(device))
    return DepthModel(network).eval()


def _rgb(image: str | Path | Image.Image | npt.NDArray[np.uint8]) -> Rgb:
    if isinstance(image, str | Path):
        return read_rgb(Path(image))
    given = np.asarray(image.convert("RGB")) if isinstance(image, Image.Image) else image
    if given.dtype != np.uint8 or given.ndim != 3 or given.shape[2] != 3 or not given.size:
        raise DataError(
            "an image must be rgb (h, w, 3) in uint8, but got an array"
            f" {given.shape} of {given.dtype}."
        )
    return given
