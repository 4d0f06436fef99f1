"""KITTI by Eigen's lists."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import data_layouts as made_by
from support.data_layouts import save
from support.opened_layouts import groups, opened
from support.readers import frames

from weightsearch.errors import ConfigError

# KITTI


def test_kitti_lines_without_depth_are_left_out_and_counted(tmp_path: Path) -> None:
    made_by.kitti_eigen(tmp_path)
    with closing(opened("kitti_eigen", tmp_path)) as source:
        assert Counter((ref.split, ref.group) for ref in source.frames) == {
            ("train", "2011_09_26_drive_0002_sync"): 1,
            ("train", "2011_09_26_drive_0005_sync"): 1,
            ("test", "2011_09_26_drive_0009_sync"): 1,
        }
        assert source.notes == (
            "eigen_test_files_with_gt.txt: 1 lines without depth ('None') are left out.",
        )
        assert source.max_depth_m == 80
        assert {source.read(i).rgb.shape for i in range(3)} == {(24, 80, 3), (26, 80, 3)}


def test_kitti_without_lists_takes_the_pictures_that_have_depth(tmp_path: Path) -> None:
    made = made_by.kitti_eigen(tmp_path, lists=False)
    found = groups("kitti_eigen", tmp_path)
    assert found.keys() == made.rgb.keys()
    assert {split for split, _ in found.values()} == {"test"}
    with closing(opened("kitti_eigen", tmp_path)) as source:
        assert source.notes == ("1 pictures of the left camera have no depth and are left out.",)
    assert {s for s, _ in groups("kitti_eigen", tmp_path, split="train").values()} == {"train"}


def test_kitti_depth_may_lie_apart_in_the_official_parts(tmp_path: Path) -> None:
    made = made_by.kitti_eigen(tmp_path / "raw")
    for drive, part in (("0002", "train"), ("0005", "train"), ("0009", "val")):
        name = f"2011_09_26_drive_{drive}_sync"
        place = tmp_path / "raw" / "data_depth_annotated" / part / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "raw" / name).rename(place)
    assert groups("kitti_eigen", made.path).keys() == made.rgb.keys()
    depths = (tmp_path / "raw" / "data_depth_annotated").rename(tmp_path / "depths")
    apart = {"depth_root": str(depths)}
    assert groups("kitti_eigen", made.path, **apart).keys() == made.rgb.keys()
    for path in made.path.glob("*.txt"):
        path.unlink()
    walked = groups("kitti_eigen", made.path, **apart)
    assert walked.keys() == made.rgb.keys()
    assert Counter(split for split, _ in walked.values()) == {"train": 2, "test": 1}


def test_kitti_raw_depth_is_another_picture_and_80_m_the_end(tmp_path: Path) -> None:
    made = made_by.kitti_eigen(tmp_path)
    for path in list(tmp_path.glob("*/proj_depth/groundtruth/image_02/*.png")):
        values = np.zeros(np.asarray(Image.open(path)).shape, np.uint16)
        values[3, 4:7] = 256 * np.array([7, 80, 81])
        save(Path(str(path).replace("groundtruth", "velodyne_raw")), values)
    for frame in frames("kitti_eigen", tmp_path, depth="raw").values():
        assert np.argwhere(frame.valid).tolist() == [[3, 4], [3, 5]]
        assert frame.depth_m[3, 4:7].tolist() == [7, 80, 0]
    assert all(frame.valid.all() for frame in frames("kitti_eigen", tmp_path).values())
    assert made.rgb
    with pytest.raises(ConfigError, match="'annotated' or 'raw'"):
        opened("kitti_eigen", tmp_path, {"depth": "lidar"})
