"""Depth as a cloud of coloured points: a binary PLY file, in metres, as the camera sees it.

The pinhole camera: x = (u - cx) z / fx, y = (v - cy) z / fy, with u to the right and v down in
pixels from the centre of the upper left one, and z = depth, which is along the optical axis (as
NYU's and KITTI's ground truth is; Hartley and Zisserman, Multiple View Geometry, 2003, chapter 6).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from weightsearch.depth.files.depth_maps import Depth, write_bytes
from weightsearch.depth.files.input_pictures import Rgb
from weightsearch.errors import ConfigError

FIELD_OF_VIEW_DEG = 60.0
"""Across the width, of a camera that nobody described: phones and webcams have 55 to 75, NYU's
Kinect 63."""

POINT = np.dtype(
    [("x", "<f4"), ("y", "<f4"), ("z", "<f4"), ("red", "u1"), ("green", "u1"), ("blue", "u1")]
)


@dataclass(frozen=True)
class Camera:
    """Intrinsics in pixels of the upright picture; what is None is assumed.

    fx: `FIELD_OF_VIEW_DEG` across the width; fy: fx; cx, cy: the middle.
    """

    fx: float | None = None
    fy: float | None = None
    cx: float | None = None
    cy: float | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError where they are no camera's."""
        if self.fy is not None and self.fx is None:
            raise ConfigError("--fy needs --fx beside it; without both they are assumed.")
        for name in ("fx", "fy"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ConfigError(f"--{name} must be above 0 pixels, but got {value:g}.")

    def resolved(self, height: int, width: int) -> tuple[float, float, float, float]:
        """fx, fy, cx, cy for a picture of this size."""
        fx = self.fx or width / (2 * math.tan(math.radians(FIELD_OF_VIEW_DEG / 2)))
        cx = (width - 1) / 2 if self.cx is None else self.cx
        cy = (height - 1) / 2 if self.cy is None else self.cy
        return fx, self.fy or fx, cx, cy

    def told(self, height: int, width: int) -> str:
        """The camera in one line, with what was assumed."""
        values = zip(("fx", "fy", "cx", "cy"), self.resolved(height, width), strict=True)
        shown = ", ".join(
            f"{name} {value:.2f}{'' if getattr(self, name) is not None else ' (assumed)'}"
            for name, value in values
        )
        if self.fx is None:
            shown += f": {FIELD_OF_VIEW_DEG:g} degrees across the width"
        return shown


def write_ply(path: Path, depth_m: Depth, rgb: Rgb, camera: Camera) -> None:
    """One point per pixel, in rows from the upper left, with the pixel's colour.

    x to the right, y down, z away from the camera. Raises DataError where it cannot be written.
    """
    height, width = depth_m.shape
    fx, fy, cx, cy = camera.resolved(height, width)
    points = np.empty((height, width), dtype=POINT)
    points["x"] = (np.arange(width) - cx) / fx * depth_m
    points["y"] = (np.arange(height)[:, None] - cy) / fy * depth_m
    points["z"] = depth_m
    for channel, name in enumerate(("red", "green", "blue")):
        points[name] = rgb[..., channel]
    kinds = {"<f4": "float", "|u1": "uchar"}
    lines = [
        "ply",
        "format binary_little_endian 1.0",
        "comment metres; x right, y down, z forward",
        f"comment camera in pixels: {camera.told(height, width)}",
        f"element vertex {points.size}",
        *(f"property {kinds[POINT[name].str]} {name}" for name in POINT.names or ()),
        "end_header\n",
    ]
    write_bytes(path, "\n".join(lines).encode() + points.tobytes())
