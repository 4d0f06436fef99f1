"""Data made to do harm get one line: nothing outside is read, nothing swells or is written.

`DATA` holds one way each in which data can be hostile, and what `weightsearch` answers to it.
"""

from __future__ import annotations

import os
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.command_runs import Run, run_all
from support.data_sets import Csv, Labeled
from support.hostile_commands import PICTURES, Hostile, check, predicting
from support.hostile_files import each_is_read_or_refused, pipe

from weightsearch.data.readers.registry import open_source
from weightsearch.errors import DataError

SHAPE = (6, 32, 24)
SECRET = "/etc/passwd"


# HDF5


def mat(change: Callable[[Labeled, h5py.File], object]) -> Callable[[Path], list[object]]:
    """A labelled .mat in which something was changed."""

    def make(folder: Path) -> list[object]:
        labeled = Labeled(folder / "set").write()
        with h5py.File(labeled.mat, "r+") as file:
            change(labeled, file)
        return ["data", "inspect", labeled.mat]

    return make


def in_place_of(name: str, **dataset: Any) -> Callable[[Path], list[object]]:
    return mat(lambda labeled, file: (file.pop(name), file.create_dataset(name, **dataset)))


def linked(link: Callable[[Path], Any]) -> Callable[[Path], list[object]]:
    def change(labeled: Labeled, file: h5py.File) -> None:
        other = Labeled(labeled.folder.parent / "other").write()
        del file["depths"]
        file["depths"] = link(other.mat)

    return mat(change)


def virtual(labeled: Labeled, file: h5py.File) -> None:
    other = Labeled(labeled.folder.parent / "other").write()
    layout = h5py.VirtualLayout(SHAPE, "f4")
    layout[:] = h5py.VirtualSource(str(other.mat), "depths", SHAPE)
    del file["depths"]
    file.create_virtual_dataset("depths", layout)


def grouped(labeled: Labeled, file: h5py.File) -> None:
    del file["depths"]
    file.create_group("depths")


def scene(data: Any = None, **dataset: Any) -> Callable[[Path], list[object]]:
    """The name of one scene lies in this dataset."""

    def change(labeled: Labeled, file: h5py.File) -> None:
        made = file.create_dataset("x", data=data, **dataset)
        file["scenes"][0, 2] = made.ref

    return mat(change)


def codes(text: str) -> Any:
    return np.array([[ord(c)] for c in text], dtype=np.uint16)


def cut_mat(folder: Path) -> list[object]:
    labeled = Labeled(folder / "set").write()
    os.truncate(labeled.mat, labeled.mat.stat().st_size // 2)
    return ["data", "inspect", labeled.mat]


HDF5 = {
    "external storage": Hostile(
        in_place_of("depths", shape=SHAPE, dtype="f4", external=[(SECRET, 0, 18432)]),
        "'depths' must hold its own data, but points to another file",
    ),
    "external storage of a scene's name": Hostile(
        scene(shape=(4, 1), dtype="u2", external=[(SECRET, 0, 8)]), "points to another file"
    ),
    "external link": Hostile(
        linked(lambda other: h5py.ExternalLink(str(other), "depths")), "but is a link or a group"
    ),
    "soft link": Hostile(linked(lambda _: h5py.SoftLink("/rawDepths")), "but is a link"),
    "virtual dataset": Hostile(mat(virtual), "points to another file or dataset"),
    "group": Hostile(mat(grouped), "but is a link or a group"),
    "one huge chunk": Hostile(
        in_place_of(
            "depths",
            shape=SHAPE,
            dtype="f4",
            maxshape=(None,) * 3,
            chunks=(1, 8000, 8000),
            compression="gzip",
        ),
        r"plausible size, but promises 18432 bytes \(256000000 at a time\)",
    ),
    "gzip bomb": Hostile(
        in_place_of(
            "depths",
            data=np.zeros((60, 640, 480), "f4"),
            chunks=(1, 640, 480),
            compression="gzip",
            compression_opts=9,
        ),
        "'depths' must be data of a plausible size, but promises 73728000 bytes",
    ),
    "nothing stored": Hostile(
        in_place_of("images", shape=(20000, 3, 640, 480), dtype="u1", chunks=(1, 3, 640, 480)),
        "'images' must be data of a plausible size",
    ),
    "foreign filter": Hostile(
        in_place_of("depths", shape=SHAPE, dtype="f4", chunks=SHAPE, scaleoffset=3),
        "compressed by gzip or lzf, but is not",
    ),
    "records": Hostile(in_place_of("depths", shape=SHAPE, dtype="f4,f4"), "must hold floats"),
    "text of any length": Hostile(
        in_place_of("scenes", data=[["a"] * 6], dtype=h5py.string_dtype()),
        "'scenes' must refer to 6 strings",
    ),
    "cut short": Hostile(cut_mat, "it cannot be opened"),
    "a name that clears the screen": Hostile(
        scene(codes("\x1b[2Jroom")), r"letters that can be shown, but is '\\x1b\[2Jroom'"
    ),
    "a name beyond Unicode": Hostile(
        scene(np.full((3, 1), 2**31, dtype=np.uint32)), "letters that can be shown"
    ),
    "a name of a megabyte": Hostile(
        scene(np.full((1 << 20, 1), 65, dtype=np.uint8)), "at most 1000 characters"
    ),
}


# Lists and archives


def lists(name: str) -> Callable[[Path], list[object]]:
    """A list with this in the place of a depth image."""

    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        csv.list("train", [*csv.train, (csv.train[0][0], name)])
        return ["data", "inspect", csv.root]

    return make


def member(write: Callable[[zipfile.ZipFile, str], object]) -> Callable[[Path], list[object]]:
    """A zip whose first training depth is what `write` makes of it."""

    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        (csv.root / csv.train[0][1]).unlink()
        path = csv.zip()
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
            write(archive, csv.train[0][1])
        return ["data", "inspect", path]

    return make


def duplicate(archive: zipfile.ZipFile, name: str) -> None:
    archive.writestr(name, b"one")
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(name, b"another")


def patched(change: Callable[[bytearray, int, int], object]) -> Callable[[Path], list[object]]:
    """A zip whose first training depth has changed headers: where the local one lies, and the
    central one."""

    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        path, name = csv.zip(), csv.train[0][1].encode()
        data = bytearray(path.read_bytes())
        change(data, data.index(name) - 30, data.rindex(name) - 46)
        path.write_bytes(data)
        return ["data", "inspect", path]

    return make


def encrypt(data: bytearray, local: int, central: int) -> None:
    data[local + 6] |= 1
    data[central + 8] |= 1


def change_crc(data: bytearray, local: int, central: int) -> None:
    data[local + 14] ^= 1
    data[central + 16] ^= 1


def outside(folder: Path) -> list[object]:
    csv = Csv(folder / "nyu_data").write()
    path = folder / "nyu_data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in csv.root.rglob("*.*"):
            archive.write(file, Path("../../out") / file.relative_to(csv.root))
        archive.writestr("/tmp/evil", b"absolute")
    return ["data", "inspect", path]


LISTS = {
    "a path that leaves": Hostile(lists("data/../../../etc/passwd"), r"without '\.\.'"),
    "an absolute path": Hostile(lists(SECRET), r"nyu2_train\.csv:7: must be"),
    "a path with \\": Hostile(lists("data\\..\\x.png"), r"nyu2_train\.csv:7: must be"),
    "a path with NUL": Hostile(lists("data/a\0.png"), "nyu2_train.csv:7: must be"),
    "a path with ANSI escapes": Hostile(lists("data/\x1b[31mred.png"), r"is '.*\\\\?x1b\[31mred"),
    "a path with a line end": Hostile(lists('"data/a\nerror: b.png"'), r"csv:7: must be"),
    "a path in another direction": Hostile(lists("data/\u202egnp.exe"), r"csv:7: must be"),
    "a cell of a megabyte": Hostile(lists("data/" + "x" * (1 << 20)), "field larger than"),
    "markup for a name": Hostile(
        lists("data/<script>alert(1)</script>.png"), r"/<script>alert\(1\)</script>\.png: is listed"
    ),
    "a name that no disk has": Hostile(lists("data/" + "x" * 5000), "is listed, but there is no"),
}
ARCHIVES = {
    "members that leave": Hostile(outside, "must hold nyu2_train.csv or nyu2_test.csv, but"),
    "two members of one name": Hostile(
        member(duplicate), r"block_000_out/0000\.png' is there more"
    ),
    "a huge member": Hostile(
        member(lambda archive, name: archive.writestr(name, bytes(80 << 20))),
        "must be at most 67108864 bytes, but is larger",
    ),
    "an unbounded compression": Hostile(
        member(lambda archive, name: archive.writestr(name, b"", zipfile.ZIP_BZIP2)),
        r"0000\.png: must be stored or deflated",
    ),
    "an encrypted member": Hostile(patched(encrypt), r"0000\.png: cannot be read \(.*encrypted"),
    "a wrong checksum": Hostile(patched(change_crc), r"0000\.png: cannot be read \(Bad CRC-32"),
}


def in_data_set(content: bytes) -> Callable[[Path], list[object]]:
    def make(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        (csv.root / csv.test[1][0]).write_bytes(content)
        return ["data", "pack", csv.root]

    return make


def loop(path: Path) -> Path:
    path.unlink(missing_ok=True)
    path.symlink_to(path)
    return path


def unusual(make: Callable[[Path], Path], what: str) -> Callable[[Path], list[object]]:
    """A listed picture, or the list, that is no file."""

    def made(folder: Path) -> list[object]:
        csv = Csv(folder / "nyu_data").write()
        make(csv.root / (csv.train[0][0] if what == "picture" else "data/nyu2_train.csv"))
        return ["data", "inspect", csv.root]

    return made


FOLDERS = {
    "a pipe for a picture": Hostile(unusual(pipe, "picture"), r"0000\.jpg: is listed, but"),
    "a loop for a picture": Hostile(unusual(loop, "picture"), r"0000\.jpg: is listed, but"),
    "a pipe for a list": Hostile(unusual(pipe, "list"), "train.csv: must be a list, but is no"),
    "a loop for a data set": Hostile(
        lambda folder: ["data", "inspect", loop(folder / "set")], "there is no such file or folder"
    ),
    "a pipe for a data set": Hostile(
        lambda folder: ["data", "pack", pipe(folder / "a.zip")], "is none of them"
    ),
    "a pipe to predict for": Hostile(
        lambda folder: predicting(folder, pipe(folder / "a.png")), "it is no file"
    ),
    "a loop to predict for": Hostile(
        lambda folder: predicting(folder, loop(folder / "a.png")), "Too many levels of symbolic"
    ),
}

DATA = {
    **HDF5,
    **LISTS,
    **ARCHIVES,
    **{
        f"{name} in a data set": Hostile(in_data_set(make()), says)
        for name, (make, says) in PICTURES.items()
    },
    **FOLDERS,
}


@pytest.mark.parametrize("name", DATA)
def test_hostile_data_get_one_line(name: str, tmp_path: Path) -> None:
    check(DATA[name], tmp_path)


@pytest.mark.parametrize("kind", ["mat", "zip", "png", "jpg", "csv", "splits"])
def test_a_mutated_file_is_read_or_refused(kind: str, tmp_path: Path) -> None:
    """In a process of its own, with little memory: no crash, no swelling, one line."""
    if kind in ("mat", "splits"):
        labeled = Labeled(tmp_path / "set").write()
        reader, place = "nyu_labeled", labeled.folder
        path = labeled.mat if kind == "mat" else labeled.folder / "splits.mat"
    else:
        csv = Csv(tmp_path / "nyu_data", blocks=1, tests=1).write()
        files = {"png": csv.train[0][1], "jpg": csv.train[0][0], "csv": "data/nyu2_train.csv"}
        reader, place = "nyu_csv", csv.zip() if kind == "zip" else csv.root
        path = place if kind == "zip" else csv.root / files[kind]
    number = 500 if kind == "mat" else 200
    each_is_read_or_refused(place, reader, path, number)


def test_a_member_that_holds_more_than_it_promises_is_not_unpacked(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "nyu_data", blocks=1, tests=1).write()
    (csv.root / csv.train[0][1]).unlink()
    path, name = csv.zip(), csv.train[0][1]
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, bytes(60 << 20))
    data = bytearray(path.read_bytes())
    for at in (data.rindex(name.encode()) - 46 + 24, data.rindex(name.encode(), 0, -3000) - 8):
        assert struct.unpack_from("<I", data, at) == (60 << 20,)
        struct.pack_into("<I", data, at, 1000)
    path.write_bytes(data)
    with closing(open_source("nyu_csv", path, {})) as source:
        tracemalloc.start()
        with pytest.raises(DataError, match=r"0000\.png: cannot be read \(Bad CRC-32"):
            source.read(0)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10 << 20


def test_names_are_shown_as_they_are_and_steer_nothing(tmp_path: Path) -> None:
    csv = Csv(tmp_path / "nyu_data").write()
    strange = "data/nyu2_train/<script>alert(1)</script>/[red]$(id).png"
    csv.save(strange.replace(".png", ".jpg"), np.zeros((24, 32, 3), np.uint8))
    csv.save(strange, csv.steps[0])
    csv.list("train", [(strange.replace(".png", ".jpg"), strange)])
    (said,) = run_all([Run(["data", "inspect", csv.root])], tmp_path)
    assert said.code == 0, said.err
    assert f"train: 1 frame, 1 scene or block\n  {strange.removesuffix('.png')}" in said.out
