"""Packs of a few frames."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np

from weightsearch.data.frames.source import Frame, FrameRef
from weightsearch.data.packs import layout
from weightsearch.study.spec_fields import Value

ROOMS: dict[str, Value] = {"frames": 8, "test_frames": 4, "frames_per_room": 2, "holes": 0.1}


def flip_a_bit(path: Path, row: int) -> None:
    """In the colours of the frame at this row."""
    with h5py.File(path) as file:
        chunk = file["rgb_0"].id.get_chunk_info(row)
    data = bytearray(path.read_bytes())
    data[chunk.byte_offset + chunk.size // 2] ^= 1
    path.write_bytes(data)


def files(home: Path) -> set[str]:
    return {path.name for path in (home / "packs").glob("*")}


def made(home: Path, frames: list[Frame], splits: str = "train", max_depth_m: float = 10) -> Path:
    """A pack of these frames, each a group of its own."""
    path = home / "made.h5"
    path.parent.mkdir(exist_ok=True, parents=True)
    names = [(FrameRef(f"f{i}", f"g{i}", splits), f) for i, f in enumerate(frames)]  # type: ignore[arg-type]
    about = layout.About("synthetic", {}, "exact", max_depth_m)
    with h5py.File(path, "w") as file:
        layout.write(file, names, len(names), about)
    return path


def frame(depth_m: np.ndarray, valid: np.ndarray | None = None) -> Frame:
    depth_m = np.asarray(depth_m, dtype=np.float32)
    valid = np.ones(depth_m.shape, dtype=np.bool_) if valid is None else valid
    rgb = np.random.default_rng(0).integers(0, 256, (*depth_m.shape, 3), dtype=np.uint8)
    return Frame(rgb, np.where(valid, depth_m, np.float32(0)), valid)


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
