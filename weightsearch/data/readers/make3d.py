"""Make3D: portrait pictures and coarse grids of laser depth.

`Train400Img/img-NAME.jpg` with `Train400Depth/depth_sph_corr-NAME.mat`, `Test134/img-NAME.jpg` with
`Gridlaserdata/depth_sph_corr-NAME.mat`. Pictures have 2272 rows and 1704 columns. A .mat (v5) holds
`Position3DGrid` (55, 305, 4), whose last channel is depth in metres, up to 80 m, where the laser's
range ends. So depth has another size and another shape than its picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt

from weightsearch.data.frames.source import Frame, FrameRef, Source, Split, resolve
from weightsearch.data.readers import folder_walk, picture_depth_pairs
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files, matlab_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.errors import DataError
from weightsearch.study.spec_fields import Value

READER = "make3d"
WHAT = "Make3D (Test134 and Gridlaserdata, Train400Img and Train400Depth)"
FOLDERS: dict[Split, tuple[str, str]] = {
    "train": ("Train400Img", "Train400Depth"),
    "test": ("Test134", "Gridlaserdata"),
}
OPTIONS: dict[str, Value] = {
    "leave_out": "",  # names of frames, parted by commas: a picture of the test set is cut short
}
GRID = (55, 305, 4)
MAX_DEPTH_M = 80.0
IMPLAUSIBLE_M = 1000.0
MAX_MAT_BYTES = 1 << 22
"""A grid takes 537 kB."""


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The folder of those four, or of two of them; frames are grouped by the place that they were
    taken from (`op10-p-313t000` is op10), or by the day."""
    chosen = resolve(READER, OPTIONS, options)
    root = picture_depth_pairs.at(path, READER, WHAT)
    left_out = {name.strip() for name in str(chosen["leave_out"]).split(",")} - {""}
    found: list[Pair] = []
    for split, places in FOLDERS.items():
        found += _pairs(root, split, *places)
    if unknown := left_out - {pair.ref.name for pair in found}:
        raise DataError(
            f"{root}: option 'leave_out' must name frames, but {min(unknown)!r} is none."
        )
    found = [pair for pair in found if pair.ref.name not in left_out]
    picture_depth_pairs.some(root, found, WHAT)
    store = archive_files.folder(root)
    notes = tuple(f"{name} is left out, as asked." for name in sorted(left_out))
    layout = Layout(READER, found, store, store, chosen, "raw", MAX_DEPTH_M, notes)
    return picture_depth_pairs.source(layout, lambda pair: _frame(store, pair))


def recognises(path: Path) -> bool:
    """Whether a folder of its pictures lies there."""
    return any((path / pictures).is_dir() for pictures, _ in FOLDERS.values())


def _pairs(root: Path, split: Split, images: str, grids: str) -> list[Pair]:
    if not (root / images).is_dir():
        return []
    names: dict[str, set[str]] = {
        "RGB picture": _names(root / images, "img-", ".jpg"),
        "depth grid": _names(root / grids, "depth_sph_corr-", ".mat"),
    }
    return [
        Pair(
            FrameRef(f"{images}/img-{name}", _group(name), split),
            f"{images}/img-{name}.jpg",
            f"{grids}/depth_sph_corr-{name}.mat",
        )
        for name in picture_depth_pairs.partners(root, names, list(names))
    ]


def _names(folder: Path, start: str, end: str) -> set[str]:
    found = folder_walk.names(folder, (end,)) if folder.is_dir() else []
    return {name[len(start) : -len(end)] for name in found if name.startswith(start)}


def _group(name: str) -> str:
    """`060705-17.10.14-p-254t000` was taken on 060705, `op10-p-313t000` at op10."""
    return name.partition("-p-")[0].partition("-")[0]


def _frame(store: Files, pair: Pair) -> Frame:
    rgb = picture_depth_pairs.colours(store, pair.rgb)
    grid = _grid(store, pair.depth)
    farthest = grid[np.isfinite(grid)].max(initial=0)
    if farthest > IMPLAUSIBLE_M:
        raise DataError(
            f"{store.where(pair.depth)}: depth must be in metres, but reaches {farthest:.0f}."
        )
    return picture_depth_pairs.frame(rgb, grid, MAX_DEPTH_M)


def _grid(store: Files, name: str) -> npt.NDArray[np.float64]:
    """Depth, (55, 305)."""
    where = store.where(name)
    law = f"{where}: must be a MATLAB v5 file with Position3DGrid (55, 305, 4), but"
    size, _ = store.facts(name) or (0, 0)
    if size > MAX_MAT_BYTES:
        raise DataError(f"{law} has {size} bytes.")
    try:
        found = matlab_files.numbers(store.read(name)).get("Position3DGrid")
    except ValueError as error:
        raise DataError(f"{law} cannot be read ({error}).") from None
    if found is None or found.size != np.prod(GRID):
        raise DataError(f"{law} has {'none' if found is None else f'{found.size} numbers'}.")
    return found.reshape(GRID, order="F")[..., 3]
