"""Files of these layouts that were made to do harm get one line, and nothing outside is read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.io
from support.data_layouts import LAYOUTS, SIZE
from support.hostile_files import each_is_read_or_refused, header, pickled, pipe, png
from support.readers import frames, refused

from weightsearch.study.spec_fields import Value


def put(pattern: str, content: Callable[[], bytes]) -> Callable[[Path], object]:
    """Writes this over the first file that fits."""
    return lambda root: next(iter(sorted(root.rglob(pattern)))).write_bytes(content())


def line(pattern: str, text: str) -> Callable[[Path], object]:
    """Adds a line to a list."""

    def change(root: Path) -> object:
        path = next(iter(sorted(root.rglob(pattern))))
        return path.write_text(f"{path.read_text()}{text}\n")

    return change


def pointed(root: Path) -> None:
    path = root / "train/office_0003/00001.h5"
    with h5py.File(path, "r+") as file:
        del file["depth"]
        file.create_dataset("depth", shape=SIZE, dtype="f4", external=[("/etc/passwd", 0, 3072)])


def swollen() -> bytes:
    made = io.BytesIO()
    grid = {"Position3DGrid": np.zeros((55, 305, 400))}
    scipy.io.savemat(made, grid, do_compression=True)
    return made.getvalue()


def looped(root: Path) -> None:
    """A link to the folder above: what is below it would be found without end."""
    (root / "rgb/again").symlink_to(root)
    (root / "depth/again").symlink_to(root)


PICTURE = "image_02/data/0.png"
HOSTILE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "depth that is pickled": ("diode", put("*_depth.npy", pickled), "it holds object"),
    "a promise of terabytes": (
        "diode",
        put("*_depth.npy", lambda: header("(1000000, 1000000)")),
        "its header promises shape (1000000, 1000000)",
    ),
    "a negative size": ("diode", put("*_depth.npy", lambda: header("(-1, 4)")), "it holds float32"),
    "a mask of another kind": ("diode", put("*_mask.npy", lambda: b"no"), "whole .npy file"),
    "a grid that swells": ("make3d", put("*.mat", swollen), "has more than 4194304 bytes"),
    "a picture of 3.6 gigapixels": (
        "ibims1", put("mask_transp/*.png", lambda: png((60000, 60000))), "exceeds limit",
    ),
    "depth in another file": ("s2d_h5", pointed, "points to another file"),
    "a list that leaves": ("nyu_bts", line("*train_files*", "a.jpg ../../b.png 1"), "without '..'"),
    "a list with escapes": ("kitti_eigen", line("*train*", f"\x1b[2J{PICTURE} None"), "\\x1b[2J"),
    "a name that leaves": ("ibims1", line("imagelist.txt", ".."), "must be the name of a picture"),
    "a list that is no text": (
        "ibims1", put("imagelist.txt", lambda: b"\xff\xfe\0"), "text in UTF-8",
    ),
    "a pipe for depth": (
        "sunrgbd",
        lambda root: pipe(next(root.rglob("depth_bfx/*.png"))),
        "there is no such file (missing: 1 of 8)",
    ),
    "a name that steers": (
        "folder",
        lambda root: (root / "rgb/0000.png").rename(root / "rgb/a\x1b[2J.png"),
        "names that can be shown",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_gets_one_line(name: str, tmp_path: Path) -> None:
    reader, change, says = HOSTILE[name]
    LAYOUTS[reader](tmp_path)
    change(tmp_path)
    said = refused(reader, tmp_path)
    assert says in said
    assert said.isprintable()
    assert not Path("/tmp/weightsearch-was-here").exists()


def test_links_that_lead_back_end(tmp_path: Path) -> None:
    made = LAYOUTS["folder"](tmp_path)
    looped(tmp_path)
    assert frames("folder", tmp_path).keys() == made.rgb.keys()


def test_a_csv_that_leaves_is_refused(tmp_path: Path) -> None:
    LAYOUTS["folder"](tmp_path)
    table = tmp_path / "a.csv"
    for text in ("rgb/0000.png,/etc/../passwd", "../a.png,depth/0000.png", "rgb/0000.png"):
        table.write_text(f"{text}\n")
        assert "a.csv:1: must name an RGB and a depth file" in refused("folder", table)
    for place in ("/etc/passwd", "C:\\depth\\0000.png", "\\\\host\\depth\\0000.png"):
        table.write_text(f"rgb/0000.png,{place}\n")
        assert f"a.csv:1: paths must lie below {tmp_path}" in refused("folder", table)
    table.write_text("rgb/0000.png,depth/0000.png,holdout\n")
    assert "a split must be one of" in refused("folder", table)


MUTATED: dict[str, tuple[str, Callable[[Path], Path]]] = {
    "npy": ("diode", lambda root: next(root.rglob("*_depth.npy"))),
    "mat": ("make3d", lambda root: next(root.rglob("*.mat"))),
    "h5": ("s2d_h5", lambda root: next(root.rglob("*.h5"))),
    "txt": ("kitti_eigen", lambda root: root / "eigen_train_files_with_gt.txt"),
}


@pytest.mark.parametrize("kind", MUTATED)
def test_a_mutated_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    """In a process of its own, with little memory: no crash, no swelling, one line."""
    reader, choose = MUTATED[kind]
    LAYOUTS[reader](tmp_path)
    path = choose(tmp_path)
    each_is_read_or_refused(tmp_path, reader, path, 60)


def test_options_do_not_open_other_files_by_names_in_a_list(tmp_path: Path) -> None:
    """A root that the user names may lie elsewhere; what lists name lies below it."""
    made = LAYOUTS["kitti_eigen"](tmp_path)
    options: dict[str, Value] = {"rgb_root": str(tmp_path), "depth_root": str(tmp_path)}
    assert frames("kitti_eigen", tmp_path, **options).keys() == made.rgb.keys()
    line("*train*", f"../{PICTURE} None")(tmp_path)
    assert "without '..'" in refused("kitti_eigen", tmp_path, **options)
