"""The loss terms: closed forms, twins, and what lies under the mask."""

from __future__ import annotations

import math

import numpy as np
import pytest
import pytorch_msssim
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import TypeCheckError
from skimage.metrics import structural_similarity
from torch import Tensor

from weightsearch import names
from weightsearch.depth.losses import LOSS_TERMS, edge, mae, ssim, total
from weightsearch.errors import ConfigError

RANGE_M = 10.0
terms = pytest.mark.parametrize("term", LOSS_TERMS)


def maps(seed: int, shape: tuple[int, ...] = (2, 1, 16, 20)) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pred, true = (RANGE_M * torch.rand(shape, generator=generator) for _ in range(2))
    return pred, true, torch.ones(shape, dtype=torch.bool)


def test_names_known_without_torch_are_the_terms() -> None:
    assert set(names.NAMES["loss term"]) == set(LOSS_TERMS)


@terms
def test_a_perfect_prediction_costs_nothing(term: str) -> None:
    _, true, valid = maps(0)
    assert LOSS_TERMS[term](true, true, valid, RANGE_M).item() == pytest.approx(0, abs=1e-6)


def test_a_constant_offset_costs_its_size_and_has_no_edge() -> None:
    _, true, valid = maps(1)
    assert mae(true + 0.5, true, valid, RANGE_M).item() == pytest.approx(0.5, rel=1e-5)
    assert edge(true + 0.5, true, valid, RANGE_M).item() == pytest.approx(0, abs=1e-6)


def test_a_ramp_against_a_wall() -> None:
    height, width, slope = 12, 21, 0.1
    ramp = 1 + slope * torch.arange(width).expand(1, 1, height, width)
    wall = torch.ones(1, 1, height, width)
    valid = torch.ones_like(wall, dtype=torch.bool)
    assert mae(ramp, wall, valid, RANGE_M).item() == pytest.approx(slope * (width - 1) / 2)
    assert edge(ramp, wall, valid, RANGE_M).item() == pytest.approx(slope, rel=1e-5)
    both = ramp + 2 * slope * torch.arange(height)[:, None]
    assert edge(both, wall, valid, RANGE_M).item() == pytest.approx(3 * slope, rel=1e-5)


def test_one_wrong_pixel_makes_four_edges() -> None:
    size = 15
    pred, true = torch.ones(1, 1, size, size), torch.ones(1, 1, size, size)
    pred[..., 7, 7] += 2
    valid = torch.ones_like(true, dtype=torch.bool)
    expected = 2 * 2 * 2 / (size * (size - 1))  # two axes, two pairs each, of 2 m
    assert edge(pred, true, valid, RANGE_M).item() == pytest.approx(expected)
    valid[..., 7, 8] = False  # takes one pair of two along x, and is in two pairs along y
    rest = size * (size - 1) - 2
    expected = 2 / rest + 2 * 2 / rest
    assert edge(pred, true, valid, RANGE_M).item() == pytest.approx(expected)


def test_ssim_of_two_flat_maps() -> None:
    a, b, c1 = 2.0, 5.0, (0.01 * RANGE_M) ** 2
    pred, true = torch.full((1, 1, 11, 11), a), torch.full((1, 1, 11, 11), b)
    expected = (1 - (2 * a * b + c1) / (a * a + b * b + c1)) / 2
    found = ssim(pred, true, torch.ones_like(true, dtype=torch.bool), RANGE_M)
    assert found.item() == pytest.approx(expected, rel=1e-4)


@given(st.integers(0, 10_000), st.sampled_from([1.0, 10.0, 100.0, math.log(100)]))
@settings(max_examples=20, deadline=None)
def test_ssim_is_that_of_two_libraries_on_full_masks(seed: int, data_range: float) -> None:
    pred, true, valid = maps(seed, (1, 1, 17, 23))
    pred, true = (v * data_range / RANGE_M for v in (0.5 * (pred + true), true))
    found = 1 - 2 * ssim(pred, true, valid, data_range).item()
    theirs = pytorch_msssim.ssim(pred, true, data_range=data_range).item()
    assert found == pytest.approx(theirs, abs=1e-5)
    _, whole = structural_similarity(
        pred[0, 0].double().numpy(),
        true[0, 0].double().numpy(),
        data_range=data_range,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    assert found == pytest.approx(float(np.mean(whole[5:-5, 5:-5])), abs=1e-4)


def test_ssim_does_not_change_with_depth_and_range_together() -> None:
    pred, true, valid = maps(3)
    one = ssim(pred, true, valid, RANGE_M)
    assert ssim(8 * pred, 8 * true, valid, 8 * RANGE_M).item() == pytest.approx(one.item())
    assert mae(8 * pred, 8 * true, valid, 80.0).item() == pytest.approx(
        8 * mae(pred, true, valid, 10.0).item()
    )


def test_a_window_counts_only_if_wholly_valid() -> None:
    pred, true, valid = maps(4, (1, 1, 11, 30))
    valid[..., 14] = False
    parts = [slice(0, 14), slice(15, 30)]
    windows = [4, 5]
    alone = [ssim(pred[..., p], true[..., p], valid[..., p], RANGE_M).item() for p in parts]
    expected = sum(n * v for n, v in zip(windows, alone, strict=True)) / sum(windows)
    assert ssim(pred, true, valid, RANGE_M).item() == pytest.approx(expected, rel=1e-5)


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
        value = LOSS_TERMS[term](leaf, other, valid, RANGE_M)
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
    value = LOSS_TERMS[term](leaf, true * math.nan, ~valid, RANGE_M)
    value.backward()
    assert value.item() == 0
    assert leaf.grad is not None
    assert leaf.grad.eq(0).all()


@terms
def test_terms_are_float32_under_autocast(term: str) -> None:
    pred, true, valid = maps(6)
    exact = LOSS_TERMS[term](pred, true, valid, RANGE_M)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = LOSS_TERMS[term](pred, true, valid, RANGE_M)
    assert found.dtype == torch.float32
    assert torch.equal(found, exact)


@terms
def test_gradients_are_those_of_finite_differences(term: str) -> None:
    pred, true, valid = maps(7, (1, 1, 11, 12))
    valid[..., 0, 0] = False
    leaf = pred.clone().requires_grad_()
    LOSS_TERMS[term](leaf, true, valid, RANGE_M).backward()
    assert leaf.grad is not None
    direction = torch.sign(leaf.grad)
    step = 1e-2
    ahead, behind = (
        LOSS_TERMS[term](pred + s * step * direction, true, valid, RANGE_M) for s in (1, -1)
    )
    slope = (ahead - behind).item() / (2 * step)
    assert slope == pytest.approx((leaf.grad * direction).sum().item(), rel=0.02)


def test_the_loss_is_the_weighted_sum_in_the_order_of_the_terms() -> None:
    values = {"a": torch.tensor(2.0), "b": torch.tensor(3.0), "c": torch.tensor(5.0)}
    assert total(values, torch.tensor([0.5, 0.0, 2.0])).item() == 11


def test_maps_smaller_than_the_window_are_refused() -> None:
    pred, true, valid = maps(8, (1, 1, 10, 40))
    with pytest.raises(ConfigError, match="11x11 pixels, but the output is 10x40"):
        ssim(pred, true, valid, RANGE_M)


def test_shapes_are_enforced_while_testing() -> None:
    """A batch without its channel would broadcast into nonsense: DINOv2's gradient loss did."""
    flat = torch.ones(2, 8, 8)
    with pytest.raises(TypeCheckError):
        LOSS_TERMS["mae"](flat, flat, flat > 0, 10.0)
