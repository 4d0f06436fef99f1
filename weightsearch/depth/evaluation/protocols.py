"""How predictions are turned into numbers: named presets, because each choice moves the numbers.

Two things go by the name of NYU's Eigen crop, two by that of its ground truth, and two by that of
KITTI's Garg crop; RMSE is averaged in two ways. So every number is printed with the name of its
protocol, and with how its scale was aligned.
"""

from __future__ import annotations

from collections.abc import Callable
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
    max_m: float | None
    """The range of depth; None means the data's own cap, 10 m indoors and 80 m outdoors."""
    masked: bool
    """Whether only ground truth strictly inside the range counts. Unmeasured pixels never do."""
    ground_truth: Literal["raw", "filled"] | None = None
    """The kind it is meant for; None where any will do."""
    shape: Size | None = None
    """The size of ground truth that it is made for."""
    smallest: Size | None = None
    """The least size of ground truth that it can be used on."""
    step: int = 1
    """Every which row and column of the ground truth is used, from number step // 2 on."""
    sees: Callable[[Size], Cut] | None = None
    """The part of a picture of that size that is given to the network; None means all."""
    pixels: bool = False
    """Whether `sees` counts pixels, and so needs pictures of the ground truth's size."""
    covers: Callable[[Size], Cut] | None = None
    """The same part of the ground truth, `step` applied."""
    crop: Callable[[Size], Cut] | None = None
    """The part of the ground truth that counts, `step` applied; None means all."""
    clamp_first: bool = False
    """Clamps the prediction before it is resized to the ground truth's size too, not only after."""
    align_corners: bool = False
    """How it is resized, in torch's words."""
    mirror: bool = False
    """Averages the prediction with that for the mirrored image."""
    published: tuple[str, ...] = ()
    """Metrics as its authors' code computes them, reported beside the right ones."""

    def range_m(self, data_max_m: float) -> tuple[float, float]:
        """Nearest and farthest depth, for data that reach as far as `data_max_m`."""
        if self.max_m is not None:
            return self.min_m, self.max_m
        return self.min_m, _cap_m(data_max_m)

    def details_m(self, data_max_m: float) -> float:
        """As far as details are told; s2d's own end, 1000 m, is only its clamp."""
        return min(self.range_m(data_max_m)[1], _cap_m(data_max_m))

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


# Scale alignment: what is made of a prediction before it is judged, where its scale is not asked.

Alignment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Prediction and ground truth (n,) of one image's counted pixels to a factor and an offset."""


def _median(pred_m: Tensor, gt_m: Tensor) -> tuple[Tensor, Tensor]:
    """monodepth2's: the ratio of the medians. A prediction whose median is 0 is left as it is."""
    middle = torch.quantile(pred_m, 0.5)
    factor = torch.where(middle > 0, torch.quantile(gt_m, 0.5) / middle, 1.0)
    return factor, torch.zeros_like(factor)


def _least_squares(pred_m: Tensor, gt_m: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift that minimise the squared error in metres; a flat prediction becomes the
    mean."""
    centred = pred_m - pred_m.mean()
    # Not by the spread, which rounding keeps from 0.
    flat = pred_m.max() == pred_m.min()
    factor = torch.where(flat, 0.0, (centred * gt_m).sum() / (centred**2).sum())
    return factor, gt_m.mean() - factor * pred_m.mean()


ALIGNMENTS: dict[str, Alignment | None] = {
    "none": None,
    "median": _median,
    "least-squares": _least_squares,
}


def align(how: str, pred_m: Tensor, gt_m: Tensor, counts: Tensor) -> Tensor:
    """The prediction (b, h, w) with each image's scale fitted to its counted pixels, in float64."""
    fitted = ALIGNMENTS[how]
    if fitted is None:
        return pred_m
    aligned = pred_m.double()
    for i, counted_here in enumerate(counts):
        if counted_here.any():
            factor, offset = fitted(aligned[i][counted_here], gt_m[i][counted_here].double())
            aligned[i] = factor * aligned[i] + offset
    return aligned


# From a prediction to the ground truth's pixels


def fit(
    protocol: Protocol, pred_m: Tensor, shape: Size, data_max_m: float, of_part: bool = False
) -> Tensor:
    """The prediction (b, 1, h, w) at the ground truth's size, float64; not yet clamped, unless the
    protocol clamps first.

    Infinity becomes the far end and NaN the near one, as in ZoeDepth's `compute_metrics`, but
    before resizing: interpolated, they would take their neighbours with them. A prediction
    `of_part` shows what the protocol `sees`; nothing around it is counted.
    """
    near_m, far_m = protocol.range_m(data_max_m)
    # In float64: interpolation in float32 moves metrics in their sixth digit.
    pred_m = torch.nan_to_num(pred_m.double(), nan=near_m, posinf=far_m, neginf=near_m)
    if protocol.clamp_first:
        pred_m = pred_m.clamp(near_m, far_m)
    if not of_part or protocol.covers is None:
        return _resize(protocol, pred_m, shape)
    rows, columns = cut = protocol.covers(shape)
    whole = pred_m.new_full((*pred_m.shape[:2], *shape), near_m)
    whole[:, :, rows, columns] = _resize(protocol, pred_m, size_of(cut))
    return whole


def is_of_part(protocol: Protocol, size: Size, shape: Size, picture: Size) -> bool:
    """Whether a prediction of that size shows what the protocol `sees`, not the whole picture.

    It does where it has the size of that part, of the ground truth or of the picture, or, within a
    pixel, the proportions of the part and not those of the whole.
    """
    if protocol.covers is None or protocol.sees is None:
        return False
    part = size_of(protocol.sees(picture))
    if size in (picture, shape):
        return False
    if size in (part, size_of(protocol.covers(shape))):
        return True
    return _proportional(size, part) and not _proportional(size, picture)


def counted(protocol: Protocol, gt_m: Tensor, valid: Tensor, data_max_m: float) -> Tensor:
    """(b, h, w) bool: the pixels, crop not yet applied, that the protocol counts."""
    if not protocol.masked:
        return valid & (gt_m > 0)
    near_m, far_m = protocol.range_m(data_max_m)
    return valid & (gt_m > near_m) & (gt_m < far_m)


def size_of(cut: Cut) -> Size:
    return cut[0].stop - cut[0].start, cut[1].stop - cut[1].start


def _within(inner: Cut, outer: Cut) -> bool:
    return all(o.start <= i.start and i.stop <= o.stop for i, o in zip(inner, outer, strict=True))


def _cap_m(data_max_m: float) -> float:
    """Indoors and outdoors."""
    return 10.0 if data_max_m <= 10 else 80.0


def _proportional(size: Size, to: Size) -> bool:
    return abs(size[1] - size[0] * to[1] / to[0]) <= 1


def _resize(protocol: Protocol, pred_m: Tensor, shape: Size) -> Tensor:
    if (pred_m.shape[-2], pred_m.shape[-1]) == shape:
        return pred_m
    return interpolate(pred_m, shape, mode="bilinear", align_corners=protocol.align_corners)


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
    min_m=1e-3,
    max_m=10.0,
    masked=True,
    ground_truth="raw",
    crop=_fixed(45, 471, 41, 601),
    shape=(480, 640),
    align_corners=True,
)
_KITTI = Protocol(
    name="kitti_eigen_garg",
    description=(
        "1e-3 < gt < 80 m, Garg's crop of the whole image; the network is given the 352x1216"
        " at the bottom; bilinear resize with aligned corners, clamp to [1e-3, 80] m, mean over"
        " images (BTS's eval_with_pngs)"
    ),
    min_m=1e-3,
    max_m=80.0,
    masked=True,
    ground_truth="raw",
    smallest=KB,
    sees=_kb,
    pixels=True,
    covers=_kb,
    crop=_garg,
    align_corners=True,
)

PROTOCOLS: dict[str, Protocol] = {
    "bts": _BTS,
    "zoe": replace(
        _BTS,
        name="zoe",
        description="as bts, after the average with the mirrored image (ZoeDepth)",
        mirror=True,
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
            " the network is given that part of the picture; bilinear resize, clamp to"
            " [1e-3, 1000] m, mean over images (sparse-to-dense, FastDepth)"
        ),
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
            "every valid pixel with 1e-3 < gt < 10 m (80 m outdoors), bilinear resize, clamp to"
            " that range, no mirror, mean over images"
        ),
        min_m=1e-3,
        max_m=None,
        masked=True,
    ),
    "kitti_eigen_garg": _KITTI,
    "kitti_eigen_garg_kb": replace(
        _KITTI,
        name="kitti_eigen_garg_kb",
        description=(
            "as kitti_eigen_garg, but Garg's fractions of the 352x1216 at the bottom (AdaBins,"
            " ZoeDepth, BTS while it trains): fewer rows at the top"
        ),
        crop=_garg_in_kb,
    ),
    "make3d_c1": Protocol(
        name="make3d_c1",
        description=(
            "0 < gt < 70 m, rows 17:38 of the 55x305 grid; the network is given the middle of the"
            " picture, twice as wide as high; bilinear resize, clamp to [1e-3, 70] m, mean over"
            " images (monodepth2)"
        ),
        min_m=1e-3,
        max_m=70.0,
        masked=True,
        ground_truth="raw",
        shape=(55, 305),
        sees=_twice_as_wide,
        covers=_fixed(17, 38, 0, 305),
        crop=_fixed(17, 38, 0, 305),
        published=("log10_as_published",),
    ),
}
