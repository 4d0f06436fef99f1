"""The metrics against closed forms, plain numpy, and garbage where nothing was measured."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from weightsearch.depth.evaluation import metrics
from weightsearch.depth.evaluation.metrics import (
    AS_PUBLISHED,
    METRICS,
    Errors,
    Mean,
    per_image,
    rmse_pooled,
)

ALL = {**METRICS, **AS_PUBLISHED}
GT = [1.0, 2.0, 4.0, 8.0]
PRED = [1.25, 1.8, 5.2, 7.0]
OTHER_GT = [1.0, 1.0, 1.0, 1.0]
OTHER_PRED = [1.1, 0.9, 1.1, 0.9]


def image(*rows: list[float]) -> Tensor:
    """(number of rows, 2, 2) float64."""
    return torch.tensor(rows, dtype=torch.float64).reshape(-1, 2, 2)


def all_valid(depth_m: Tensor) -> Tensor:
    return torch.ones_like(depth_m, dtype=torch.bool)


def test_the_check_vector_of_the_field() -> None:
    got = per_image(image(PRED), image(GT), all_valid(image(GT)), ALL)
    want = {
        "abs_rel": 0.19375,
        "sq_rel": 0.141875,
        "rmse": 0.7972609359550987,
        "rmse_log": 0.19206738585624863,
        "silog": 18.190290774248233,
        "log10": 0.07865070071331377,
        "delta1": 0.5,
        "delta2": 1.0,
        "delta3": 1.0,
        "mae": 0.6625,
        "abs_rel_as_published": 0.1711843711843712,
        "log10_as_published": 0.19206738585624863 / math.log(10),
        "pixels": 4,
    }
    assert {name: float(value) for name, value in got.items()} == pytest.approx(want, abs=1e-12)


def test_swapped_arguments_change_abs_rel_and_not_the_symmetric_metrics() -> None:
    right = per_image(image(PRED), image(GT), all_valid(image(GT)))
    swapped = per_image(image(GT), image(PRED), all_valid(image(GT)))
    assert float(swapped["abs_rel"]) == pytest.approx(0.1711843711843712, abs=1e-12)
    for name in ("rmse", "log10", "rmse_log", "delta1", "delta2", "delta3", "mae"):
        assert float(swapped[name]) == pytest.approx(float(right[name]), abs=1e-12)


@pytest.mark.parametrize(("name", "power"), [("delta1", 1), ("delta2", 2), ("delta3", 3)])
def test_a_pixel_on_the_threshold_is_outside_it(name: str, power: int) -> None:
    factor = 1.25**power
    gt = torch.ones(3, 1, 1)
    pred = torch.tensor([factor, 1 / factor, np.nextafter(factor, 0)], dtype=torch.float64)
    assert per_image(pred[:, None, None], gt, all_valid(gt))[name].tolist() == [0.0, 0.0, 1.0]


def test_rmse_pooled_and_mean_over_images_of_two_images() -> None:
    got = per_image(image(PRED, OTHER_PRED), image(GT, OTHER_GT), all_valid(image(GT, OTHER_GT)))
    rmse, pixels = got["rmse"].tolist(), got["pixels"].tolist()
    assert sum(rmse) / 2 == pytest.approx(0.4486304679775, abs=1e-12)
    assert rmse_pooled(rmse, pixels) == pytest.approx(0.5681659088682, abs=1e-12)


def test_rmse_pooled_weighs_an_image_by_its_valid_pixels() -> None:
    gt = torch.ones(2, 2, 2)
    pred = torch.tensor([[[2.0, 2.0], [2.0, 2.0]], [[4.0, 9.0], [9.0, 9.0]]])
    valid = torch.tensor([[[True, True], [True, True]], [[True, False], [False, False]]])
    got = per_image(pred, gt, valid)
    pooled = rmse_pooled(got["rmse"].tolist(), got["pixels"].tolist())
    assert pooled == pytest.approx(math.sqrt((4 * 1 + 1 * 9) / 5), abs=1e-12)


def test_ten_percent_too_deep_everywhere() -> None:
    generator = torch.Generator().manual_seed(0)
    gt = 0.5 + 9 * torch.rand(3, 20, 30, generator=generator, dtype=torch.float64)
    got = per_image(1.1 * gt, gt, all_valid(gt))
    torch.testing.assert_close(got["abs_rel"], torch.full((3,), 0.1).double())
    torch.testing.assert_close(got["log10"], torch.full((3,), math.log10(1.1)).double())
    torch.testing.assert_close(got["rmse_log"], torch.full((3,), math.log(1.1)).double())
    assert got["delta1"].tolist() == [1, 1, 1]
    assert got["silog"].max() < 1e-10  # an exact common factor: what silog does not see


def test_a_perfect_prediction_has_no_error() -> None:
    gt = image(GT)
    got = per_image(gt, gt, all_valid(gt))
    for name in METRICS:
        assert float(got[name]) == (1.0 if name.startswith("delta") else 0.0)


def test_an_image_without_valid_pixels_says_so_and_leaves_the_others_alone() -> None:
    valid = all_valid(image(GT, GT))
    valid[1] = False
    got = per_image(image(PRED, PRED), image(GT, GT), valid)
    assert got["pixels"].tolist() == [4, 0]
    assert float(got["abs_rel"][0]) == pytest.approx(0.19375, abs=1e-12)
    assert all(math.isnan(got[name][1]) for name in METRICS)


SEED = st.integers(0, 2**32 - 1)


def scene(seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Prediction, ground truth and mask of 3 images of 5x7, with some valid pixel in each."""
    generator = torch.Generator().manual_seed(seed)
    pred = 0.1 + 9.9 * torch.rand(3, 5, 7, generator=generator)
    gt = 0.1 + 9.9 * torch.rand(3, 5, 7, generator=generator)
    valid = torch.rand(3, 5, 7, generator=generator) < 0.6
    valid[:, 0, 0] = True
    return pred, gt, valid


@settings(max_examples=40, deadline=None)
@given(SEED, st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -3.0, 1e30]))
def test_what_stands_under_invalid_pixels_changes_nothing(seed: int, garbage: float) -> None:
    pred, gt, valid = scene(seed)
    want = per_image(pred, gt, valid, ALL)
    garbled = (torch.where(valid, x, garbage) for x in (pred, gt))
    for name, value in per_image(*garbled, valid, ALL).items():
        assert value.tolist() == want[name].tolist()


@settings(max_examples=40, deadline=None)
@given(SEED)
def test_mirroring_and_batching_change_nothing(seed: int) -> None:
    batch = scene(seed)
    want = per_image(*batch)
    mirrored = per_image(*(x.flip(-1) for x in batch))
    one_by_one = [per_image(*(x[i : i + 1] for x in batch)) for i in range(3)]
    for name, value in want.items():
        torch.testing.assert_close(mirrored[name], value)
        torch.testing.assert_close(torch.cat([one[name] for one in one_by_one]), value)


@pytest.mark.parametrize(
    ("images", "size", "parts"),
    [
        (20, (1, 64), [(20, 64)]),
        (9, (48, 64), [(6, 48 * 64), (3, 48 * 64)]),
        (2, (120, 160), [(1, 120 * 160)] * 2),
        (2, (90, 500), [(1, 40 * 500), (1, 40 * 500), (1, 10 * 500)] * 2),
        (1, (2, 30_000), [(1, 30_000)] * 2),
    ],
)
def test_a_cpu_takes_what_stays_in_its_cache_and_the_values_are_those_of_each_alone(
    images: int, size: tuple[int, int], parts: list[tuple[int, int]]
) -> None:
    seen: list[tuple[int, ...]] = []

    def spied(errors: Errors) -> Tensor:
        seen.append(tuple(errors.gt_m.shape))
        return errors.gt_m

    random = torch.Generator().manual_seed(0)
    gt, pred = (1 + 9 * torch.rand(images, *size, generator=random) for _ in range(2))
    got = per_image(pred, gt, all_valid(gt), {"rmse": METRICS["rmse"], "spied": Mean(spied)})
    assert seen == parts
    for i in range(images):
        alone = per_image(pred[i : i + 1], gt[i : i + 1], all_valid(gt[i : i + 1]))
        assert got["rmse"][i].equal(alone["rmse"][0])
        assert float(got["spied"][i]) == pytest.approx(float(gt[i].double().mean()), rel=1e-12)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.6, 1.0])
@pytest.mark.parametrize("images", [1, 2])
def test_an_image_in_parts_has_the_values_of_the_whole(
    images: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(0)
    gt, pred = (1 + 9 * torch.rand(images, 90, 120, generator=random) for _ in range(2))
    valid = torch.rand(gt.shape, generator=random) < share
    valid[:, :20] = False  # a part without any
    pred[~valid] = math.nan
    whole = per_image(pred, gt, valid, ALL)
    monkeypatch.setattr(metrics, "AT_ONCE", 1000)
    parts = per_image(pred, gt, valid, ALL)
    for name, value in whole.items():
        torch.testing.assert_close(parts[name], value, rtol=1e-12, atol=0, equal_nan=True)
    for i in range(images):
        p, g = (x[i][valid[i]].double().numpy() for x in (pred, gt))
        if len(p):
            want = 100 * np.std(np.log(p) - np.log(g))
            assert float(parts["silog"][i]) == pytest.approx(want, rel=1e-12)


@pytest.mark.parametrize("valid_share", [0.5, 1.0])
def test_silog_of_an_exact_factor_is_0_in_parts_too(valid_share: float) -> None:
    random = torch.Generator().manual_seed(0)
    gt = 0.5 + 9 * torch.rand(1, 300, 200, generator=random, dtype=torch.float64)
    valid = torch.rand(gt.shape, generator=random) < valid_share
    assert float(per_image(1.1 * gt, gt, valid)["silog"]) < 1e-10


@settings(max_examples=40, deadline=None)
@given(SEED)
def test_equal_to_plain_numpy(seed: int) -> None:
    pred, gt, valid = scene(seed)
    got = per_image(pred, gt, valid, ALL)
    for i in range(3):
        p = pred[i].numpy()[valid[i].numpy()].astype(np.float64)
        g = gt[i].numpy()[valid[i].numpy()].astype(np.float64)
        e = np.log(p) - np.log(g)
        ratio = np.maximum(p / g, g / p)
        want = {
            "rmse": np.sqrt(np.mean((g - p) ** 2)),
            "abs_rel": np.mean(np.abs(g - p) / g),
            "log10": np.mean(np.abs(np.log10(g) - np.log10(p))),
            "sq_rel": np.mean((g - p) ** 2 / g),
            "rmse_log": np.sqrt(np.mean(e**2)),
            "silog": 100 * np.sqrt(max(np.mean(e**2) - np.mean(e) ** 2, 0)),
            "delta1": np.mean(ratio < 1.25),
            "delta2": np.mean(ratio < 1.25**2),
            "delta3": np.mean(ratio < 1.25**3),
            "mae": np.mean(np.abs(g - p)),
            "abs_rel_as_published": np.mean(np.abs(g - p) / p),
            "log10_as_published": np.sqrt(np.mean((np.log10(g) - np.log10(p)) ** 2)),
            "pixels": p.size,
        }
        # abs: a lone valid pixel has silog 0, where the textbook form leaves 1e-6 of rounding
        assert {n: float(v[i]) for n, v in got.items()} == pytest.approx(want, rel=1e-9, abs=1e-5)


def test_single_precision_input_is_summed_in_double() -> None:
    gt = torch.full((1, 480, 640), 3.0)
    got = per_image(gt + 1e-4, gt, all_valid(gt))
    off = float((gt + 1e-4)[0, 0, 0].double() - 3)
    assert float(got["mae"]) == pytest.approx(off, rel=1e-12)
    assert {v.dtype for n, v in got.items() if n != "pixels"} == {torch.float64}
