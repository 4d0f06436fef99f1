"""SUN RGB-D."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support import data_layouts as made_by
from support.data_layouts import SIZE, save
from support.opened_layouts import groups, opened
from support.readers import frames

# SUN RGB-D


def test_sunrgbd_turned_bits_holes_and_groups(tmp_path: Path) -> None:
    made_by.sunrgbd(tmp_path)
    found = groups("sunrgbd", tmp_path)
    assert Counter(found.values()) == {
        ("test", "kv1/NYUdata/run_000"): 2,
        ("test", "xtion/sun3ddata/brown_bm_1/brown_bm_1"): 2,
    }
    frame = tmp_path / "SUNRGBD/kv1/NYUdata/NYU0001"
    mm = np.full(SIZE, 2500, np.uint32)
    mm[0, :3] = [0, 8000, 8001]
    turned = ((mm << 3) | (mm >> 13)).astype(np.uint16)
    save(frame / "depth/NYU0001.png", turned)
    raw = frames("sunrgbd", tmp_path / "SUNRGBD", depth="depth")["kv1/NYUdata/NYU0001"]
    assert raw.depth_m[0, :4].tolist() == pytest.approx([0, 8, 0, 2.5])
    with closing(opened("sunrgbd", tmp_path, {"depth": "depth"})) as source:
        assert source.ground_truth == "raw"
    assert frames("sunrgbd", tmp_path)["kv1/NYUdata/NYU0001"].valid.all()
    (tmp_path / "test.txt").write_text("/n/fs/sun3d/data/SUNRGBD/kv1/NYUdata/NYU0002\n")
    listed = groups("sunrgbd", tmp_path, test_list=str(tmp_path / "test.txt"))
    assert [name for name, (split, _) in listed.items() if split == "test"] == [
        "kv1/NYUdata/NYU0002"
    ]
