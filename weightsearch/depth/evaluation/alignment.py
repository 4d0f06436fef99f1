"""Scale alignment: what is made of a prediction before it is judged, where scale is not asked for.

Numbers after it say nothing about metres, so they are always labelled, and stand beside the raw
ones where the prediction has metres at all.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

Alignment = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Prediction and ground truth (n,) of one image's counted pixels to a factor and an offset."""


def _median(pred: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
    """monodepth2's: the ratio of the medians. A prediction whose median is 0 is left as it is."""
    middle = torch.quantile(pred, 0.5)
    factor = torch.where(middle > 0, torch.quantile(gt, 0.5) / middle, 1.0)
    return factor, torch.zeros_like(factor)


def _scale_shift(pred: Tensor, gt: Tensor) -> tuple[Tensor, Tensor]:
    """Scale and shift that minimise the squared error; a flat prediction becomes the mean.

    Of depth the error is in metres; of disparity it is in 1/m, as in MiDaS (arXiv 1907.01341).
    """
    centred = pred - pred.mean()
    # Not by the spread, which rounding keeps from 0.
    flat = pred.max() == pred.min()
    factor = torch.where(flat, 0.0, (centred * gt).sum() / (centred**2).sum())
    return factor, gt.mean() - factor * pred.mean()


ALIGNMENTS: dict[str, Alignment | None] = {
    "none": None,
    "median": _median,
    "scale-shift": _scale_shift,
}


def align(
    how: str, pred: Tensor, gt_m: Tensor, counts: Tensor, of_disparity: bool = False
) -> Tensor:
    """The prediction (b, h, w) with each image's scale fitted to its counted pixels: metres in
    float64.

    A prediction `of_disparity` is fitted to 1 / gt_m and turned into metres afterwards; what is not
    above 0 then lies infinitely far.
    """
    fitted = ALIGNMENTS[how]
    if fitted is None and not of_disparity:
        return pred
    aligned = pred.double()
    truth = gt_m.double()
    for i, counted_here in enumerate(counts):
        if fitted is not None and counted_here.any():
            gt = truth[i][counted_here]
            factor, offset = fitted(aligned[i][counted_here], 1 / gt if of_disparity else gt)
            aligned[i] = factor * aligned[i] + offset
    if of_disparity:
        return torch.where(aligned > 0, 1 / aligned, torch.inf)
    return aligned
