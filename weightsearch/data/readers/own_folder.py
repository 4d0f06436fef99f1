"""Anybody's frames: folders of pictures and of depth found by patterns, or a CSV that pairs them.

A pattern is a path below the data set in which `{name}` stands for what tells frames apart (it may
contain `/`), and `{group}` and `{split}` for one part of the path each: `rgb/{name}` with
`depth/{name}`, or `{split}/{group}/image_{name}.jpg` with `{split}/{group}/depth_{name}.png`.
Without a suffix, any fits. Where no pattern is given, pictures lie in a folder `rgb` and depth in
a folder `depth` beside it, at the top or in each scene; a folder `train` or `test` is the split. A
CSV (own_listing.py) has a header with the columns `rgb`, `depth` and, if wanted, `split` and
`group` (options name others), or, without a header, two to four in that order.

Depth is a grey PNG of 8 or 16 bits, or .npy: metres = value / `depth_scale`. TIFF is not read: the
library behind it has had too many faults, and writes what it finds wrong to the terminal.
"""

from __future__ import annotations

import contextlib
import io
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from weightsearch.data.frames.source import Frame, FrameRef, GroundTruth, Source, Split, resolve
from weightsearch.data.readers import (
    folder_walk,
    nyu_csv,
    own_examples,
    own_listing,
    own_patterns,
    picture_depth_pairs,
    split_words,
)
from weightsearch.data.readers.own_listing import Row
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files, npy_files, picture_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.errors import ConfigError, DataError, others
from weightsearch.study.spec_fields import Value

READER = "folder"
WHAT = "pictures and depth, or a CSV that pairs them"
OPTIONS: dict[str, Value] = {
    "list": "",  # a CSV below the folder, in the place of the patterns
    "root": "",  # what the CSV's paths are relative to, where it is not the CSV's folder
    **own_patterns.PLAIN,
    "rgb_column": "rgb",
    "depth_column": "depth",
    "split_column": "split",
    "group_column": "group",
    "split": "train",  # of frames for which neither path nor CSV says
    "depth_scale": 1000.0,  # units a metre: 1000 for mm, 100 for cm, 256 for KITTI, 1 for metres
    "invalid": 0.0,  # the value in the file that says: not measured; NaN always does
    "min_m": 0.0,  # depth below, or beyond max_m, is not valid
    "max_m": 10.0,
    "ground_truth": "raw",  # or "filled", "exact": what an evaluation then says of it
}
UNBOUNDED: dict[str, Value] = {"min_m": 0.0, "max_m": 1e6}
"""All that was measured, whatever range was asked for."""
GREY = ("L", "I;16", "I")
COLOURS = ("RGB", "RGBA", "RGBa", "RGBX", "L", "LA", "La", "P", "PA", "1", "CMYK", "YCbCr")
"""What Pillow turns to RGB as a viewer would; grey of 16 bits is not among them, which would be cut
off, and is more likely depth."""
LOOKED_AT = 16
"""Pictures whose mode is looked at when the set is opened."""
TABLES = (".csv", ".tsv")


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The folder, or the CSV, whose paths are relative to the folder that it lies in, or to `root`.

    Where nothing names groups, they are the folders of the pictures or, where those are one, runs
    of 15 neighbours in natural order. A picture and its depth may differ in size. `notes` say what
    was converted.
    """
    chosen = resolve(READER, OPTIONS, options)
    _check(chosen)
    is_table = path is not None and path.is_file()
    root = (
        path.parent if path is not None and is_table else picture_depth_pairs.at(path, READER, WHAT)
    )
    table = path if is_table else root / str(chosen["list"]) if chosen["list"] else None
    if table and chosen["root"]:
        root = picture_depth_pairs.at(root / str(chosen["root"]), READER, WHAT)
    notes: list[str] = []
    warnings: list[str] = []
    columns = [str(chosen[f"{name}_column"]) for name in ("rgb", "depth", "split", "group")]
    if table:
        rows = own_listing.rows(table, root, columns, notes, warnings)
    else:
        patterns = {option: str(chosen[option]) for option in own_patterns.PLAIN}
        rows = list(own_patterns.rows(root, patterns, notes, warnings))
        warnings += _unread(root, columns)
    found = list(_pairs(rows, str(chosen["split"]), table or root))
    if not found:
        example = "" if table else own_examples.told(root)
        raise DataError(
            f"{table or root}: must hold frames that fit {_asked(chosen, table)}, but holds none"
            f"{example}."
        )
    store = archive_files.folder(root)
    notes += _turned(root, [pair.rgb for pair in found])
    layout = Layout(
        READER, found, store, store, chosen, cast(GroundTruth, chosen["ground_truth"]),
        float(chosen["max_m"]), tuple(notes), tuple(warnings),
    )  # fmt: skip
    return picture_depth_pairs.source(layout, lambda pair: _frame(store, pair, chosen))


def recognises(path: Path) -> bool:
    """Whether folders `rgb` and `depth` lie there, or one or two levels below; or whether the name
    is that of a table, and not of one that another reader has."""
    if path.is_file():
        return path.suffix.lower() in TABLES and path.name not in nyu_csv.LISTS.values()
    return any(
        any(beside.is_dir() and beside.name.lower() == "depth" for beside in rgb.parent.iterdir())
        for place in ("[rR][gG][bB]", "*/[rR][gG][bB]", "*/*/[rR][gG][bB]")
        for rgb in path.glob(place)
        if not any(map(folder_walk.is_litter, rgb.relative_to(path).parts))
    )


def _unread(root: Path, columns: Sequence[str]) -> Iterator[str]:
    """A warning of listings beside folders that were read without them: a split in one would be
    ignored."""
    for table in sorted(root.iterdir()):
        if table.is_file() and recognises(table) and own_listing.is_listing(table, columns):
            yield f"{table.name} is not read: to go by it, give it in the folder's place."


def _turned(root: Path, names: Sequence[str]) -> Iterator[str]:
    """A note on modes that become RGB, from the headers of some pictures."""
    count = min(LOOKED_AT, len(names))
    modes: Counter[str] = Counter()
    for k in range(count):
        with contextlib.suppress(DataError):  # told by whoever reads the picture
            name = root / names[k * len(names) // count]
            with picture_files.opened(name, picture_depth_pairs.KINDS, str(name), "") as image:
                modes[image.mode] += 1
    del modes["RGB"]
    if modes:
        told = ", ".join(f"{number} of mode {mode}" for mode, number in sorted(modes.items()))
        yield f"pictures become RGB: of {count} looked at {told}."


def _check(chosen: Mapping[str, Value]) -> None:
    laws: dict[str, bool] = {
        "'depth_scale' must be above 0": float(chosen["depth_scale"]) > 0,
        "'min_m' and 'max_m' must be 0 <= min_m < max_m": (
            0 <= float(chosen["min_m"]) < float(chosen["max_m"])
        ),
        "'split' must be 'train' or 'test'": chosen["split"] in get_args(Split),
        f"'ground_truth' must be one of {', '.join(get_args(GroundTruth))}": (
            chosen["ground_truth"] in get_args(GroundTruth)
        ),
    }
    for law, holds in laws.items():
        if not holds:
            name = law.split("'")[1]
            raise ConfigError(f"option {law} of reader '{READER}', but got {chosen[name]!r}.")


def _asked(chosen: Mapping[str, Value], table: Path | None) -> str:
    return "a line" if table else f"{chosen['rgb']!r} and {chosen['depth']!r}"


def _pairs(rows: Sequence[Row], split: str, where: Path) -> Iterator[Pair]:
    """The frames with their split, and with a group where their row names none."""
    by_split: dict[Split, list[Row]] = defaultdict(list)
    wrong: list[str] = []
    for row in rows:
        side = split_words.side(row.split or split)
        if side is None:
            wrong.append(f"{row.rgb} has {row.split[:200]!r}")
        else:
            by_split[side].append(row)
    if wrong:
        raise DataError(
            f"{where}: a split must be one of {', '.join(split_words.WORDS)}, but {wrong[0]}"
            f" ({len(wrong)} frames{others(wrong)})."
        )
    for side, here in by_split.items():
        names = [row.rgb for row in here]
        parents = [name.rpartition("/")[0] for name in names]
        runs = picture_depth_pairs.by_neighbours((side for _ in here), names=names)
        groups = parents if len(set(parents)) > 1 else runs
        for row, group in zip(here, groups, strict=True):
            ref = FrameRef(picture_depth_pairs.stem(row.rgb), row.group or group, side)
            yield Pair(ref, row.rgb, row.depth)


def _frame(store: Files, pair: Pair, chosen: Mapping[str, Value]) -> Frame:
    values = _depth(store, pair.depth, float(chosen["invalid"]))
    with np.errstate(all="ignore"):  # what is no number is not valid
        depth_m = values.astype(np.float64) / float(chosen["depth_scale"])
        measured = values != float(chosen["invalid"])
    return picture_depth_pairs.frame(
        _colours(store, pair.rgb), depth_m, float(chosen["max_m"]), measured, float(chosen["min_m"])
    )


def _depth(store: Files, name: str, invalid: float) -> npt.NDArray[Any]:
    """What the file holds, (h, w)."""
    where = store.where(name)
    if not name.lower().endswith(own_patterns.SUFFIXES["depth"]):
        raise DataError(f"{where}: depth must be PNG or .npy; JPEG, for one, changes the values.")
    if name.lower().endswith(".npy"):
        values = npy_files.array(store.read(name), where)
        values = values.squeeze() if values.ndim == 3 else values
        if values.ndim != 2:
            raise DataError(f"{where}: must have shape (h, w), but has {values.shape}.")
    else:
        law = "grey, of 8 or 16 bits (a coloured picture of depth, or a mask, holds no depth)"
        values = picture_depth_pairs.picture(store, name, GREY, law, ("PNG",))
    if _is_mask(values, invalid):
        raise DataError(
            f"{where}: depth must be numbers of a length, but holds {values.dtype} with nothing but"
            f" {values.min():d} and {values.max():d}, as a mask does."
        )
    return values


def _is_mask(values: npt.NDArray[Any], invalid: float) -> bool:
    """Whether these are truth values: booleans, or integers that are 0 and 1 (or 255, in 8 bits)
    only. A sensor that saw nothing may well give 0 and the value that says so."""
    if values.dtype.kind == "b":
        return True
    if values.dtype.kind == "f" or values.min() != 0:
        return False
    most = values.max()
    is_truth = most == 1 or (most == 255 and values.dtype.itemsize == 1)
    return bool(is_truth and most != invalid and ((values == 0) | (values == most)).all())


def _colours(store: Files, name: str) -> npt.NDArray[np.uint8]:
    where, law = store.where(name), "a PNG or JPEG image"
    with picture_files.opened(
        io.BytesIO(store.read(name)), picture_depth_pairs.KINDS, where, law
    ) as image:
        if image.mode not in COLOURS:
            raise DataError(f"{where}: must be 8-bit colour or grey, but has mode {image.mode}.")
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))  # as a viewer shows it
