"""Whether depth that is called metres can be: judged from its middle and from its steps.

What users get wrong most is the unit. A wrong one moves the median of a scene by a power of ten or
so, out of where depths of rooms (some 2 to 3 m) or streets (some 10 m) lie; depth of 8 bits shows
as at most 256 equally spaced levels, whose spacing tells what 255 was taken for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Metres = npt.NDArray[np.float32]

FARTHEST_MEDIAN_M = 80.0
NEAREST_MEDIAN_M = 0.3
MILLIMETRES_FROM = 600.0
"""A median above it is more likely one of millimetres (0.6 m) than of centimetres (6 m)."""
CENTIMETRES_FROM = 0.03
"""Of medians that are too small: centimetres taken for millimetres lie above."""
LEAST_LEVELS = 16
MOST_LEVELS = 256
UNEVEN = 0.06
"""Of a step: what rounding to millimetres moves the steps of DenseDepth's 8 bits by is 0.013."""
FULL_SCALE_M = (4.0, 100.0)
"""What 255 can stand for in depth of 8 bits: NYU has 10 m."""
CENTIMETRE_SCALE_M = (2.5, 2.6)


@dataclass(frozen=True)
class Steps:
    """Equally spaced levels, few enough for 8 bits."""

    levels: int
    step_m: float

    @property
    def full_scale_m(self) -> float:
        """What 255 stands for."""
        return 255 * self.step_m


def median(depth_m: Metres) -> str | None:
    """A warning where the median of valid depths cannot be one of metres."""
    if not depth_m.size:
        return None
    middle = float(np.median(depth_m))
    said = f"the median depth is {middle:.4g} m"
    if middle > MILLIMETRES_FROM:
        return (
            f"{said}: the values look like millimetres read as metres (by 1000 it is"
            f" {middle / 1000:.3g} m), or like KITTI's 256 a metre ({middle / 256:.3g} m)."
        )
    if middle > FARTHEST_MEDIAN_M:
        return (
            f"{said}: the values look like centimetres read as metres (by 100 it is"
            f" {middle / 100:.3g} m)."
        )
    if middle < CENTIMETRES_FROM:
        return (
            f"{said}: the values look like metres read as millimetres (times 1000 it is"
            f" {middle * 1000:.3g} m)."
        )
    if middle < NEAREST_MEDIAN_M:
        return (
            f"{said}: the values look like centimetres read as millimetres (times 10 it is"
            f" {middle * 10:.3g} m), unless all scenes are that near."
        )
    return None


def steps(depth_m: Metres) -> Steps | None:
    """The steps of depth that has no more levels than 8 bits have; None where it has more, or too
    few to tell."""
    levels = np.unique(depth_m.astype(np.float64))
    if not LEAST_LEVELS <= levels.size <= MOST_LEVELS:
        return None
    gaps = np.diff(levels)
    counts = np.rint(gaps / gaps.min())
    step = float(gaps.sum() / counts.sum())
    even = np.abs(gaps / step - counts).max() < UNEVEN
    within = levels[-1] <= (MOST_LEVELS + 1) * step
    return Steps(levels.size, step) if even and within else None


def coarse(depth_m: Metres, split: str) -> Iterator[tuple[bool, str]]:
    """What to say of a split's depth where it has the steps of 8 bits; True for a warning."""
    found = steps(depth_m)
    if found is None:
        return
    said = (
        f"{split}: depth has {found.levels} levels {1000 * found.step_m:.4g} mm apart, as 8-bit"
        f" pictures have; 255 stands for {found.full_scale_m:.4g} m"
    )
    low, high = CENTIMETRE_SCALE_M
    if low <= found.full_scale_m <= high:
        yield (
            True,
            f"{said}: it was read as centimetres. In DenseDepth's pictures 255 is 10 m"
            " (25.5 a metre).",
        )
    elif not FULL_SCALE_M[0] <= found.full_scale_m <= FULL_SCALE_M[1]:
        yield True, f"{said}, which is no plausible range: check its scale."
    else:
        yield False, f"{said}. Edge and gradient terms see these steps."
