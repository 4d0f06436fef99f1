"""SUN RGB-D: 10,335 pictures of rooms from four sensors (Song et al., CVPR 2015).

`SUNRGBD/{kv1,kv2,realsense,xtion}/.../FRAME/image/*.jpg` with `depth_bfx/*.png` (holes filled by
the data set's authors) or `depth/*.png` (as measured). Depth is a 16-bit PNG whose bits are turned
by three: millimetres = (v >> 3) | (v << 13), as the toolbox of SUN3D reads it; the toolbox counts
nothing beyond 8 m. `kv1/NYUdata` repeats NYU's labelled frames, test frames among them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weightsearch.data.frames.source import Frame, FrameRef, GroundTruth, Source, Split, resolve
from weightsearch.data.readers import folder_walk, frame_lists, picture_depth_pairs
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.errors import ConfigError, DataError, others
from weightsearch.study.spec_fields import Value

READER = "sunrgbd"
WHAT = "SUN RGB-D (kv1, kv2, realsense, xtion; FRAME/image and FRAME/depth_bfx)"
OPTIONS: dict[str, Value] = {
    "depth": "depth_bfx",  # filled; or "depth": as measured
    "test_list": "",  # text with a frame's folder a line; the other frames then train
}
SENSORS = ("kv1", "kv2", "realsense", "xtion")
DEPTHS = ("depth_bfx", "depth")
FILE = re.compile(
    r"(?P<frame>(kv1|kv2|realsense|xtion)/.+)/(?P<kind>image|depth|depth_bfx)/[^/]+\.(jpg|png)"
)
SCENE_LEVEL = 4
"""Parts of the path of a frame that has a scene: xtion/sun3ddata/SCENE/FRAME, or more."""
MAX_DEPTH_M = 8.0


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The folder of the sensors, or the one above it. Frames are grouped by scene where the path
    names one, else in runs of 15 neighbours; without `test_list` all are test frames."""
    chosen = resolve(READER, OPTIONS, options)
    kind = str(chosen["depth"])
    if kind not in DEPTHS:
        raise ConfigError(
            f"option 'depth' of reader '{READER}' must be 'depth_bfx' or 'depth', but got {kind!r}."
        )
    root = _root(picture_depth_pairs.at(path, READER, WHAT))
    found: dict[str, dict[str, str]] = {"image": {}, kind: {}}
    for name in folder_walk.names(root, (".jpg", ".png")):
        if (match := FILE.fullmatch(name)) and match["kind"] in found:
            found[match["kind"]].setdefault(match["frame"], name)
    names = picture_depth_pairs.partners(
        root, {k: set(here) for k, here in found.items()}, ["image", kind]
    )
    warnings: list[str] = []
    tests = _tests(root, str(chosen["test_list"]), names, warnings)
    listed = [
        Pair(FrameRef(name, group, _split(name, tests)), found["image"][name], found[kind][name])
        for name, group in zip(names, _groups(names), strict=True)
    ]
    picture_depth_pairs.some(root, listed, WHAT)
    store = archive_files.folder(root)
    ground_truth: GroundTruth = "filled" if kind == "depth_bfx" else "raw"
    layout = Layout(
        READER, listed, store, store, chosen, ground_truth, MAX_DEPTH_M, (), tuple(warnings)
    )
    return picture_depth_pairs.source(layout, lambda pair: _frame(store, pair))


def recognises(path: Path) -> bool:
    """Whether a sensor's folder lies there."""
    return any((_root(path) / sensor).is_dir() for sensor in SENSORS)


def millimetres(values: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """What the turned bits stand for."""
    return (values >> np.uint16(3)) | (values << np.uint16(13))


def _root(path: Path) -> Path:
    return path / "SUNRGBD" if (path / "SUNRGBD").is_dir() else path


def _groups(names: list[str]) -> list[str]:
    parents = [name.rpartition("/")[0] for name in names]
    runs = picture_depth_pairs.by_neighbours(parents)
    return [
        parent if name.count("/") >= SCENE_LEVEL - 1 else run
        for name, parent, run in zip(names, parents, runs, strict=True)
    ]


def _tests(root: Path, given: str, names: list[str], warnings: list[str]) -> set[str] | None:
    """The frames of the list; the toolbox's own paths start with .../SUNRGBD/."""
    if not given:
        return None
    path = root / given
    rows = frame_lists.rows(path, warnings)
    listed = {row[0].rpartition("SUNRGBD/")[2].strip("/") for _, row in rows}
    if unknown := sorted(ascii(name[:200]) for name in listed - set(names)):
        raise DataError(
            f"{path}: must name frames of {root}, but {unknown[0]} is none"
            f" (missing: {len(unknown)} of {len(listed)}{others(unknown)})."
        )
    return listed


def _split(name: str, tests: set[str] | None) -> Split:
    return "test" if tests is None or name in tests else "train"


def _frame(store: Files, pair: Pair) -> Frame:
    rgb = picture_depth_pairs.colours(store, pair.rgb)
    values = picture_depth_pairs.grey16(store, pair.depth, "mm, its bits turned by 3")
    picture_depth_pairs.of_one_size(rgb, values, store.where(pair.depth))
    return picture_depth_pairs.frame(rgb, millimetres(values) / np.float32(1000), MAX_DEPTH_M)
