"""Small copies of the layouts that data sets come in, with asymmetric pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io
from PIL import Image

SIZE = (24, 32)
Array = npt.NDArray[Any]


@dataclass
class Made:
    """What was written where: colours and metres by the name of the frame."""

    path: Path
    rgb: dict[str, Array] = field(default_factory=dict)
    depth_m: dict[str, Array] = field(default_factory=dict)
    step_m: float = 1e-6
    """Half of what the format can tell apart."""

    def frame(self, name: str, size: tuple[int, int] = SIZE) -> tuple[Array, Array]:
        """Another frame: red grows to the right, green downwards, depth with both, unequally."""
        y, x = np.mgrid[0 : size[0], 0 : size[1]] / np.array([[[size[0]]], [[size[1]]]])
        k = len(self.rgb)
        blue = np.full(size, 20 * (k + 1))
        self.rgb[name] = np.stack([255 * x, 200 * y, blue], -1).astype(np.uint8)
        self.depth_m[name] = (1 + 2 * y + 4 * x + 0.1 * k).astype(np.float32)
        return self.rgb[name], self.depth_m[name]


def save(path: Path, pixels: Array) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **({"quality": 97} if path.suffix == ".jpg" else {}))


def millimetres(depth_m: Array) -> Array:
    return np.rint(depth_m * 1000).astype(np.uint16)


def s2d_h5(root: Path) -> Made:
    made = Made(root)
    for name in (
        "train/kitchen_0028a/00001",
        "train/kitchen_0028b/00001",
        "train/office_0003/00001",
        "val/official/00001",
        "val/official/00002",
    ):
        rgb, depth_m = made.frame(name)
        path = root / f"{name}.h5"
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(path, "w") as file:
            file["rgb"], file["depth"] = rgb.transpose(2, 0, 1), depth_m
    return made


BTS = {
    "train": ["/kitchen_0028a/00001", "/kitchen_0028b/00045", "/office_0003/00007"],
    "test": ["bathroom/00045", "bathroom/00046", "office/00503"],
}


def nyu_bts(root: Path, lists: bool = True) -> Made:
    made = Made(root, step_m=0.0006)
    for split, tree in (("train", "sync"), ("test", "official_splits/test")):
        lines = []
        for named in BTS[split]:
            scene, _, number = named.rpartition("/")
            place = f"{tree}/{scene.strip('/')}"
            rgb, depth_m = made.frame(f"{place}/rgb_{number}")
            save(root / f"{place}/rgb_{number}.jpg", rgb)
            save(root / f"{place}/sync_depth_{number}.png", millimetres(depth_m))
            lines.append(f"{scene}/rgb_{number}.jpg {scene}/sync_depth_{number}.png 518.8579")
        if lists:
            path = root / f"nyudepthv2_{split}_files_with_gt.txt"
            path.write_text("".join(f"{line}\n" for line in lines))
    return made


KITTI = {
    "train": [("0002", "0000000069", True), ("0005", "0000000001", True)],
    "test": [("0009", "0000000007", True), ("0009", "0000000008", False)],
}


def kitti_eigen(root: Path, lists: bool = True) -> Made:
    """With a line `None`, whose picture has no depth; days differ in size."""
    made = Made(root, step_m=0.002)
    for split, frames in KITTI.items():
        lines = []
        for number, (drive, frame, has_depth) in enumerate(frames):
            drive = f"2011_09_26_drive_{drive}_sync"
            rgb_name = f"2011_09_26/{drive}/image_02/data/{frame}"
            depth_name = f"{drive}/proj_depth/groundtruth/image_02/{frame}.png"
            other = Made(root) if not has_depth else made
            rgb, depth_m = other.frame(rgb_name, (24 + 2 * number, 80))
            save(root / f"{rgb_name}.png", rgb)
            if has_depth:
                save(root / depth_name, np.rint(depth_m * 256).astype(np.uint16))
            lines.append(f"{rgb_name}.png {depth_name if has_depth else 'None'} 721.5377")
        if lists:
            path = root / f"eigen_{split}_files_with_gt.txt"
            path.write_text("".join(f"{line}\n" for line in lines))
    return made


def make3d(root: Path) -> Made:
    made = Made(root)
    for images, grids, names in (
        ("Train400Img", "Train400Depth", ("math1-p-015t000", "math1-p-046t000", "op1-p-015t000")),
        ("Test134", "Gridlaserdata", ("060705-17.10.14-p-254t000",)),
    ):
        for name in names:
            frame = f"{images}/img-{name}"
            rgb, _ = made.frame(frame, (71, 53))
            grid = np.zeros((55, 305, 4))
            grid[..., 3] = Made(root).frame(frame, (55, 305))[1]
            made.depth_m[frame] = grid[..., 3].astype(np.float32)
            save(root / f"{frame}.jpg", rgb)
            (root / grids).mkdir(exist_ok=True)
            path = root / f"{grids}/depth_sph_corr-{name}.mat"
            scipy.io.savemat(path, {"Position3DGrid": grid}, do_compression=True)
    return made


def ibims1(root: Path) -> Made:
    made = Made(root, step_m=0.0004)
    names = ("corridor_01", "corridor_02", "livingroom_10")
    for name in names:
        rgb, depth_m = made.frame(name)
        save(root / f"rgb/{name}.png", rgb)
        save(root / f"depth/{name}.png", np.rint(depth_m * 65535 / 50).astype(np.uint16))
        for mask in ("mask_invalid", "mask_transp"):
            save(root / f"{mask}/{name}.png", np.ones(SIZE, np.uint8))
    (root / "imagelist.txt").write_text("".join(f"{name}\n" for name in names))
    return made


def diode(root: Path) -> Made:
    made = Made(root)
    for name in (
        "train/indoors/scene_00001/scan_00001/00001_00001_indoors_000_010",
        "train/outdoor/scene_00002/scan_00002/00002_00002_outdoor_000_010",
        "val/indoors/scene_00019/scan_00183/00019_00183_indoors_000_010",
        "val/indoors/scene_00019/scan_00184/00019_00184_indoors_000_010",
    ):
        rgb, depth_m = made.frame(name)
        save(root / f"{name}.png", rgb)
        np.save(root / f"{name}_depth.npy", depth_m[..., None])
        np.save(root / f"{name}_depth_mask.npy", np.ones(SIZE))
    return made


def sunrgbd(root: Path) -> Made:
    made = Made(root, step_m=0.0006)
    for name in (
        "kv1/NYUdata/NYU0001",
        "kv1/NYUdata/NYU0002",
        "xtion/sun3ddata/brown_bm_1/brown_bm_1/0000103-000003449700",
        "xtion/sun3ddata/brown_bm_1/brown_bm_1/0000196-000006567000",
    ):
        rgb, depth_m = made.frame(name)
        stem = name.rpartition("/")[2]
        mm = millimetres(depth_m)
        save(root / f"SUNRGBD/{name}/image/{stem}.jpg", rgb)
        for kind in ("depth", "depth_bfx"):  # turned the other way
            save(root / f"SUNRGBD/{name}/{kind}/{stem}.png", (mm << 3) | (mm >> 13))
    return made


def folder(root: Path) -> Made:
    """Without anything that names splits or groups: 17 frames in flat folders."""
    made = Made(root, step_m=0.0006)
    for k in range(17):
        rgb, depth_m = made.frame(f"rgb/{k:04d}", (12, 16))
        save(root / f"rgb/{k:04d}.png", rgb)
        save(root / f"depth/{k:04d}.png", millimetres(depth_m))
    return made


LAYOUTS: Mapping[str, Callable[[Path], Made]] = {
    "nyu_bts": nyu_bts,
    "s2d_h5": s2d_h5,
    "kitti_eigen": kitti_eigen,
    "make3d": make3d,
    "ibims1": ibims1,
    "diode": diode,
    "sunrgbd": sunrgbd,
    "folder": folder,
}
