"""Finding the files of a data set that has no list of them."""

from __future__ import annotations

import os
from pathlib import Path

from weightsearch.data.untrusted import archive_files
from weightsearch.errors import DataError

MAX_FILES = 1 << 20
"""Under one root: KITTI's raw tree with all cameras has some 400,000."""
MAX_DEPTH = 12


def names(root: Path, suffixes: tuple[str, ...]) -> list[str]:
    """The files below the root with one of these suffixes, relative to it, sorted.

    Folders that are links are followed, each once, so that a link to a folder above ends. Raises
    DataError where there are too many files, a folder cannot be listed, or a file has a name that
    cannot be shown.
    """

    def unread(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be listed ({error.strerror}).")

    found: list[str] = []
    seen: set[tuple[int, int]] = set()
    for folder, below, here in os.walk(root, onerror=unread, followlinks=True):
        about = os.stat(folder)
        depth = len(Path(folder).parts) - len(root.parts)
        if (about.st_dev, about.st_ino) in seen or depth > MAX_DEPTH:
            below.clear()
            continue
        seen.add((about.st_dev, about.st_ino))
        below.sort()
        place = "" if depth == 0 else f"{Path(folder).relative_to(root).as_posix()}/"
        for name in here:
            if not name.lower().endswith(suffixes) or name.startswith("."):
                continue
            if not archive_files.inside(f"{place}{name}"):
                raise DataError(
                    f"{root}: files must have names that can be shown, but one has"
                    f" {f'{place}{name}'[:200]!a}."
                )
            found.append(f"{place}{name}")
        if len(found) > MAX_FILES:
            raise DataError(f"{root}: must hold at most {MAX_FILES} pictures, but holds more.")
    return sorted(found)
