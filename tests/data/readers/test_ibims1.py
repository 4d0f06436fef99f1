"""iBims-1."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support import data_layouts as made_by
from support.data_layouts import SIZE, save
from support.opened_layouts import groups
from support.readers import frames

# iBims-1, DIODE


def test_ibims_masks_take_away_what_they_say(tmp_path: Path) -> None:
    made_by.ibims1(tmp_path)
    for k, mask in enumerate(("mask_invalid", "mask_transp")):
        values = np.ones(SIZE, np.uint8)
        values[4 + k, 5] = 0
        save(tmp_path / mask / "corridor_02.png", values)
    found = frames("ibims1", tmp_path)
    assert np.argwhere(~found["corridor_02"].valid).tolist() == [[4, 5], [5, 5]]
    assert found["corridor_01"].valid.all()
    assert {g for _, g in groups("ibims1", tmp_path).values()} == {"corridor", "livingroom"}
    full = np.full(SIZE, 65535, np.uint16)
    save(tmp_path / "depth/corridor_01.png", full)
    assert frames("ibims1", tmp_path)["corridor_01"].depth_m == pytest.approx(50)
