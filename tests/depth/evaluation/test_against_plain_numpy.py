"""Every protocol on real frames against plain numpy, written from the formulas and nothing of ours.

Crops and sizes are numbers here, not fractions; the ground truth is what the file holds; each frame
of a data set gets another prediction, the kind that breaks code: holes, infinities, other sizes,
values on a threshold.
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
from weightsearch.depth.evaluation.prediction_files import Files, evaluate_predictions
from weightsearch.depth.evaluation.protocols import PROTOCOLS

Map = npt.NDArray[np.float64]
Box = tuple[int, int, int, int]
"""Top, bottom, left, right."""


@dataclass(frozen=True)
class Rules:
    """What the literature fixes; crops as numbers for the size of the frames below."""

    near_m: float
    far_m: float
    crop: Box
    part: Box | None = None
    """The part of the ground truth that authors' networks see, and of the picture:"""
    of_picture: Box | None = None
    masked: bool = True
    above_m: float = 1e-3
    every_second: bool = False
    resize: str = "bilinear"
    clip_first: bool = False
    mirror: bool = False
    infinity_m: float | None = None


NYU_ALL, KITTI_ALL = (0, 480, 0, 640), (0, 375, 0, 1242)
BTS_CROP, KITTI_PART = (45, 471, 41, 601), (23, 375, 13, 1229)
RULES: dict[str, dict[str, Rules]] = {
    "nyu": {
        "bts": Rules(1e-3, 10, BTS_CROP, resize="aligned"),
        "zoe": Rules(1e-3, 10, BTS_CROP, resize="aligned", mirror=True),
        "densedepth": Rules(
            0.1, 10, (20, 460, 24, 616), masked=False, clip_first=True, mirror=True
        ),
        "s2d": Rules(
            *(1e-3, 1000, (6, 234, 8, 312), (6, 234, 8, 312), (12, 468, 16, 624)),
            masked=False,
            every_second=True,
        ),
        "full": Rules(1e-3, math.inf, NYU_ALL, infinity_m=10),
    },
    "kitti": {
        "kitti_eigen_garg": Rules(
            1e-3, 80, (153, 371, 44, 1197), KITTI_PART, KITTI_PART, resize="aligned"
        ),
        "kitti_eigen_garg_kb": Rules(
            *(1e-3, 80, (23 + 143, 23 + 349, 13 + 43, 13 + 1172), KITTI_PART, KITTI_PART),
            resize="aligned",
        ),
        "full": Rules(1e-3, math.inf, KITTI_ALL, infinity_m=80),
    },
    "make3d": {
        "make3d_c1": Rules(
            *(1e-3, 70, (17, 38, 0, 305), (17, 38, 0, 305), (710, 1562, 0, 1704)),
            above_m=0,
            resize="nearest",
        ),
        "full": Rules(1e-3, math.inf, (0, 55, 0, 305), infinity_m=80),
    },
}
PICTURES = {"nyu": (480, 640), "kitti": (375, 1242), "make3d": (2272, 1704)}
PARTS = {"nyu": (228, 304), "kitti": (352, 1216), "make3d": (852, 1704)}
"""The size of a prediction that shows only what the protocol gives to a network."""


def test_no_protocol_is_left_out() -> None:
    assert {name for rules in RULES.values() for name in rules} == set(PROTOCOLS)


# --- the oracle -----------------------------------------------------------------------------------


def resized(x: Map, height: int, width: int, how: str) -> Map:
    for axis, size in enumerate((height, width)):
        n = x.shape[axis]
        if size == n:
            continue
        if how == "nearest":  # OpenCV's: floor(i * n / size)
            x = x.take(np.arange(size) * n // size, axis)
            continue
        if how == "aligned":
            at = np.arange(size) * ((n - 1) / (size - 1))
        else:
            at = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, None)
        low = np.minimum(np.floor(at).astype(int), n - 1)
        high = np.minimum(low + 1, n - 1)
        share = (at - low).reshape((-1, 1) if axis == 0 else (1, -1))
        x = (1 - share) * x.take(low, axis) + share * x.take(high, axis)
    return x


def cut(x: npt.NDArray[np.generic], box: Box) -> npt.NDArray[np.generic]:
    return x[box[0] : box[1], box[2] : box[3]]


def placed(pred: Map, shape: tuple[int, int], rules: Rules, picture: tuple[int, int]) -> Map:
    """At the ground truth's size, from whatever size."""
    if rules.part is None or rules.of_picture is None or pred.shape == shape:
        return resized(pred, *shape, rules.resize)
    top, bottom, left, right = rules.part
    if pred.shape not in PARTS.values():  # of the whole picture
        pred = np.asarray(cut(resized(pred, *picture, rules.resize), rules.of_picture))
    whole = np.zeros(shape)
    whole[top:bottom, left:right] = resized(pred, bottom - top, right - left, rules.resize)
    return whole


def counted(
    views: list[Map], gt: Map, valid: npt.NDArray[np.bool_], rules: Rules, aligned: bool, data: str
) -> tuple[Map, Map]:
    """Prediction and ground truth (n,) of the pixels of one image that count."""
    if rules.every_second:
        gt, valid = gt[1::2, 1::2], valid[1::2, 1::2]
    near, far = rules.near_m, rules.infinity_m or rules.far_m
    fitted = []
    for view in views if rules.mirror else views[:1]:
        pred = np.where(np.isnan(view) | (view == -np.inf), near, view)
        pred = np.where(pred == np.inf, far, pred)
        if rules.clip_first and not aligned:
            pred = np.clip(pred, near, far)
        fitted.append(placed(pred, (gt.shape[0], gt.shape[1]), rules, PICTURES[data]))
    pred = np.asarray(cut(np.mean(fitted, axis=0), rules.crop))
    gt, valid = np.asarray(cut(gt, rules.crop)), np.asarray(cut(valid, rules.crop))
    counts = valid & (gt > (rules.above_m if rules.masked else 0))
    if rules.masked:
        counts &= gt < rules.far_m
    return pred[counts], gt[counts]


def expected(p: Map, g: Map, rules: Rules, align: str) -> dict[str, float]:
    """The metrics of one image, by the textbook."""
    if align == "median" and np.median(p) > 0:
        p = p * np.median(g) / np.median(p)
    if align == "scale-shift":
        if np.ptp(p) > 0:
            scale = np.cov(p, g, bias=True)[0, 1] / np.var(p)
            p = scale * (p - p.mean()) + g.mean()
        else:
            p = np.full_like(p, g.mean())
    p = np.clip(p, rules.near_m, rules.far_m)
    logs = np.log(p) - np.log(g)
    ratio = np.maximum(p / g, g / p)
    off = np.abs(p - g)
    return {
        "rmse": math.sqrt(np.mean(off**2)),
        "abs_rel": float(np.mean(off / g)),
        "log10": float(np.mean(np.abs(np.log10(p / g)))),
        "sq_rel": float(np.mean(off**2 / g)),
        "rmse_log": math.sqrt(np.mean(logs**2)),
        "silog": 100 * math.sqrt(max(np.mean(logs**2) - np.mean(logs) ** 2, 0)),
        "delta1": float(np.mean(ratio < 1.25)),
        "delta2": float(np.mean(ratio < 1.25**2)),
        "delta3": float(np.mean(ratio < 1.25**3)),
        "mae": float(np.mean(off)),
        "abs_rel_as_published": float(np.mean(off / p)),
        "log10_as_published": math.sqrt(np.mean(np.log10(p / g) ** 2)),
        "pixels": len(g),
    }


# --- frames and predictions -----------------------------------------------------------------------


def nyu_frame() -> Frame:
    folder = SHARED_DATA / "nyu_16bit"
    depth_m = np.asarray(Image.open(folder / "0003_depth.png")).astype(np.float32) / 1000
    # Sparse, so that the plain metrics take no time.
    valid = np.random.default_rng(1).random(depth_m.shape) > 0.9
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


def predictions(gt: Map, data: str) -> dict[str, list[Map]]:
    """By name: the prediction, and that of the mirrored picture."""
    rng = np.random.default_rng(0)
    noisy = gt * rng.lognormal(0.05, 0.3, gt.shape)
    hostile = noisy.copy()
    for value in (np.nan, np.inf, -np.inf, 0.0, -1.0, 1e-4, 1e6):
        hostile[rng.random(gt.shape) < 0.03] = value
    # In stripes: right, on a threshold from either side, noisy, hostile.
    stripes = np.arange(gt.shape[1]) * 15 // gt.shape[1] % 5
    mixed = np.choose(stripes[None], [gt, gt * 1.25, gt / 1.25**2, noisy, hostile])
    height, width = gt.shape
    made = {
        "mixed": mixed,
        "zeros": np.zeros_like(gt),
        "half": rng.uniform(0.5, 9, (height // 2, width // 2)),
        "odd": rng.uniform(-1, 90, (height // 3 + 1, width // 2 - 3)),
        "part": rng.uniform(0.5, 9, PARTS[data]),
    }
    return {name: [one, 1.1 * one + 0.2] for name, one in made.items()}


FEW = ("mixed", "zeros", "half")
"""Those that alignment is tried on; `part` is tried apart."""


@dataclass(frozen=True)
class Case:
    data: str
    frame: Frame
    pack: Pack
    """One real frame, once under the name of each prediction."""
    home: Path
    made: dict[str, list[Map]]


@pytest.fixture(scope="module", params=list(FRAMES))
def case(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Case]:
    data = request.param
    folder = {"nyu": "nyu_16bit"}.get(data, data)
    if not (SHARED_DATA / folder).is_dir():
        pytest.skip(f"needs the real frames in {SHARED_DATA / folder}")
    frame = FRAMES[data]()
    home = tmp_path_factory.mktemp(data)
    cap_m = 10.0 if data == "nyu" else 80.0
    made = predictions(frame.depth_m.astype(np.float64), data)
    frames = dict.fromkeys(made, frame)
    with Pack(write_pack(home / "p.h5", frames, ground_truth="raw", max_depth_m=cap_m)) as pack:
        for name, views in made.items():
            for view, file in zip(views, (f"{name}.npy", f"{name}_mirrored.npy"), strict=True):
                np.save(home / file, view.astype(np.float32))
                for group, names in (("few", FEW), ("part", ("part",)), ("whole", set(made))):
                    if name in names and (group, name) != ("whole", "part"):
                        (home / group).mkdir(exist_ok=True)
                        (home / group / file).symlink_to(home / file)
        yield Case(data, frame, pack, home, made)


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("group", "align"), [("whole", "median"), ("few", "scale-shift"), ("part", "none")]
)
def test_every_protocol_agrees_with_plain_numpy(case: Case, group: str, align: str) -> None:
    for protocol, rules in RULES[case.data].items():
        if group == "part" and rules.part is None:
            continue
        shows: str = "part" if group == "part" else "whole"
        files = Files(case.home / group, "m", shows, partial=True)  # type: ignore[arg-type]
        scores = evaluate_predictions(files, case.pack, protocol, alignment=align)
        for found in [scores] if scores.raw is None else [scores, scores.raw]:
            how, squares, pixels = found.alignment, 0.0, 0
            for n, name in enumerate(found.names):
                views = [v.astype(np.float32).astype(np.float64) for v in case.made[name]]
                gt_m = case.frame.depth_m.astype(np.float64)
                p, g = counted(views, gt_m, case.frame.valid, rules, how != "none", case.data)
                want = expected(p, g, rules, how)
                assert found.pixels[n] == want["pixels"]
                got = {metric: values[n] for metric, values in found.per_image.items()}
                near = pytest.approx({metric: want[metric] for metric in got}, rel=1e-6, abs=1e-6)
                assert got == near, (protocol, name, how)
                squares += want["rmse"] ** 2 * want["pixels"]
                pixels += int(want["pixels"])
            pooled = math.sqrt(squares / pixels)
            assert found.pooled["rmse_pooled"] == pytest.approx(pooled, rel=1e-6)
