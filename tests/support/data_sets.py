"""Small data sets in exactly the layouts of the real ones."""

from __future__ import annotations

import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import scipy.io
from PIL import Image

SIZE = (24, 32)
"""Height and width: different, so that a transposed image has another shape."""


@dataclass
class Labeled:
    """A small `nyu_depth_v2_labeled.mat` with its splits.mat; indices are 1-based."""

    folder: Path
    train: list[int] = field(default_factory=lambda: [1, 3, 4, 6])
    test: list[int] = field(default_factory=lambda: [2, 5])
    scenes: list[str] | None = field(
        default_factory=lambda: ["kitchen_0004"] * 3 + ["office_0001b"] * 3
    )
    size: tuple[int, int] = SIZE

    @property
    def mat(self) -> Path:
        return self.folder / "nyu_depth_v2_labeled.mat"

    @property
    def count(self) -> int:
        return len(self.train) + len(self.test)

    def write(self) -> Labeled:
        self.folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(0)
        self.rgb = rng.integers(0, 256, (self.count, *self.size, 3), dtype=np.uint8)
        self.filled_m = smooth_depth(rng, (self.count, *self.size), 0.7, 9.5)
        self.raw_m = np.where(rng.random(self.filled_m.shape) < 0.2, 0, self.filled_m)
        with h5py.File(self.mat, "w", userblock_size=512) as file:
            # MATLAB's first axis is fastest, so HDF5 has all axes reversed.
            put(file, "images", self.rgb.transpose(0, 3, 2, 1))
            put(file, "depths", self.filled_m.transpose(0, 2, 1).astype(np.float32))
            put(file, "rawDepths", self.raw_m.transpose(0, 2, 1).astype(np.float32))
            if self.scenes is not None:
                references = file.create_dataset("scenes", (1, self.count), dtype=h5py.ref_dtype)
                for i, scene in enumerate(self.scenes):
                    codes = np.array([[ord(c)] for c in scene], dtype=np.uint16)
                    references[0, i] = file.create_dataset(f"#refs#/{i}", data=codes).ref
        with self.mat.open("r+b") as raw:
            raw.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\x02IM")
        scipy.io.savemat(
            self.folder / "splits.mat",
            {
                "trainNdxs": np.array(self.train, dtype=np.uint16)[:, None],
                "testNdxs": np.array(self.test, dtype=np.uint16)[:, None],
            },
        )
        return self

    def replace(self, name: str, **dataset: Any) -> None:
        """Writes another dataset in the place of one of the file."""
        with h5py.File(self.mat, "r+") as file:
            del file[name]
            file.create_dataset(name, **dataset)


def put(file: h5py.File, name: str, array: npt.NDArray[Any]) -> None:
    file.create_dataset(name, data=array, chunks=(1, *array.shape[1:]), compression="gzip")


def smooth_depth(
    rng: np.random.Generator, shape: tuple[int, ...], low_m: float, high_m: float
) -> npt.NDArray[np.float32]:
    """Metres that vary over every axis, with noise."""
    ramp = np.linspace(0, 1, int(np.prod(shape[-2:]))).reshape(shape[-2:])
    noise = rng.random(shape) * 0.1
    return (low_m + (high_m - low_m) * (0.9 * ramp + noise)).astype(np.float32)


@dataclass
class Csv:
    """A small `nyu_data` folder; `steps` and `mm` are what its depth images hold."""

    root: Path
    blocks: int = 3
    per_block: int = 2
    tests: int = 2
    size: tuple[int, int] = SIZE
    newline: str = "\n"

    def write(self) -> Csv:
        rng = np.random.default_rng(1)
        self.steps = rng.integers(1, 256, (self.blocks * self.per_block, *self.size), np.uint8)
        self.mm = rng.integers(500, 10001, (self.tests, *self.size), np.uint16)
        self.train = [
            (f"data/nyu2_train/block_{b:03d}_out/{k:04d}.jpg",) * 2
            for b in range(self.blocks)
            for k in range(self.per_block)
        ]
        self.train = [(rgb, depth.replace(".jpg", ".png")) for rgb, depth in self.train]
        self.test = [
            (f"data/nyu2_test/{k:05d}_colors.png", f"data/nyu2_test/{k:05d}_depth.png")
            for k in range(self.tests)
        ]
        for pairs, depths in ((self.train, self.steps), (self.test, self.mm)):
            for (rgb, depth), values in zip(pairs, depths, strict=True):
                colours = rng.integers(0, 256, (*self.size, 3), dtype=np.uint8)
                self.save(rgb, colours)
                self.save(depth, values)
        self.list("train", self.train)
        self.list("test", self.test)
        return self

    def save(self, name: str, pixels: npt.NDArray[Any]) -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)

    def list(self, split: str, pairs: list[tuple[str, str]]) -> None:
        lines = [",".join(pair) for pair in pairs]
        text = self.newline.join([*lines, ""])
        (self.root / f"data/nyu2_{split}.csv").write_bytes(text.encode())

    def zip(self) -> Path:
        path = self.root.with_suffix(".zip")
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for file in sorted(self.root.rglob("*")):
                archive.write(file, file.relative_to(self.root))
        return path
