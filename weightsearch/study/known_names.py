"""The names that a study file may use, known without importing torch; tests hold them to the code.

Each tuple repeats the keys of a dict elsewhere (READERS, DECODERS, ...), because a study is checked
by processes that must not pay for importing those.
"""

from __future__ import annotations

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
    "sampler": ("grid", "random", "qmc", "tpe"),
}


def check(kind: str, name: str) -> None:
    """Raises ConfigError, with the nearest known name, unless `name` is one of its kind."""
    if name not in NAMES[kind]:
        raise ConfigError(f"unknown {kind} '{name}'; {did_you_mean(name, NAMES[kind])}")
