"""The names that a study file may use, known without importing torch; tests hold them to the code.

Each tuple repeats the keys of a dict elsewhere (READERS, DECODERS, ...), because a study is checked
by processes that must not pay for importing those.
"""

from __future__ import annotations

from collections.abc import Mapping

from weightsearch.errors import ConfigError, did_you_mean

NAMES = {
    "reader": (
        "nyu_labeled",
        "nyu_csv",
        "nyu_bts",
        "s2d_h5",
        "kitti_eigen",
        "make3d",
        "ibims1",
        "diode",
        "sunrgbd",
        "folder",
        "synthetic",
    ),
    "decoder": (
        *("densedepth", "densedepth_norm", "densedepth_residual"),
        *("unet", "unet_attention", "fpn", "deeplabv3plus", "dpt", "nn"),
    ),
    "loss term": (
        *("mae", "edge", "ssim"),
        *("berhu", "silog", "normal", "gradient", "log_l1", "sobel_edge", "smoothness"),
    ),
    "weighting": ("uncertainty", "cov", "dwa", "random", "geometric", "warm-up"),
    "protocol": (
        "bts",
        "zoe",
        "densedepth",
        "s2d",
        "full",
        "kitti_eigen_garg",
        "kitti_eigen_garg_kb",
        "make3d_c1",
    ),
    "sampler": ("grid", "random", "qmc", "tpe", "gp", "cmaes", "mixture"),
}

CHOOSING = ("tpe", "gp", "cmaes", "mixture")
"""Samplers that choose the weights themselves: the keys of `samplers.ADAPTIVE`."""

FARTHEST_M = {
    "nyu_labeled": 10.0,
    "nyu_csv": 10.0,
    "nyu_bts": 10.0,
    "s2d_h5": 10.0,
    "kitti_eigen": 80.0,
    "make3d": 80.0,
    "ibims1": 50.0,
    "diode": 80.0,
    "sunrgbd": 8.0,
    "folder": 10.0,
    "synthetic": 10.0,
}
"""The range that each reader promises: what `max_depth_m` is where a study does not say."""
INDOORS_M = 50.0
"""Of DIODE's laser scanner, where only its rooms are asked for."""


def farthest_m(reader: str, options: Mapping[str, object]) -> float:
    """How far depth reaches that this reader gives under these options, in metres."""
    given = options.get("max_m")
    if reader in ("diode", "folder") and isinstance(given, int | float) and given > 0:
        return float(given)
    if reader == "diode" and options.get("place") == "indoors":
        return INDOORS_M
    return FARTHEST_M.get(reader, 10.0)


def check(kind: str, name: str) -> None:
    """Raises ConfigError, with the nearest known name, unless `name` is one of its kind."""
    if name not in NAMES[kind]:
        raise ConfigError(f"unknown {kind} '{name}'; {did_you_mean(name, NAMES[kind])}")
