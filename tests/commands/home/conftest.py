"""Fixtures of this folder."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.garbage import ROOMS
from support.homes import aged

from weightsearch.data.packs import building

# gc: packs


@pytest.fixture
def rooms(tmp_path: Path) -> tuple[Path, str]:
    """A pack, long unused, and its digest."""
    path = building.ensure("synthetic", None, ROOMS, tmp_path)
    building.training_copy(path, (32, 32), tmp_path)
    building.training_copy(path, (32, 48), tmp_path)
    aged(tmp_path / "packs")
    with building.Pack(path) as opened:
        return path, opened.digest
