"""Training copies: size, mask, and what they leave out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_packs import ROOMS, frame, made

from weightsearch.data.frames.resize import resize_depth, resize_rgb
from weightsearch.data.packs.building import Pack, ensure, training_copy
from weightsearch.errors import DataError

# Training copies


def test_a_training_copy_has_no_test_frame(tmp_path: Path) -> None:
    pack = ensure("synthetic", None, ROOMS, tmp_path)
    path = training_copy(pack, (48, 64), tmp_path)
    assert path == tmp_path / "packs" / f"{pack.stem}-48x64.h5"
    with Pack(pack) as full, Pack(path) as copy:
        assert full.indices("test")
        assert copy.names == [full.names[i] for i in full.indices("train")]
        assert copy.groups == [full.groups[i] for i in full.indices("train")]
        assert Counter(copy.splits) == {"train": 8}
        assert copy.origin == full.digest != copy.digest
        assert (copy.sizes[0], copy.depth_sizes[0]) == ((48, 64), (24, 32))
        assert (copy.reader, copy.options) == (full.reader, full.options)
        assert (copy.ground_truth, copy.max_depth_m) == (full.ground_truth, full.max_depth_m)
        for name in full.names:
            if name.startswith("test"):
                assert name.encode() not in path.read_bytes()


@pytest.mark.parametrize("size", [(33, 47), (32, 48), (96, 128), (120, 150)])
def test_depth_of_a_training_copy_has_half_its_size_rounded_up(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    pack = ensure("synthetic", None, ROOMS, tmp_path)
    with Pack(training_copy(pack, size, tmp_path)) as copy:
        found = copy.frame(0)
    assert found.rgb.shape == (*size, 3)
    half = ((size[0] + 1) // 2, (size[1] + 1) // 2)
    assert found.depth_m.shape == found.valid.shape == half


def test_a_training_copy_averages_whole_cells(tmp_path: Path) -> None:
    pack = ensure("synthetic", None, {**ROOMS, "holes": 0.0}, tmp_path)
    with Pack(pack) as full, Pack(training_copy(pack, (48, 64), tmp_path)) as copy:
        for i in (0, 7):
            cells = full.frame(i).depth_m.astype(np.float64).reshape(24, 4, 32, 4)
            assert copy.frame(i).depth_m == pytest.approx(cells.mean(axis=(1, 3)), rel=1e-6)
            assert copy.frame(i).valid.all()


def test_a_training_copy_of_the_native_size_keeps_the_pictures(tmp_path: Path) -> None:
    pack = ensure("synthetic", None, ROOMS, tmp_path)
    with Pack(pack) as full, Pack(training_copy(pack, (96, 128), tmp_path)) as copy:
        assert np.array_equal(copy.frame(0).rgb, full.frame(0).rgb)


def test_a_training_copy_is_reused_until_its_pack_changes(tmp_path: Path) -> None:
    seen: list[int] = []

    def copy(pack: Path) -> Path:
        seen.clear()
        return training_copy(pack, (8, 8), tmp_path, lambda done, total: seen.append(total))

    pack = made(tmp_path, [frame(np.full((8, 8), 2.0))])
    copy(pack)
    assert seen == [1, 1]
    copy(pack)
    assert seen == []
    made(tmp_path, [frame(np.full((8, 8), 3.0))])
    with Pack(copy(pack)) as found:
        assert found.frame(0).depth_m == pytest.approx(3)
    assert seen == [1, 1]


def test_a_pack_without_training_frames_has_no_training_copy(tmp_path: Path) -> None:
    pack = made(tmp_path, [frame(np.full((8, 8), 2.0))], splits="test")
    with pytest.raises(DataError, match="must hold training frames, but has 1 test"):
        training_copy(pack, (4, 4), tmp_path)


@settings(max_examples=60)
@given(data=st.data(), height=st.integers(4, 20), width=st.integers(4, 20))
def test_depth_under_the_mask_has_no_influence(
    data: st.DataObject, height: int, width: int
) -> None:
    seed = data.draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    size = (data.draw(st.integers(1, height)), data.draw(st.integers(1, width)))
    depth_m = rng.uniform(0.5, 10, (height, width)).astype(np.float32)
    valid = rng.random((height, width)) < data.draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    mean_m, kept = resize_depth(depth_m, valid, size)
    for garbage in (np.nan, np.inf, -1e30, 0.0):
        other_m, other = resize_depth(np.where(valid, depth_m, np.float32(garbage)), valid, size)
        assert np.array_equal(other, kept)
        assert np.array_equal(other_m, mean_m)
    assert kept.any() == valid.any()
    assert (mean_m[~kept] == 0).all()
    if valid.any():
        low, high = depth_m[valid].min(), depth_m[valid].max()
        assert low - 1e-4 <= mean_m[kept].min() <= mean_m[kept].max() <= high + 1e-4


def test_a_cell_is_the_mean_of_its_valid_pixels() -> None:
    rng = np.random.default_rng(0)
    depth_m = rng.uniform(0.5, 10, (12, 18)).astype(np.float32)
    valid = rng.random((12, 18)) < 0.3
    mean_m, kept = resize_depth(depth_m, valid, (4, 6))
    for y in range(4):
        for x in range(6):
            cell = np.s_[3 * y : 3 * y + 3, 3 * x : 3 * x + 3]
            inside = depth_m[cell][valid[cell]]
            assert kept[y, x] == bool(inside.size)
            assert mean_m[y, x] == pytest.approx(inside.mean() if inside.size else 0, rel=1e-5)


@pytest.mark.parametrize(
    "sides", [(376, 224), (1224, 240), (352, 176), (1216, 608), (29, 22), (7, 9), (5, 11)]
)
@pytest.mark.parametrize("axis", [0, 1])
def test_no_measured_pixel_is_lost(sides: tuple[int, int], axis: int) -> None:
    """KITTI's size among them: 6 of 376 rows, 15 of 1224 columns fell between Pillow's boxes."""
    full, small = (sides[0], 3), (sides[1], 2)  # narrow: rows and columns are cut independently
    if axis:
        full, small = full[::-1], small[::-1]
    for place in range(sides[0]):
        valid = np.zeros(full, dtype=bool)
        valid[(place, 0) if axis == 0 else (0, place)] = True
        mean_m, kept = resize_depth(np.full(full, 2.5, dtype=np.float32), valid, small)
        assert kept.any(), place
        assert np.array_equal(mean_m[kept], np.full(kept.sum(), 2.5, dtype=np.float32))


def test_pictures_shrink_without_aliasing() -> None:
    """Stripes of one pixel become grey; picking pixels would keep them black or white."""
    stripes = np.zeros((40, 60, 3), dtype=np.uint8)
    stripes[:, ::2] = 255
    small = resize_rgb(stripes, (10, 15))
    assert small.shape == (10, 15, 3)
    assert np.abs(small.astype(int) - 128).max() < 20
