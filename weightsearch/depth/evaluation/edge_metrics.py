"""How well edges and surfaces are met, since an edge loss is tuned: one value per image.

The usual metrics hardly notice blurred edges or bumpy walls: most pixels lie on neither. Only
windows that are wholly valid count. An image without any (as of a laser's sparse points) has NaN.
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from weightsearch.depth.loss.ssim import WINDOW, ssim
from weightsearch.depth.network.targets import Range

THRESHOLD_M = 0.25
"""Of the Sobel gradient that makes an edge (Hu et al. 2019)."""
REACH_PX = 10.0
"""Farther than this is as bad as any distance (Koch et al. 2018)."""
FIELD_OF_VIEW = math.radians(60)
"""Horizontal, assumed for surface normals: those of prediction and truth alike."""

Edges = npt.NDArray[np.bool_]


def edge_metrics(pred_m: Tensor, gt_m: Tensor, valid: Tensor, max_m: float) -> dict[str, Tensor]:
    """Each metric as a tensor (b,) of maps (b, h, w); `max_m` is the range of depth that SSIM's
    constants are relative to.

    sobel_precision, sobel_recall, sobel_f: of the pixels whose Sobel gradient exceeds 0.25 m (Hu et
    al. 2019, arXiv 1803.08673; the kernel 1 2 1 is not normalised). Without an edge in the truth
    and the prediction all are 1, with edges in one of them only 0.
    boundary_accuracy, boundary_completeness: mean distance in pixels, of predicted edges from true
    ones, and of both from each other (DBE, Koch et al. 2018, arXiv 1805.01328), edges being Canny's
    of depth scaled to 0..1.
    ssim: of the depth maps, 1 is best. normal_degrees: the mean angle between surface normals.
    """
    # What stands under invalid pixels, NaN included, must change nothing.
    pred_m, gt_m = (torch.where(valid, depth_m.double(), 1.0) for depth_m in (pred_m, gt_m))
    maps = pred_m, gt_m, valid
    precision, recall, f = _sobel(*maps)
    accuracy, completeness = _boundaries(*maps)
    return {
        "sobel_precision": precision,
        "sobel_recall": recall,
        "sobel_f": f,
        "boundary_accuracy": accuracy,
        "boundary_completeness": completeness,
        "ssim": _ssim(*maps, max_m),
        "normal_degrees": _normal_degrees(*maps),
    }


def sobel_edges(depth_m: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Edges of (b, h, w), and where a 3x3 window is whole: both (b, h, w) bool."""
    across = torch.tensor([[1.0, 0, -1], [2, 0, -2], [1, 0, -1]], dtype=depth_m.dtype)
    kernels = torch.stack((across, across.T))[:, None].to(depth_m.device)
    steps = F.conv2d(torch.where(valid, depth_m, 1.0)[:, None], kernels, padding=1)
    whole = _eroded(valid, 3)
    return (steps.square().sum(1).sqrt() > THRESHOLD_M) & whole, whole


def _sobel(pred_m: Tensor, gt_m: Tensor, valid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    predicted, whole = sobel_edges(pred_m, valid)
    true, _ = sobel_edges(gt_m, valid)
    both, found, there = (x.sum((1, 2)).double() for x in (predicted & true, predicted, true))
    neither = (found == 0) & (there == 0)
    judged = whole.any((1, 2))

    def share(of: Tensor) -> Tensor:
        value = torch.where(neither, 1.0, both / of.clamp(min=1))
        return torch.where(judged, value, math.nan)

    return share(found), share(there), share((found + there) / 2)  # F is the harmonic mean


def _boundaries(*maps: Tensor) -> tuple[Tensor, Tensor]:
    values = [
        _boundary_error(*image) for image in zip(*(x.cpu().numpy() for x in maps), strict=True)
    ]
    accuracy, completeness = torch.tensor(values, dtype=torch.float64).unbind(1)
    return accuracy, completeness


def _boundary_error(
    pred_m: npt.NDArray[np.float64], gt_m: npt.NDArray[np.float64], valid: Edges
) -> tuple[float, float]:
    predicted, true = canny_edges(pred_m, valid), canny_edges(gt_m, valid)
    if not true.any():  # nothing to be near to
        return math.nan, math.nan
    from_true = distance(true)
    near = predicted & (from_true < REACH_PX)
    if not near.any():
        return REACH_PX, REACH_PX
    both_ways = np.minimum(from_true, REACH_PX)[predicted].sum()
    both_ways += np.minimum(distance(predicted), REACH_PX)[true].sum()
    return float(from_true[near].mean()), float(both_ways / (predicted.sum() + true.sum()))


def canny_edges(depth_m: npt.NDArray[np.float64], valid: Edges) -> Edges:
    """Canny's of a map (h, w) scaled to 0..1 over its valid pixels, with Koch et al.'s sigma and
    thresholds."""
    from skimage.feature import canny

    if not valid.any():
        return np.zeros_like(valid)
    low, high = depth_m[valid].min(), depth_m[valid].max()
    scaled = (np.clip(depth_m, low, high) - low) / max(high - low, 1e-12)
    found: Edges = canny(  # type: ignore[no-untyped-call]
        scaled, sigma=math.sqrt(2), low_threshold=0.15, high_threshold=0.3, mask=valid
    )
    return found


def distance(edges: Edges) -> npt.NDArray[np.float64]:
    """Of each pixel from the nearest edge, in pixels; infinity where there is none."""
    if not edges.any():
        return np.full(edges.shape, np.inf)
    from scipy.ndimage import distance_transform_edt

    found: npt.NDArray[np.float64] = distance_transform_edt(~edges)
    return found


def distance_from_edges(gt_m: Tensor, valid: Tensor) -> Tensor:
    """Of each pixel (b, h, w) from the nearest Sobel edge of the ground truth, in pixels; infinity
    where an image has none."""
    edges = sobel_edges(gt_m, valid)[0].cpu().numpy()
    return torch.from_numpy(np.stack([distance(e) for e in edges])).to(gt_m.device)


def _ssim(pred_m: Tensor, gt_m: Tensor, valid: Tensor, max_m: float) -> Tensor:
    values = []
    for pred, gt, mask in zip(pred_m, gt_m, valid, strict=True):
        if min(mask.shape) < len(WINDOW) or not _eroded(mask[None], len(WINDOW)).any():
            values.append(math.nan)
            continue
        pair, metres = (pred[None, None], gt[None, None]), Range(0.001, max_m)
        loss = ssim(*pair, mask[None, None], metres, min_share=1.0)
        values.append(1 - 2 * float(loss))
    return torch.tensor(values, dtype=torch.float64)


def _normal_degrees(pred_m: Tensor, gt_m: Tensor, valid: Tensor) -> Tensor:
    inner = _eroded(valid, 3)[:, 1:-1, 1:-1]
    cosine = (normals(pred_m) * normals(gt_m)).sum(1).clamp(-1, 1)
    degrees = torch.where(inner, torch.rad2deg(torch.arccos(cosine)), 0.0)
    return degrees.sum((1, 2)) / inner.sum((1, 2))  # 0 / 0 is NaN


def normals(depth_m: Tensor) -> Tensor:
    """Unit normals (b, 3, h - 2, w - 2) of depth (b, h, w) seen by a pinhole camera, from central
    differences of the points."""
    height, width = depth_m.shape[-2:]
    focal = width / 2 / math.tan(FIELD_OF_VIEW / 2)
    rows, columns = (
        (torch.arange(n, dtype=depth_m.dtype, device=depth_m.device) - (n - 1) / 2) / focal
        for n in (height, width)
    )
    points = torch.stack((columns * depth_m, rows[:, None] * depth_m, depth_m), 1)
    right = points[:, :, 1:-1, 2:] - points[:, :, 1:-1, :-2]
    down = points[:, :, 2:, 1:-1] - points[:, :, :-2, 1:-1]
    return F.normalize(torch.linalg.cross(right, down, dim=1), dim=1)


def _eroded(valid: Tensor, size: int) -> Tensor:
    """Whether the window of `size` around each pixel is inside and wholly valid."""
    padded = F.pad((~valid).float(), (size // 2,) * 4, value=1.0)
    return F.max_pool2d(padded[:, None], size, stride=1)[:, 0] == 0
