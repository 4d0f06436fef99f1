"""Anybody's frames: folders of pictures and of depth found by patterns, or a CSV that pairs them.

A pattern is a path below the data set in which `{name}` stands for what tells frames apart (it may
contain `/`), and `{group}` and `{split}` for one part of the path each: `rgb/{name}` with
`depth/{name}`, or `{split}/{group}/image_{name}.jpg` with `{split}/{group}/depth_{name}.png`.
Without a suffix, any fits. A CSV has a header with the columns `rgb`, `depth` and, if wanted,
`split` and `group` (options name others), or, without a header, two to four in that order.

Depth is a grey PNG of 8 or 16 bits, or .npy: metres = value / `depth_scale`. TIFF is not read: the
library behind it has had too many faults, and writes what it finds wrong to the terminal.
"""

from __future__ import annotations

import csv
import io
import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from weightsearch.data.frames.source import Frame, FrameRef, GroundTruth, Source, Split, resolve
from weightsearch.data.readers import folder_walk, frame_lists, picture_depth_pairs
from weightsearch.data.readers.picture_depth_pairs import Layout, Pair
from weightsearch.data.untrusted import archive_files, npy_files, picture_files
from weightsearch.data.untrusted.archive_files import Files
from weightsearch.errors import ConfigError, DataError
from weightsearch.study.spec_fields import Value

READER = "folder"
WHAT = "pictures and depth, or a CSV that pairs them"
OPTIONS: dict[str, Value] = {
    "list": "",  # a CSV below the folder, in the place of the patterns
    "rgb": "rgb/{name}",  # pattern
    "depth": "depth/{name}",  # pattern
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
SPLITS: dict[str, Split] = {
    "train": "train", "training": "train", "test": "test", "testing": "test", "val": "test",
    "valid": "test", "validation": "test", "eval": "test",
}  # fmt: skip
FIELDS = {"name": ".+", "group": "[^/]+", "split": "[^/]+"}
RGB_SUFFIXES = (".png", ".jpg", ".jpeg")
DEPTH_SUFFIXES = (".png", ".npy")
GREY = ("L", "I;16", "I")
COLOURS = ("RGB", "RGBA", "L", "P")


@dataclass(frozen=True)
class Row:
    """One frame as its pattern or its CSV names it; split and group are '' where it does not."""

    rgb: str
    depth: str
    split: str
    group: str


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The folder, or the CSV, whose paths are relative to the folder that it lies in.

    Where nothing names groups, they are the folders of the pictures or, where those are one, runs
    of 15 neighbours. A picture and its depth may differ in size.
    """
    chosen = resolve(READER, OPTIONS, options)
    _check(chosen)
    is_table = path is not None and path.is_file()
    root = (
        path.parent if path is not None and is_table else picture_depth_pairs.at(path, READER, WHAT)
    )
    table = path if is_table else root / str(chosen["list"]) if chosen["list"] else None
    rows = list(_listed(table, chosen) if table else _matched(root, chosen))
    found = list(_pairs(rows, str(chosen["split"]), table or root))
    picture_depth_pairs.some(table or root, found, f"frames that fit {_asked(chosen, table)}")
    store = archive_files.folder(root)
    layout = Layout(
        READER, found, store, store, chosen, cast(GroundTruth, chosen["ground_truth"]),
        float(chosen["max_m"]),
    )  # fmt: skip
    return picture_depth_pairs.source(layout, lambda pair: _frame(store, pair, chosen))


def recognises(path: Path) -> bool:
    """Whether folders `rgb` and `depth` lie there."""
    return (path / "rgb").is_dir() and (path / "depth").is_dir()


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


# Patterns


def _matched(root: Path, chosen: Mapping[str, Value]) -> Iterator[Row]:
    """The frames whose files fit the two patterns alike."""
    rgb, depth = (
        _pattern(option, str(chosen[option]), suffixes)
        for option, suffixes in (("rgb", RGB_SUFFIXES), ("depth", DEPTH_SUFFIXES))
    )
    if rgb.groupindex.keys() != depth.groupindex.keys():
        raise ConfigError(
            f"options 'rgb' and 'depth' of reader '{READER}' must have the same fields,"
            f" but got {chosen['rgb']!r} and {chosen['depth']!r}."
        )
    fields = sorted(rgb.groupindex)
    found: dict[str, dict[str, str]] = {"RGB picture": {}, "depth": {}}
    keys: dict[str, dict[str, str]] = {}
    for name in folder_walk.names(root, (*RGB_SUFFIXES, *DEPTH_SUFFIXES)):
        # Depth first: `{name}.png` fits `a_depth.png` too.
        for kind, law in (("depth", depth), ("RGB picture", rgb)):
            if match := law.fullmatch(name):
                key = "/".join(match[field] for field in fields)
                if key in found[kind]:
                    raise DataError(
                        f"{root}: each frame must have one {kind}, but {found[kind][key]} and"
                        f" {name} are of the same one; name the suffix in the pattern."
                    )
                keys[key] = match.groupdict()
                found[kind][key] = name
                break
    names = {kind: set(here) for kind, here in found.items()}
    for key in picture_depth_pairs.partners(root, names, list(found)):
        of = keys[key]
        yield Row(
            found["RGB picture"][key], found["depth"][key], of.get("split", ""), of.get("group", "")
        )


def _pattern(option: str, text: str, suffixes: Sequence[str]) -> re.Pattern[str]:
    parts = re.split(r"\{(\w*)\}", text)
    fields = parts[1::2]
    fits = "name" in fields and set(fields) <= FIELDS.keys() and len(set(fields)) == len(fields)
    if not fits or not archive_files.inside(text):
        raise ConfigError(
            f"option '{option}' of reader '{READER}' must be a path below the data set with"
            f" {{name}}, and at most one {{group}} and {{split}}, but got {text[:200]!r}."
        )
    law = "".join(
        f"(?P<{part}>{FIELDS[part]})" if is_field else re.escape(part)
        for part, is_field in zip(parts, itertools.cycle((False, True)), strict=False)
    )
    if not text.lower().endswith(tuple(suffixes)):
        law += f"({'|'.join(map(re.escape, suffixes))})"
    return re.compile(law, re.IGNORECASE if law.endswith(")") else 0)


# CSV


def _listed(table: Path, chosen: Mapping[str, Value]) -> Iterator[Row]:
    text = frame_lists.text(archive_files.folder(table.parent), table.name)
    columns = [str(chosen[f"{name}_column"]) for name in ("rgb", "depth", "split", "group")]
    try:
        rows = [
            (line, [cell.strip() for cell in row])
            for line, row in enumerate(csv.reader(io.StringIO(text, newline="")), 1)
            if any(row)
        ]
    except csv.Error as error:
        raise DataError(f"{table}: must be CSV in UTF-8, but {error}.") from None
    if len(rows) > frame_lists.MAX_LINES:
        raise DataError(f"{table}: must have at most {frame_lists.MAX_LINES} lines.")
    order = dict(zip(columns, range(4), strict=True))
    if rows and set(columns[:2]) <= set(rows[0][1]):
        (_, header), *rows = rows
        order = {name: header.index(name) for name in columns if name in header}
    for line, row in rows:
        cells = [row[order[name]] if order.get(name, 99) < len(row) else "" for name in columns]
        if not all(cell and archive_files.inside(cell) for cell in cells[:2]) or not all(
            cell.isprintable() for cell in cells
        ):
            raise DataError(
                f"{table}:{line}: must name an RGB and a depth file without '..' and of letters"
                f" that can be shown, but is {','.join(row)[:200]!r}."
            )
        yield Row(*cells)


# Both


def _pairs(rows: Sequence[Row], split: str, where: Path) -> Iterator[Pair]:
    """The frames with their split, and with a group where their row names none."""
    by_split: dict[Split, list[Row]] = defaultdict(list)
    for row in rows:
        told = row.split or split
        if told.lower() not in SPLITS:
            raise DataError(
                f"{where}: a split must be one of {', '.join(SPLITS)}, but {row.rgb} has"
                f" {told[:200]!r}."
            )
        by_split[SPLITS[told.lower()]].append(row)
    for side, here in by_split.items():
        parents = [row.rgb.rpartition("/")[0] for row in here]
        runs = picture_depth_pairs.by_neighbours(side for _ in here)
        groups = parents if len(set(parents)) > 1 else runs
        for row, group in zip(here, groups, strict=True):
            ref = FrameRef(picture_depth_pairs.stem(row.rgb), row.group or group, side)
            yield Pair(ref, row.rgb, row.depth)


def _frame(store: Files, pair: Pair, chosen: Mapping[str, Value]) -> Frame:
    values = _depth(store, pair.depth)
    with np.errstate(all="ignore"):  # what is no number is not valid
        depth_m = values.astype(np.float64) / float(chosen["depth_scale"])
        measured = (values != float(chosen["invalid"])) & (depth_m >= float(chosen["min_m"]))
    return picture_depth_pairs.frame(
        _colours(store, pair.rgb), depth_m, float(chosen["max_m"]), measured
    )


def _depth(store: Files, name: str) -> npt.NDArray[Any]:
    """What the file holds, (h, w)."""
    where = store.where(name)
    if not name.lower().endswith(DEPTH_SUFFIXES):
        raise DataError(f"{where}: depth must be PNG or .npy; JPEG, for one, changes the values.")
    if name.lower().endswith(".npy"):
        values = npy_files.array(store.read(name), where)
        squeezed = values.squeeze() if values.ndim == 3 else values
        if squeezed.ndim != 2:
            raise DataError(f"{where}: must have shape (h, w), but has {values.shape}.")
        return squeezed
    law = "grey, of 8 or 16 bits (a coloured picture of depth holds no depth)"
    return picture_depth_pairs.picture(store, name, GREY, law, ("PNG",))


def _colours(store: Files, name: str) -> npt.NDArray[np.uint8]:
    where, law = store.where(name), "a PNG or JPEG image"
    with picture_files.opened(
        io.BytesIO(store.read(name)), picture_depth_pairs.KINDS, where, law
    ) as image:
        if image.mode not in COLOURS:
            raise DataError(f"{where}: must be 8-bit colour or grey, but has mode {image.mode}.")
        return np.array(ImageOps.exif_transpose(image).convert("RGB"))  # as a viewer shows it
