"""Depth maps as files: our own NAME.npy in metres, exact, and NAME.png, 16-bit in millimetres; and
those of other programs, whose unit is another."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from weightsearch.data.untrusted import picture_files
from weightsearch.data.untrusted.picture_files import MAX_PIXELS
from weightsearch.depth.files.units import UNITS
from weightsearch.errors import DataError
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.safe_text import presentable

Depth = npt.NDArray[np.float32]
"""(h, w), metres."""

FARTHEST_M = 65.535
"""What 16 bits of millimetres can hold: depth beyond it is written as this."""
USUAL = {".npy": "m", ".png": "mm"}
"""The unit of a file that states none."""


@dataclass(frozen=True)
class Values:
    """The numbers of a file of depth, as they stand there."""

    values: Depth
    stated: str | None
    """The unit that the file itself states, one of `UNITS`."""


def mirrored_file(name: Path) -> Path:
    """Where the prediction for the mirrored picture lies, beside NAME.npy."""
    return name.with_name(f"{name.name}_mirrored.npy")


def read_depth(path: Path) -> Depth:
    """The depth map in a file of our own, in metres; NaN and infinity are kept.

    Raises DataError unless it is a .npy of floating point, or a 16-bit grey .png (millimetres).
    """
    found = read_values(path, None)
    return UNITS[found.stated or USUAL[path.suffix]].converted(found.values)


def read_values(path: Path, unit: str | None) -> Values:
    """The numbers (h, w) in a .npy or a grey .png, float32; NaN and infinity are kept.

    Where the `unit` is known, one of `UNITS`, whole numbers in a .npy are read too, and 8 bits
    where it has no metres. Raises DataError for anything else, and for a damaged file.
    """
    scaleless = unit is not None and UNITS[unit].kind != "m"
    if path.suffix == ".png":
        return _read_png(path, scaleless)
    values = _read_npy(path, whole=unit is not None, scaleless=scaleless)
    return Values(values, _stated_beside(path))


def write_npy(path: Path, depth_m: Depth) -> None:
    """Writes metres as float32, whole or not at all; raises DataError where that fails."""
    _write(path, lambda file: np.save(file, depth_m.astype(np.float32), allow_pickle=False))


def write_png(path: Path, depth_m: Depth) -> None:
    """Writes millimetres as 16-bit grey, with unit and factor in the file's text chunks.

    Depth beyond 65.535 m, which outdoor scenes have, is written as 65.535 m. The file is whole or
    not there; raises DataError where that fails.
    """
    millimetres = np.round(np.clip(depth_m, 0, FARTHEST_M) * 1000.0).astype(np.uint16)
    text = {
        "unit": "mm",
        "metres_per_unit": "0.001",
        "farthest_m": str(FARTHEST_M),
        "npy_unit": "m",  # of NAME.npy beside it, which cannot say so itself
    }
    write_picture(path, Image.fromarray(millimetres), text)


def write_picture(path: Path, picture: Image.Image, text: Mapping[str, str]) -> None:
    """Writes a PNG with these text chunks, whole or not at all; raises DataError."""
    chunks = PngImagePlugin.PngInfo()
    for key, value in text.items():
        chunks.add_text(key, value)
    _write(path, lambda file: picture.save(file, format="png", pnginfo=chunks))


def _write(path: Path, write: Callable[[IO[bytes]], None]) -> None:
    content = io.BytesIO()
    write(content)
    write_bytes(path, content.getvalue())


def write_bytes(path: Path, content: bytes) -> None:
    """Writes a whole file, and the folder that it lies in; raises DataError where that fails."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content)
    except OSError as error:
        raise DataError(f"{path}: cannot be written ({error.strerror or error}).") from None


def _read_npy(path: Path, whole: bool, scaleless: bool) -> Depth:
    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise ValueError("it is not one; save it with numpy.save")
        # Mapped, so that a header that promises more than the file holds allocates nothing.
        depth = np.load(path, mmap_mode="r", allow_pickle=False)
    except picture_files.DAMAGED as error:  # also what is damaged about a header
        reason = getattr(error, "strerror", None) or (str(error) or type(error).__name__)
        reason = presentable(reason.splitlines()[0].rstrip("."))
        raise DataError(f"{path}: must be a whole .npy file, but {reason}.") from None
    fits = depth.dtype.kind == "f" or (whole and depth.dtype.kind in "iu" and depth.itemsize > 1)
    if not (fits or (scaleless and depth.dtype.kind in "iu")):
        unit = "" if whole else "; of whole numbers, say what they count: --unit"
        raise DataError(
            f"{path}: must be floating point, but is {depth.dtype} of shape {depth.shape}{unit}."
        )
    if depth.ndim != 2 or not 0 < depth.size <= MAX_PIXELS:
        raise DataError(
            f"{path}: must be of shape (height, width), at most {MAX_PIXELS} numbers, but is"
            f" {depth.dtype} of shape {depth.shape}."
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which protocols clamp
        return np.array(depth, dtype=np.float32)


def _stated_beside(path: Path) -> str | None:
    """The unit of a .npy as the .png of the same name states it, where `predict` wrote both."""
    png = path.with_name(path.name.removesuffix(".npy") + ".png")
    if not png.is_file():
        return None
    with contextlib.suppress(DataError), picture_files.opened(png, ("PNG",), "", "") as picture:
        stated = str(picture.info.get("npy_unit"))
        return stated if stated in UNITS else None
    return None


def _read_png(path: Path, scaleless: bool) -> Values:
    with picture_files.opened(path, ("PNG",), str(path), "a whole .png file") as picture:
        if not (picture.mode.startswith("I;16") or (scaleless and picture.mode == "L")):
            raise DataError(
                f"{path}: must be a 16-bit grey PNG, but its mode is '{picture.mode}'; 8 bits are"
                " too coarse for metres."
            )
        values = np.asarray(picture, dtype=np.float32)
        stated = str(picture.info.get("unit"))
    return Values(values, stated if stated in UNITS else None)
