"""How predictions are turned into numbers: named presets, because each choice moves the numbers.

Two things go by the name of NYU's Eigen crop, two by that of its ground truth, and two by that of
KITTI's Garg crop; RMSE is averaged in two ways. So every number is printed with the name of its
protocol, and with how its scale was aligned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from weightsearch.depth.evaluation.metrics import AS_PUBLISHED, METRICS, Metric
from weightsearch.errors import DataError

Size = tuple[int, int]
"""Height and width in pixels."""
Cut = tuple[slice, slice]
"""Rows and columns of a picture."""


@dataclass(frozen=True)
class Protocol:
    """What is fixed before a prediction is compared with the ground truth."""

    name: str
    description: str
    min_m: float
    max_m: float
    """The range of depth that predictions are clamped to."""
    masked: bool
    """Whether only ground truth strictly inside the range counts. Unmeasured pixels never do."""
    source: str
    """The evaluation that it follows."""
    above_m: float | None = None
    """What ground truth must exceed to count, where masked; None means `min_m`."""
    ground_truth: Literal["raw", "filled"] | None = None
    """The kind it is meant for; None where any will do."""
    shape: Size | None = None
    """The size of ground truth that it is made for."""
    smallest: Size | None = None
    """The least size of ground truth that it can be used on."""
    step: int = 1
    """Every which row and column of the ground truth is used, from number step // 2 on."""
    sees: Callable[[Size], Cut] | None = None
    """The part of a picture of that size that its authors give to their network, and beyond which
    nothing counts; None means all. A network that was trained on whole pictures is given these, and
    this part is cut out of what it predicts."""
    pixels: bool = False
    """Whether `sees` counts pixels, and so needs pictures of the ground truth's size."""
    covers: Callable[[Size], Cut] | None = None
    """The same part of the ground truth, `step` applied."""
    crop: Callable[[Size], Cut] | None = None
    """The part of the ground truth that counts, `step` applied; None means all."""
    clamp_first: bool = False
    """Clamps the prediction before it is resized to the ground truth's size too, not only after."""
    resize: Literal["bilinear", "aligned", "nearest"] = "bilinear"
    """How a prediction of another size than the ground truth's is brought to it: never antialiased;
    aligned is bilinear with aligned corners, nearest is OpenCV's INTER_NEAREST."""
    mirror: bool = False
    """Averages the prediction with that for the mirrored image."""
    published: tuple[str, ...] = ()
    """Metrics as its authors' code computes them, reported beside the right ones."""

    def details_m(self, data_max_m: float) -> float:
        """As far as details are told: the range, where it ends at 10 m indoors and 80 m outdoors or
        before (s2d's own end, 1000 m, is only its clamp)."""
        return min(self.max_m, 10.0 if data_max_m <= 10 else 80.0)

    def metrics(self) -> dict[str, Metric]:
        return {**METRICS, **{name: AS_PUBLISHED[name] for name in self.published}}

    def check_shape(self, shape: Size, picture: Size | None = None) -> None:
        """Raises DataError where it is made for another size of ground truth, or of the picture
        beside it."""
        need = None
        if self.shape is not None and shape != self.shape:
            need = f"{self.shape[0]}x{self.shape[1]}"
        elif self.smallest is not None and (
            shape[0] < self.smallest[0] or shape[1] < self.smallest[1]
        ):
            need = f"at least {self.smallest[0]}x{self.smallest[1]}"
        elif self.covers and self.crop and not _within(self.crop(shape), self.covers(shape)):
            # What lies outside the part that the network is given would count as wrong.
            need = "about 375x1242"
        if need is not None:
            raise DataError(
                f"protocol '{self.name}' needs ground truth of {need} pixels (height x width), but"
                f" got {shape[0]}x{shape[1]}; use protocol 'full'."
            )
        if self.pixels and picture not in (None, shape):
            raise DataError(
                f"protocol '{self.name}' cuts pictures by pixels, so they must have the ground"
                f" truth's size, {shape[0]}x{shape[1]}, but got {'x'.join(map(str, picture))}; use"
                " protocol 'full'."
            )


# From a prediction to the ground truth's pixels


def fit(
    protocol: Protocol,
    pred_m: Tensor,
    shape: Size,
    data_max_m: float,
    picture: Size | None = None,
    of_part: bool = False,
) -> Tensor:
    """The prediction (b, 1, h, w) at the ground truth's size, float64; not yet clamped, unless the
    protocol clamps first.

    A prediction `of_part` shows what the protocol `sees`. Of any other, and of one whose size is
    not the ground truth's already, that part is cut out at the size of the `picture` and brought to
    the part of the ground truth that it covers. Nothing around it is counted.

    Infinity becomes the far end (without one, `data_max_m`) and NaN the near one, as in ZoeDepth's
    `compute_metrics`, but before resizing: interpolated, they would take their neighbours along.
    """
    near_m = protocol.min_m
    far_m = infinity_m(protocol, data_max_m)
    # In float64: interpolation in float32 moves metrics in their sixth digit.
    pred_m = torch.nan_to_num(pred_m.double(), nan=near_m, posinf=far_m, neginf=near_m)
    if protocol.clamp_first:
        pred_m = pred_m.clamp(protocol.min_m, protocol.max_m)
    size: Size = (pred_m.shape[-2], pred_m.shape[-1])
    if protocol.covers is None or protocol.sees is None or size == shape:
        return _resize(protocol, pred_m, shape)
    if not of_part:
        if picture is None:
            return _resize(protocol, pred_m, shape)
        pred_m = _resize(protocol, pred_m, picture)
        pred_m = pred_m[:, :, *protocol.sees(picture)]
    rows, columns = cut = protocol.covers(shape)
    whole = pred_m.new_full((*pred_m.shape[:2], *shape), near_m)
    whole[:, :, rows, columns] = _resize(protocol, pred_m, size_of(cut))
    return whole


def infinity_m(protocol: Protocol, data_max_m: float) -> float:
    """What an infinite prediction counts as: the end of the range, else that of the data's."""
    return protocol.max_m if math.isfinite(protocol.max_m) else data_max_m


Shows = Literal["whole", "part"]


def is_of_part(
    protocol: Protocol, size: Size, shape: Size, picture: Size, stated: Shows | None = None
) -> bool:
    """Whether a prediction of that size shows what the protocol `sees`, not the whole picture.

    Where it is not `stated`, the size tells: that of the picture or of the ground truth is of the
    whole, that of the part of either is of the part. Raises DataError for any other: proportions
    tell nothing, because networks stretch their input.
    """
    if protocol.covers is None or protocol.sees is None:
        return False
    if stated is not None:
        return stated == "part"
    whole = dict.fromkeys((picture, shape))
    part = dict.fromkeys((size_of(protocol.sees(picture)), size_of(protocol.covers(shape))))
    if size in whole or size in part:
        return size not in whole
    raise DataError(
        f"protocol '{protocol.name}' must know what a prediction shows: the whole picture"
        f" ({_sizes(whole)}), or the part of it that its authors give to a network"
        f" ({_sizes(part)}), but got one of {_sizes([size])}; say which with --shows whole or"
        " --shows part."
    )


def counted(protocol: Protocol, gt_m: Tensor, valid: Tensor) -> Tensor:
    """(b, h, w) bool: the pixels, crop not yet applied, that the protocol counts."""
    if not protocol.masked:
        return valid & (gt_m > 0)
    above_m = protocol.min_m if protocol.above_m is None else protocol.above_m
    return valid & (gt_m > above_m) & (gt_m < protocol.max_m)


def size_of(cut: Cut) -> Size:
    return cut[0].stop - cut[0].start, cut[1].stop - cut[1].start


def _within(inner: Cut, outer: Cut) -> bool:
    return all(o.start <= i.start and i.stop <= o.stop for i, o in zip(inner, outer, strict=True))


def _resize(protocol: Protocol, pred_m: Tensor, shape: Size) -> Tensor:
    if (pred_m.shape[-2], pred_m.shape[-1]) == shape:
        return pred_m
    if protocol.resize == "nearest":
        return interpolate(pred_m, shape, mode="nearest")
    aligned = protocol.resize == "aligned"
    return interpolate(pred_m, shape, mode="bilinear", align_corners=aligned)


def _sizes(sizes: Iterable[Size]) -> str:
    return " or ".join(f"{height}x{width}" for height, width in sizes)


# Parts of pictures


def _fixed(top: int, bottom: int, left: int, right: int) -> Callable[[Size], Cut]:
    return lambda size: (slice(top, bottom), slice(left, right))


def _kb(size: Size) -> Cut:
    """The 352x1216 at the bottom and in the middle, which KITTI's networks are given (BTS)."""
    top, left = size[0] - 352, int((size[1] - 1216) / 2)
    return slice(top, top + 352), slice(left, left + 1216)


def _garg(size: Size) -> Cut:
    """Garg et al. 2016, with the fractions cut off as everybody's code does."""
    height, width = size
    return (
        slice(int(0.40810811 * height), int(0.99189189 * height)),
        slice(int(0.03594771 * width), int(0.96405229 * width)),
    )


def _garg_in_kb(size: Size) -> Cut:
    rows, columns = _kb(size)
    inner_rows, inner_columns = _garg(size_of((rows, columns)))
    return (
        slice(rows.start + inner_rows.start, rows.start + inner_rows.stop),
        slice(columns.start + inner_columns.start, columns.start + inner_columns.stop),
    )


def _twice_as_wide(size: Size) -> Cut:
    """The rows in the middle that make the picture twice as wide as high (monodepth)."""
    height, width = size
    top = (height - width // 2) // 2
    return slice(top, top + width // 2), slice(0, width)


KB: Size = (352, 1216)

_BTS = Protocol(
    name="bts",
    description=(
        "raw ground truth, 1e-3 < gt < 10 m, rows 45:471 and columns 41:601, bilinear resize"
        " with aligned corners, clamp to [1e-3, 10] m, mean over images"
    ),
    source="BTS, eval_with_pngs.py",
    min_m=1e-3,
    max_m=10.0,
    masked=True,
    ground_truth="raw",
    crop=_fixed(45, 471, 41, 601),
    shape=(480, 640),
    resize="aligned",
)
_KITTI = Protocol(
    name="kitti_eigen_garg",
    description=(
        "1e-3 < gt < 80 m, Garg's crop of the whole image, of which nothing outside the 352x1216 at"
        " the bottom; bilinear resize with aligned corners, clamp to [1e-3, 80] m, mean over images"
    ),
    source="BTS, eval_with_pngs.py",
    min_m=1e-3,
    max_m=80.0,
    masked=True,
    ground_truth="raw",
    smallest=KB,
    sees=_kb,
    pixels=True,
    covers=_kb,
    crop=_garg,
    resize="aligned",
)

PROTOCOLS: dict[str, Protocol] = {
    "bts": _BTS,
    "zoe": replace(
        _BTS,
        name="zoe",
        description="as bts, after the average with the mirrored image",
        source="ZoeDepth, compute_metrics",
        mirror=True,
    ),
    "densedepth": Protocol(
        name="densedepth",
        description=(
            "filled ground truth, every pixel of rows 20:460 and columns 24:616, clip to"
            " [0.1, 10] m before bilinear resize, average with the mirrored image, mean over images"
        ),
        source="DenseDepth, utils.py",
        min_m=0.1,
        max_m=10.0,
        masked=False,
        ground_truth="filled",
        crop=_fixed(20, 460, 24, 616),
        shape=(480, 640),
        clamp_first=True,
        mirror=True,
        published=("abs_rel_as_published",),
    ),
    "s2d": Protocol(
        name="s2d",
        description=(
            "every second pixel of the ground truth, of these the 228x304 in the middle, gt > 0;"
            " bilinear resize, clamp to [1e-3, 1000] m, mean over images"
        ),
        source="sparse-to-dense and FastDepth, dataloader and metrics",
        min_m=1e-3,
        max_m=1000.0,
        masked=False,
        shape=(480, 640),
        step=2,
        sees=_fixed(12, 468, 16, 624),
        pixels=True,
        covers=_fixed(6, 234, 8, 312),
        crop=_fixed(6, 234, 8, 312),
    ),
    "full": Protocol(
        name="full",
        description=(
            "every valid pixel with gt > 1e-3 m, however far; bilinear resize, predictions raised"
            " to 1e-3 m, no mirror, mean over images"
        ),
        source="this project",
        min_m=1e-3,
        max_m=math.inf,
        masked=True,
    ),
    "kitti_eigen_garg": _KITTI,
    "kitti_eigen_garg_kb": replace(
        _KITTI,
        name="kitti_eigen_garg_kb",
        description=(
            "as kitti_eigen_garg, but Garg's fractions of the 352x1216 at the bottom: fewer rows at"
            " the top"
        ),
        source="AdaBins and ZoeDepth; BTS while it trains",
        crop=_garg_in_kb,
    ),
    "make3d_c1": Protocol(
        name="make3d_c1",
        description=(
            "0 < gt < 70 m, rows 17:38 of the 55x305 grid; of the prediction the middle of the"
            " picture, twice as wide as high; resize to the nearest pixel, clamp to [1e-3, 70] m,"
            " mean over images; published numbers are of --align median"
        ),
        source="monodepth2, issue 89",
        min_m=1e-3,
        max_m=70.0,
        masked=True,
        above_m=0.0,
        ground_truth="raw",
        shape=(55, 305),
        sees=_twice_as_wide,
        covers=_fixed(17, 38, 0, 305),
        crop=_fixed(17, 38, 0, 305),
        resize="nearest",
        published=("log10_as_published",),
    ),
}
