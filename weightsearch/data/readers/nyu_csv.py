"""NYU Depth v2 as DenseDepth packs it: `nyu_data.zip`, or the folder that it unpacks to.

`data/nyu2_train.csv` and `data/nyu2_test.csv` have no header; each line is `RGB,DEPTH`, two paths
that start with `data/`. Training depth is an 8-bit PNG with v = floor(25.5 * metres) (255 = 10 m),
test depth a 16-bit PNG in millimetres. Holes were filled before; a pixel of value 0 would lie
nearer than 4 cm, where no sensor measures, so it is a hole that the filling missed: not valid.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from weightsearch.data.frames.source import (
    Frame,
    FrameRef,
    Source,
    Split,
    fingerprint,
    resolve,
    runs,
)
from weightsearch.data.readers import frame_lists, picture_depth_pairs
from weightsearch.data.untrusted import archive_files
from weightsearch.errors import DataError, others
from weightsearch.study.spec_fields import Value

LISTS: dict[Split, str] = {"train": "nyu2_train.csv", "test": "nyu2_test.csv"}
WHAT = "DenseDepth's nyu_data.zip, or of the folder that it unpacks to"
OPTIONS: dict[str, Value] = {
    "half_step": True,  # decode 8-bit depth at the middle of its step; False is DenseDepth's v/25.5
    "smooth": False,  # round off the steps of 8-bit depth, each pixel within its own step
}
MAX_DEPTH_M = 10.0
STEPS_PER_M = 25.5
PASSES, BLUR_PX = 12, 4.0
MAX_FRAMES = 1 << 18
"""In a list; the data set has 50,688."""
MAX_LIST_BYTES = 1 << 24

Pair = tuple[str, str]
"""RGB and depth, relative to the inner `data/`."""


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The data set at `path`: `nyu_data/`, its inner `data/`, or the zip, which is not unpacked.

    Frames are named as in the lists (`data/nyu2_train/block_000_out/0003`), training frames grouped
    by folder. All test frames share one folder, so they are grouped in runs of 15.
    """
    chosen = resolve("nyu_csv", OPTIONS, options)
    if not chosen["smooth"]:  # as before there was it: the digest of packed data stays
        chosen = {name: value for name, value in chosen.items() if name != "smooth"}
    if path is None:
        raise picture_depth_pairs.unplaced("nyu_csv", WHAT)
    store = _store(path)
    try:
        warnings: list[str] = []
        listed = {
            split: _pairs(store, name, warnings)
            for split, name in LISTS.items()
            if store.facts(name) or os.path.lexists(store.where(name))
        }
        facts = picture_depth_pairs.present([(store, name) for name in _names(listed)])
    except BaseException:
        store.close()
        raise
    absent = [(split, name) for split, name in LISTS.items() if split not in listed]
    refs = tuple(ref for split, here in listed.items() for ref in _refs(split, here))
    flat = [pair for here in listed.values() for pair in here]

    def read(i: int) -> Frame:
        half_step, smooth = bool(chosen["half_step"]), bool(chosen.get("smooth"))
        return _frame(store, flat[i], half_step if refs[i].split == "train" else None, smooth)

    return Source(
        reader="nyu_csv",
        frames=refs,
        read=read,
        options=chosen,
        ground_truth="filled",
        fingerprint=fingerprint("nyu_csv", facts, listed, chosen),
        max_depth_m=MAX_DEPTH_M,
        notes=tuple(
            f"there is no {name}, so there are no {split} frames." for split, name in absent
        ),
        warnings=tuple(warnings),
        close=store.close,
    )


def recognises(path: Path) -> bool:
    """Whether the name is that of a zip, or of a folder that holds the lists."""
    return path.suffix == ".zip" if path.is_file() else _inner(path) is not None


def _inner(path: Path) -> Path | None:
    """The folder of the lists, at or below `path`; evaluation needs no training frames, so either
    list will do."""
    places = (path / "data", path)
    return next((p for p in places for name in LISTS.values() if (p / name).is_file()), None)


def _store(path: Path) -> archive_files.Files:
    if path.is_file():
        return archive_files.archive(path, *LISTS.values())
    if inner := _inner(path):
        return archive_files.folder(inner)
    raise DataError(
        f"{path}: must be nyu_data, its inner folder data or nyu_data.zip,"
        f" but holds no data/{' or data/'.join(LISTS.values())}; name the place of one with --data."
    )


def _pairs(store: archive_files.Files, name: str, warnings: list[str]) -> list[Pair]:
    where = store.where(name)
    if store.facts(name) is None:
        raise DataError(f"{where}: must be a list, but is no file.")
    text = frame_lists.text(store, name, MAX_LIST_BYTES, warnings)
    found: dict[Pair, None] = {}
    again: list[int] = []
    wrong: list[str] = []
    first = 0
    for line, row in _rows(text, where):
        cells = [cell.strip() for cell in row]
        if len(row) != 2 or not all(
            c.startswith("data/") and archive_files.inside(c) for c in cells
        ):
            told = repr(",".join(row)[:200])
            wrong.append(f"{told} (line {line})" if wrong else told)
            first = first or line
            continue
        pair = (cells[0].removeprefix("data/"), cells[1].removeprefix("data/"))
        if pair in found:
            again.append(line)
        found[pair] = None
    if wrong:
        raise DataError(
            f"{where}:{first}: must be 'data/RGB,data/DEPTH' without '..' and of letters that"
            f" can be shown, but is {wrong[0]}{others(wrong)} ({len(wrong)} lines)."
        )
    warnings += frame_lists.repeated(name, again)
    return list(found)


def _rows(text: str, where: str) -> Iterator[tuple[int, list[str]]]:
    rows = csv.reader(io.StringIO(text, newline=""))
    count = 0
    line = 1
    try:
        for row in rows:
            count += bool(row)
            if count > MAX_FRAMES:
                raise DataError(f"{where}: must list at most {MAX_FRAMES} frames, but lists more.")
            if row:
                yield line, row
            line = rows.line_num + 1
    except csv.Error as error:
        raise DataError(f"{where}: must be CSV in UTF-8, but {error}.") from None


def _names(listed: Mapping[Split, list[Pair]]) -> list[str]:
    return [name for here in listed.values() for pair in here for name in pair]


def _refs(split: Split, listed: list[Pair]) -> Iterator[FrameRef]:
    neighbours = runs(len(listed))
    for (rgb, _), run in zip(listed, neighbours, strict=True):
        folder = PurePosixPath(rgb).parent.name
        group = picture_depth_pairs.nyu_scene(folder) if split == "train" else f"test_{run}"
        yield FrameRef(str(PurePosixPath("data", rgb).with_suffix("")), group, split)


def _frame(
    store: archive_files.Files, pair: Pair, half_step: bool | None, smooth: bool = False
) -> Frame:
    """The images of a pair; `half_step` is None for a test frame, whose depth is in mm."""
    rgb_name, depth_name = pair
    rgb = picture_depth_pairs.colours(store, rgb_name)
    if half_step is None:
        law = "16-bit grey (mm), as all test depth is"
        depth_m = picture_depth_pairs.picture(store, depth_name, ("I;16",), law) / np.float32(1000)
    else:
        law = "8-bit grey (255 = 10 m), as all training depth is"
        steps = picture_depth_pairs.picture(store, depth_name, ("L",), law)
        # floor(25.5 m) loses half a step on average; 255 can only be 10 m.
        middle = steps.astype(np.float32) + np.float32(0.5 * half_step)
        depth_m = np.minimum(middle / np.float32(STEPS_PER_M), np.float32(MAX_DEPTH_M))
        if smooth:
            depth_m[:] = smoothed(steps)
        depth_m[steps == 0] = 0
    picture_depth_pairs.of_one_size(rgb, depth_m, store.where(depth_name))
    return picture_depth_pairs.frame(rgb, depth_m, math.inf)


def smoothed(steps: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Depth in metres, (h, w), without the steps of its 8 bits: blurred, each pixel put back into
    its own step, again and again. Nothing is known of what was lost; a surface that is smooth and
    rounds to the same steps is only likelier than a staircase."""
    from scipy import ndimage

    low = steps.astype(np.float32) / np.float32(STEPS_PER_M)
    high = np.minimum(low + np.float32(1 / STEPS_PER_M), np.float32(MAX_DEPTH_M))
    depth_m: NDArray[np.float32] = (low + high) / 2
    for _ in range(PASSES):
        blurred = ndimage.gaussian_filter(depth_m, BLUR_PX, mode="nearest", truncate=2.0)
        depth_m = np.clip(blurred, low, high)
    return depth_m
