"""The terms that a loss may have: each compares two maps where there is a measurement, only there.

A term takes `pred`, `true` (b, 1, h, w), `valid` of that shape (True = measured) and the range of
the values, and gives a scalar: float64 of float64 maps, else float32, under autocast too. None is
negative. Only what is valid counts: pixels, pairs and small windows that wholly are, and SSIM's
windows by what of them is. What stands in invalid pixels, NaN and infinity included, changes
neither value nor gradient; where nothing counts both are 0, and `share` says how much does. What
the values are (metres, their inverse or logarithm) is decided in `weighted_sum.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from weightsearch.depth.loss import edge, pixelwise, ssim, surface
from weightsearch.depth.loss.masked import Mask, Scalar, Term, fully_valid

LOSS_TERMS: dict[str, Term] = {
    "mae": pixelwise.mae,
    "edge": edge.edge,
    "ssim": ssim.ssim,
    "berhu": pixelwise.berhu,
    "silog": pixelwise.silog,
    "normal": surface.normal,
    "gradient": edge.gradient,
    "log_l1": pixelwise.log_l1,
    "sobel_edge": edge.sobel_edge,
    "smoothness": surface.smoothness,
}

COMPARES: dict[str, Literal["depth", "log"]] = {
    "silog": "log",
    "normal": "depth",
    "log_l1": "depth",
    "smoothness": "log",
}
"""What a term compares whose formula says it; the others compare what `data.target` says.

silog is a function of ln d, and an exponent has no unit. A surface is made of metres, and so is
the 0.5 in Hu et al.'s ln(|e| + 0.5).
"""


class Counted(NamedTuple):
    """What a term compares."""

    what: str
    of: Callable[[Mask], Iterable[Tensor]]
    """Whether each of them counts, by the mask."""


SMALL_WINDOWS = Counted("windows of 3x3 pixels", lambda valid: [fully_valid(valid, 3)])
PAIRS = Counted("pairs of neighbours", edge.pairs)
COUNTED = {
    "edge": PAIRS,
    "ssim": Counted("windows", lambda valid: [ssim.windows(valid)]),
    "normal": SMALL_WINDOWS,
    "gradient": Counted("pairs of neighbours", edge.pairs_of_all_scales),
    "sobel_edge": SMALL_WINDOWS,
    "smoothness": PAIRS,
}
"""Of terms that compare more than single pixels."""


def counted(term: str) -> Counted:
    return COUNTED.get(term, Counted("pixels", lambda valid: [valid]))


def share(term: str, valid: Mask) -> Scalar:
    """The share of the pixels, pairs or windows of the term that count, in 0..1.

    Raises ConfigError for maps smaller than a window of SSIM.
    """
    parts = list(counted(term).of(valid))
    total = sum(part.numel() for part in parts)
    return torch.stack([part.sum() for part in parts]).sum() / max(1, total)
