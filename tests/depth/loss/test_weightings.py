"""Learned weightings against their formulas, written out again in plain numpy."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pytest
import torch
from support.depth_studies import depth_spec

from weightsearch.depth.loss import weightings
from weightsearch.depth.loss.weightings import WEIGHTINGS, Learned, Step, Weighting
from weightsearch.study.spec import StudySpec

Rows = npt.NDArray[np.float64]
TERMS, STEPS, EPOCHS = 3, 4, 4
PATH = {"start": {"mae": 1.0}, "end": {"mae": 0.6, "edge": 0.2, "ssim": 1.0}, "share": 0.5}


def spec(**train: object) -> StudySpec:
    loss = {"weights": "equal", "weightings": ["warm-up"], "warm_up": PATH}
    return depth_spec(loss=loss, train={"epochs": EPOCHS, **train})


def new(name: str, told: StudySpec | None = None) -> Weighting:
    return Learned(name, EPOCHS).begin(told or spec(), STEPS, torch.device("cpu"))


def losses(seed: int = 0) -> Rows:
    """Of each step of a run; they fall, unevenly."""
    source = np.random.default_rng(seed)
    falling = np.linspace(1, 0.3, EPOCHS * STEPS)[:, None] ** np.array([0.5, 1, 2])
    return falling * source.uniform(0.5, 1.5, (EPOCHS * STEPS, TERMS)) * [2.0, 0.3, 0.1]


def at(k: int) -> Step:
    return Step(seed=1000 + k, epoch=k // STEPS, step=k % STEPS, steps=STEPS)


def weighed(one: Weighting, rows: Rows) -> Rows:
    """The weights of each step of a run with these losses."""
    steps = enumerate(torch.tensor(rows, dtype=torch.float32))
    return np.stack([one.total(values, at(k))[1].numpy() for k, values in steps])


def cov(rows: Rows) -> Rows:
    found = []
    for t in range(len(rows)):
        if t < 2:
            found.append(np.full(TERMS, 1 / TERMS))
            continue
        # The ratio of each earlier step to the mean of what came before it; of the first, itself.
        ratios = np.array([rows[k] / (rows[:k].mean(0) if k else rows[0]) for k in range(t)])
        varied = ratios.std(0) / ratios.mean(0)
        found.append(varied / varied.sum())
    return np.array(found)


def dwa(rows: Rows) -> Rows:
    means = rows.reshape(EPOCHS, STEPS, TERMS).mean(1)
    found = []
    for epoch in range(EPOCHS):
        weights = np.ones(TERMS)
        if epoch > 1:
            powers = np.exp(means[epoch - 1] / means[epoch - 2] / 2)
            weights = TERMS * powers / powers.sum()
        found += [weights] * STEPS
    return np.array(found)


def geometric(rows: Rows) -> Rows:
    return rows.prod(1, keepdims=True) ** (1 / TERMS) / (TERMS * rows)


def warm_up(rows: Rows) -> Rows:
    along = np.minimum(1, np.arange(len(rows)) / (0.5 * len(rows)))[:, None]
    return (1 - along) * np.array([1.0, 0, 0]) + along * np.array([0.6, 0.2, 1.0]) / 1.8


def uncertainty(rows: Rows) -> Rows:
    """Of variances that nobody trains: all 1."""
    return np.full_like(rows, 0.5)


FORMULAS: dict[str, Callable[[Rows], Rows]] = {
    "cov": cov, "dwa": dwa, "geometric": geometric, "warm-up": warm_up, "uncertainty": uncertainty,
}  # fmt: skip


@pytest.mark.parametrize("name", FORMULAS)
def test_weights_are_those_of_the_formula(name: str) -> None:
    rows = losses()
    np.testing.assert_allclose(weighed(new(name), rows), FORMULAS[name](rows), rtol=2e-4)


def test_uncertainty_trains_the_formulas_loss() -> None:
    """sum L / (2 sigma^2) + ln sigma, and its slopes, at variances of 0.5, 1 and 2."""
    one = new("uncertainty")
    variances, values = np.array([0.5, 1.0, 2.0]), np.array([1.0, 0.2, 3.0])
    with torch.no_grad():
        one.state["log_variance"].copy_(torch.tensor(np.log(variances)))
    given = torch.tensor(values, dtype=torch.float32, requires_grad=True)
    loss, weights = one.total(given, at(0))
    loss.backward()
    expected = (values / (2 * variances) + 0.5 * np.log(variances)).sum()
    assert loss.item() == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(weights.numpy(), 1 / (2 * variances), rtol=1e-6)
    np.testing.assert_allclose(given.grad, 1 / (2 * variances), rtol=1e-6)
    slope = one.state["log_variance"].grad
    np.testing.assert_allclose(slope, 0.5 * (1 - values / variances), atol=1e-6)


def test_uncertainty_comes_to_rest_where_each_variance_is_its_loss() -> None:
    one, values = new("uncertainty"), torch.tensor([2.0, 0.5, 0.1])
    optimizer = torch.optim.Adam(one.trained().values(), lr=0.05)
    for k in range(300):
        optimizer.zero_grad()
        one.total(values, at(k % STEPS))[0].backward()
        optimizer.step()
    torch.testing.assert_close(one.state["log_variance"].exp().detach(), values, rtol=0.02, atol=0)


def test_the_geometric_means_loss_and_slopes_are_the_geometric_means() -> None:
    values = torch.tensor([2.0, 0.5, 0.1], requires_grad=True)
    loss, _ = new("geometric").total(values, at(0))
    (slopes,) = torch.autograd.grad(loss, values)
    mean = values.prod() ** (1 / TERMS)
    (expected,) = torch.autograd.grad(mean, values)
    assert loss.item() == pytest.approx(mean.item(), rel=1e-6)
    torch.testing.assert_close(slopes, expected)


def test_random_weights_are_a_softmax_of_normal_draws_of_the_step_alone() -> None:
    drawn = [
        weightings.random(torch.ones(TERMS), {}, Step(k, 0, 0, 1)).numpy() for k in range(4000)
    ]
    logs = np.log(np.array(drawn))
    differences = logs[:, 0] - logs[:, 1]  # of two standard normal draws: of variance 2
    assert differences.mean() == pytest.approx(0, abs=0.1)
    assert differences.var() == pytest.approx(2, rel=0.1)
    np.testing.assert_allclose(np.sum(drawn, axis=1), 1, rtol=1e-6)
    once, again = (weighed(new("random"), losses(seed)) for seed in (0, 1))
    assert np.array_equal(once, again)


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_a_weighting_is_finite_and_positive_whatever_the_losses(name: str) -> None:
    hard: Sequence[Rows] = (
        losses(),
        np.zeros((EPOCHS * STEPS, TERMS)),  # nothing counts in any term
        losses() * [0, 1, 1],
        np.ones((EPOCHS * STEPS, TERMS)),  # nothing varies
        losses() * [1e-6, 1, 1e4],
        np.concatenate([np.zeros((5, TERMS)), losses()[5:]]),
    )
    for rows in hard:
        weights = weighed(new(name), rows)
        assert np.isfinite(weights).all()
        assert (weights >= 0).all()
        assert (weights.sum(1) > 0).all()


@pytest.mark.parametrize("name", WEIGHTINGS)
def test_means_over_an_epoch_sum_to_one(name: str) -> None:
    one, rows = new(name), losses()[:STEPS]
    weights = weighed(one, rows)
    expected = (weights / weights.sum(1, keepdims=True)).mean(0)
    np.testing.assert_allclose(one.means().numpy(), expected, rtol=1e-5)
    assert one.means().sum().item() == pytest.approx(1, rel=1e-5)


def test_a_warm_up_keeps_the_scale_where_the_scale_matters() -> None:
    rows = weighed(new("warm-up", spec(optimizer="sgd")), losses())
    assert rows[0].tolist() == [1, 0, 0]
    np.testing.assert_allclose(rows[-1], [0.6, 0.2, 1.0], rtol=1e-6)
