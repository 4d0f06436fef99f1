"""Being somebody else for a moment, which root can; a folder that both may write to."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534
needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="needs root, to be somebody else for a moment"
)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """Not in pytest's own, which is closed to others."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def somebody_else(shared: Path, *closed: Path) -> Iterator[None]:
    """Whoever may write to every folder of `shared`, and not read what is closed."""
    for place in (shared, *shared.rglob("*")):
        place.chmod(0o777 if place.is_dir() else 0o644)
    for file in closed:
        file.chmod(0o600)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
