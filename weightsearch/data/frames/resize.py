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
    total_m = _summed(np.where(valid, depth_m, 0).astype(np.float64), size)
    count = _summed(valid.astype(np.float64), size)
    kept = count > 0
    mean_m = np.divide(total_m, count, out=np.zeros_like(total_m), where=kept)
    return mean_m.astype(np.float32), kept


def _summed(values: npt.NDArray[np.float64], size: tuple[int, int]) -> npt.NDArray[np.float64]:
    """The sum over the pixels of each cell; where cells are smaller than pixels, the nearest pixel.

    A pixel belongs to the cell that its centre lies in, by integers: Pillow's box filter loses
    pixels whose centre lies on a border between two.
    """
    for axis, (count, cells) in enumerate(zip(values.shape, size, strict=True)):
        if cells > count:
            nearest = (2 * np.arange(cells) + 1) * count // (2 * cells)
            values = values.take(nearest, axis)
        else:
            cell = (2 * np.arange(count) + 1) * cells // (2 * count)
            values = np.add.reduceat(values, np.searchsorted(cell, np.arange(cells)), axis)
    return values
