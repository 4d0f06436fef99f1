"""NYU as sparse-to-dense packs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
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


@pytest.mark.parametrize("filters", [{}, {"compression": "lzf"}, {"compression": "gzip"}])
@pytest.mark.parametrize("value", [0.0, 2.5])
def test_s2d_a_constant_frame_is_read_however_it_is_compressed(
    value: float, filters: dict[str, Any], tmp_path: Path
) -> None:
    """A wall of one depth under gzip takes a 900th of what it holds."""
    path = tmp_path / "val/official/00001.h5"
    path.parent.mkdir(parents=True)
    with h5py.File(path, "w") as file:
        for name, data in (
            ("rgb", np.full((3, 480, 640), 7, np.uint8)),
            ("depth", np.full((480, 640), value, np.float32)),
        ):
            file.create_dataset(name, data=data, chunks=data.shape if filters else None, **filters)
    (frame,) = frames("s2d_h5", tmp_path).values()
    assert frame.rgb.min() == frame.rgb.max() == 7
    assert frame.depth_m.min() == frame.depth_m.max() == value
    assert frame.valid.all() == (value > 0)


def test_s2d_a_frame_that_was_never_written_is_refused(tmp_path: Path) -> None:
    """HDF5 would give zeros."""
    made_by.s2d_h5(tmp_path)
    with h5py.File(tmp_path / "val/official/00001.h5", "r+") as file:
        del file["depth"]
        file.create_dataset("depth", shape=SIZE, dtype="f4", chunks=SIZE)
    assert "promises 3072 bytes" in refused("s2d_h5", tmp_path)


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
