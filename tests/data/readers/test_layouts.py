"""What every layout has in common; real frames."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from support.data_layouts import LAYOUTS, save
from support.data_sets import Csv
from support.opened_layouts import opened
from support.paths import SHARED_DATA
from support.readers import frames, refused

from weightsearch.data.packs.building import Pack, ensure, training_copy
from weightsearch.data.readers.registry import detect
from weightsearch.errors import DataError

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
    assert "(missing: " in said
    assert made.path.name in said


WITHOUT_TRAINING: dict[str, tuple[str, ...]] = {
    "nyu_csv": ("data/nyu2_train.csv", "data/nyu2_train"),
    "nyu_bts": ("nyudepthv2_train_files_with_gt.txt", "sync"),
    "s2d_h5": ("train",),
    "kitti_eigen": ("eigen_train_files_with_gt.txt",),
    "make3d": ("Train400Img", "Train400Depth"),
    "diode": ("train",),
    "ibims1": (),
    "sunrgbd": (),
}
"""What to take away, so that only test frames are left."""


@pytest.mark.parametrize("reader", WITHOUT_TRAINING)
def test_test_frames_alone_are_packed_and_cannot_be_trained_on(reader: str, tmp_path: Path) -> None:
    root = tmp_path / "set"
    if reader == "nyu_csv":
        Csv(root).write()
    else:
        LAYOUTS[reader](root)
    for name in WITHOUT_TRAINING[reader]:
        place = root / name
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    assert detect(root) == reader
    packed = ensure(reader, root, {}, tmp_path)
    with Pack(packed) as pack:
        assert set(pack.splits) == {"test"}
        assert pack.frame(0).valid.any()
    with pytest.raises(DataError, match=r"must hold training frames, but has \d test frames"):
        training_copy(packed, (32, 32), tmp_path)


LISTS = {
    "nyu_bts": "*train_files*",
    "kitti_eigen": "*train_files*",
    "ibims1": "imagelist.txt",
    "folder": "frames.csv",
    "sunrgbd": "tests.txt",
}


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize("reader", LISTS)
def test_a_list_of_any_encoding_with_a_line_twice_is_read(
    reader: str, encoding: str, tmp_path: Path
) -> None:
    made = LAYOUTS[reader](tmp_path)
    (tmp_path / "tests.txt").write_text("kv1/NYUdata/NYU0001\n")
    rows = "".join(f"{name}.png,depth{name[3:]}.png\n" for name in made.rgb if reader == "folder")
    (tmp_path / "frames.csv").write_text(rows)
    (path,) = tmp_path.rglob(LISTS[reader])
    lines = path.read_text().splitlines()
    path.write_bytes("\r\n".join([*lines, lines[0], ""]).encode(encoding))
    options = {"sunrgbd": {"test_list": "../tests.txt"}, "folder": {"list": "frames.csv"}}
    with closing(opened(reader, tmp_path, options.get(reader))) as source:
        assert {ref.name for ref in source.frames} == made.rgb.keys()
        said = f"{path.name}: 1 repeats of earlier lines left out: line {len(lines) + 1}."
        assert source.warnings == (said,)


@pytest.mark.parametrize("reader", ["nyu_bts", "kitti_eigen", "ibims1"])
def test_all_wrong_lines_of_a_list_are_told_at_once(reader: str, tmp_path: Path) -> None:
    LAYOUTS[reader](tmp_path)
    (path,) = tmp_path.rglob(LISTS[reader])
    path.write_text("".join(f"../{k}.jpg {k}.png\n" for k in range(12)))
    said = refused(reader, tmp_path)
    assert said.count("../") == 10
    assert "../9.jpg" in said
    assert "(12 lines)" in said


LITTER = ("._{name}", ".ipynb_checkpoints/{name}", "@eaDir/{name}", "__MACOSX/._{name}")


@pytest.mark.parametrize("reader", sorted(LAYOUTS.keys() - {"ibims1"}))  # has a list only
def test_hidden_files_are_no_frames(reader: str, tmp_path: Path) -> None:
    made = LAYOUTS[reader](tmp_path)
    for path in [path for path in tmp_path.rglob("*") if path.suffix in (".png", ".jpg", ".h5")]:
        for form in LITTER:
            copy = path.parent / form.format(name=path.name)
            copy.parent.mkdir(exist_ok=True)
            copy.write_bytes(b"\0")
    for path in tmp_path.glob("*.txt"):
        path.unlink()
    assert frames(reader, tmp_path).keys() == made.rgb.keys()


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
