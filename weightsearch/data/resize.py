"""Resizing of frames: the same for training copies as for whatever a network is asked later."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image


def resize_rgb(rgb: npt.NDArray[np.uint8], size: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """uint8 (h, w, 3) at another (height, width); bilinear, antialiased when it shrinks."""
    image = Image.fromarray(rgb).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.array(image)


def resize_depth(
    depth_m: npt.NDArray[np.float32], valid: npt.NDArray[np.bool_], size: tuple[int, int]
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Depth and mask at another (height, width): the mean over the valid pixels of each cell.

    A cell is valid where any of its pixels is; what lies under the mask has no influence.
    """
    total = _box(np.where(valid, depth_m, np.float32(0)), size)
    share = _box(valid.astype(np.float32), size)
    kept = share > 0
    mean_m = np.divide(total, share, out=np.zeros_like(total), where=kept)
    return mean_m, kept


def _box(values: npt.NDArray[np.float32], size: tuple[int, int]) -> npt.NDArray[np.float32]:
    image = Image.fromarray(values).resize(size[::-1], Image.Resampling.BOX)
    return np.asarray(image, dtype=np.float32)
