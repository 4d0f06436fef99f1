"""Finding the files of a data set that has no list of them."""

from __future__ import annotations

import os
from pathlib import Path

from weightsearch.data.frames.natural_order import natural
from weightsearch.data.untrusted import archive_files
from weightsearch.errors import DataError, others

MAX_FILES = 1 << 20
"""Under one root: KITTI's raw tree with all cameras has some 400,000."""
MAX_DEPTH = 12
LITTER = ("__MACOSX", "@eaDir", "$RECYCLE.BIN", "System Volume Information", "lost+found")
"""Folders that macOS, network disks and Windows make, beside those whose name starts with a dot
(.ipynb_checkpoints, .Trash-1000, .thumbnails): pictures in them are copies, not frames."""


def names(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The files below the root with one of these suffixes, relative to it, in natural order; not
    hidden ones, and none in hidden folders.

    Folders that are links are followed, each once, so that a link to a folder above ends. Raises
    DataError where there are too many files, a folder cannot be listed, or files have names that
    cannot be shown.
    """

    def unread(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed ({error.strerror}).")

    found: list[str] = []
    unshown: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, below, here in os.walk(root, onerror=unread, followlinks=True):
        about = os.stat(folder)
        depth = len(Path(folder).parts) - len(root.parts)
        if (about.st_dev, about.st_ino) in seen or depth > MAX_DEPTH:
            below.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        below[:] = sorted(name for name in below if not is_litter(name))
        place = "" if depth == 0 else f"{Path(folder).relative_to(root).as_posix()}/"
        for name in here:
            if not name.lower().endswith(suffixes) or is_litter(name):
                continue
            whole = f"{place}{name}"
            (found if archive_files.inside(whole) else unshown).append(whole)
        if len(found) > MAX_FILES:
            raise DataError(f"{root}: must hold at most {MAX_FILES} pictures, but holds more.")
    if unshown:
        told = [ascii(name[:200]) for name in sorted(unshown)]
        raise DataError(
            f"{root}: files must have names that can be shown, but {len(told)} of"
            f" {len(found) + len(told)} have not: {told[0]}{others(told)}; rename them."
        )
    return sorted(found, key=natural)


def is_litter(name: str) -> bool:
    """Whether a file or folder of this name is one that an operating system or a program keeps for
    itself."""
    return name.startswith(".") or name in LITTER
