"""The readers by name. Each opens one layout of files as a `Source`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from weightsearch.data.frames.source import GroundTruth, Source, one_per_name
from weightsearch.data.readers import (
    diode,
    ibims1,
    kitti_eigen,
    make3d,
    nyu_bts,
    nyu_csv,
    nyu_labeled,
    nyu_sparse_to_dense,
    own_examples,
    own_folder,
    sunrgbd,
)
from weightsearch.data.synthetic import reader as synthetic
from weightsearch.errors import ConfigError, DataError, did_you_mean
from weightsearch.study.spec_fields import Value

READERS: dict[str, Callable[[Path | None, Mapping[str, Value]], Source]] = {
    "nyu_labeled": nyu_labeled.open_source,
    "nyu_csv": nyu_csv.open_source,
    "nyu_bts": nyu_bts.open_source,
    "s2d_h5": nyu_sparse_to_dense.open_source,
    "kitti_eigen": kitti_eigen.open_source,
    "make3d": make3d.open_source,
    "ibims1": ibims1.open_source,
    "diode": diode.open_source,
    "sunrgbd": sunrgbd.open_source,
    "folder": own_folder.open_source,
    "synthetic": synthetic.open_source,
}

GROUND_TRUTHS: dict[str, dict[GroundTruth, dict[str, Value]]] = {
    "nyu_labeled": {"raw": {"depths": "raw"}, "filled": {"depths": "filled"}},
    "sunrgbd": {"raw": {"depth": "depth"}, "filled": {"depth": "depth_bfx"}},
}
"""The options under which a reader gives a kind of ground truth, where it has a choice."""

DEFAULTS: dict[str, Mapping[str, Value]] = {
    "nyu_labeled": nyu_labeled.OPTIONS,
    "nyu_csv": nyu_csv.OPTIONS,
    "nyu_bts": nyu_bts.OPTIONS,
    "s2d_h5": nyu_sparse_to_dense.OPTIONS,
    "kitti_eigen": kitti_eigen.OPTIONS,
    "make3d": make3d.OPTIONS,
    "ibims1": ibims1.OPTIONS,
    "diode": diode.OPTIONS,
    "sunrgbd": sunrgbd.OPTIONS,
    "folder": own_folder.OPTIONS,
    "synthetic": synthetic.OPTIONS,
}
"""Every option of each reader, with its default."""

OF_OWN_FILES = own_folder.OPTIONS.keys() - {
    name for reader, options in DEFAULTS.items() if reader != "folder" for name in options
}
"""Options that are of no other reader than `folder`."""

UNBOUNDED: dict[str, dict[str, Value]] = {"folder": own_folder.UNBOUNDED}
"""The options under which a reader that has a range gives all that was measured."""

RECOGNISED: dict[str, Callable[[Path], bool]] = {
    "nyu_labeled": nyu_labeled.recognises,
    "nyu_csv": nyu_csv.recognises,
    "nyu_bts": nyu_bts.recognises,
    "s2d_h5": nyu_sparse_to_dense.recognises,
    "kitti_eigen": kitti_eigen.recognises,
    "make3d": make3d.recognises,
    "ibims1": ibims1.recognises,
    "diode": diode.recognises,
    "sunrgbd": sunrgbd.recognises,
    "folder": own_folder.recognises,
}
"""Whether a path is of a reader's layout, by names alone; asked in this order."""


def judging(
    reader: str, options: Mapping[str, Value], wanted: GroundTruth | None
) -> dict[str, Value]:
    """The options for data to evaluate on: with the ground truth that a protocol is meant for,
    where the reader can give it."""
    kinds = GROUND_TRUTHS.get(reader, {})
    return {**options, **(kinds.get(wanted, {}) if wanted else {})}


def open_source(reader: str, path: Path | None, options: Mapping[str, Value]) -> Source:
    """The data set at `path`; close it when done.

    Raises ConfigError for an unknown reader or option, DataError for files that are missing,
    damaged or of another layout.
    """
    if reader not in READERS:
        raise ConfigError(f"unknown reader '{reader}'; {did_you_mean(reader, READERS)}")
    if reader != "synthetic" and path is not None and _is_empty(path):
        raise DataError(
            f"{path}: must hold the data set of reader '{reader}' (docs/data.md), but the folder is"
            " empty; put the data there, or name where they lie with --data PATH."
        )
    source = READERS[reader](path, options)
    try:
        one_per_name(path, source.frames)
    except BaseException:
        source.close()
        raise
    return source


def _is_empty(path: Path) -> bool:
    try:
        return path.is_dir() and not any(path.iterdir())
    except OSError:  # the reader says of what cannot be looked into
        return False


def pack_command(reader: str, options: Mapping[str, Value]) -> str:
    """The command that packs a data set as a pack says that it was packed; DATA is its place."""
    plain = DEFAULTS.get(reader, {})
    chosen = [
        shlex.quote(f"{name}={value if isinstance(value, str) else json.dumps(value)}")
        for name, value in options.items()
        if value != plain.get(name)
    ]
    place = [] if reader == "synthetic" else ["DATA"]
    words = ["weightsearch data pack", *place, "--reader", shlex.quote(reader)]
    return " ".join([*words, *(f"--option {one}" for one in chosen)])


def detect(path: Path | None, options: Iterable[str] = ()) -> str:
    """The reader whose layout lies at `path`, by names alone; without a path, the synthetic one.
    Where options are given that no other has, it is the one for own files.

    Raises DataError where there is nothing, or nothing known.
    """
    if path is None:
        return "synthetic"
    if not path.exists():
        raise DataError(f"{path}: must be a data set, but there is no such file or folder.")
    try:
        if path.is_dir() and any(path.iterdir()) and OF_OWN_FILES.intersection(options):
            return "folder"
        for reader, recognises in RECOGNISED.items():
            if recognises(path):
                return reader
        empty = _is_empty(path)
        example = own_examples.told(path) if path.is_dir() and not empty else ""
    except OSError as error:
        raise DataError(f"{path}: cannot be looked into ({error.strerror}).") from None
    if empty:
        raise DataError(
            f"{path}: must be a data set, but the folder is empty; put pictures into its folder"
            " rgb, and depth in millimetres, as 16-bit PNG of the same names, into depth."
        )
    raise DataError(
        f"{path}: must be laid out as one of {', '.join(RECOGNISED)} (docs/data.md), but is none of"
        " them; of your own frames, put pictures into folders rgb, and depth into folders depth"
        f" beside them, or name a CSV that pairs them, or --reader folder with patterns{example}."
    )
