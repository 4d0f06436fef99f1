"""Depth maps as files: NAME.npy in metres, exact, and NAME.png, 16-bit in millimetres."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt
from PIL import Image, PngImagePlugin

from weightsearch.data.untrusted import picture_files
from weightsearch.data.untrusted.picture_files import MAX_PIXELS
from weightsearch.errors import DataError
from weightsearch.runtime.atomic_file import write_atomically
from weightsearch.runtime.safe_text import presentable

Depth = npt.NDArray[np.float32]
"""(h, w), metres."""

FARTHEST_M = 65.535
"""What 16 bits of millimetres can hold: depth beyond it is written as this."""


def read_depth(path: Path) -> Depth:
    """The depth map in a file, in metres; NaN and infinity are kept.

    Raises DataError unless it is a .npy of floating point, or a 16-bit grey .png (millimetres).
    """
    return _read_png(path) if path.suffix == ".png" else _read_npy(path)


def write_npy(path: Path, depth_m: Depth) -> None:
    """Writes metres as float32, whole or not at all; raises DataError where that fails."""
    _write(path, lambda file: np.save(file, depth_m.astype(np.float32), allow_pickle=False))


def write_png(path: Path, depth_m: Depth) -> None:
    """Writes millimetres as 16-bit grey, with unit and factor in the file's text chunks.

    Depth beyond 65.535 m, which outdoor scenes have, is written as 65.535 m. The file is whole or
    not there; raises DataError where that fails.
    """
    millimetres = np.round(np.clip(depth_m, 0, FARTHEST_M) * 1000.0).astype(np.uint16)
    text = {"unit": "mm", "metres_per_unit": "0.001", "farthest_m": str(FARTHEST_M)}
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


def _read_npy(path: Path) -> Depth:
    try:
        with path.open("rb") as file:
            if file.read(6) != b"\x93NUMPY":
                raise ValueError("it is not one; save it with numpy.save")
        # Mapped, so that a header that promises more than the file holds allocates nothing.
        depth_m = np.load(path, mmap_mode="r", allow_pickle=False)
    except picture_files.DAMAGED as error:  # also what is damaged about a header
        reason = getattr(error, "strerror", None) or (str(error) or type(error).__name__)
        reason = presentable(reason.splitlines()[0].rstrip("."))
        raise DataError(f"{path}: must be a whole .npy file, but {reason}.") from None
    if depth_m.dtype.kind != "f" or depth_m.ndim != 2 or not 0 < depth_m.size <= MAX_PIXELS:
        raise DataError(
            f"{path}: must be floating point metres of shape (height, width), at most"
            f" {MAX_PIXELS} of them, but is {depth_m.dtype} of shape {depth_m.shape}."
        )
    with np.errstate(over="ignore"):  # beyond float32 is infinity, which protocols clamp
        return np.array(depth_m, dtype=np.float32)


def _read_png(path: Path) -> Depth:
    with picture_files.opened(path, ("PNG",), str(path), "a whole .png file") as picture:
        if not picture.mode.startswith("I;16"):
            raise DataError(
                f"{path}: must be a 16-bit grey PNG in millimetres, but its mode is"
                f" '{picture.mode}'; 8 bits are too coarse for metres."
            )
        millimetres = np.asarray(picture, dtype=np.float32)
    return millimetres / np.float32(1000)
