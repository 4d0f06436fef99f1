"""Panels of validation frames: picture, ground truth, prediction, error, and a slice of depth.

The frames are chosen by a rule, not by eye: of all validation frames in the order of the study's
metric, per image, the first, the middle one and the last.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont

from weightsearch.data.frames.source import Frame
from weightsearch.data.packs.building import Pack, ensure
from weightsearch.data.packs.validation_split import split_frames
from weightsearch.depth.evaluation.disputed_frames import panel
from weightsearch.depth.evaluation.protocols import PROTOCOLS
from weightsearch.depth.evaluation.scoring import BATCH, score
from weightsearch.depth.files.depth_maps import Depth
from weightsearch.depth.network import checkpoint as checkpoints
from weightsearch.depth.network.depth_net import DepthNet
from weightsearch.depth.network.prediction import depth_beside
from weightsearch.errors import DataError
from weightsearch.study.spec import StudySpec

KINDS = ("best", "median", "worst")
WIDEST_PX = 320
"""Of one picture of a panel; larger frames are thinned out."""
TRUTH, PREDICTION = "#5b6270", "#d55e00"


@dataclass(frozen=True)
class FramePanel:
    """A validation frame under one network."""

    index: int
    """In the pack."""
    name: str
    kind: str
    value: float
    """The metric of this image."""
    png: bytes


def panels(
    checkpoint: Path,
    spec: StudySpec,
    data: Path | None,
    home: Path,
    device: torch.device | str,
    frames: Sequence[int] = (),
) -> list[FramePanel]:
    """The best, the median and the worst validation frame by the study's metric; or `frames`, which
    another checkpoint was shown with, in that order.

    Raises DataError where the data are not there, CheckpointError for a checkpoint of no use.
    """
    assert spec.data is not None
    network = checkpoints.network(checkpoint, device)
    with Pack(ensure(spec.data.source, data, spec.data.options, home)) as native:
        asked = frames or split_frames(native, spec)[1]
        known = PROTOCOLS[spec.evaluate.protocol]
        scores = score(network, native, asked, known, network.data.size, device, BATCH)
        metric = "abs_rel" if spec.objective.metric == "rel" else spec.objective.metric
        values = dict(zip(scores.indices, scores.per_image.get(metric, []), strict=False))
        if not values:
            raise DataError(f"frames are chosen by their {metric}, but no single one has one.")
        order = sorted(values, key=values.__getitem__)
        if spec.objective.direction == "maximize":
            order.reverse()
        chosen = frames or [order[0], order[len(order) // 2], order[-1]]
        return [
            FramePanel(
                i, native.names[i], kind, values[i], _drawn(network, native.frame(i), device)
            )
            for i, kind in zip(chosen, KINDS, strict=True)
        ]


def _drawn(network: DepthNet, frame: Frame, device: torch.device | str) -> bytes:
    height, width = frame.depth_m.shape
    pred_m = depth_beside(network, frame.rgb, (height, width), network.data.size, device)
    step = -(-pred_m.shape[1] // WIDEST_PX)
    thin = dataclasses.replace(
        frame, depth_m=frame.depth_m[::step, ::step], valid=frame.valid[::step, ::step]
    )
    return png(with_slice(panel(thin, None, pred_m[::step, ::step]), thin, pred_m[::step, ::step]))


def with_slice(shown: Image.Image, frame: Frame, pred_m: Depth) -> Image.Image:
    """The panel, and below it depth along the middle row: ground truth grey, prediction orange;
    one scale, whose ends stand at the left."""
    letters = 13
    font = ImageFont.load_default(letters)
    row, high = pred_m.shape[0] // 2, max(80, pred_m.shape[0] // 2)
    measured = frame.valid[row]
    both = np.concatenate([frame.depth_m[row][measured], pred_m[row]])
    low_m, top_m = float(both.min()), float(both.max())
    canvas = Image.new("RGB", (shown.width, shown.height + high + 3 * letters), "white")
    canvas.paste(shown)
    draw = ImageDraw.Draw(canvas)
    top = shown.height + 2 * letters
    draw.text(
        (0, shown.height + letters),
        "depth along the middle row: ground truth grey, prediction orange",
        fill="black",
        font=font,
        anchor="lm",
    )
    labels = [f"{depth:.1f} m" for depth in (top_m, low_m)]
    left = int(max(font.getlength(label) for label in labels)) + 8
    for label, y in zip(labels, (top, top + high), strict=True):
        draw.text((0, y), label, fill="black", font=font, anchor="lm")
        draw.line([(left, y), (shown.width, y)], fill="#d5d9e0")
    x = np.linspace(left, shown.width - 1, pred_m.shape[1])

    def place(depth_m: Depth) -> Depth:
        y: Depth = top + high * (top_m - depth_m) / max(top_m - low_m, 1e-6)
        return y

    truth = place(frame.depth_m[row])
    for start in np.flatnonzero(measured[:-1] & measured[1:]):
        ends = [(x[k], truth[k]) for k in (start, start + 1)]
        draw.line(ends, fill=TRUTH, width=3)
    draw.line(list(zip(x, place(pred_m[row]), strict=True)), fill=PREDICTION, width=2)
    return canvas


def png(picture: Image.Image) -> bytes:
    held = io.BytesIO()
    # 256 colours are as many as the colour scale has steps, and a third of the size.
    picture.quantize(256, method=Image.Quantize.MEDIANCUT).save(held, format="png", optimize=True)
    return held.getvalue()
