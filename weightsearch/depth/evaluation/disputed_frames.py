"""Where a network and the ground truth disagree, and which of the two fits the picture better.

arXiv 2404.07686 shows depth that looks right where the ground truth is flawed. To check it: frames
are taken by how much the two disagree, and the picture decides. Depth edges lie on picture edges
more often than chance; so each map's edges inside the disputed region are counted by whether a
picture's edge is near, against the share that edges thrown at random would have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image, ImageDraw, ImageFont

from weightsearch.data.frames.source import Frame
from weightsearch.data.packs.building import Pack
from weightsearch.depth.evaluation.edge_metrics import Edges, canny_edges, distance
from weightsearch.depth.files.depth_colours import colour_map
from weightsearch.depth.files.depth_maps import Depth, write_picture
from weightsearch.depth.network.prediction import Predict, depth_beside
from weightsearch.errors import DataError
from weightsearch.stats import comparison

OFF_BY = 0.1
"""Share of the ground truth by which a prediction must be off for a pixel to be disputed."""
AROUND_PX = 10.0
"""The disputed region reaches this far around its pixels: edges lie at its rim."""
NEAR_PX = 2.0
ERROR_M = 1.0
"""The error that the last panel shows in its darkest red (too far) and blue (too near)."""
GAP = 8


@dataclass(frozen=True)
class Dispute:
    """One frame."""

    name: str
    group: str
    disagreement: float
    """Mean |prediction - ground truth| / ground truth over the measured pixels."""
    disputed: float
    """The share of the pixels that are."""
    prediction: float | None
    """How many times more often than chance its edges lie on the picture's; None without edges."""
    ground_truth: float | None
    picture: str


def disputes(
    predict: Predict,
    size: tuple[int, int],
    pack: Pack,
    filled: Pack | None,
    split: str,
    out: Path,
    most: int,
    device: torch.device | str,
) -> dict[str, Any]:
    """Panels of the `most` frames of a split with the largest disagreement, and who fits better.

    The network takes images of `size` (height, width). `pack` has the ground truth that is judged;
    `filled` the same frames in-painted, to be shown beside it. A panel is RGB, ground truth
    (unmeasured pixels grey, their outline white), in-painted ground truth, prediction, error. The
    verdict compares the two scores over the frames that have both, with scenes as the sample.
    Raises DataError.
    """
    indices = pack.indices(split)
    if not indices:
        raise DataError(f"{pack.path}: must have frames of split '{split}', but has none.")

    def predicted(frame: Frame) -> Depth:
        height, width = frame.depth_m.shape
        return depth_beside(predict, frame.rgb, (height, width), size, device)

    by_disagreement = []
    for i in indices:
        frame = pack.frame(i)
        by_disagreement.append((_disagreement(predicted(frame), frame), i))
    worst = sorted(by_disagreement, reverse=True)[:most]
    found = []
    for rank, (disagreement, i) in enumerate(worst, 1):
        frame = pack.frame(i)
        pred_m = predicted(frame)
        inpainted = _same_frame(filled, pack.names[i]) if filled is not None else None
        file = out / f"{rank:02d}_{pack.names[i].replace('/', '_')}.png"
        write_picture(file, panel(frame, inpainted, pred_m), {"frame": pack.names[i]})
        region = disputed(pred_m, frame)
        found.append(
            Dispute(
                name=pack.names[i],
                group=pack.groups[i],
                disagreement=disagreement,
                disputed=float(region.mean()),
                prediction=fit_to_picture(pred_m, np.ones_like(frame.valid), frame.rgb, region),
                ground_truth=fit_to_picture(frame.depth_m, frame.valid, frame.rgb, region),
                picture=str(file),
            )
        )
    return {"frames": [vars(one) for one in found], **_verdict(found)}


def _disagreement(pred_m: Depth, frame: Frame) -> float:
    gt_m = frame.depth_m[frame.valid]
    return float(np.mean(np.abs(pred_m[frame.valid] - gt_m) / gt_m))


def disputed(pred_m: Depth, frame: Frame) -> Edges:
    """The pixels (h, w) around which prediction and ground truth differ by a tenth."""
    off = frame.valid & (np.abs(pred_m - frame.depth_m) > OFF_BY * frame.depth_m)
    region: Edges = distance(off) <= AROUND_PX
    return region


def fit_to_picture(
    depth_m: Depth, valid: Edges, rgb: npt.NDArray[np.uint8], region: Edges
) -> float | None:
    """How many times more often than chance the depth's edges in the region lie within 2 pixels of
    the picture's; None where either has no edge there. Pictures of another size are scaled."""
    if rgb.shape[:2] != depth_m.shape:
        rgb = np.asarray(Image.fromarray(rgb).resize(depth_m.shape[::-1]))
    grey = rgb.astype(np.float64).mean(-1)
    near = distance(canny_edges(grey, np.ones_like(valid))) <= NEAR_PX
    edges = canny_edges(depth_m.astype(np.float64), valid) & region
    chance = near[region].mean() if region.any() else 0.0
    if not edges.any() or not chance:
        return None
    return float(near[edges].mean() / chance)


def _verdict(found: Sequence[Dispute]) -> dict[str, Any]:
    both = [d for d in found if d.prediction is not None and d.ground_truth is not None]
    if len({d.group for d in both}) < 2:
        return {"fits_better": "undecided", "compared": len(both), "difference": None}
    result = comparison.paired(
        [[d.prediction or 0.0 for d in both]],
        [[d.ground_truth or 0.0 for d in both]],
        [d.group for d in both],
        smaller_is_better=False,
    )
    said = {"better": "prediction", "worse": "ground truth"}
    return {
        "fits_better": said.get(result.verdict, "undecided"),
        "compared": len(both),
        "difference": {"mean": result.difference, "low": result.low, "high": result.high},
    }


def _same_frame(pack: Pack, name: str) -> Frame:
    return pack.frame(pack.names.index(name))


# Pictures


def panel(frame: Frame, inpainted: Frame | None, pred_m: Depth) -> Image.Image:
    """RGB, ground truth, in-painted ground truth, prediction and error side by side, with one
    scale of depth, whose ends in metres stand in the titles."""
    shape = pred_m.shape
    measured = frame.depth_m[frame.valid]
    near_m, far_m = (float(d) for d in np.percentile(measured, (1, 99)))
    rgb = np.asarray(Image.fromarray(frame.rgb).resize(shape[::-1]))

    def coloured(depth_m: Depth) -> npt.NDArray[np.uint8]:
        return colour_map((depth_m - near_m) / max(far_m - near_m, 1e-6))

    truth = measured_only(coloured(frame.depth_m), frame.valid)
    error_m = np.where(frame.valid, pred_m - frame.depth_m, 0)
    shown = [("picture", rgb), (f"ground truth {near_m:.1f}..{far_m:.1f} m", truth)]
    if inpainted is not None:
        shown.append(("in-painted", coloured(inpainted.depth_m)))
    shown += [
        ("prediction", coloured(pred_m)),
        (f"error -{ERROR_M:g}..{ERROR_M:g} m", error_colours(error_m)),
    ]
    letters = max(12, shape[0] // 20)
    font = ImageFont.load_default(letters)
    width = max(shape[1], *(math.ceil(font.getlength(title)) for title, _ in shown))
    canvas = Image.new("RGB", ((width + GAP) * len(shown) - GAP, shape[0] + 2 * letters), "white")
    draw = ImageDraw.Draw(canvas)
    for k, (title, pixels) in enumerate(shown):
        left = k * (width + GAP)
        draw.text((left, letters), title, fill="black", font=font, anchor="lm")
        canvas.paste(Image.fromarray(pixels), (left, 2 * letters))
    return canvas


def measured_only(colours: npt.NDArray[np.uint8], valid: Edges) -> npt.NDArray[np.uint8]:
    """Colours (h, w, 3) with what was not measured grey, its outline white."""
    shown = colours.copy()
    shown[~valid] = 96
    shown[~valid & (distance(valid) <= 1)] = 255
    return shown


def error_colours(error_m: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """White at 0, red where the prediction is too far, blue where it is too near."""
    share = np.clip(error_m / ERROR_M, -1, 1)[..., None]
    red, blue, white = (np.array(c) for c in ((178, 24, 43), (33, 102, 172), (255, 255, 255)))
    colours: npt.NDArray[np.uint8] = np.round(
        white + np.abs(share) * (np.where(share > 0, red, blue) - white)
    ).astype(np.uint8)
    return colours
