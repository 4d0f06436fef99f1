"""Pictures of validation frames: what the camera saw, the ground truth, and for each network its
prediction and its error, all on one scale of depth.

The frames are chosen by a rule, not by eye: of all validation frames in the order of the study's
metric under the first network, per image, the first, the middle one and the last.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from weightsearch.data.frames.source import Frame
from weightsearch.data.packs.building import Pack, ensure
from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth.evaluation.disputed_frames import ERROR_M, error_colours, measured_only
from weightsearch.depth.evaluation.protocols import PROTOCOLS
from weightsearch.depth.evaluation.scoring import BATCH, score
from weightsearch.depth.files.depth_colours import colour_map
from weightsearch.depth.files.depth_maps import Depth
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.prediction import depth_beside
from weightsearch.errors import DataError
from weightsearch.study.spec import StudySpec

KINDS = ("best", "median", "worst")
WIDEST_PX = 480
"""Of a picture; larger frames are made smaller."""
STEPS = 16
"""Colours that a scale is told by."""
Colours = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class FramePictures:
    """A validation frame under the networks."""

    kind: str
    """`best`, `median` or `worst` under the first one."""
    name: str
    values: Sequence[float]
    """The metric of this image, for each network."""
    seen: bytes
    """PNG, as the others are."""
    truth: bytes
    predictions: Sequence[bytes]
    errors: Sequence[bytes]


@dataclass(frozen=True)
class Shown:
    """The frames, and what their colours mean."""

    frames: Sequence[FramePictures]
    near_m: float
    far_m: float
    depth_colours: Sequence[str]
    """From near to far, as CSS writes them."""
    error_m: float
    """Both ends of the scale of errors: negative is too near."""
    error_colours: Sequence[str]


def pictures(
    networks: Sequence[Path],
    spec: StudySpec,
    data: Path | None,
    home: Path,
    device: torch.device | str,
) -> Shown:
    """The best, the median and the worst validation frame of the first of these checkpoints, under
    each of them.

    Raises DataError where the data are not there, CheckpointError for a checkpoint of no use.
    """
    assert spec.data is not None
    loaded = [checkpoints.network(path, device) for path in networks]
    with Pack(ensure(spec.data.source, data, spec.data.options, home)) as native:
        asked = split_frames(native, spec, checkpoints.fold(networks[0]))[1]
        values = [_scores(net, native, asked, spec, device) for net in loaded]
        order = sorted(values[0], key=values[0].__getitem__)
        if spec.objective.direction == "maximize":
            order.reverse()
        chosen = [order[0], order[len(order) // 2], order[-1]]
        frames = [native.frame(i) for i in chosen]
        ends = np.concatenate([frame.depth_m[frame.valid] for frame in frames])
        near_m, far_m = (float(end) for end in np.percentile(ends, (1, 99)))
        made = [
            FramePictures(
                kind,
                native.names[i],
                [found[i] for found in values],
                *_drawn(frame, [_predicted(net, frame, device) for net in loaded], near_m, far_m),
            )
            for kind, i, frame in zip(KINDS, chosen, frames, strict=True)
        ]
    share = np.linspace(0, 1, STEPS)[None]
    return Shown(
        made, near_m, far_m, _css(colour_map(share)),
        ERROR_M, _css(error_colours((2 * share - 1) * ERROR_M)),
    )  # fmt: skip


def _scores(
    network: DepthNet,
    native: Pack,
    asked: Sequence[int],
    spec: StudySpec,
    device: torch.device | str,
) -> Mapping[int, float]:
    """By frame."""
    known = PROTOCOLS[spec.evaluate.protocol]
    scores = score(network, native, asked, known, network.data.size, device, BATCH)
    metric = "abs_rel" if spec.objective.metric == "rel" else spec.objective.metric
    values = dict(zip(scores.indices, scores.per_image.get(metric, []), strict=False))
    if not values:
        raise DataError(f"frames are chosen by their {metric}, but no single one has one.")
    return values


def _predicted(network: DepthNet, frame: Frame, device: torch.device | str) -> Depth:
    height, width = frame.depth_m.shape
    return depth_beside(network, frame.rgb, (height, width), network.data.size, device)


def _drawn(
    frame: Frame, predictions: Sequence[Depth], near_m: float, far_m: float
) -> tuple[bytes, bytes, list[bytes], list[bytes]]:
    def coloured(depth_m: Depth) -> Colours:
        return colour_map((depth_m - near_m) / max(far_m - near_m, 1e-6))

    def error(depth_m: Depth) -> Colours:
        off_m = np.where(frame.valid, depth_m - frame.depth_m, 0)
        return measured_only(error_colours(off_m), frame.valid)

    height, width = frame.depth_m.shape
    small = min(1.0, WIDEST_PX / width)
    size = max(1, round(width * small)), max(1, round(height * small))
    return (
        png(Image.fromarray(frame.rgb).resize(size)),
        png(_resized(measured_only(coloured(frame.depth_m), frame.valid), size)),
        [png(_resized(coloured(depth_m), size)) for depth_m in predictions],
        [png(_resized(error(depth_m), size)) for depth_m in predictions],
    )


def _resized(colours: Colours, size: tuple[int, int]) -> Image.Image:
    """Without mixing the colours of two depths into that of a third."""
    return Image.fromarray(colours).resize(size, Image.Resampling.NEAREST)


def _css(colours: Colours) -> list[str]:
    """Of (1, n, 3)."""
    return [f"#{r:02x}{g:02x}{b:02x}" for r, g, b in colours[0].tolist()]


def png(picture: Image.Image) -> bytes:
    held = io.BytesIO()
    # 256 colours are as many as the colour scale has steps, and a third of the size.
    picture.quantize(256, method=Image.Quantize.MEDIANCUT).save(held, format="png", optimize=True)
    return held.getvalue()
