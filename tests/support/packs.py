"""Small packs of frames whose depth can be read off their colours."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from weightsearch.data.frames.source import Frame, FrameRef, Split
from weightsearch.data.packs import layout
from weightsearch.data.packs.layout import About, Pack

STEP_M = 0.03
"""depth = 1 + 0.03 * red: 1 to 8.65 m, whole millimetres, so that packs keep it exactly."""


def oracle(rgb: Tensor) -> Tensor:
    """The depth of `frame`'s colours, as a network would give it: (b, 1, h, w)."""
    return 1 + STEP_M * 255 * rgb[:, :1]


def frame(
    seed: int, size: tuple[int, int], valid: npt.NDArray[np.bool_] | None = None, blur: int = 1
) -> Frame:
    """Random colours, in blocks of `blur` pixels, and the depth that they tell."""
    coarse = (-(-size[0] // blur), -(-size[1] // blur), 3)
    colours = np.random.default_rng(seed).integers(0, 256, coarse, dtype=np.uint8)
    rgb = colours.repeat(blur, axis=0).repeat(blur, axis=1)[: size[0], : size[1]]
    depth_m = (1 + STEP_M * rgb[..., 0]).astype(np.float32)
    valid = np.ones(size, dtype=np.bool_) if valid is None else valid
    return Frame(rgb, np.where(valid, depth_m, np.float32(0)), valid)


def write_pack(
    path: Path,
    frames: dict[str, Frame],
    split: Split = "test",
    ground_truth: str = "exact",
    max_depth_m: float = 10.0,
) -> Path:
    """A pack of these frames by name; the group of each is the folder in its name."""
    refs = [FrameRef(name, name.rpartition("/")[0], split) for name in frames]
    about = About("made", {}, ground_truth, max_depth_m)
    with h5py.File(path, "w") as file:
        layout.write(file, zip(refs, frames.values(), strict=True), len(frames), about)
    return path


def truth(pack: Pack, i: int) -> tuple[Tensor, Tensor]:
    """Ground truth and mask of frame i, (1, h, w) each."""
    _, depth_m, valid = pack.read([i])
    return torch.from_numpy(depth_m), torch.from_numpy(valid)
