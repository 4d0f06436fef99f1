"""NYU Depth v2 as sparse-to-dense and FastDepth pack it: one small HDF5 file a frame.

`nyudepthv2/train/<scene>/00001.h5` and `nyudepthv2/val/official/00001.h5`, each with `rgb`
(3, h, w) uint8 and `depth` (h, w) float in metres: axes in C order, unlike MATLAB's. Training depth
is what the sensor measured, projected; the 654 files of `val` are the official test frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path, PurePosixPath

import numpy as np

from weightsearch.data.frames.source import Frame, FrameRef, Source, Split, resolve
from weightsearch.data.readers import folder_walk, picture_depth_pairs
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files, hdf5_files
from weightsearch.errors import DataError
from weightsearch.study.spec_fields import Value

READER = "s2d_h5"
WHAT = "nyudepthv2 (train/<scene>/*.h5 and val/official/*.h5)"
OPTIONS: dict[str, Value] = {}
SPLITS: dict[str, Split] = {"train": "train", "val": "test"}
MAX_DEPTH_M = 10.0
IMPLAUSIBLE_M = 100.0
"""No indoor depth in metres comes near; millimetres all lie above."""


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The tree at `path`, or in its folder `nyudepthv2`.

    Training frames are grouped by room (`kitchen_0028a` and `kitchen_0028b` are one), test frames
    in runs of 15 neighbours.
    """
    chosen = resolve(READER, OPTIONS, options)
    root = _root(picture_depth_pairs.at(path, READER, WHAT))
    found = [name for name in folder_walk.names(root, (".h5",)) if name.split("/")[0] in SPLITS]
    tests = [name for name in found if name.startswith("val/")]
    runs = dict(zip(tests, picture_depth_pairs.by_neighbours("test" for _ in tests), strict=True))
    listed = [
        Pair(
            FrameRef(
                picture_depth_pairs.stem(name),
                runs.get(name) or picture_depth_pairs.nyu_scene(PurePosixPath(name).parent.name),
                SPLITS[name.split("/")[0]],
            ),
            name,
            name,
        )
        for name in found
    ]
    picture_depth_pairs.some(root, listed, WHAT)
    store = archive_files.folder(root)
    layout = Layout(READER, listed, store, store, chosen, "raw", MAX_DEPTH_M)
    return picture_depth_pairs.source(layout, lambda pair: _frame(root / pair.depth))


def recognises(path: Path) -> bool:
    """Whether scenes of .h5 files lie below `train` or `val`."""
    root = _root(path)
    return any(next((root / split).glob("*/*.h5"), None) is not None for split in SPLITS)


def _root(path: Path) -> Path:
    return path / "nyudepthv2" if (path / "nyudepthv2").is_dir() else path


def _frame(path: Path) -> Frame:
    with closing(hdf5_files.open_file(path, "must be an HDF5 file with 'rgb' and 'depth'")) as file:
        rgb = hdf5_files.dataset(file, "rgb", "u", 3)
        depth = hdf5_files.dataset(file, "depth", "f", 2)
        if rgb.dtype != np.uint8 or rgb.shape != (3, *depth.shape):
            raise DataError(
                f"{path}: 'rgb' must be uint8 (3, h, w) and 'depth' (h, w),"
                f" but they are {rgb.dtype} {rgb.shape} and {depth.shape}."
            )
        image = hdf5_files.read(rgb, (), f"{path}: 'rgb'")
        depth_m = hdf5_files.read(depth, (), f"{path}: 'depth'").astype(np.float32)
    farthest = depth_m[np.isfinite(depth_m)].max(initial=0)
    if farthest > IMPLAUSIBLE_M:
        raise DataError(
            f"{path}: 'depth' must be in metres, but reaches {farthest:.0f}, as millimetres do;"
            " divide it by 1000."
        )
    return picture_depth_pairs.frame(
        np.ascontiguousarray(image.transpose(1, 2, 0)), depth_m, MAX_DEPTH_M
    )
