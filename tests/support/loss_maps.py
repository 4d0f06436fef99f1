"""Maps of depth for tests of loss terms, and numpy's own reckoning of slopes and normals."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import torch
from scipy.signal import convolve2d
from torch import Tensor

from weightsearch.depth.network.targets import Range
from weightsearch.study.data_spec import DataSpec

RANGE_M = 10.0
METRES = Range(0.1, RANGE_M)
TARGETS = get_args(DataSpec.model_fields["target"].annotation)


def data_spec(**values: Any) -> DataSpec:
    return DataSpec.model_validate({"source": "synthetic", "size": (32, 40)} | values)


def maps(seed: int, shape: tuple[int, ...] = (2, 1, 16, 20)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pred, true = (RANGE_M * torch.rand(shape, generator=generator) for _ in range(2))
    return pred, true, torch.ones(shape, dtype=torch.bool)


def np_sobel(v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    kernel = np.array([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])
    both = [
        np.stack([convolve2d(image[0], k[::-1, ::-1], mode="valid") for image in v])
        for k in (kernel, kernel.T)
    ]
    return both[0], both[1]


def np_normal(p: np.ndarray, t: np.ndarray) -> float:
    (px, py), (tx, ty) = np_sobel(p), np_sobel(t)
    product = px * tx + py * ty + 1
    return float(np.mean(1 - product / np.sqrt((px**2 + py**2 + 1) * (tx**2 + ty**2 + 1))))
