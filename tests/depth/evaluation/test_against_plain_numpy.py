"""Every protocol on real frames against plain numpy, written from the formulas and nothing of ours.

Crops and sizes are numbers here, not fractions; each frame of a data set gets another prediction,
the kind that breaks code: holes, infinities, other sizes, values on a threshold.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from scipy.io import loadmat
from support.packs import write_pack
from support.paths import SHARED_DATA

from weightsearch.data.frames.source import Frame
from weightsearch.data.packs.layout import Pack
from weightsearch.depth.evaluation.prediction_files import evaluate_predictions

Map = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rules:
    """What the literature fixes; crops as numbers for the size of the frames below."""

    near_m: float
    far_m: float
    crop: tuple[int, int, int, int]
    part: tuple[int, int, int, int] | None = None
    masked: bool = True
    every_second: bool = False
    corners: bool = False
    clip_first: bool = False


NYU_ALL, KITTI_ALL = (0, 480, 0, 640), (0, 375, 0, 1242)
RULES: dict[str, dict[str, Rules]] = {
    "nyu": {
        "bts": Rules(1e-3, 10, (45, 471, 41, 601), corners=True),
        "zoe": Rules(1e-3, 10, (45, 471, 41, 601), corners=True),
        "densedepth": Rules(0.1, 10, (20, 460, 24, 616), masked=False, clip_first=True),
        "s2d": Rules(
            1e-3, 1000, (6, 234, 8, 312), (6, 234, 8, 312), masked=False, every_second=True
        ),
        "full": Rules(1e-3, 10, NYU_ALL),
    },
    "kitti": {
        "kitti_eigen_garg": Rules(
            1e-3, 80, (153, 371, 44, 1197), (23, 375, 13, 1229), corners=True
        ),
        "kitti_eigen_garg_kb": Rules(
            1e-3, 80, (23 + 143, 23 + 349, 13 + 43, 13 + 1172), (23, 375, 13, 1229), corners=True
        ),
        "full": Rules(1e-3, 80, KITTI_ALL),
    },
    "make3d": {
        "make3d_c1": Rules(1e-3, 70, (17, 38, 0, 305), (17, 38, 0, 305)),
        "full": Rules(1e-3, 80, (0, 55, 0, 305)),
    },
}
PARTS = {"nyu": (228, 304), "kitti": (352, 1216), "make3d": (852, 1704)}
"""The size of a prediction that shows only what the protocol gives to a network."""


# --- the oracle -----------------------------------------------------------------------------------


def bilinear(x: Map, height: int, width: int, corners: bool) -> Map:
    for axis, size in enumerate((height, width)):
        n = x.shape[axis]
        if corners:
            at = np.arange(size) * ((n - 1) / (size - 1))
        else:
            at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, None)
        low = np.minimum(np.floor(at).astype(int), n - 1)
        high = np.minimum(low + 1, n - 1)
        share = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        x = (1 - share) * x.take(low, axis) + share * x.take(high, axis)
    return x


def expected(
    pred: Map, gt: Map, valid: npt.NDArray[np.bool_], rules: Rules, align: str
) -> dict[str, float]:
    """The metrics of one image, by the textbook."""
    if rules.every_second:
        gt, valid = gt[1::2, 1::2], valid[1::2, 1::2]
    near, far = rules.near_m, rules.far_m
    pred = np.where(np.isnan(pred), near, pred)
    pred = np.where(pred == np.inf, far, np.where(pred == -np.inf, near, pred))
    if rules.clip_first:
        pred = np.clip(pred, near, far)
    if rules.part is not None and pred.shape in PARTS.values():
        top, bottom, left, right = rules.part
        whole = np.full(gt.shape, near)
        whole[top:bottom, left:right] = bilinear(pred, bottom - top, right - left, rules.corners)
        pred = whole
    elif pred.shape != gt.shape:
        pred = bilinear(pred, *gt.shape, rules.corners)
    top, bottom, left, right = rules.crop
    pred, gt, valid = (x[top:bottom, left:right] for x in (pred, gt, valid))
    counts = valid & (gt > near) & (gt < far) if rules.masked else valid & (gt > 0)
    p, g = pred[counts], gt[counts]
    if align == "median" and np.median(p) > 0:
        p = p * np.median(g) / np.median(p)
    if align == "least-squares":
        if np.ptp(p) > 0:
            design = np.stack((p - p.mean(), np.ones_like(p)), 1)
            (scale, middle), *_ = np.linalg.lstsq(design, g, rcond=None)
            p = scale * (p - p.mean()) + middle
        else:
            p = np.full_like(p, g.mean())
    p = np.clip(p, near, far)
    logs = np.log(p) - np.log(g)
    ratio = np.maximum(p / g, g / p)
    return {
        "rmse": math.sqrt(np.mean((p - g) ** 2)),
        "abs_rel": float(np.mean(np.abs(p - g) / g)),
        "log10": float(np.mean(np.abs(np.log10(p) - np.log10(g)))),
        "sq_rel": float(np.mean((p - g) ** 2 / g)),
        "rmse_log": math.sqrt(np.mean(logs**2)),
        "silog": 100 * math.sqrt(max(np.mean(logs**2) - np.mean(logs) ** 2, 0)),
        "delta1": float(np.mean(ratio < 1.25)),
        "delta2": float(np.mean(ratio < 1.25**2)),
        "delta3": float(np.mean(ratio < 1.25**3)),
        "mae": float(np.mean(np.abs(p - g))),
        "abs_rel_as_published": float(np.mean(np.abs(g - p) / p)),
        "log10_as_published": math.sqrt(np.mean((np.log10(p) - np.log10(g)) ** 2)),
        "pixels": len(g),
    }


# --- frames and predictions -----------------------------------------------------------------------


def nyu_frame() -> Frame:
    folder = SHARED_DATA / "nyu_16bit"
    depth_m = np.asarray(Image.open(folder / "0003_depth.png")).astype(np.float32) / 1000
    valid = np.random.default_rng(1).random(depth_m.shape) > 0.1
    rgb = np.asarray(Image.open(folder / "0003_colors.png").convert("RGB"))
    return Frame(rgb, np.where(valid, depth_m, np.float32(0)), valid)


def kitti_frame() -> Frame:
    (file, *_) = sorted((SHARED_DATA / "kitti").glob("*/proj_depth/groundtruth/image_02/*.png"))
    depth_m = np.asarray(Image.open(file)).astype(np.float32) / 256
    return Frame(np.zeros((*depth_m.shape, 3), np.uint8), depth_m, depth_m > 0)


def make3d_frame() -> Frame:
    (file, *_) = sorted((SHARED_DATA / "make3d/Gridlaserdata").glob("*.mat"))
    depth_m = loadmat(file)["Position3DGrid"][..., 3].astype(np.float32)
    return Frame(np.zeros((2272, 1704, 3), np.uint8), depth_m, depth_m > 0)


FRAMES: dict[str, Callable[[], Frame]] = {
    "nyu": nyu_frame,
    "kitti": kitti_frame,
    "make3d": make3d_frame,
}


def predictions(gt: Map, data: str) -> dict[str, Map]:
    rng = np.random.default_rng(0)
    noisy = gt * rng.lognormal(0.05, 0.3, gt.shape)
    smooth = np.where(gt > 0, gt, 5.0) * np.linspace(0.7, 1.4, gt.shape[1])
    adversarial = noisy.copy()
    for value in (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-4, 1e6):
        adversarial[rng.random(gt.shape) < 0.03] = value
    height, width = gt.shape
    return {
        "noisy": noisy,
        "smooth": smooth,
        "exact": gt,
        "adversarial": adversarial,
        "zeros": np.zeros_like(gt),
        "threshold": gt * 1.25,
        "threshold below": gt / 1.25**2,
        "half": rng.uniform(0.5, 9, (height // 2, width // 2)),
        "odd": rng.uniform(-1, 90, (height // 3 + 1, width // 2 - 3)),
        "part": rng.uniform(0.5, 9, PARTS[data]),
    }


@pytest.fixture(scope="module", params=list(FRAMES))
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[str, Pack, Path, dict[str, Map]]]:
    """A pack of one real frame, once under the name of each prediction, and the predictions."""
    data = request.param
    folder = {"nyu": "nyu_16bit"}.get(data, data)
    if not (SHARED_DATA / folder).is_dir():
        pytest.skip(f"needs the real frames in {SHARED_DATA / folder}")
    frame = FRAMES[data]()
    home = tmp_path_factory.mktemp(data)
    cap_m = 10.0 if data == "nyu" else 80.0
    made = predictions(frame.depth_m.astype(np.float64), data)
    with Pack(
        write_pack(home / "p.h5", dict.fromkeys(made, frame), ground_truth="raw", max_depth_m=cap_m)
    ) as pack:
        for name, depth_m in made.items():
            np.save(home / f"{name}.npy", depth_m.astype(np.float32))
        yield data, pack, home, made


@pytest.mark.real_data
@pytest.mark.parametrize("align", ["none", "median", "least-squares"])
def test_every_protocol_agrees_with_plain_numpy(
    case: tuple[str, Pack, Path, dict[str, Map]], align: str
) -> None:
    data, pack, home, made = case
    truth = pack.frame(0)  # what evaluation is given: packs round depth to their unit
    for protocol, rules in RULES[data].items():
        scores = evaluate_predictions(home, pack, protocol, alignment=align)
        assert scores.names == list(made)
        squares, pixels = 0.0, 0
        for n, depth_m in enumerate(made.values()):
            want = expected(
                depth_m.astype(np.float32).astype(np.float64),
                truth.depth_m.astype(np.float64),
                truth.valid,
                rules,
                align,
            )
            assert scores.pixels[n] == want["pixels"]
            got = {name: values[n] for name, values in scores.per_image.items()}
            assert got == pytest.approx({name: want[name] for name in got}, rel=1e-6, abs=1e-6), (
                protocol,
                scores.names[n],
            )
            squares += want["rmse"] ** 2 * want["pixels"]
            pixels += int(want["pixels"])
        assert scores.pooled["rmse_pooled"] == pytest.approx(math.sqrt(squares / pixels), rel=1e-6)
