"""KITTI: the raw tree with annotated or raw depth, and the lists of the Eigen split.

A line of `eigen_{train,test}_files_with_gt.txt` is
`2011_09_26/2011_09_26_drive_0002_sync/image_02/data/0000000069.png
2011_09_26_drive_0002_sync/proj_depth/groundtruth/image_02/0000000069.png 721.5377`; of the 697 test
lines 45 have `None` for depth, and 652 are evaluated. Depth is a 16-bit PNG: metres = value / 256,
0 where nothing was measured. `proj_depth/groundtruth` is the annotated depth (laser scans joined
and cleaned), `proj_depth/velodyne_raw` a single scan. Without lists, the left pictures that have
depth are taken. Sizes differ between days.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from weightsearch.data.frames.source import Frame, FrameRef, Source, Split, resolve
from weightsearch.data.readers import folder_walk, frame_lists, picture_depth_pairs
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.errors import ConfigError, DataError
from weightsearch.study.spec_fields import Value

READER = "kitti_eigen"
WHAT = "KITTI (2011_09_26/2011_09_26_drive_0001_sync/image_02, .../proj_depth)"
USUAL: dict[Split, tuple[str, ...]] = {
    "train": ("eigen_train_files_with_gt.txt", "kitti_eigen_train_files_with_gt.txt"),
    "test": ("eigen_test_files_with_gt.txt", "kitti_eigen_test_files_with_gt.txt"),
}
OPTIONS: dict[str, Value] = {
    "depth": "annotated",  # or "raw": a single laser scan
    "train_list": "",  # where it lies elsewhere than in the folder or in its train_test_inputs
    "test_list": "",
    "rgb_root": "",  # of the raw recordings, where it is not the folder itself
    "depth_root": "",  # of the depth pictures, likewise; relative or absolute
    "split": "test",  # what frames without a list are, where their path has no train/ or val/
}
DEPTHS = {"annotated": "groundtruth", "raw": "velodyne_raw"}
PARTS: dict[str, Split] = {"train": "train", "val": "test"}
"""The official annotated depth lies in these two."""
PLACES = ("", "train/", "val/", "data_depth_annotated/train/", "data_depth_annotated/val/")
DRIVE = re.compile(r"\d{4}_\d\d_\d\d_drive_\d{4}_sync")
DATE = re.compile(r"\d{4}_\d\d_\d\d")
PICTURE = re.compile(
    rf"(.*/)?{DATE.pattern}/(?P<drive>{DRIVE.pattern})/image_02/data/(?P<number>\d+)\.(png|jpg)"
)
DEPTH = re.compile(
    rf"(.*/)?(?P<drive>{DRIVE.pattern})/proj_depth/(?P<kind>groundtruth|velodyne_raw)"
    r"/image_02/(?P<number>\d+)\.png"
)
STEPS_PER_M = 256.0
MAX_DEPTH_M = 80.0
"""What the field trains and evaluates to; the few measurements beyond it are not valid."""


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The folder of both trees. Frames are grouped by drive, and named by their picture."""
    chosen = resolve(READER, OPTIONS, options)
    for option, known in (("depth", tuple(DEPTHS)), ("split", ("train", "test"))):
        if chosen[option] not in known:
            raise ConfigError(
                f"option '{option}' of reader '{READER}' must be '{known[0]}' or '{known[1]}',"
                f" but got {chosen[option]!r}."
            )
    root = picture_depth_pairs.at(path, READER, WHAT)
    rgb = archive_files.folder(root / str(chosen["rgb_root"]))
    depth = archive_files.folder(root / str(chosen["depth_root"]))
    found: list[Pair] = []
    notes: list[str] = []
    warnings: list[str] = []
    listed = frame_lists.lying(root, USUAL, chosen)
    for split, place in listed.items():
        found += _listed(place, split, depth, str(chosen["depth"]), notes, warnings)
    if not listed:
        found += _walked(root, chosen, notes)
    picture_depth_pairs.some(root, found, WHAT)
    layout = Layout(
        READER, found, rgb, depth, chosen, "raw", MAX_DEPTH_M, tuple(notes), tuple(warnings)
    )
    return picture_depth_pairs.source(layout, lambda pair: _frame(rgb, depth, pair))


def recognises(path: Path) -> bool:
    """Whether a day's or a drive's folder, or a list of the Eigen split, lies there."""
    if not path.is_dir():
        return False
    names = {name for usual in USUAL.values() for name in usual}
    inputs = path / "train_test_inputs"
    here = [*path.iterdir(), *(inputs.iterdir() if inputs.is_dir() else ())]
    return any(
        place.name in names or DATE.fullmatch(place.name) or DRIVE.fullmatch(place.name)
        for place in here
    )


def _listed(
    path: Path, split: Split, depth: Files, kind: str, notes: list[str], warnings: list[str]
) -> Iterator[Pair]:
    without = 0
    for rgb, name in frame_lists.frames(path, warnings):
        if name == "None":
            without += 1
            continue
        if kind == "raw":
            name = name.replace("/groundtruth/", "/velodyne_raw/")
        here = [f"{place}{name}" for place in PLACES if depth.facts(f"{place}{name}")]
        drive = DRIVE.search(rgb)
        if drive is None:
            raise DataError(f"{path}: each line must name a drive, but {rgb!r} does not.")
        yield Pair(
            FrameRef(picture_depth_pairs.stem(rgb), drive[0], split), rgb, (here or [name])[0]
        )
    if without:
        notes.append(f"{path.name}: {without} lines without depth ('None') are left out.")


def _walked(root: Path, chosen: Mapping[str, Value], notes: list[str]) -> Iterator[Pair]:
    """The left pictures that have depth; the annotated depth lacks the ends of each drive."""
    kind = DEPTHS[str(chosen["depth"])]
    depths = {
        (match["drive"], match["number"]): name
        for name in folder_walk.names(root / str(chosen["depth_root"]), (".png",))
        if (match := DEPTH.fullmatch(name)) and match["kind"] == kind
    }
    without = 0
    for name in folder_walk.names(root / str(chosen["rgb_root"]), (".png", ".jpg")):
        if not (match := PICTURE.fullmatch(name)):
            continue
        depth = depths.pop((match["drive"], match["number"]), None)
        if depth is None:
            without += 1
            continue
        parts = [PARTS[part] for part in depth.split("/") if part in PARTS]
        split: Split = parts[0] if parts else "train" if chosen["split"] == "train" else "test"
        yield Pair(FrameRef(picture_depth_pairs.stem(name), match["drive"], split), name, depth)
    if without:
        notes.append(f"{without} pictures of the left camera have no depth and are left out.")
    if depths:
        notes.append(f"{len(depths)} depth pictures have no RGB picture and are left out.")


def _frame(rgb: Files, depth: Files, pair: Pair) -> Frame:
    image = picture_depth_pairs.colours(rgb, pair.rgb)
    steps = picture_depth_pairs.grey16(depth, pair.depth, "256 a metre")
    picture_depth_pairs.of_one_size(image, steps, depth.where(pair.depth))
    return picture_depth_pairs.frame(image, steps / np.float32(STEPS_PER_M), MAX_DEPTH_M)
