"""NYU in both of its layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.data_sets import Csv, Labeled


@pytest.fixture
def labeled(tmp_path: Path) -> Labeled:
    return Labeled(tmp_path / "labeled").write()


@pytest.fixture
def csv(tmp_path: Path) -> Csv:
    return Csv(tmp_path / "nyu_data").write()
