"""NYU as sparse-to-dense packs it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from support import data_layouts as made_by
from support.data_layouts import SIZE
from support.opened_layouts import groups
from support.readers import frames, refused

# sparse-to-dense


def test_s2d_parts_of_a_room_are_one_group_and_tests_go_in_runs(tmp_path: Path) -> None:
    made_by.s2d_h5(tmp_path / "nyudepthv2")
    assert groups("s2d_h5", tmp_path) == {
        "train/kitchen_0028a/00001": ("train", "kitchen_0028"),
        "train/kitchen_0028b/00001": ("train", "kitchen_0028"),
        "train/office_0003/00001": ("train", "office_0003"),
        "val/official/00001": ("test", "test/run_000"),
        "val/official/00002": ("test", "test/run_000"),
    }


def test_s2d_zero_is_a_hole_and_millimetres_are_refused(tmp_path: Path) -> None:
    made = made_by.s2d_h5(tmp_path)
    path = tmp_path / "val/official/00001.h5"
    with h5py.File(path, "r+") as file:
        file["depth"][2, 3:6] = [0, np.nan, 12]
    frame = frames("s2d_h5", tmp_path)["val/official/00001"]
    assert np.argwhere(~frame.valid).tolist() == [[2, 3], [2, 4], [2, 5]]
    with h5py.File(path, "r+") as file:
        file["depth"][:] = 1000 * made.depth_m["val/official/00001"]
    assert "must be in metres" in refused("s2d_h5", tmp_path)
    with h5py.File(path, "r+") as file:
        del file["rgb"]
        file["rgb"] = np.zeros((*SIZE, 3), np.uint8)
    assert "'rgb' must be uint8 (3, h, w)" in refused("s2d_h5", tmp_path)
