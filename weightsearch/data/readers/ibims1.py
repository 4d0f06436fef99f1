"""iBims-1: 100 pictures of rooms with the depth of a laser scanner, for evaluation only.

`imagelist.txt` names them; `rgb/NAME.png`, `depth/NAME.png` (16 bits, metres = value * 50 / 65535),
`mask_invalid/NAME.png` and `mask_transp/NAME.png`, which are 0 where depth is not measured, or of
something transparent (Koch et al., ECCV workshops 2018; ZoeDepth's loader reads them so).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from weightsearch.data.frames.source import Frame, FrameRef, Source, resolve
from weightsearch.data.readers import frame_lists, picture_depth_pairs
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.errors import DataError, others
from weightsearch.study.spec_fields import Value

READER = "ibims1"
WHAT = "iBims-1 (imagelist.txt, rgb, depth, mask_invalid, mask_transp)"
OPTIONS: dict[str, Value] = {}
MASKS = ("mask_invalid", "mask_transp")
MODES = ("1", "L", "P", "I;16", "I")
MAX_DEPTH_M = 50.0
STEPS = 65535


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The folder of the list; all frames are test frames, grouped by kind of room."""
    chosen = resolve(READER, OPTIONS, options)
    root = picture_depth_pairs.at(path, READER, WHAT)
    found = []
    warnings: list[str] = []
    wrong: list[str] = []
    for number, (name, *more) in frame_lists.rows(root / "imagelist.txt", warnings):
        if more or "/" in name or not archive_files.inside(name):
            wrong.append(f"line {number} is {' '.join((name, *more))[:200]!r}")
        masks = tuple(f"{mask}/{name}.png" for mask in MASKS)
        ref = FrameRef(name, re.sub(r"_?\d+$", "", name) or name, "test")
        found.append(Pair(ref, f"rgb/{name}.png", f"depth/{name}.png", masks))
    if wrong:
        raise DataError(
            f"{root / 'imagelist.txt'}: each line must be the name of a picture, but {wrong[0]}"
            f"{others(wrong)} ({len(wrong)} lines)."
        )
    store = archive_files.folder(root)
    layout = Layout(READER, found, store, store, chosen, "raw", MAX_DEPTH_M, (), tuple(warnings))
    return picture_depth_pairs.source(layout, lambda pair: _frame(store, pair))


def recognises(path: Path) -> bool:
    """Whether the list and the masks lie there."""
    return (path / "imagelist.txt").is_file() and (path / MASKS[0]).is_dir()


def _frame(store: Files, pair: Pair) -> Frame:
    rgb = picture_depth_pairs.colours(store, pair.rgb)
    steps = picture_depth_pairs.grey16(store, pair.depth, "65535 = 50 m")
    measured = np.ones(steps.shape, dtype=np.bool_)
    picture_depth_pairs.of_one_size(rgb, steps, store.where(pair.depth))
    for name in pair.masks:
        mask = picture_depth_pairs.picture(store, name, MODES, "a grey mask", ("PNG",))
        picture_depth_pairs.of_one_size(rgb, mask, store.where(name))
        measured &= mask != 0
    depth_m = steps * np.float32(MAX_DEPTH_M / STEPS)
    return picture_depth_pairs.frame(
        rgb, np.minimum(depth_m, np.float32(MAX_DEPTH_M)), MAX_DEPTH_M, measured
    )
