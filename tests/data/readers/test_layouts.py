"""Each layout that people have is read as it is meant: axes, units, holes, splits and groups."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support import data_layouts as made_by
from support.data_layouts import LAYOUTS, SIZE, save
from support.paths import SHARED_DATA
from support.readers import frames, refused

from weightsearch.data.frames.source import Source
from weightsearch.data.readers.registry import detect, open_source
from weightsearch.errors import ConfigError
from weightsearch.study.table import Value


def groups(reader: str, path: Path, **options: Value) -> dict[str, tuple[str, str]]:
    """Split and group of each frame."""
    with closing(open_source(reader, path, options)) as source:
        return {ref.name: (ref.split, ref.group) for ref in source.frames}


def opened(reader: str, path: Path, options: Mapping[str, Value] | None = None) -> Source:
    return open_source(reader, path, options or {})


# All


@pytest.mark.parametrize("reader", sorted(LAYOUTS))
def test_axes_colours_and_metres_are_those_that_were_written(reader: str, tmp_path: Path) -> None:
    made = LAYOUTS[reader](tmp_path)
    assert detect(tmp_path) == reader
    found = frames(reader, tmp_path)
    assert found.keys() == made.rgb.keys()
    for name, frame in found.items():
        expected = made.rgb[name].astype(int)
        assert frame.rgb.shape == expected.shape
        # A mirrored, turned or BGR picture is some 80 away on average; JPEG moves edges by 30.
        assert np.abs(frame.rgb - expected).mean() < 4
        assert frame.depth_m.shape == made.depth_m[name].shape
        assert np.abs(frame.depth_m - made.depth_m[name]).max() <= made.step_m
        assert frame.valid.all()


DEPTHS = {
    "nyu_bts": "sync_depth_*.png",
    "kitti_eigen": "groundtruth/image_02/*.png",
    "make3d": "depth_sph_corr-*.mat",
    "ibims1": "depth/*.png",
    "diode": "*_depth.npy",
    "sunrgbd": "depth_bfx/*.png",
    "folder": "depth/*.png",
}
"""Where each layout has its depth; sparse-to-dense has it in the frame's one file."""


@pytest.mark.parametrize("reader", sorted(DEPTHS))
def test_a_missing_file_is_refused_with_its_place_and_the_count(
    reader: str, tmp_path: Path
) -> None:
    made = LAYOUTS[reader](tmp_path)
    next(tmp_path.rglob(DEPTHS[reader])).unlink()
    said = refused(reader, tmp_path)
    assert "are missing)" in said
    assert made.path.name in said


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


# BTS


@pytest.mark.parametrize("lists", [True, False])
def test_bts_trees_read_with_and_without_their_lists(tmp_path: Path, lists: bool) -> None:
    made_by.nyu_bts(tmp_path, lists=lists)
    assert groups("nyu_bts", tmp_path) == {
        "sync/kitchen_0028a/rgb_00001": ("train", "kitchen_0028"),
        "sync/kitchen_0028b/rgb_00045": ("train", "kitchen_0028"),
        "sync/office_0003/rgb_00007": ("train", "office_0003"),
        "official_splits/test/bathroom/rgb_00045": ("test", "test/bathroom/run_000"),
        "official_splits/test/bathroom/rgb_00046": ("test", "test/bathroom/run_000"),
        "official_splits/test/office/rgb_00503": ("test", "test/office/run_000"),
    }


def test_bts_lists_may_lie_elsewhere(tmp_path: Path) -> None:
    made = made_by.nyu_bts(tmp_path / "nyu")
    options: dict[str, Value] = {}
    for split in ("train", "test"):
        path = made.path / f"nyudepthv2_{split}_files_with_gt.txt"
        path.rename(tmp_path / f"{split}.txt")
        options[f"{split}_list"] = str(tmp_path / f"{split}.txt")
    assert frames("nyu_bts", made.path, **options).keys() == made.rgb.keys()
    (tmp_path / "test.txt").unlink()
    assert "must be a list" in refused("nyu_bts", made.path, **options)


@pytest.mark.parametrize(
    "line",
    ["a/rgb_1.jpg", "a/rgb_1.jpg a/../../d.png 518", "a.jpg b.png wide", "a b c d", "/ b.png 1"],
)
def test_bts_lines_that_are_none_are_refused_with_their_number(tmp_path: Path, line: str) -> None:
    made_by.nyu_bts(tmp_path)
    path = tmp_path / "nyudepthv2_train_files_with_gt.txt"
    path.write_text(f"{path.read_text()}{line}\n")
    assert f"{path}:4: must be 'RGB DEPTH'" in refused("nyu_bts", tmp_path)


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


# Make3D


def test_make3d_groups_are_places_and_days(tmp_path: Path) -> None:
    made_by.make3d(tmp_path)
    assert groups("make3d", tmp_path) == {
        "Train400Img/img-math1-p-015t000": ("train", "math1"),
        "Train400Img/img-math1-p-046t000": ("train", "math1"),
        "Train400Img/img-op1-p-015t000": ("train", "op1"),
        "Test134/img-060705-17.10.14-p-254t000": ("test", "060705"),
    }


def test_make3d_a_picture_that_is_cut_short_can_be_left_out(tmp_path: Path) -> None:
    made_by.make3d(tmp_path)
    name = "Train400Img/img-op1-p-015t000"
    picture = tmp_path / f"{name}.jpg"
    picture.write_bytes(picture.read_bytes()[:-200])
    assert f"{name}.jpg: must be a PNG or JPEG image" in refused("make3d", tmp_path)
    assert name not in frames("make3d", tmp_path, leave_out=name)
    assert "must name frames" in refused("make3d", tmp_path, leave_out="op1")


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


# Folders and CSV


def test_a_flat_folder_is_grouped_in_runs(tmp_path: Path) -> None:
    made_by.folder(tmp_path)
    assert Counter(groups("folder", tmp_path).values()) == {
        ("train", "train/run_000"): 15,
        ("train", "train/run_001"): 2,
    }
    assert {split for split, _ in groups("folder", tmp_path, split="test").values()} == {"test"}


def test_a_picture_is_turned_as_its_camera_noted(tmp_path: Path) -> None:
    """A phone stores it lying, and notes how it was held."""
    (tmp_path / "train").mkdir()
    lying = Image.new("RGB", (64, 48), "black")
    lying.paste("white", (0, 0, 64, 16))  # at the top; turned to the right, it is at the right
    noted = Image.Exif()
    noted[0x0112] = 6
    lying.save(tmp_path / "train" / "a.jpg", exif=noted)
    save(tmp_path / "train" / "a.png", np.full((64, 48), 1000, np.uint16))
    options = {"rgb": "{split}/{name}.jpg", "depth": "{split}/{name}.png", "depth_scale": 1000.0}
    (frame,) = frames("folder", tmp_path, **options).values()
    assert frame.rgb.shape == (64, 48, 3)
    assert frame.rgb[:, 40:].mean() > 200
    assert frame.rgb[:, :24].mean() < 50


def test_patterns_name_the_split_the_group_and_the_frame(tmp_path: Path) -> None:
    depth = np.array([[0, 100, 250], [900, 65535, 30]], np.uint16)
    for split, scene in (("train", "hall"), ("train", "lab"), ("val", "yard")):
        for k in range(2):
            place = tmp_path / split / scene
            save(place / f"{k}_rgb.png", np.zeros((4, 6), np.uint8))
            save(place / f"{k}_rgb_depth.png", depth)
    options: dict[str, Value] = {
        "rgb": "{split}/{group}/{name}.png",
        "depth": "{split}/{group}/{name}_depth.png",
        "depth_scale": 100.0,
        "invalid": 65535.0,
        "min_m": 0.5,
        "max_m": 8.0,
    }
    assert groups("folder", tmp_path, **options) == {
        f"{split}/{scene}/{k}_rgb": ("test" if split == "val" else split, scene)
        for split, scene in (("train", "hall"), ("train", "lab"), ("val", "yard"))
        for k in range(2)
    }
    frame = frames("folder", tmp_path, **options)["val/yard/1_rgb"]
    assert frame.rgb.shape == (4, 6, 3)
    assert frame.depth_m.tolist() == pytest.approx(np.array([[0, 1, 2.5], [0, 0, 0]]))
    whole = frames("folder", tmp_path, **{**options, "invalid": 0.0, "max_m": 1000.0})
    assert whole["val/yard/1_rgb"].depth_m[1, 1] == pytest.approx(655.35)


def test_a_csv_names_files_splits_and_groups(tmp_path: Path) -> None:
    made = made_by.folder(tmp_path)
    lines = ["depth_m,image,room,part"]
    lines += [f"depth/{k:04d}.npy,rgb/{k:04d}.png,room_{k % 3},{'test' if k % 3 == 2 else 'train'}"
              for k in range(6)]  # fmt: skip
    for k in range(6):
        np.save(tmp_path / f"depth/{k:04d}.npy", made.depth_m[f"rgb/{k:04d}"].astype(np.float64))
    (tmp_path / "mine.csv").write_text("\n".join(lines))
    options: dict[str, Value] = {
        "rgb_column": "image",
        "depth_column": "depth_m",
        "split_column": "part",
        "group_column": "room",
        "depth_scale": 1.0,
    }
    by_file = frames("folder", tmp_path / "mine.csv", **options)
    by_option = frames("folder", tmp_path, list="mine.csv", **options)
    assert by_file.keys() == by_option.keys() == {f"rgb/{k:04d}" for k in range(6)}
    assert by_file["rgb/0003"].depth_m == pytest.approx(made.depth_m["rgb/0003"])
    assert groups("folder", tmp_path / "mine.csv", **options)["rgb/0005"] == ("test", "room_2")
    bare = "\n".join(f"rgb/{k:04d}.png,depth/{k:04d}.png" for k in range(17))
    (tmp_path / "bare.csv").write_text(bare)
    found = groups("folder", tmp_path, depth="depth/{name}.png")
    assert groups("folder", tmp_path / "bare.csv") == found


def test_two_pictures_of_one_frame_are_refused(tmp_path: Path) -> None:
    made = made_by.folder(tmp_path)
    save(tmp_path / "rgb/0003.jpg", made.rgb["rgb/0003"])
    said = refused("folder", tmp_path)
    assert "rgb/0003.jpg and rgb/0003.png are of the same one" in said
    assert frames("folder", tmp_path, rgb="rgb/{name}.png").keys() == made.rgb.keys()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"depth_scale": 0.0}, "'depth_scale' must be above 0"),
        ({"min_m": 5.0, "max_m": 5.0}, "0 <= min_m < max_m"),
        ({"split": "val"}, "'split' must be 'train' or 'test'"),
        ({"ground_truth": "true"}, "'ground_truth' must be one of raw, filled, exact"),
        ({"rgb": "rgb/*"}, "must be a path below the data set with {name}"),
        ({"rgb": "../{name}"}, "must be a path below the data set with {name}"),
        ({"rgb": "{name}{name}"}, "must be a path below the data set with {name}"),
        ({"rgb": "{group}/{name}"}, "must have the same fields"),
    ],
)
def test_options_out_of_their_range_are_refused(
    tmp_path: Path, options: dict[str, Value], said: str
) -> None:
    made_by.folder(tmp_path)
    with pytest.raises(ConfigError) as caught:
        opened("folder", tmp_path, options)
    assert said in str(caught.value)


def test_a_coloured_picture_of_depth_and_jpeg_are_refused(tmp_path: Path) -> None:
    made = made_by.folder(tmp_path)
    save(tmp_path / "depth/0000.png", made.rgb["rgb/0000"])
    assert "holds no depth" in refused("folder", tmp_path)
    (tmp_path / "a.csv").write_text("rgb/0001.png,depth/0001.jpg\n")
    save(tmp_path / "depth/0001.jpg", np.zeros((12, 16), np.uint8))
    assert "JPEG, for one, changes the values" in refused("folder", tmp_path / "a.csv")


# Real frames


@pytest.mark.real_data
def test_real_kitti_and_make3d_frames_are_read(tmp_path: Path) -> None:
    for name, reader in (("kitti", "kitti_eigen"), ("make3d", "make3d")):
        if not (SHARED_DATA / name).is_dir():
            pytest.skip(f"needs {name} in ../shared/data")
        assert detect(SHARED_DATA / name) == reader
    with closing(opened("kitti_eigen", SHARED_DATA / "kitti")) as source:
        assert len(source.frames) == 10
        frame = source.read(3)
        assert frame.rgb.shape == (375, 1242, 3)
        assert 0.03 < frame.valid.mean() < 0.04
        below = frame.valid[200:].mean()  # the laser sees the road, not the sky
        assert below > 10 * frame.valid[:100].mean()
        assert np.median(frame.depth_m[300:][frame.valid[300:]]) < 10
    with closing(opened("make3d", SHARED_DATA / "make3d")) as source:
        assert len(source.frames) == 4
        frame = source.read(0)
        assert frame.rgb.shape == (2272, 1704, 3)
        assert frame.depth_m.shape == (55, 305)
        assert frame.depth_m.max() == 80
        # The sky is above, and far.
        assert np.median(frame.depth_m[:10]) > 2 * np.median(frame.depth_m[-10:])


@pytest.mark.real_data
def test_real_frames_read_the_same_from_every_layout_of_nyu(tmp_path: Path) -> None:
    source = SHARED_DATA / "nyu_16bit"
    if not source.is_dir():
        pytest.skip("needs nyu_16bit in ../shared/data")
    rgb = np.asarray(Image.open(source / "0003_colors.png"))
    mm = np.asarray(Image.open(source / "0003_depth.png")).astype(np.uint16)
    (tmp_path / "s2d/val/official").mkdir(parents=True)
    with h5py.File(tmp_path / "s2d/val/official/00001.h5", "w") as file:
        file["rgb"], file["depth"] = rgb.transpose(2, 0, 1), (mm / 1000).astype(np.float32)
    save(tmp_path / "bts/sync/hall_0001/rgb_00003.png", rgb)
    save(tmp_path / "bts/sync/hall_0001/sync_depth_00003.png", mm)
    (tmp_path / "mine").mkdir()
    for part in ("colors", "depth"):
        shutil.copy(source / f"0003_{part}.png", tmp_path / "mine")
    found = [
        next(iter(frames("s2d_h5", tmp_path / "s2d").values())),
        next(iter(frames("nyu_bts", tmp_path / "bts").values())),
        frames("folder", tmp_path / "mine", rgb="{name}_colors.png", depth="{name}_depth.png")[
            "0003_colors"
        ],
    ]
    for frame in found:
        assert np.array_equal(frame.rgb, rgb)
        assert np.abs(frame.depth_m - mm / 1000).max() < 1e-6
        assert frame.valid.all()
