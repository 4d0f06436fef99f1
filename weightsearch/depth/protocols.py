"""How predictions are turned into numbers: named presets, because each choice moves the numbers.

Two things go by the name of NYU's Eigen crop, and two by that of its ground truth; RMSE is averaged
in two ways. So every number is printed with the name of its protocol.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weightsearch.depth.metrics import AS_PUBLISHED, METRICS, Metric
from weightsearch.errors import DataError


@dataclass(frozen=True)
class Protocol:
    """What is fixed before a prediction is compared with the ground truth."""

    name: str
    description: str
    min_m: float
    max_m: float | None
    """The range of depth; None means the data's own cap, 10 m indoors and 80 m outdoors."""
    masked: bool
    """Whether only ground truth strictly inside the range counts. Unmeasured pixels never do."""
    ground_truth: Literal["raw", "filled"] | None = None
    """The kind it is meant for; None where any will do."""
    crop: tuple[slice, slice] | None = None
    """Rows and columns of the ground truth that count; None means all."""
    shape: tuple[int, int] | None = None
    """The size of ground truth that the crop is made for."""
    clamp_first: bool = False
    """Clamps the prediction before it is resized to the ground truth's size, not after."""
    align_corners: bool = False
    """How it is resized, in torch's words."""
    mirror: bool = False
    """Averages the prediction with that for the mirrored image."""
    as_published: bool = False
    """Reports, beside the right one, the metric that its authors' code computes."""

    def range_m(self, data_max_m: float) -> tuple[float, float]:
        """Nearest and farthest depth, for data that reach as far as `data_max_m`."""
        if self.max_m is not None:
            return self.min_m, self.max_m
        return self.min_m, 10.0 if data_max_m <= 10 else 80.0

    def metrics(self) -> dict[str, Metric]:
        return {**METRICS, **AS_PUBLISHED} if self.as_published else METRICS

    def check_shape(self, shape: tuple[int, int]) -> None:
        """Raises DataError where the crop is made for another size of ground truth."""
        if self.shape is not None and shape != self.shape:
            raise DataError(
                f"protocol '{self.name}' needs ground truth of {self.shape[0]}x{self.shape[1]}"
                f" pixels (height x width), but got {shape[0]}x{shape[1]}; use protocol 'full'."
            )


def fit(protocol: Protocol, pred_m: Tensor, shape: tuple[int, int], data_max_m: float) -> Tensor:
    """The prediction (b, 1, h, w) at the ground truth's size and inside the protocol's range.

    Infinity becomes the far end and NaN the near one, as in ZoeDepth's `compute_metrics`, but
    before resizing: interpolated, they would take their neighbours with them.
    """
    near_m, far_m = protocol.range_m(data_max_m)
    pred_m = torch.nan_to_num(pred_m, nan=near_m, posinf=far_m, neginf=near_m)
    if protocol.clamp_first:
        return _resize(protocol, pred_m.clamp(near_m, far_m), shape)
    return _resize(protocol, pred_m, shape).clamp(near_m, far_m)


def counted(protocol: Protocol, gt_m: Tensor, valid: Tensor, data_max_m: float) -> Tensor:
    """(b, h, w) bool: the pixels, crop not yet applied, that the protocol counts."""
    if not protocol.masked:
        return valid & (gt_m > 0)
    near_m, far_m = protocol.range_m(data_max_m)
    return valid & (gt_m > near_m) & (gt_m < far_m)


def _resize(protocol: Protocol, pred_m: Tensor, shape: tuple[int, int]) -> Tensor:
    if tuple(pred_m.shape[-2:]) == shape:
        return pred_m
    return interpolate(pred_m, shape, mode="bilinear", align_corners=protocol.align_corners)


PROTOCOLS: dict[str, Protocol] = {
    "bts": Protocol(
        name="bts",
        description=(
            "raw ground truth, 1e-3 < gt < 10 m, rows 45:471 and columns 41:601, bilinear resize"
            " with aligned corners, clamp to [1e-3, 10] m, mean over images"
        ),
        min_m=1e-3,
        max_m=10.0,
        masked=True,
        ground_truth="raw",
        crop=(slice(45, 471), slice(41, 601)),
        shape=(480, 640),
        align_corners=True,
    ),
    "densedepth": Protocol(
        name="densedepth",
        description=(
            "filled ground truth, every pixel of rows 20:460 and columns 24:616, clip to"
            " [0.1, 10] m before bilinear resize, average with the mirrored image, mean over images"
        ),
        min_m=0.1,
        max_m=10.0,
        masked=False,
        ground_truth="filled",
        crop=(slice(20, 460), slice(24, 616)),
        shape=(480, 640),
        clamp_first=True,
        mirror=True,
        as_published=True,
    ),
    "full": Protocol(
        name="full",
        description=(
            "every valid pixel with 1e-3 < gt < 10 m (80 m outdoors), bilinear resize, clamp to"
            " that range, no mirror, mean over images"
        ),
        min_m=1e-3,
        max_m=None,
        masked=True,
    ),
}
