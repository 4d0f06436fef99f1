"""Edge quality, error by depth and by distance from an edge, and what `evaluate` makes of them."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from skimage.metrics import structural_similarity
from support.command_runs import Run, run_all
from support.ground_truth import valid_like
from torch import Tensor

from weightsearch.depth.evaluation.edge_metrics import REACH_PX, edge_metrics, normals, sobel_edges
from weightsearch.depth.evaluation.error_breakdown import Details


def step(at: int, size: tuple[int, int] = (24, 40), near: float = 2.0, far: float = 5.0) -> Tensor:
    """A wall `near`, and from column `at` on one that is `far`: (1, h, w)."""
    depth_m = torch.full((1, *size), near)
    depth_m[..., at:] = far
    return depth_m


def edges(pred: Tensor, gt: Tensor, valid: Tensor | None = None) -> dict[str, float]:
    valid = valid_like(gt) if valid is None else valid
    found = edge_metrics(pred, gt, valid, 10.0)
    return {name: float(value) for name, value in found.items()}


def test_a_perfect_prediction_meets_every_edge() -> None:
    got = edges(step(20), step(20))
    assert got["sobel_precision"] == got["sobel_recall"] == got["sobel_f"] == 1
    assert got["boundary_accuracy"] == got["boundary_completeness"] == 0
    assert got["ssim"] == pytest.approx(1)
    assert got["normal_degrees"] == pytest.approx(0, abs=1e-3)


def test_an_edge_three_pixels_off_is_no_sobel_hit_and_three_pixels_away() -> None:
    got = edges(step(23), step(20))
    assert got["sobel_f"] == 0
    # Canny's line along a step is two pixels wide.
    assert got["boundary_accuracy"] == pytest.approx(3, abs=0.5)
    assert got["boundary_completeness"] == pytest.approx(3, abs=0.5)


def test_precision_and_recall_are_not_exchanged() -> None:
    two = step(20)
    two[..., 32:] = 2.0  # one edge more than the truth has
    more, less = edges(two, step(20)), edges(step(20), two)
    assert (more["sobel_precision"], more["sobel_recall"]) == (0.5, 1)
    assert (less["sobel_precision"], less["sobel_recall"]) == (1, 0.5)
    assert more["sobel_f"] == less["sobel_f"] == pytest.approx(2 / 3)


def test_a_flat_prediction_misses_all_edges() -> None:
    got = edges(torch.full((1, 24, 40), 3.0), step(20))
    assert got["sobel_precision"] == got["sobel_recall"] == got["sobel_f"] == 0
    assert got["boundary_accuracy"] == got["boundary_completeness"] == REACH_PX
    flat = edges(torch.full((1, 24, 40), 3.0), torch.full((1, 24, 40), 4.0))
    assert flat["sobel_f"] == 1
    assert math.isnan(flat["boundary_accuracy"])


def test_the_threshold_is_a_quarter_of_a_metre_of_the_unnormalised_kernel() -> None:
    # A step of d gives 4 d beside it.
    for height, hit in ((0.0626, True), (0.0624, False)):
        depth_m = step(20, near=2.0, far=2.0 + height).double()
        assert bool(sobel_edges(depth_m, valid_like(depth_m))[0].any()) == hit


def test_what_lies_under_the_mask_changes_nothing_and_points_alone_give_no_edges() -> None:
    valid = torch.ones(1, 24, 40, dtype=torch.bool)
    valid[:, :, 5:9] = False
    pred, gt = step(22), step(20)
    before = edges(pred, gt, valid)
    for garbage in (math.nan, 1e9):
        pred[:, :, 5:9] = gt[:, :, 5:9] = garbage
        assert edges(pred, gt, valid) == pytest.approx(before, nan_ok=True)
    points = torch.zeros_like(valid)
    points[:, ::3, ::3] = True
    lone = edges(step(22), step(20), points)
    assert all(math.isnan(lone[name]) for name in ("sobel_f", "ssim", "normal_degrees"))


def test_ssim_is_scikit_images() -> None:
    rng = np.random.default_rng(0)
    gt = rng.uniform(1, 9, (30, 40))
    pred = gt + rng.normal(0, 0.5, gt.shape)
    theirs = structural_similarity(  # type: ignore[no-untyped-call]
        pred, gt, data_range=10.0, gaussian_weights=True, use_sample_covariance=False, full=True
    )[1][5:-5, 5:-5].mean()
    got = edges(torch.from_numpy(pred)[None], torch.from_numpy(gt)[None])
    assert got["ssim"] == pytest.approx(theirs, abs=1e-5)


def test_normals_of_a_slanted_floor_and_of_a_wall() -> None:
    wall = normals(torch.full((1, 9, 13), 3.0, dtype=torch.float64))
    assert torch.allclose(wall.abs()[0, :, 2, 2], torch.tensor([0.0, 0, 1]).double(), atol=1e-12)
    # The plane z = 2 / (1 - a x') of a camera with tan(30 deg) = width / 2 / focal, a = tan(20 deg)
    focal = 41 / 2 / math.tan(math.radians(30))
    across = (torch.arange(41, dtype=torch.float64) - 20) / focal
    slanted = (2 / (1 - math.tan(math.radians(20)) * across)).expand(1, 21, 41)
    found = torch.full((1, 21, 41), 2.0, dtype=torch.float64)
    got = edges(slanted, found)["normal_degrees"]
    assert got == pytest.approx(20, abs=1e-6)


def test_bins_hold_each_pixel_once_and_pool_them() -> None:
    details = Details(10.0)
    gt = torch.tensor([[[0.5, 1.0, 1.5], [7.9, 8.0, 9.5]]])
    pred = gt + torch.tensor([[[0.1, 0.3, -0.1], [1.0, 2.0, 5.0]]])
    counts = torch.tensor([[[True, True, True], [True, True, False]]])
    details.add(pred, gt, counts, [7])
    rows = {row["from"]: row for row in details.answer()["by_depth_m"]}
    assert [row["pixels"] for row in rows.values()] == [1, 2, 0, 0, 0, 0, 1, 1]
    assert rows[1.0]["rmse"] == pytest.approx(math.sqrt((0.09 + 0.01) / 2))
    assert rows[1.0]["bias"] == pytest.approx(0.1)
    assert rows[1.0]["abs_rel"] == pytest.approx((0.3 + 0.1 / 1.5) / 2)
    assert rows[2.0] == {
        "from": 2.0, "to": 3.0, "pixels": 0, "rmse": None, "abs_rel": None, "bias": None
    }  # fmt: skip
    assert sum(row["pixels"] for row in details.answer()["by_edge_px"]) == 5


def test_error_beside_an_edge_is_told_from_error_far_away() -> None:
    details = Details(10.0)
    gt = step(20, (24, 60))
    pred = gt.clone()
    pred[..., 18:22] += 1.0
    details.add(pred, gt, valid_like(gt), [0])
    near, *_, far = details.answer()["by_edge_px"]
    assert near["rmse"] > 0.8
    assert far == {"from": 20.0, "to": None, "pixels": 24 * 20, "rmse": 0, "abs_rel": 0, "bias": 0}


# --- the command ----------------------------------------------------------------------------------


def test_evaluate_answers_several_protocols_with_intervals_details_and_a_csv(
    tmp_path: Path,
) -> None:
    from weightsearch.data.readers.registry import open_source

    options = {"frames": 2, "test_frames": 4, "height": 48, "width": 64, "frames_per_room": 2}
    source = open_source("synthetic", None, options)
    for i, ref in enumerate(source.frames):
        if ref.split == "test":
            file = tmp_path / "mine" / f"{ref.name}.npy"
            file.parent.mkdir(parents=True, exist_ok=True)
            np.save(file, source.read(i).depth_m * np.float32(1.1 + 0.01 * i))
    given = ["evaluate", "--predictions", tmp_path / "mine", "--reader", "synthetic"]
    given += [f"--option={name}={value}" for name, value in options.items()]
    more = ["--protocol", "full", "--protocol", "bts", "--align", "median", "--details"]
    more += ["--csv", tmp_path / "out.csv", "--json"]
    ends = (more, ["--json"], ["--details"], ["--align", "meen"], ["--csv", "none/out.csv"])
    several, single, shown, unknown, nowhere = run_all([Run(given + end) for end in ends], tmp_path)
    assert nowhere.err.startswith("error: --csv must be a file in a folder that is there, but got")
    (raw, answer), plain = json.loads(several.out)["evaluations"], json.loads(single.out)
    assert [(one["protocol"], one["alignment"]) for one in (raw, answer)] == [
        *(("full", "none"), ("full", "median"))
    ]
    assert raw["metrics"] == plain["metrics"]
    assert (raw["unit"], raw["input"]) == ("m", "whole")
    assert raw["median_ratio"] == pytest.approx(1.135, abs=0.02)
    assert answer["metrics"]["abs_rel"] < 1e-3 < plain["metrics"]["abs_rel"]
    assert any("left out: protocol 'bts' needs" in note for note in answer["notes"])
    assert answer["details"]["edges"]["sobel_f"] > 0.99  # the scale is right, edges are met
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["pixels"] for row in rows] == [str(48 * 64)] * 8
    assert [row["alignment"] for row in rows] == ["none"] * 4 + ["median"] * 4
    low, high = plain["intervals"]["abs_rel"]
    assert low < plain["metrics"]["abs_rel"] < high
    assert plain["groups"] == 2
    assert "sobel_f" in shown.out
    assert "from edge" in shown.out
    assert "unknown alignment 'meen'; did you mean 'median'?" in unknown.err
    assert unknown.code == 1
