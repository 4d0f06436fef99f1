"""What each loss term compares, by target: metres, their inverse or their logarithm."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from support.loss_maps import TARGETS, data_spec, maps, np_normal

from weightsearch.depth.loss.terms import COMPARES, LOSS_TERMS
from weightsearch.depth.loss.weighted_sum import compare
from weightsearch.depth.network.targets import represent, value_range

terms = pytest.mark.parametrize("term", LOSS_TERMS)


@terms
@pytest.mark.parametrize("target", TARGETS)
def test_each_term_compares_the_representation_of_its_formula(term: str, target: str) -> None:
    data = data_spec(target=target)
    pred, true, valid = maps(10)
    pred_m, true_m = (v + 0.1 for v in (pred, true))
    valid[..., 4:6] = False
    of = {"silog": "log", "normal": "depth", "log_l1": "depth", "smoothness": "log"}
    shown = data_spec(target=of.get(term, target))
    pair = [represent(v, shown) for v in (pred_m, true_m)]
    expected = LOSS_TERMS[term](*pair, valid, value_range(shown))
    assert compare([term], pred_m, true_m, valid, data)[term] == expected
    leaf = torch.where(valid, pred_m, 0.0).requires_grad_()
    blind = compare([term], leaf, torch.where(valid, true_m, -1.0), valid, data)[term]
    blind.backward()
    assert blind == expected
    assert leaf.grad is not None
    assert leaf.grad.isfinite().all()
    assert leaf.grad[~valid].eq(0).all()


RELIEF = 1 + 0.1 * np.sin(np.arange(32) / 3) * np.cos(np.arange(24)[:, None] / 4)
WRONG = 1.05 + 0.02 * np.sin(np.arange(32) / 2) * np.sin(np.arange(24)[:, None] / 3)
"""A prediction's share of the truth: 5 % too far on average, here more and there less."""

UNITLESS = {"ssim", "silog", "smoothness"}
"""Terms that the same relative error costs about the same everywhere, in every target. A term that
is not here has the unit of what it compares, and grows with the slope of that over ln d."""


def grows_with(term: str, target: str, depth_m: float) -> float:
    """What the cost of a relative error is in proportion to, by the term's definition."""
    if term in UNITLESS:
        return 1.0
    if term == "normal":  # angles, not lengths: largest where the surface rises by 45 degrees
        return np_normal((depth_m * RELIEF * WRONG)[None, None], (depth_m * RELIEF)[None, None])
    compared = COMPARES.get(term, target)
    return {"depth": depth_m, "inverse": 1 / depth_m, "log": 1.0}[compared]


@terms
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("bounds_m", [(0.1, 10.0), (0.1, 80.0), (0.5, 80.0)])
def test_the_same_relative_error_costs_as_much_near_and_far(
    term: str, target: str, bounds_m: tuple[float, float]
) -> None:
    """At 0.5, 1, 5 and 50 m: within a factor of 4 for ssim, whose constants matter to what is small
    in its range, of 3 for log_l1, whose logarithm flattens, and exactly for the others.

    But of a relief in metres or their inverse SSIM sees, by its formula, what exceeds 3 % of the
    range (K2): there the error is the same 5 % everywhere. Of logarithms it sees all alike.
    """
    plain = term == "ssim" and target != "log"
    wrong = torch.tensor(np.full_like(WRONG, 1.05) if plain else WRONG)
    data = data_spec(target=target, min_depth_m=bounds_m[0], max_depth_m=bounds_m[1])
    costs = []
    for depth_m in (0.5, 1.0, 5.0, 50.0):
        if depth_m > bounds_m[1]:
            continue
        true = torch.tensor(depth_m * RELIEF)[None, None]
        valid = torch.ones_like(true, dtype=torch.bool)
        cost = compare([term], true * wrong, true, valid, data)[term].item()
        costs.append(cost / grows_with(term, target, depth_m))
    assert min(costs) > 0
    assert max(costs) <= {"ssim": 4, "log_l1": 3}.get(term, 1 + 1e-6) * min(costs), costs


@pytest.mark.parametrize("target", TARGETS)
def test_ssim_sees_nothing_special_about_a_metre(target: str) -> None:
    """Of ln d it was 0.677 for 5 % at 0.95 m, because that logarithm changes its sign at 1 m."""
    data = data_spec(target=target)
    true = torch.full((1, 1, 11, 11), 0.95)
    valid = torch.ones_like(true, dtype=torch.bool)
    value = 1 - 2 * compare(["ssim"], 1.05 * true, true, valid, data)["ssim"].item()
    assert 0.998 < value < 1


def test_silog_does_not_depend_on_the_target() -> None:
    pred, true, valid = maps(11)
    plain = data_spec()
    found = [
        compare(["silog"], pred + 0.1, true + 0.1, valid, plain.model_copy(update={"target": t}))
        for t in ("depth", "inverse", "log")
    ]
    assert found[0] == found[1] == found[2]
    scaled = compare(["silog"], 2 * (true + 0.1), true + 0.1, valid, plain)["silog"].item()
    assert scaled == pytest.approx(math.sqrt(0.15) * math.log(2), rel=1e-5)


def test_a_depth_of_zero_has_a_logarithm_and_a_slope() -> None:
    data = data_spec(target="log")
    leaf = torch.tensor([0.0, 1.0], requires_grad=True)
    represent(leaf, data).sum().backward()
    assert leaf.grad is not None
    assert leaf.grad.tolist() == [0, 1]
