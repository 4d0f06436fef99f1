"""Rooms drawn by ray casting: textured walls, boxes and spheres, with exact depth in 0.5-10 m.

No files are needed. Frame k is a pure function of the options and k.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from weightsearch.data.frames.source import Frame, FrameRef, Source, Split, fingerprint, resolve
from weightsearch.data.synthetic import room_rendering
from weightsearch.errors import ConfigError, DataError
from weightsearch.study.spec_fields import Value

VERSION = 1
"""Part of the fingerprint: raise it with any change to what is drawn."""
OPTIONS: dict[str, Value] = {
    "frames": 240,  # training frames
    "test_frames": 40,
    "height": 96,
    "width": 128,
    "seed": 0,
    "holes": 0.0,  # share of the pixels without a measurement, in blobs
    "frames_per_room": 6,
}
LEAST: dict[str, int] = {"frames": 1, "test_frames": 0, "height": 8, "width": 8, "seed": 0}
LEAST["frames_per_room"] = 1
STREAMS: dict[Split, int] = {"train": 0, "test": 1}
"""The test rooms stay the same whatever the number of training frames."""
BLOB_PX = 12


def open_source(path: Path | None, options: Mapping[str, Value]) -> Source:
    """The rooms; `path` must be None.

    Views of one room form a group (`room_0003`, frames `room_0003/02`); rooms of the test split
    are others (`test_room_0003`). Raises ConfigError for an option out of its range, DataError
    where a place of files is named.
    """
    if path is not None:
        raise DataError(
            f"{path}: reader 'synthetic' draws its frames and reads no files; leave --data out, or"
            " name the reader of these files."
        )
    chosen = resolve("synthetic", OPTIONS, options)
    for name, least in LEAST.items():
        if chosen[name] < least:  # type: ignore[operator]
            raise ConfigError(
                f"option '{name}' of reader 'synthetic' must be at least {least},"
                f" but is {chosen[name]}."
            )
    holes, seed = float(chosen["holes"]), int(chosen["seed"])
    if not 0 <= holes < 1:
        raise ConfigError(
            f"option 'holes' of reader 'synthetic' must be at least 0 and below 1, but is {holes}."
        )
    views = int(chosen["frames_per_room"])
    counts: dict[Split, int] = {
        "train": int(chosen["frames"]),
        "test": int(chosen["test_frames"]),
    }
    places = [(split, *divmod(k, views)) for split, count in counts.items() for k in range(count)]

    def read(i: int) -> Frame:
        split, room, view = places[i]
        key = (seed, STREAMS[split], room)
        size = int(chosen["height"]), int(chosen["width"])
        rgb, depth_m = room_rendering.draw(
            np.random.default_rng(key), np.random.default_rng((*key, view)), size
        )
        valid = _blobs(np.random.default_rng((*key, view, 1)), size, holes)
        return Frame(rgb, np.where(valid, depth_m, np.float32(0)), valid)

    return Source(
        reader="synthetic",
        frames=tuple(_ref(*place) for place in places),
        read=read,
        options=chosen,
        ground_truth="raw" if holes else "exact",
        fingerprint=fingerprint("synthetic", VERSION, chosen),
        max_depth_m=room_rendering.MAX_DEPTH_M,
        is_computed=True,
    )


def _ref(split: Split, room: int, view: int) -> FrameRef:
    group = f"room_{room:04d}" if split == "train" else f"test_room_{room:04d}"
    return FrameRef(f"{group}/{view:02d}", group, split)


def _blobs(rng: np.random.Generator, size: tuple[int, int], holes: float) -> npt.NDArray[np.bool_]:
    """True but for the share `holes` of the pixels, which form blobs."""
    if not holes:
        return np.ones(size, dtype=np.bool_)
    coarse = rng.standard_normal([side // BLOB_PX + 2 for side in size]).astype(np.float32)
    smooth = Image.fromarray(coarse).resize(size[::-1], Image.Resampling.BICUBIC)
    field = np.asarray(smooth).ravel()
    valid = np.ones(field.size, dtype=np.bool_)
    valid[np.argsort(field, kind="stable")[: round(holes * field.size)]] = False
    return valid.reshape(size)
