"""What every reader gives: the frames of a data set, read one at a time, in one form."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from weightsearch.errors import ConfigError, DataError, did_you_mean, others
from weightsearch.study.spec_fields import Value

Split = Literal["train", "test"]
GroundTruth = Literal["raw", "filled", "exact"]
"""raw: as measured, with holes; filled: holes in-painted; exact: computed, without holes."""

NO_DEPTH = (
    "look at it with `weightsearch data inspect`: it may be in another unit than the reader takes"
    " it to be (an option, such as depth_scale)."
)
"""What to do where no frame has valid depth."""
RUN = 15
"""Neighbouring frames that form one group where a data set does not name its scenes."""


@dataclass(frozen=True)
class FrameRef:
    """Names one frame of a data set."""

    name: str
    """Its path relative to the data set, without suffix; unique."""
    group: str
    """Its scene or block: frames of one group look alike, and are never split."""
    split: Split


@dataclass(frozen=True)
class Frame:
    """One RGB-D frame: rgb uint8 (h, w, 3), depth_m float32 and valid bool, both (h', w').

    depth_m is in metres, and 0 where not valid. (h', w') is (h, w) in most data sets; it is
    another where the sensor's is (Make3D), and ((h + 1) // 2, (w + 1) // 2) in training copies.
    Both may differ from frame to frame (KITTI, SUN RGB-D).
    """

    rgb: npt.NDArray[np.uint8]
    depth_m: npt.NDArray[np.float32]
    valid: npt.NDArray[np.bool_]
    left_out: int = 0
    """Pixels that were measured, but outside the reader's range, so that they are not valid."""


@dataclass(frozen=True)
class Source:
    """An open data set; `contextlib.closing(source)` closes its files.

    `read(i)` gives frame i, or raises DataError naming it.
    """

    reader: str
    frames: tuple[FrameRef, ...]
    read: Callable[[int], Frame]
    options: Mapping[str, Value]
    """All of the reader's options, defaults included."""
    ground_truth: GroundTruth
    fingerprint: str
    """Changes with names, sizes, times or options; found without reading the data."""
    max_depth_m: float
    """The range that the data set promises, not the largest depth in it."""
    is_computed: bool = False
    """The frames come from the options alone, and their last bits depend on the processor."""
    notes: tuple[str, ...] = ()
    """One line each: what was left out, and why; what was read otherwise than it was written."""
    warnings: tuple[str, ...] = ()
    """One line each: what somebody should look at."""
    close: Callable[[], None] = lambda: None


def resolve(
    reader: str, defaults: Mapping[str, Value], options: Mapping[str, Value]
) -> dict[str, Value]:
    """The defaults with `options` laid over them.

    Raises ConfigError for an unknown option or a value of another type than its default's.
    """
    for name, value in options.items():
        if name not in defaults:
            raise ConfigError(
                f"unknown option '{name}' of reader '{reader}';"
                f" {did_you_mean(name, defaults) if defaults else 'it has none.'}"
            )
        kind = type(defaults[name])
        fits = type(value) is kind or (kind is float and type(value) is int)
        if not fits:
            raise ConfigError(
                f"option '{name}' of reader '{reader}' must be of type {kind.__name__},"
                f" but got {value!r}."
            )
    return {
        name: float(value) if isinstance(default, float) else value
        for name, default in defaults.items()
        for value in (options.get(name, default),)
    }


def fingerprint(*facts: object) -> str:
    """64 hex digits from facts that JSON can express."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def runs(count: int) -> list[str]:
    """Group names for `count` frames in order: runs of 15 neighbours."""
    return [f"run_{i // RUN:03d}" for i in range(count)]


def one_per_name(path: Path | None, frames: Sequence[FrameRef]) -> None:
    """Raises DataError unless there are frames, each under a name of its own.

    A frame listed in both splits is caught here.
    """
    if not frames:
        raise DataError(f"{path}: must list at least one frame, but lists none.")
    times = Counter(frame.name for frame in frames)
    twice = [f"{name} is {count} times" for name, count in times.items() if count > 1]
    if twice:
        raise DataError(
            f"{path}: each frame must be listed once, but {twice[0]}"
            f" ({len(twice)} frames{others(twice)})."
        )
