"""What a data set holds, for people and as JSON, from its lists and a sample of its frames."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from weightsearch.config import Value
from weightsearch.data.readers import open_source
from weightsearch.data.source import Source

SAMPLE = 16


def inspect(reader: str, path: Path | None, options: Mapping[str, Value]) -> dict[str, Any]:
    """Names by split, counts, size (height, width), and the depth of a sample of the frames.

    `depth_m` and `valid_share` come from `sampled` frames, evenly spread; `depth_m` is None where
    no pixel of them is valid. Raises ConfigError and DataError.
    """
    with closing(open_source(reader, path, options)) as source:
        names: dict[str, list[str]] = {}
        groups: dict[str, set[str]] = {}
        for ref in source.frames:
            names.setdefault(ref.split, []).append(ref.name)
            groups.setdefault(ref.split, set()).add(ref.group)
        return {
            "reader": reader,
            "options": dict(source.options),
            "ground_truth": source.ground_truth,
            "max_depth_m": source.max_depth_m,
            "counts": {split: len(found) for split, found in names.items()},
            "groups": {split: len(found) for split, found in groups.items()},
            **_sample(source),
            "splits": names,
        }


def _sample(source: Source) -> dict[str, Any]:
    count = min(SAMPLE, len(source.frames))
    frames = [source.read(k * len(source.frames) // count) for k in range(count)]
    depth_m = np.concatenate([frame.depth_m[frame.valid] for frame in frames])
    pixels = sum(frame.valid.size for frame in frames)
    return {
        "size": list(frames[0].rgb.shape[:2]),
        "sampled": count,
        "depth_m": {
            "min": float(depth_m.min()),
            "median": float(np.median(depth_m)),
            "max": float(depth_m.max()),
        }
        if depth_m.size
        else None,
        "valid_share": depth_m.size / pixels,
    }
