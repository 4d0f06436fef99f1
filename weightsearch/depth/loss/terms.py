"""The terms that a loss may have: each compares two maps where there is a measurement, only there.

A term takes `pred`, `true` (b, 1, h, w), `valid` of that shape (True = measured) and the range of
the values, and gives a scalar: float64 of float64 maps, else float32, under autocast too. None is
negative. Only pixels, pairs and windows that are wholly valid count: what stands in invalid pixels,
NaN and infinity included, changes neither value nor gradient; where none counts both are 0.
What the values are (metres, their inverse or logarithm) is decided in `weighted_sum.py`.
"""

from __future__ import annotations

from typing import Literal

from weightsearch.depth.loss import edge, pixelwise, ssim, surface
from weightsearch.depth.loss.masked import Term

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
}
"""What a term compares whose formula says it; the others compare what `data.target` says.

silog is a function of ln d. A surface is made of metres, and so is the 0.5 in Hu et al.'s
ln(|e| + 0.5).
"""
