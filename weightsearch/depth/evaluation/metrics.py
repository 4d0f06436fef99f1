"""The metrics of the field, each one value per image over the image's valid pixels.

Formulas: Eigen et al. 2014 (arXiv 1406.2283); `log10` as in Laina et al. 2016 (arXiv 1606.00373).
Nothing is averaged over images here: `Scores.metrics` in `scoring.py` does that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor

AT_ONCE = 20_000
"""Pixels on a CPU, of small images or as rows of a large one: what stays in the cache. More of them
and each of some forty steps goes through main memory; fewer and the calls take longer than the
arithmetic."""


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
    metrics = metrics or METRICS
    images, rows = _at_once(pred_m)
    found = []
    for some in zip(*(torch.split(x, images) for x in (pred_m, gt_m, valid)), strict=True):
        sums: dict[str, list[Tensor]] = {name: [] for name in metrics}
        counts = []
        for part in zip(*(torch.split(x, rows, 1) for x in some), strict=True):
            errors = Errors.of(*part)
            counts.append(errors.pixels)
            for name, metric in metrics.items():
                sums[name].append(metric.sums(errors))
        pixels = torch.stack(counts)
        values = {n: metric.value(torch.stack(sums[n]), pixels) for n, metric in metrics.items()}
        found.append({**values, "pixels": pixels.sum(0)})
    return {name: torch.cat([values[name] for values in found]) for name in found[0]}


def _at_once(maps: Tensor) -> tuple[int, int]:
    """How many images of (b, h, w), and how many of their rows."""
    b, height, width = maps.shape
    if maps.device.type != "cpu":
        return max(1, b), max(1, height)
    images = max(1, AT_ONCE // max(1, height * width))
    return images, max(1, AT_ONCE // max(1, images * width))


def rmse_pooled(rmse: Sequence[float], pixels: Sequence[int]) -> float:
    """The RMSE over all pixels of all images, from that of each image and its number of pixels.

    What DenseDepth (since August 2019) and Hu et al. print as RMSE; it is never below the mean over
    images where all have the same number of pixels.
    """
    squares = math.fsum(r * r * n for r, n in zip(rmse, pixels, strict=True))
    return math.sqrt(squares / sum(pixels))


@dataclass(frozen=True)
class Errors:
    """What the metrics are made of: (b, n) float64."""

    pred_m: Tensor
    gt_m: Tensor
    valid: Tensor | None
    """None where all pixels are; others are 1 m in both depths, so that every error is 0 there."""

    @classmethod
    def of(cls, pred_m: Tensor, gt_m: Tensor, valid: Tensor) -> Errors:
        """Of (b, h, w); of one image the valid pixels alone."""
        if not valid.all():
            if len(valid) > 1:
                # Replaced, not multiplied by 0: NaN times 0 is NaN.
                pred_m = torch.where(valid, pred_m.double(), 1.0).flatten(1)
                gt_m = torch.where(valid, gt_m.double(), 1.0).flatten(1)
                return cls(pred_m, gt_m, valid.flatten(1))
            pred_m, gt_m = pred_m[valid][None], gt_m[valid][None]
        return cls(pred_m.double().flatten(1), gt_m.double().flatten(1), None)

    @cached_property
    def difference_m(self) -> Tensor:
        return self.pred_m - self.gt_m

    @cached_property
    def absolute_m(self) -> Tensor:
        return self.difference_m.abs()

    @cached_property
    def squared_m2(self) -> Tensor:
        return self.difference_m.square()

    @cached_property
    def quotient(self) -> Tensor:
        return self.pred_m / self.gt_m

    @cached_property
    def log_difference(self) -> Tensor:
        """ln prediction - ln ground truth."""
        return self.quotient.log()

    @cached_property
    def log_squared(self) -> Tensor:
        return self.log_difference.square()

    @cached_property
    def ratio(self) -> Tensor:
        """The larger of prediction / ground truth and its inverse."""
        return torch.maximum(self.quotient, self.gt_m / self.pred_m)

    @cached_property
    def pixels(self) -> Tensor:
        """(b,) int64: how many are valid."""
        if self.valid is not None:
            return self.valid.sum(1)
        b, n = self.pred_m.shape
        return torch.full((b,), n, device=self.pred_m.device)


class Metric(Protocol):
    """One value per image, of sums over its valid pixels: so an image may be taken in parts."""

    def sums(self, errors: Errors) -> Tensor:
        """(b, k) float64 of a part."""

    def value(self, sums: Tensor, pixels: Tensor) -> Tensor:
        """(b,) float64 of all parts' sums (parts, b, k) and numbers of valid pixels (parts, b)."""


@dataclass(frozen=True)
class Mean:
    """The mean over the valid pixels of something, and what is made of it."""

    of: Callable[[Errors], Tensor]
    """(b, n) float64; 0 on invalid pixels."""
    then: Callable[[Tensor], Tensor] = lambda mean: mean

    def sums(self, errors: Errors) -> Tensor:
        return self.of(errors).sum(1, keepdim=True)

    def value(self, sums: Tensor, pixels: Tensor) -> Tensor:
        return self.then(sums[..., 0].sum(0) / pixels.sum(0))


@dataclass(frozen=True)
class StandardDeviation:
    """Over the valid pixels, dividing by their number, of something that is 0 on invalid ones.

    From squares about each part's own mean, joined as in Chan, Golub and LeVeque 1983 (The American
    Statistician 37): the textbook's mean(e^2) - mean(e)^2 can come out below 0.
    """

    of: Callable[[Errors], Tensor]
    then: Callable[[Tensor], Tensor] = lambda deviation: deviation

    def sums(self, errors: Errors) -> Tensor:
        values = self.of(errors)
        total = values.sum(1)
        centred = values - (total / errors.pixels.clamp(min=1))[:, None]
        if errors.valid is not None:
            centred = torch.where(errors.valid, centred, 0.0)
        return torch.stack((total, centred.square().sum(1)), 1)

    def value(self, sums: Tensor, pixels: Tensor) -> Tensor:
        total, squares = sums.unbind(-1)
        apart = total / pixels.clamp(min=1) - total.sum(0) / pixels.sum(0)
        squares = squares + pixels * apart.square()
        return self.then((squares.sum(0) / pixels.sum(0)).sqrt())


def _within(factor: float) -> Mean:
    """The share of pixels off by less than a factor: strictly, as in BTS and AdaBins."""

    def outside(errors: Errors) -> Tensor:
        # Written as float64: torch compares doubles into bools three times as slowly.
        return torch.lt(errors.ratio, factor, out=torch.empty_like(errors.ratio)).sub_(1)

    return Mean(outside, lambda mean: 1 + mean)


METRICS: dict[str, Metric] = {
    "rmse": Mean(lambda e: e.squared_m2, torch.sqrt),
    "abs_rel": Mean(lambda e: e.absolute_m / e.gt_m),
    "log10": Mean(lambda e: e.log_difference.abs(), lambda mean: mean / math.log(10)),
    "sq_rel": Mean(lambda e: e.squared_m2 / e.gt_m),
    "rmse_log": Mean(lambda e: e.log_squared, torch.sqrt),
    "silog": StandardDeviation(lambda e: e.log_difference, lambda deviation: 100 * deviation),
    "delta1": _within(1.25),
    "delta2": _within(1.25**2),
    "delta3": _within(1.25**3),
    "mae": Mean(lambda e: e.absolute_m),
}

AS_PUBLISHED: dict[str, Metric] = {
    # DenseDepth's code divides by the prediction, because its arguments are swapped.
    "abs_rel_as_published": Mean(lambda e: e.absolute_m / e.pred_m),
    # What monodepth's Make3D code calls log10 is the root of the mean square, not the mean.
    "log10_as_published": Mean(lambda e: e.log_squared, lambda mean: mean.sqrt() / math.log(10)),
}
