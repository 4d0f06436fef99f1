"""The loss terms: closed forms, twins, and what lies under the mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import pytorch_msssim
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from scipy.signal import convolve2d
from skimage.metrics import structural_similarity
from support.loss_maps import METRES, RANGE_M, data_spec, maps, np_normal, np_sobel
from torch import Tensor

from weightsearch.depth.loss.edge import edge
from weightsearch.depth.loss.pixelwise import mae
from weightsearch.depth.loss.ssim import ssim
from weightsearch.depth.loss.terms import LOSS_TERMS, share
from weightsearch.depth.loss.weighted_sum import compare, gradient_norms, total
from weightsearch.depth.network.targets import Range
from weightsearch.errors import ConfigError
from weightsearch.study import known_names

terms = pytest.mark.parametrize("term", LOSS_TERMS)


def test_names_known_without_torch_are_the_terms() -> None:
    assert set(known_names.NAMES["loss term"]) == set(LOSS_TERMS)


@pytest.mark.parametrize("term", [t for t in LOSS_TERMS if t != "smoothness"])
def test_a_perfect_prediction_costs_nothing_and_pulls_nowhere(term: str) -> None:
    _, true, valid = maps(0)
    leaf = true.clone().requires_grad_()
    value = LOSS_TERMS[term](leaf, true, valid, METRES)
    value.backward()
    assert value.item() == pytest.approx(0, abs=1e-6)
    assert leaf.grad is not None
    assert leaf.grad.abs().max() < 1e-6


def test_a_flat_prediction_is_smooth_whatever_the_truth() -> None:
    _, true, valid = maps(0)
    smoothness = LOSS_TERMS["smoothness"]
    assert smoothness(torch.ones_like(true), true, valid, METRES) == 0
    assert smoothness(true, true, valid, METRES) > 0


def test_a_constant_offset_costs_its_size_and_has_no_edge() -> None:
    _, true, valid = maps(1)
    found = {t: LOSS_TERMS[t](true + 0.5, true, valid, METRES).item() for t in LOSS_TERMS}
    assert found["mae"] == pytest.approx(0.5, rel=1e-5)
    assert found["berhu"] == pytest.approx(0.5 * (1 + 0.2**2) / (2 * 0.2), rel=1e-5)
    assert found["log_l1"] == pytest.approx(math.log(2), rel=1e-5)
    assert found["silog"] == pytest.approx(0.5 * math.sqrt(0.15), rel=1e-5)
    for term in ("edge", "gradient", "sobel_edge", "normal"):
        assert found[term] == pytest.approx(0, abs=2e-6)


def test_a_ramp_against_a_wall() -> None:
    height, width, slope = 12, 21, 0.1
    ramp = 1 + slope * torch.arange(width).expand(1, 1, height, width)
    wall = torch.ones(1, 1, height, width)
    valid = torch.ones_like(wall, dtype=torch.bool)
    assert mae(ramp, wall, valid, METRES).item() == pytest.approx(slope * (width - 1) / 2)
    assert edge(ramp, wall, valid, METRES).item() == pytest.approx(slope, rel=1e-5)
    known = {
        "sobel_edge": slope,
        "gradient": (1 + 2 + 4 + 8) * slope,
        "normal": 1 - 1 / math.hypot(1, 8 * slope),
        "smoothness": slope,
    }
    for term, value in known.items():
        found = LOSS_TERMS[term](ramp, wall, valid, METRES).item()
        assert found == pytest.approx(value, rel=1e-4)
    steep = LOSS_TERMS["smoothness"](ramp, ramp, valid, METRES)
    assert steep.item() == pytest.approx(slope * math.exp(slope), rel=1e-5)
    both = ramp + 2 * slope * torch.arange(height)[:, None]
    assert edge(both, wall, valid, METRES).item() == pytest.approx(3 * slope, rel=1e-5)


def test_one_wrong_pixel_makes_four_edges() -> None:
    size = 15
    pred, true = torch.ones(1, 1, size, size), torch.ones(1, 1, size, size)
    pred[..., 7, 7] += 2
    valid = torch.ones_like(true, dtype=torch.bool)
    expected = 2 * 2 * 2 / (size * (size - 1))  # two axes, two pairs each, of 2 m
    assert edge(pred, true, valid, METRES).item() == pytest.approx(expected)
    valid[..., 7, 8] = False  # takes one pair of two along x, and is in two pairs along y
    rest = size * (size - 1) - 2
    expected = 2 / rest + 2 * 2 / rest
    assert edge(pred, true, valid, METRES).item() == pytest.approx(expected)


def test_ssim_of_two_flat_maps() -> None:
    a, b, c1 = 2.0, 5.0, (0.01 * RANGE_M) ** 2
    pred, true = torch.full((1, 1, 11, 11), a), torch.full((1, 1, 11, 11), b)
    expected = (1 - (2 * a * b + c1) / (a * a + b * b + c1)) / 2
    found = ssim(pred, true, torch.ones_like(true, dtype=torch.bool), METRES)
    assert found.item() == pytest.approx(expected, rel=1e-4)


RANGES = st.sampled_from([1.0, 10.0, 100.0, math.log(100)])


@given(st.integers(0, 10_000), RANGES)
@settings(max_examples=20, deadline=None)
def test_ssim_is_that_of_other_libraries_on_full_masks(seed: int, data_range: float) -> None:
    pred, true, valid = maps(seed, (1, 1, 17, 23))
    pred, true = (v * data_range / RANGE_M for v in (0.5 * (pred + true), true))
    found = 1 - 2 * ssim(pred, true, valid, Range(1.0, data_range)).item()
    theirs = pytorch_msssim.ssim(pred, true, data_range=data_range).item()
    assert found == pytest.approx(theirs, abs=1e-5)
    x, y = (v[0, 0].double().numpy() for v in (pred, true))
    _, whole = structural_similarity(
        x,
        y,
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert found == pytest.approx(float(np.mean(whole[5:-5, 5:-5])), abs=1e-5)
    assert found == pytest.approx(tf_ssim(x, y, data_range), abs=1e-5)


def tf_ssim(x: np.ndarray, y: np.ndarray, max_val: float) -> float:
    """As tf.image.ssim documents and computes it: VALID windows, sums of squares at once."""
    size, sigma, k1, k2 = 11, 1.5, 0.01, 0.03
    at = np.arange(size) - (size - 1) / 2
    kernel = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * sigma**2))
    kernel /= kernel.sum()

    def mean(values: np.ndarray) -> np.ndarray:
        return convolve2d(values, kernel, mode="valid")

    c1, c2 = (k1 * max_val) ** 2, (k2 * max_val) ** 2
    product, squares = mean(x) * mean(y) * 2, mean(x) ** 2 + mean(y) ** 2
    luminance = (product + c1) / (squares + c1)
    structure = (2 * mean(x * y) - product + c2) / (mean(x * x + y * y) - squares + c2)
    return float((luminance * structure).mean())


def np_edge(e: np.ndarray) -> float:
    return float(np.abs(np.diff(e, axis=-1)).mean() + np.abs(np.diff(e, axis=-2)).mean())


def np_berhu(e: np.ndarray) -> float:
    c = np.abs(e).max() / 5
    return float(np.where(np.abs(e) <= c, np.abs(e), (e**2 + c**2) / (2 * c)).mean())


def np_smoothness(p: np.ndarray, t: np.ndarray) -> float:
    steps = [(np.abs(np.diff(p, axis=a)).mean(), np.abs(np.diff(t, axis=a)).mean()) for a in (2, 3)]
    return float(sum(flat * math.exp(steep) for flat, steep in steps))


UNMASKED: dict[str, Callable[[np.ndarray, np.ndarray], Any]] = {
    "mae": lambda p, t: np.abs(p - t).mean(),
    "edge": lambda p, t: np_edge(p - t),
    "ssim": lambda p, t: np.mean(
        [(1 - tf_ssim(*pair, RANGE_M)) / 2 for pair in zip(p[:, 0], t[:, 0], strict=True)]
    ),
    "berhu": lambda p, t: np_berhu(p - t),
    "silog": lambda p, t: math.sqrt(((p - t) ** 2).mean() - 0.85 * (p - t).mean() ** 2),
    "normal": np_normal,
    "gradient": lambda p, t: sum(np_edge((p - t)[..., ::s, ::s]) for s in (1, 2, 4, 8)),
    "log_l1": lambda p, t: np.log(np.abs(p - t) + 0.5).mean() - math.log(0.5),
    "sobel_edge": lambda p, t: sum(np.abs(v).mean() for v in np_sobel(p - t)) / 8,
    "smoothness": np_smoothness,
}


@terms
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_on_full_masks_terms_are_their_formulas(term: str, dtype: torch.dtype) -> None:
    pred, true, valid = maps(9, (3, 1, 19, 22))
    found = LOSS_TERMS[term](pred.to(dtype), true.to(dtype), valid, METRES)
    assert found.dtype == dtype
    expected = UNMASKED[term](pred.double().numpy(), true.double().numpy())
    close = 1e-5 if dtype == torch.float32 else 1e-6  # ssim's window itself is in float32
    assert found.item() == pytest.approx(expected, rel=close)


def test_ssim_does_not_change_with_depth_and_range_together() -> None:
    pred, true, valid = maps(3)
    one = ssim(pred, true, valid, METRES)
    assert ssim(8 * pred, 8 * true, valid, Range(0.8, 8 * RANGE_M)).item() == pytest.approx(
        one.item()
    )
    assert mae(8 * pred, 8 * true, valid, Range(0.8, 80.0)).item() == pytest.approx(
        8 * mae(pred, true, valid, METRES).item()
    )


def np_masked_ssim(x: np.ndarray, y: np.ndarray, valid: np.ndarray, span: Range) -> float:
    """Window by window, with the weights of the valid pixels made to sum to 1."""
    at = np.arange(11) - 5
    kernel = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * 1.5**2))
    kernel /= kernel.sum()
    c1, c2 = (0.01 * span.size) ** 2, (0.03 * span.size) ** 2
    shift, costs = (0 if span.low else span.size), []
    for top in range(x.shape[0] - 10):
        for left in range(x.shape[1] - 10):
            part = slice(top, top + 11), slice(left, left + 11)
            weights = kernel * valid[part]
            if weights.sum() < 1 / 8:
                continue
            weights /= weights.sum()
            a, b = (np.where(valid[part], v[part], 0.0) for v in (x, y))
            mean_a, mean_b = (weights * a).sum(), (weights * b).sum()
            spread_a, spread_b = a - mean_a, b - mean_b
            variances = (weights * spread_a**2).sum() + (weights * spread_b**2).sum()
            contrast = (2 * (weights * spread_a * spread_b).sum() + c2) / (variances + c2)
            mean_a, mean_b = mean_a + shift, mean_b + shift
            luminance = (2 * mean_a * mean_b + c1) / (mean_a**2 + mean_b**2 + c1)
            costs.append((1 - luminance * contrast) / 2)
    return float(np.mean(costs))


@pytest.mark.parametrize("span", [METRES, Range(0.0, math.log(100))])
@pytest.mark.parametrize("share", [0.05, 0.3, 0.9])
def test_ssim_of_sparse_maps_is_that_of_the_valid_pixels(share: float, span: Range) -> None:
    pred, true, _ = maps(4, (1, 1, 14, 30))
    valid = torch.rand(pred.shape, generator=torch.Generator().manual_seed(5)) < share
    valid[..., 15:19] = False
    arrays = (v[0, 0].double().numpy() for v in (pred, true))
    expected = np_masked_ssim(*arrays, valid[0, 0].numpy(), span)
    assert ssim(pred, true, valid, span).item() == pytest.approx(expected, rel=1e-5)


def test_the_share_that_counts() -> None:
    valid = torch.ones(2, 1, 12, 12, dtype=torch.bool)
    assert all(share(term, valid) == 1 for term in LOSS_TERMS)
    valid[0] = False
    valid[1, ..., 6:] = False
    assert share("mae", valid).item() == pytest.approx(1 / 4)
    for term in ("edge", "smoothness"):
        assert share(term, valid).item() == pytest.approx((12 * 5 + 11 * 6) / (4 * 11 * 12))
    for term in ("normal", "sobel_edge"):
        assert share(term, valid).item() == pytest.approx(10 * 4 / (2 * 10 * 10))
    by_scale = 126 + 27 + 7 + 1, 264 + 60 + 12 + 4
    assert share("gradient", valid).item() == pytest.approx(by_scale[0] / (2 * by_scale[1]))
    assert share("ssim", valid).item() == pytest.approx(2 * 2 / (2 * 2 * 2))
    valid[1, ..., 3:] = False  # 3 of the first window's columns have 0.05 of the weight
    assert share("ssim", valid) == 0
    chess = (torch.arange(12)[:, None] + torch.arange(12)).expand(1, 1, 12, 12) % 2 == 0
    assert share("edge", chess) == 0
    assert share("ssim", chess) == 1


GARBAGE = st.sampled_from([math.nan, math.inf, -math.inf, 0.0, -1e30, 1e38])


@terms
@given(st.integers(0, 10_000), st.floats(0, 1), GARBAGE, GARBAGE)
@settings(max_examples=40, deadline=None)
def test_garbage_under_the_mask_changes_nothing(
    term: str, seed: int, share: float, in_pred: float, in_true: float
) -> None:
    pred, true, _ = maps(seed, (2, 1, 13, 14))
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(pred.shape, generator=generator) >= share * share
    found = []
    for dirty in (False, True):
        leaf = torch.where(valid | ~torch.tensor(dirty), pred, in_pred).requires_grad_()
        other = torch.where(valid | ~torch.tensor(dirty), true, in_true)
        value = LOSS_TERMS[term](leaf, other, valid, METRES)
        value.backward()
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()
        assert leaf.grad[~valid].eq(0).all()
        found.append((value.item(), leaf.grad))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


@terms
def test_a_batch_without_a_valid_pixel_costs_nothing(term: str) -> None:
    pred, true, valid = maps(5)
    leaf = pred.requires_grad_()
    value = LOSS_TERMS[term](leaf, true * math.nan, ~valid, METRES)
    value.backward()
    assert value.item() == 0
    assert leaf.grad is not None
    assert leaf.grad.eq(0).all()


@terms
def test_terms_are_float32_under_autocast(term: str) -> None:
    pred, true, valid = maps(6)
    exact = LOSS_TERMS[term](pred, true, valid, METRES)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = LOSS_TERMS[term](pred, true, valid, METRES)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact)


@terms
def test_gradients_are_those_of_finite_differences(term: str) -> None:
    pred, true, valid = (
        v.double() if v.is_floating_point() else v for v in maps(7, (1, 1, 11, 12))
    )
    valid[..., 0, 3] = False
    # Held, and the largest error, because berhu's threshold is a constant to its gradient.
    pred[..., -1, -1] = 5 * RANGE_M

    def value(leaf: Tensor) -> Tensor:
        whole = torch.cat((leaf, pred.flatten()[-1:])).view(pred.shape)
        return LOSS_TERMS[term](whole, true, valid, METRES)

    assert torch.autograd.gradcheck(value, pred.flatten()[:-1].clone().requires_grad_())


def test_the_loss_is_the_weighted_sum_in_the_order_of_the_terms() -> None:
    values = {"a": torch.tensor(2.0), "b": torch.tensor(3.0), "c": torch.tensor(5.0)}
    assert total(values, torch.tensor([0.5, 0.0, 2.0])).item() == 11


@pytest.mark.parametrize("target", ["depth", "inverse", "log"])
def test_a_pull_is_the_weighted_gradient_at_the_output(target: str) -> None:
    data = data_spec(target=target)
    pred, true, valid = maps(12)
    valid[..., :5] = False
    leaf = (pred + 0.1).requires_grad_()
    values = compare(["mae", "silog"], leaf, true + 0.1, valid, data)
    found = gradient_norms(values, torch.tensor([0.5, 0.0]), leaf, data)
    # each valid pixel pulls by 1/n, whatever its distance, in the target's own representation.
    assert found.tolist() == pytest.approx([0.5 / math.sqrt(valid.sum()), 0], rel=1e-4)
    assert leaf.grad is None
    total(values, torch.tensor([1.0, 1.0])).backward()  # the graph is still there


def test_maps_smaller_than_the_window_are_refused() -> None:
    pred, true, valid = maps(8, (1, 1, 10, 40))
    with pytest.raises(ConfigError, match="11x11 pixels, but the output is 10x40"):
        ssim(pred, true, valid, METRES)


def test_shapes_are_enforced_while_testing() -> None:
    """A batch without its channel would broadcast into nonsense: DINOv2's gradient loss did."""
    flat = torch.ones(2, 8, 8)
    with pytest.raises(TypeCheckError):
        LOSS_TERMS["mae"](flat, flat, flat > 0, METRES)
