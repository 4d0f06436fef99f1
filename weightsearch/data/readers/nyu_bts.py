"""NYU Depth v2 in the trees of BTS, which AdaBins, ZoeDepth and others share, with their lists.

`sync/<scene>/rgb_00045.jpg` and `sync_depth_00045.png` for training,
`official_splits/test/<kind of room>/...` of the same names for the 654 test frames. A line of
`nyudepthv2_{train,test}_files_with_gt.txt` is `/kitchen_0028b/rgb_00045.jpg
/kitchen_0028b/sync_depth_00045.png 518.8579`: the slash is the tree's root, the number a focal
length. Depth is a 16-bit PNG in millimetres as the sensor saw it, 0 where it saw nothing. Without
lists, all frames of the trees are taken.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from weightsearch.data.frames.source import Frame, FrameRef, Source, Split, resolve
from weightsearch.data.readers import folder_walk, frame_lists, picture_depth_pairs
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.study.spec_fields import Value

READER = "nyu_bts"
WHAT = "NYU in BTS's tree (sync/<scene>/rgb_*.jpg, official_splits/test)"
USUAL: dict[Split, tuple[str, ...]] = {
    "train": ("nyudepthv2_train_files_with_gt.txt",),
    "test": ("nyudepthv2_test_files_with_gt.txt",),
}
OPTIONS: dict[str, Value] = {
    "train_list": "",  # where it lies elsewhere than in the folder or in its train_test_inputs
    "test_list": "",
    "train_root": "sync",  # what the lists' paths are relative to
    "test_root": "official_splits/test",
}
ROOTS: dict[Split, str] = {"train": "train_root", "test": "test_root"}
PICTURE = re.compile(r"(?P<place>.*/)rgb_(?P<number>\d+)\.(jpg|png)")
DEPTH = re.compile(r"(?P<place>.*/)sync_depth_(?P<number>\d+)\.png")
MAX_DEPTH_M = 10.0


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The folder of both trees. Training frames are grouped by room, test frames in runs of 15
    neighbours of a kind of room."""
    chosen = resolve(READER, OPTIONS, options)
    root = picture_depth_pairs.at(path, READER, WHAT)
    listed = frame_lists.lying(root, USUAL, chosen)
    found: list[Pair] = []
    notes: list[str] = []
    warnings: list[str] = []
    for split, option in ROOTS.items():
        below = str(chosen[option]).strip("/")
        if split in listed:
            found += _pairs(split, below, frame_lists.frames(listed[split], warnings))
        elif (root / below).is_dir():
            found += _pairs(split, below, list(_walked(root / below)))
            notes.append(f"{split}: there is no list, so all frames below {below} are taken.")
    picture_depth_pairs.some(root, found, WHAT)
    store = archive_files.folder(root)
    layout = Layout(
        READER, found, store, store, chosen, "raw", MAX_DEPTH_M, tuple(notes), tuple(warnings)
    )
    return picture_depth_pairs.source(layout, lambda pair: _frame(store, pair))


def recognises(path: Path) -> bool:
    """Whether the trees or a list of theirs lie there."""
    names = [name for usual in USUAL.values() for name in usual]
    places = [path / part / name for part in ("", "train_test_inputs") for name in names]
    trees = (path / "sync", path / "official_splits" / "test")
    return any(place.is_file() for place in places) or any(tree.is_dir() for tree in trees)


def _pairs(split: Split, below: str, named: list[tuple[str, str]]) -> Iterator[Pair]:
    scenes = [PurePosixPath(rgb).parent.name for rgb, _ in named]
    groups = (
        [picture_depth_pairs.nyu_scene(scene) for scene in scenes]
        if split == "train"
        else picture_depth_pairs.by_neighbours(scenes, "test/")
    )
    for (rgb, depth), group in zip(named, groups, strict=True):
        name = f"{below}/{rgb}".lstrip("/")
        yield Pair(
            FrameRef(picture_depth_pairs.stem(name), group, split),
            name,
            f"{below}/{depth}".lstrip("/"),
        )


def _walked(tree: Path) -> Iterator[tuple[str, str]]:
    """RGB and depth of each frame below the tree, relative to it."""
    found: dict[str, dict[str, str]] = {"RGB picture": {}, "depth picture": {}}
    for name in folder_walk.names(tree, (".jpg", ".png")):
        for kind, law in zip(found, (PICTURE, DEPTH), strict=True):
            if match := law.fullmatch(name):
                found[kind][f"{match['place']}{match['number']}"] = name
    names = {kind: set(here) for kind, here in found.items()}
    for key in picture_depth_pairs.partners(tree, names, list(found)):
        yield found["RGB picture"][key], found["depth picture"][key]


def _frame(store: Files, pair: Pair) -> Frame:
    rgb = picture_depth_pairs.colours(store, pair.rgb)
    millimetres = picture_depth_pairs.grey16(store, pair.depth, "mm")
    picture_depth_pairs.of_one_size(rgb, millimetres, store.where(pair.depth))
    return picture_depth_pairs.frame(rgb, millimetres / np.float32(1000), MAX_DEPTH_M)
