"""How accuracy falls when pictures get worse: five strengths each of blur, noise, and the like.

The pictures are made worse at their own size, before they are resized for the network, and scored
as `evaluate` scores them. Kinds as in Hendrycks and Dietterich, arXiv 1903.12261; the strengths are
our own, are part of every answer, and compare with nothing else.
"""

from __future__ import annotations

import csv
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageFilter

from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.protocols import PROTOCOLS
from weightsearch.depth.evaluation.scoring import BATCH, Scores, score
from weightsearch.depth.files.depth_maps import write_bytes
from weightsearch.depth.files.input_pictures import Rgb
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.errors import DataError
from weightsearch.stats import comparison
from weightsearch.stats.margin import DEFAULT, Margin
from weightsearch.study import known_names

METRIC = "rmse"
"""What the difference from clean pictures is of."""

Source = np.random.Generator


@dataclass(frozen=True)
class Corruption:
    """One way of making a picture worse, in five strengths, the weakest first."""

    unit: str
    """What the strengths are."""
    strengths: tuple[float, float, float, float, float]
    apply: Callable[[Rgb, float, Source], Rgb]
    """The picture (h, w, 3) at a strength; the random numbers are the same at each one."""


def _blur(rgb: Rgb, strength: float, _: Source) -> Rgb:
    return np.asarray(Image.fromarray(rgb).filter(ImageFilter.GaussianBlur(strength)))


def _noise(rgb: Rgb, strength: float, source: Source) -> Rgb:
    noise = source.standard_normal(rgb.shape, dtype=np.float32)
    return _levels(rgb + strength * noise)


def _brightness(rgb: Rgb, strength: float, _: Source) -> Rgb:
    return _levels(rgb.astype(np.float32) * strength)


def _jpeg(rgb: Rgb, strength: float, _: Source) -> Rgb:
    file = io.BytesIO()
    Image.fromarray(rgb).save(file, format="jpeg", quality=int(strength))
    with Image.open(file) as picture:
        return np.asarray(picture)


def _resolution(rgb: Rgb, strength: float, _: Source) -> Rgb:
    height, width = rgb.shape[:2]
    small = (max(1, round(width / strength)), max(1, round(height / strength)))
    picture = Image.fromarray(rgb).resize(small, Image.Resampling.BOX)
    return np.asarray(picture.resize((width, height), Image.Resampling.BILINEAR))


def _levels(values: npt.NDArray[np.float32]) -> Rgb:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


CORRUPTIONS: dict[str, Corruption] = {
    "blur": Corruption("standard deviation of a Gaussian, pixels", (1, 2, 3, 5, 8), _blur),
    "noise": Corruption(
        "standard deviation, of 255 levels, independent by channel", (8, 16, 24, 36, 52), _noise
    ),
    "darker": Corruption("factor of the levels", (0.8, 0.6, 0.4, 0.25, 0.15), _brightness),
    "brighter": Corruption("factor of the levels, clipped", (1.25, 1.5, 2, 3, 4), _brightness),
    "jpeg": Corruption("quality (Pillow's)", (60, 30, 15, 8, 4), _jpeg),
    "resolution": Corruption("times smaller on each side, and back", (2, 3, 4, 6, 8), _resolution),
}


def measure(
    checkpoint: Path,
    packed: Path,
    protocol_name: str,
    split: str,
    device: torch.device | str,
    limit: int | None = None,
    step: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:
    """The score on clean pictures, and a row for each corruption and strength.

    The difference of a row is the paired one over the same images, with its interval over scenes:
    positive is worse. With `limit`, only that many frames, evenly spread. `step` is told how many
    of the evaluations are done.

    Raises CheckpointError for a checkpoint of no use, DataError where the protocol does not suit
    the data or the split is empty, ConfigError for an unknown protocol.
    """
    known_names.check("protocol", protocol_name)
    network = checkpoints.network(checkpoint, device)
    total = 1 + sum(len(kind.strengths) for kind in CORRUPTIONS.values())
    done = 0

    def scored(kind: Corruption | None, strength: float) -> Scores:
        nonlocal done
        with _Worse(packed, kind, strength) as pack:
            frames = _frames(pack, split, limit)
            known, size = PROTOCOLS[protocol_name], network.data.size
            found = score(network, pack, frames, known, size, device, BATCH)
        done += 1
        step(done, total)
        return found

    clean = scored(None, 0.0)
    rows = [
        _row(name, kind, k, scored(kind, value), clean)
        for name, kind in CORRUPTIONS.items()
        for k, value in enumerate(kind.strengths, start=1)
    ]
    return {
        "protocol": clean.protocol,
        "split": split,
        "images": len(clean.names),
        "scenes": len(set(clean.groups)),
        "ground_truth": clean.ground_truth,
        "metric": METRIC,
        "clean": clean.metrics(),
        "rows": rows,
        "notes": list(clean.notes),
    }


def write_csv(path: Path, answer: Mapping[str, Any]) -> None:
    """The rows of `measure`, the clean one first; raises DataError where they cannot be written."""
    file = io.StringIO()
    heads = ("corruption", "unit", "strength", "value", "difference", "low", "high")
    metrics = list(answer["clean"])
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*heads, *metrics, "images", "protocol"])
    tail = [answer["images"], answer["protocol"]]
    writer.writerow(["clean", "", 0, "", 0, "", "", *answer["clean"].values(), *tail])
    for row in answer["rows"]:
        bounds = row["interval"] or ("", "")
        first = [row[name] for name in heads[:5]]
        writer.writerow([*first, *bounds, *(row["metrics"][name] for name in metrics), *tail])
    write_bytes(path, file.getvalue().encode())


def _row(name: str, kind: Corruption, k: int, scores: Scores, clean: Scores) -> dict[str, Any]:
    margin = Margin.parse(DEFAULT).of(clean.metrics()[METRIC])
    found = comparison.paired(
        [scores.per_image[METRIC]], [clean.per_image[METRIC]], clean.groups, margin=margin
    )
    return {
        "corruption": name,
        "unit": kind.unit,
        "strength": k,
        "value": kind.strengths[k - 1],
        "metrics": scores.metrics(),
        "difference": found.difference,
        "interval": None if found.low is None else [found.low, found.high],
        "verdict": found.verdict,
    }


def _frames(pack: Pack, split: str, limit: int | None) -> list[int]:
    frames = pack.indices(split)
    if not frames:
        have = ", ".join(sorted(set(pack.splits)))
        raise DataError(f"{pack.path}: must have frames of split '{split}', but has {have}.")
    if limit is None or limit >= len(frames):
        return frames
    return [frames[k * len(frames) // limit] for k in range(limit)]


class _Worse(Pack):
    """A pack whose pictures are worse; its ground truth is as it was."""

    def __init__(self, path: Path, kind: Corruption | None, strength: float) -> None:
        self._kind, self._strength = kind, strength
        super().__init__(path)

    def read(
        self, indices: Sequence[int]
    ) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        rgb, depth_m, valid = super().read(indices)
        if self._kind is not None:
            worse = [self._worsened(rgb[k], self.names[i]) for k, i in enumerate(indices)]
            rgb = np.stack(worse)
        return rgb, depth_m, valid

    def _worsened(self, rgb: Rgb, name: str) -> Rgb:
        assert self._kind is not None
        # By the frame's name: the same in any batch and any order.
        source = np.random.default_rng(zlib.crc32(name.encode()))
        return self._kind.apply(rgb, self._strength, source)
