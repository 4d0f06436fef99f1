"""DIODE: indoor and outdoor pictures with dense depth of a laser scanner.

`{train,val}/{indoors,outdoor}/scene_00019/scan_00183/NAME.png` with `NAME_depth.npy` (h, w, 1)
float metres and `NAME_depth_mask.npy` (h, w), 1 where depth was measured (the data set's devkit).
`val` is what people evaluate on, as no test split is public.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from weightsearch.data.frames.source import Frame, FrameRef, Source, Split, resolve
from weightsearch.data.readers import folder_walk, picture_depth_pairs
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files, npy_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.errors import ConfigError, DataError
from weightsearch.study.spec_fields import Value

READER = "diode"
WHAT = "DIODE (val/indoors/scene_00019/scan_00183/NAME.png, NAME_depth.npy, NAME_depth_mask.npy)"
OPTIONS: dict[str, Value] = {
    "place": "all",  # or "indoors", "outdoor"
    "max_m": 0.0,  # depth beyond it is not valid; 0 is 50 m indoors, else 80 m
}
SPLITS: dict[str, Split] = {"train": "train", "val": "test", "test": "test"}
MAX_M = {"indoors": 50.0, "outdoor": 80.0, "all": 80.0}
KINDS = {"RGB picture": ".png", "depth": "_depth.npy", "depth mask": "_depth_mask.npy"}


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The folder of `train` and `val`, or one of those, or one of their two. Frames are grouped by
    scene; without `train` or `val` in the path they are test frames."""
    chosen = resolve(READER, OPTIONS, options)
    place = str(chosen["place"])
    max_m = float(chosen["max_m"]) or MAX_M.get(place, 0)
    if place not in MAX_M or not 0 < max_m <= 350:
        raise ConfigError(
            f"options of reader '{READER}' must have 'place' all, indoors or outdoor and 'max_m'"
            f" from 0 to 350, but got {place!r} and {max_m:g}."
        )
    root = picture_depth_pairs.at(path, READER, WHAT)
    known: dict[str, set[str]] = {kind: set() for kind in KINDS}
    for name in folder_walk.names(root, (".png", ".npy")):
        for kind, end in KINDS.items():
            if name.endswith(end):
                known[kind].add(name.removesuffix(end))
    inside = {
        kind: {name for name in names if place == "all" or place in _parts(root, name)}
        for kind, names in known.items()
    }
    found = [
        Pair(
            FrameRef(name, _scene(name), _split(root, name)),
            f"{name}.png",
            f"{name}_depth.npy",
            (f"{name}_depth_mask.npy",),
        )
        for name in picture_depth_pairs.partners(root, inside, list(KINDS))
    ]
    picture_depth_pairs.some(root, found, WHAT if place == "all" else f"'{place}' of {WHAT}")
    store = archive_files.folder(root)
    layout = Layout(READER, found, store, store, chosen, "raw", max_m)
    return picture_depth_pairs.source(layout, lambda pair: _frame(store, pair, max_m))


def recognises(path: Path) -> bool:
    """Whether scenes lie there, or below indoors or outdoor, or those below train or val."""
    middles = ("", "indoors", "outdoor")
    return any(
        next((path / split / middle).glob("scene_*/scan_*"), None) is not None
        for split in ("", *SPLITS)
        for middle in middles
    )


def _parts(root: Path, name: str) -> tuple[str, ...]:
    """The folders above a frame, from the root's own two on."""
    return (*root.absolute().parts[-2:], *name.split("/")[:-1])


def _scene(name: str) -> str:
    *above, _ = name.split("/")
    return next((part for part in above if part.startswith("scene_")), "/".join(above) or name)


def _split(root: Path, name: str) -> Split:
    return next((SPLITS[part] for part in _parts(root, name)[::-1] if part in SPLITS), "test")


def _frame(store: Files, pair: Pair, max_m: float) -> Frame:
    rgb = picture_depth_pairs.colours(store, pair.rgb)
    depth, mask = (
        npy_files.array(store.read(n), store.where(n)) for n in (pair.depth, *pair.masks)
    )
    if depth.dtype.kind != "f" or depth.ndim not in (2, 3) or depth.shape[2:] not in ((), (1,)):
        raise DataError(
            f"{store.where(pair.depth)}: must be floating point metres of shape (h, w, 1),"
            f" but is {depth.dtype} of shape {depth.shape}."
        )
    depth = depth.reshape(depth.shape[:2])
    mask = mask.reshape(mask.shape[:2]) if mask.shape[2:] == (1,) else mask
    if mask.shape != depth.shape:
        raise DataError(
            f"{store.where(pair.masks[0])}: must have its depth's shape {depth.shape},"
            f" but has {mask.shape}."
        )
    picture_depth_pairs.of_one_size(rgb, depth, store.where(pair.depth))
    return picture_depth_pairs.frame(rgb, depth, max_m, mask != 0)
