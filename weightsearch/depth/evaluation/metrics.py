"""The metrics of the field, each one value per image over the image's valid pixels.

Formulas: Eigen et al. 2014 (arXiv 1406.2283); `log10` as in Laina et al. 2016 (arXiv 1606.00373).
Nothing is averaged over images here: `Scores.metrics` in `scoring.py` does that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

AT_ONCE = 20_000
"""Pixels on a CPU, but at least an image: what stays in the cache. More of them and each of some
forty steps goes through main memory: images of 120x160 took 0.71 ms each, 16 at a time 1.27; fewer
and the calls take longer than the arithmetic: images of 64 pixels took 0.002 ms, not 0.12."""


def per_image(
    pred_m: Float[Tensor, "b h w"],
    gt_m: Float[Tensor, "b h w"],
    valid: Bool[Tensor, "b h w"],
    metrics: Mapping[str, Metric] | None = None,
) -> dict[str, Shaped[Tensor, "b"]]:
    """Each metric as a float64 tensor (b,), and `pixels`, the number of valid ones.

    All three are (b, h, w), depth in metres, `valid` bool. On valid pixels both depths must be
    above 0: protocols see to that. What stands under invalid pixels, NaN included, changes nothing.
    An image without valid pixels has `pixels` 0 and NaN for the rest: leave it out of any mean.
    """
    pixels = max(1, pred_m.shape[1] * pred_m.shape[2])
    size = max(1, AT_ONCE // pixels if pred_m.device.type == "cpu" else len(pred_m))
    parts = [
        _values(Errors.of(*part), metrics or METRICS)
        for part in zip(*(torch.split(maps, size) for maps in (pred_m, gt_m, valid)), strict=True)
    ]
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def _values(errors: Errors, metrics: Mapping[str, Metric]) -> dict[str, Tensor]:
    return {**{name: metric(errors) for name, metric in metrics.items()}, "pixels": errors.pixels}


def rmse_pooled(rmse: Sequence[float], pixels: Sequence[int]) -> float:
    """The RMSE over all pixels of all images, from that of each image and its number of pixels.

    What DenseDepth (since August 2019) and Hu et al. print as RMSE; it is never below the mean over
    images where all have the same number of pixels.
    """
    squares = math.fsum(r * r * n for r, n in zip(rmse, pixels, strict=True))
    return math.sqrt(squares / sum(pixels))


@dataclass(frozen=True)
class Errors:
    """What the metrics are made of: (b, h, w) float64; invalid pixels are 1 m in both depths."""

    pred_m: Tensor
    gt_m: Tensor
    valid: Tensor

    @classmethod
    def of(cls, pred_m: Tensor, gt_m: Tensor, valid: Tensor) -> Errors:
        # Replaced, not multiplied by 0: NaN times 0 is NaN. At 1 m every error is 0.
        pred_m = torch.where(valid, pred_m.double(), 1.0)
        return cls(pred_m, torch.where(valid, gt_m.double(), 1.0), valid)

    @cached_property
    def difference_m(self) -> Tensor:
        return self.pred_m - self.gt_m

    @cached_property
    def log_difference(self) -> Tensor:
        """ln prediction - ln ground truth."""
        return self.pred_m.log() - self.gt_m.log()

    @cached_property
    def ratio(self) -> Tensor:
        """The larger of prediction / ground truth and its inverse."""
        return torch.maximum(self.pred_m / self.gt_m, self.gt_m / self.pred_m)

    @cached_property
    def pixels(self) -> Tensor:
        """(b,) int64."""
        return self.valid.sum((1, 2))

    def mean(self, values: Tensor) -> Tensor:
        """(b,): the mean of (b, h, w) over the valid pixels of each image."""
        return torch.where(self.valid, values, 0.0).sum((1, 2)) / self.pixels


Metric = Callable[[Errors], Tensor]


def _silog(errors: Errors) -> Tensor:
    # The variance from centred values: the textbook's mean(e^2) - mean(e)^2 can come out below 0.
    mean = errors.mean(errors.log_difference)[:, None, None]
    return 100 * errors.mean((errors.log_difference - mean) ** 2).sqrt()


def _within(factor: float) -> Metric:
    """The share of pixels off by less than a factor: strictly, as in BTS and AdaBins."""

    def share(errors: Errors) -> Tensor:
        return errors.mean((errors.ratio < factor).double())

    return share


METRICS: dict[str, Metric] = {
    "rmse": lambda e: e.mean(e.difference_m**2).sqrt(),
    "abs_rel": lambda e: e.mean(e.difference_m.abs() / e.gt_m),
    "log10": lambda e: e.mean(e.log_difference.abs()) / math.log(10),
    "sq_rel": lambda e: e.mean(e.difference_m**2 / e.gt_m),
    "rmse_log": lambda e: e.mean(e.log_difference**2).sqrt(),
    "silog": _silog,
    "delta1": _within(1.25),
    "delta2": _within(1.25**2),
    "delta3": _within(1.25**3),
    "mae": lambda e: e.mean(e.difference_m.abs()),
}

AS_PUBLISHED: dict[str, Metric] = {
    # DenseDepth's code divides by the prediction, because its arguments are swapped.
    "abs_rel_as_published": lambda e: e.mean(e.difference_m.abs() / e.pred_m),
    # What monodepth's Make3D code calls log10 is the root of the mean square, not the mean.
    "log10_as_published": lambda e: e.mean(e.log_difference**2).sqrt() / math.log(10),
}
