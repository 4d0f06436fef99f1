"""What `predict` and `export` are given: pictures, videos, and folders of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import ImageOps

from weightsearch.data.frames.natural_order import natural
from weightsearch.data.readers import folder_walk
from weightsearch.data.untrusted import picture_files
from weightsearch.errors import DataError

Rgb = npt.NDArray[np.uint8]
"""(h, w, 3)."""

# A JPEG with several pictures (MPO) is one of JPEG.
KINDS = ("PNG", "JPEG", "WEBP", "TIFF", "BMP", "PPM", "GIF")
MAX_PIXELS = 1 << 26
PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".ppm", ".gif")
"""Suffixes that are looked for in folders; a picture named by itself may have any."""
VIDEOS = {
    ".mp4": "mov,mp4,m4a,3gp,3g2,mj2",
    ".m4v": "mov,mp4,m4a,3gp,3g2,mj2",
    ".mov": "mov,mp4,m4a,3gp,3g2,mj2",
    ".mkv": "matroska,webm",
    ".webm": "matroska,webm",
    ".avi": "avi",
}
"""Suffixes of videos with FFmpeg's name of the one container that each is read as: left to guess,
it would also read playlists, which name other files."""


@dataclass(frozen=True)
class Input:
    """A picture or a video."""

    path: Path
    name: Path
    """Where its files go, below the output folder and without suffix: in a folder that was given,
    its path there."""

    @property
    def is_video(self) -> bool:
        return self.path.suffix.lower() in VIDEOS


def gather(given: Sequence[Path], videos: bool = True) -> list[Input]:
    """The pictures and videos that are named, or that lie anywhere in a folder that is named.

    Hidden files, and folders that a system keeps for itself (`__MACOSX`), are left out; frame 2
    comes before frame 10. Raises DataError for a folder without any.
    """
    return [one for path in given for one in _gathered(path, videos)]


def _gathered(path: Path, videos: bool) -> Iterator[Input]:
    if not path.is_dir():
        yield Input(path, Path(path.stem))
        return
    known = (*PICTURES, *VIDEOS) if videos else PICTURES
    found = False
    for file in sorted(path.rglob("*"), key=lambda file: natural(str(file))):
        below = file.relative_to(path)
        litter = any(folder_walk.is_litter(part) for part in below.parts)
        if file.suffix.lower() in known and not litter and file.is_file():
            found = True
            yield Input(file, below.with_suffix(""))
    if not found:
        raise DataError(
            f"{path}: must hold pictures{' or videos' if videos else ''}, but has no file that"
            f" ends in {', '.join(known)}."
        )


def read_rgb(path: Path) -> Rgb:
    """The picture (h, w, 3), upright; raises DataError where it cannot be decoded."""
    with picture_files.opened(path, KINDS, str(path), "a picture", MAX_PIXELS) as picture:
        if picture.mode[0] in "IF":
            raise DataError(
                f"{path}: must be a picture with 8 bits a channel, but its mode is"
                f" '{picture.mode}'."
            )
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
