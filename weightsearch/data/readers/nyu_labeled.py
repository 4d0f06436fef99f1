"""The labelled part of NYU Depth v2: `nyu_depth_v2_labeled.mat` (MATLAB v7.3) and `splits.mat`.

MATLAB stores the first axis fastest, so h5py shows every array with its axes reversed:
images (n, 3, w, h) uint8, depths and rawDepths (n, w, h) float in metres. Strings are object
references to arrays of character codes. splits.mat (MATLAB v5) holds 1-based `trainNdxs` and
`testNdxs`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from weightsearch.data.frames.source import (
    Frame,
    FrameRef,
    Source,
    Split,
    fingerprint,
    resolve,
    runs,
)
from weightsearch.data.readers import picture_depth_pairs
from weightsearch.data.untrusted import archive_files, hdf5_files, matlab_files
from weightsearch.errors import ConfigError, DataError
from weightsearch.study.spec_fields import Value

FILE = "nyu_depth_v2_labeled.mat"
WHAT = f"{FILE}, with splits.mat beside it"
DEPTHS = {"filled": "depths", "raw": "rawDepths"}
OPTIONS: dict[str, Value] = {
    "depths": "filled",  # or "raw": as the sensor saw it, with holes
    "splits": "",  # splits.mat, where it does not lie beside the data
}
MAX_DEPTH_M = 10.0
IMPLAUSIBLE_M = 100.0
"""No indoor depth in metres comes near; millimetres all lie above."""
MAX_FRAMES = 1 << 17
"""The data set has 1449."""
MAX_SPLITS_BYTES = 1 << 16
"""Far above what indices take."""
LONGEST_SCENE = 1000


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The .mat file at `path`, or in the folder `path`.

    Frames are named by their 1-based index (`0001`), grouped by `scenes`, else in runs of 15.
    """
    chosen = resolve("nyu_labeled", OPTIONS, options)
    if chosen["depths"] not in DEPTHS:
        raise ConfigError(
            "option 'depths' of reader 'nyu_labeled' must be 'filled' or 'raw',"
            f" but got {chosen['depths']!r}."
        )
    if path is None:
        raise picture_depth_pairs.unplaced("nyu_labeled", WHAT)
    mat = path / FILE if path.is_dir() else path
    file = hdf5_files.open_file(mat, "must be NYU's labelled .mat (MATLAB v7.3, which is HDF5)")
    try:
        images, depths = _arrays(file, DEPTHS[str(chosen["depths"])])
        splits = _splits(Path(str(chosen["splits"]) or mat.parent / "splits.mat"), len(images))
        groups = _scenes(file, len(images))
        stat = mat.stat()
    except BaseException:
        file.close()
        raise
    frames = tuple(
        FrameRef(f"{index:04d}", groups[index - 1], split)
        for index, split in sorted(splits.items())
    )

    def read(i: int) -> Frame:
        where = f"{mat}: frame {frames[i].name}"
        index = int(frames[i].name) - 1
        return _frame(
            hdf5_files.read(images, index, where),
            hdf5_files.read(depths, index, where),
            where,
            depths.name,
        )

    return Source(
        reader="nyu_labeled",
        frames=frames,
        read=read,
        options=chosen,
        ground_truth="raw" if chosen["depths"] == "raw" else "filled",
        fingerprint=fingerprint(
            "nyu_labeled",
            mat.name,
            stat.st_size,
            stat.st_mtime_ns,
            sorted(splits.items()),
            chosen["depths"],
        ),
        max_depth_m=MAX_DEPTH_M,
        close=file.close,
    )


def recognises(path: Path) -> bool:
    """Whether the name is that of such a file, or of a folder that holds it."""
    return path.suffix == ".mat" if path.is_file() else (path / FILE).is_file()


def _frame(image: npt.NDArray[np.uint8], depth_m: npt.NDArray[Any], where: str, name: str) -> Frame:
    """From (3, w, h) and (w, h) to (h, w, 3) and (h, w)."""
    depth_m = depth_m.T.astype(np.float32)
    valid = np.isfinite(depth_m) & (depth_m > 0)
    depth_m = np.where(valid, depth_m, np.float32(0))
    if depth_m.max() > IMPLAUSIBLE_M:
        raise DataError(
            f"{where}: '{name.strip('/')}' must be in metres, but reaches {depth_m.max():.0f},"
            " as millimetres do; divide it by 1000."
        )
    return Frame(np.ascontiguousarray(image.transpose(2, 1, 0)), depth_m, valid)


def _arrays(file: h5py.File, depths_name: str) -> tuple[h5py.Dataset, h5py.Dataset]:
    images = hdf5_files.dataset(file, "images", "u", 4)
    depths = hdf5_files.dataset(file, depths_name, "f", 3)
    count, channels, width, height = images.shape
    if images.dtype != np.uint8 or channels != 3:
        raise DataError(
            f"{file.filename}: 'images' must be uint8 (n, 3, w, h),"
            f" but is {images.dtype} {images.shape}."
        )
    if count > MAX_FRAMES:
        raise DataError(
            f"{file.filename}: must hold at most {MAX_FRAMES} frames, but promises {count}."
        )
    if depths.shape != (count, width, height):
        raise DataError(
            f"{file.filename}: '{depths_name}' must have shape {(count, width, height)}"
            f" as 'images' do, but has {depths.shape}."
        )
    return images, depths


def _splits(path: Path, count: int) -> dict[int, Split]:
    """The split of each listed frame by its 1-based index."""
    if not path.is_file():
        raise DataError(
            f"{path}: must hold the official split, but there is no such file; put splits.mat"
            " beside the data, or give the option 'splits'."
        )
    if (size := path.stat().st_size) > MAX_SPLITS_BYTES:
        raise DataError(f"{path}: must have at most {MAX_SPLITS_BYTES} bytes, but has {size}.")
    law = f"{path}: must be a MATLAB v5 file with trainNdxs and testNdxs, but"
    try:
        found = matlab_files.numbers(path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{law} cannot be read ({error}).") from None
    if "testNdxs" not in found:  # without the other, the frames can be evaluated on
        raise DataError(f"{law} has no list of numbers testNdxs.")
    with np.errstate(invalid="ignore"):  # no number becomes one that is out of range
        lists: dict[Split, npt.NDArray[np.int64]] = {
            "train": found.get("trainNdxs", np.array([])).astype(np.int64),
            "test": found["testNdxs"].astype(np.int64),
        }
    splits: dict[int, Split] = {}
    for split, indices in lists.items():
        for index in map(int, indices):
            if not 1 <= index <= count or index in splits:
                raise DataError(
                    f"{path}: indices must lie in 1..{count} and occur once, but {index} does not."
                )
            splits[index] = split
    return splits


def _scenes(file: h5py.File, count: int) -> list[str]:
    """The scene of each frame; runs of neighbours where the file does not say."""
    if not hdf5_files.has(file, "scenes"):
        return runs(count)
    references = hdf5_files.dataset(file, "scenes", "O", 2)
    if h5py.check_ref_dtype(references.dtype) is not h5py.Reference or references.size != count:
        raise DataError(
            f"{file.filename}: 'scenes' must refer to {count} strings,"
            f" but has shape {references.shape} and dtype {references.dtype}."
        )
    return [
        _text(file, reference)
        for reference in hdf5_files.read(references, (), f"{file.filename}: 'scenes'").ravel()
    ]


def _text(file: h5py.File, reference: h5py.Reference) -> str:
    where = f"{file.filename}: a string of 'scenes'"
    try:
        codes = file[reference]
    except hdf5_files.DAMAGED as error:
        raise DataError(f"{where} cannot be read ({hdf5_files.one_line(error)}).") from None
    if not isinstance(codes, h5py.Dataset):
        raise DataError(f"{where} must be an array of character codes, but is a group.")
    hdf5_files.check(codes, where, "u", 2)
    if codes.size > LONGEST_SCENE:
        raise DataError(f"{where} must have at most {LONGEST_SCENE} characters.")
    values = hdf5_files.read(codes, (), where).ravel().tolist()
    text = "".join(chr(code) if code <= sys.maxunicode else "\0" for code in values)
    if not archive_files.can_be_shown(text):
        raise DataError(f"{where} must be of letters that can be shown, but is {text[:200]!a}.")
    return text
