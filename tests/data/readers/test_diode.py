"""DIODE."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support import data_layouts as made_by
from support.data_layouts import SIZE
from support.opened_layouts import groups, opened
from support.readers import frames

from weightsearch.data.readers.registry import detect
from weightsearch.errors import ConfigError


def test_diode_reads_a_part_of_it_its_masks_and_its_splits(tmp_path: Path) -> None:
    made = made_by.diode(tmp_path)
    found = groups("diode", tmp_path)
    assert Counter(found.values()) == {
        ("train", "scene_00001"): 1,
        ("train", "scene_00002"): 1,
        ("test", "scene_00019"): 2,
    }
    assert len(groups("diode", tmp_path, place="outdoor")) == 1
    for below in ("val", "val/indoors"):
        here = groups("diode", tmp_path / below)
        assert Counter(here.values()) == {("test", "scene_00019"): 2}
        assert detect(tmp_path / below) == "diode"
    name = next(name for name in made.rgb if name.startswith("val"))
    mask = np.ones(SIZE)
    mask[1, 2] = 0
    np.save(tmp_path / f"{name}_depth_mask.npy", mask)
    depth = made.depth_m[name].copy()
    depth[3, 4:6] = [200, np.nan]
    np.save(tmp_path / f"{name}_depth.npy", depth[..., None])
    assert np.argwhere(~frames("diode", tmp_path)[name].valid).tolist() == [[1, 2], [3, 4], [3, 5]]
    assert frames("diode", tmp_path, max_m=300)[name].depth_m[3, 4] == 200
    with pytest.raises(ConfigError, match="'place' all, indoors or outdoor"):
        opened("diode", tmp_path, {"place": "indoor"})
