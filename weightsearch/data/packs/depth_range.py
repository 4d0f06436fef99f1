"""How much of the ground truth a range leaves out: over a twentieth is never left out silently.

The range of a reader applies when a pack is made, that of a study (`min_depth_m`, `max_depth_m`)
when training reads the pack. A range of 10 m leaves out 26 % of what was measured in ten frames of
KITTI (20 to 43 % of each), and 61 % of four of Make3D.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from weightsearch.data.packs.layout import Pack
from weightsearch.study.data_spec import DataSpec

MUCH = 0.05
"""Share of the measured pixels."""
SAMPLED = 16
"""Frames that are looked at, evenly spread."""


def told(pack: Pack, frames: Sequence[int], data: DataSpec) -> Iterator[str]:
    """A line on each range that leaves out more than a twentieth of what was measured in the pack's
    frames `frames`; of the study's range as some of them show it. Raises DataError."""
    if pack.left_out > MUCH:
        yield beyond_reader(pack.left_out, pack.reader)
    share = outside(pack, frames, data.min_depth_m, data.max_depth_m)
    if share > MUCH:
        yield (
            f"{100 * share:.3g} % of the ground truth lies outside {data.min_depth_m:g} to"
            f" {data.max_depth_m:g} m and is not trained on: check data.min_depth_m and"
            f" data.max_depth_m (the range of {pack.reader} is {pack.max_depth_m:g} m)."
        )


def beyond_reader(share: float, reader: str) -> str:
    """The line on a reader's range that leaves out this share."""
    if reader == "folder":
        return (
            f"{100 * share:.3g} % of the measured depth lies outside min_m..max_m"
            " and is not used: check depth_scale and the range."
        )
    return f"{100 * share:.3g} % of the measured depth lies outside the range of {reader}."


def outside(pack: Pack, frames: Sequence[int], near_m: float, far_m: float) -> float:
    """The share of the valid pixels of some of the frames that do not lie in near_m..far_m; 0 where
    none is valid."""
    count = min(SAMPLED, len(frames))
    valid = left_out = 0
    for k in range(count):
        frame = pack.frame(frames[k * len(frames) // count])
        depths_m = frame.depth_m[frame.valid]
        valid += depths_m.size
        left_out += int(np.count_nonzero((depths_m < near_m) | (depths_m > far_m)))
    return left_out / max(1, valid)
