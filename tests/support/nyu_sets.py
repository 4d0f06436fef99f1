"""What these tests share."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.paths import SHARED_DATA

SHARED = SHARED_DATA


def real(name: str) -> Path:
    if not (SHARED / name).is_dir():
        pytest.skip(f"needs {name} in ../shared/data")
    return SHARED / name
