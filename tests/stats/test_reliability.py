"""Reliability of a ranking: the share of variance that repeats agree on."""

from __future__ import annotations

import numpy as np
import pytest

from weightsearch.stats.reliability import reliability


def test_it_is_shrout_and_fleiss_example() -> None:
    """Table 2 of their paper: six targets, four judges; ICC(3,1) = .71, ICC(3,k) = .91."""
    judged = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    found = reliability(judged)
    assert found is not None
    assert (round(found.of_one, 2), round(found.of_mean, 2)) == (0.71, 0.91)
    assert (round(found.low, 2), round(found.high, 2)) == (0.34, 0.95)
    assert (found.configurations, found.repeats) == (6, 4)
    said = "0 to 1): 0.71 by one seed (95 % interval 0.34 to 0.95), 0.91 by the mean"
    assert said in str(found)


def test_a_seed_that_shifts_all_alike_takes_nothing_from_it() -> None:
    found = reliability([[1.0, 2.0], [1.5, 2.5], [3.0, 4.0]])
    assert found is not None
    assert found.of_one == pytest.approx(1)


def test_where_configurations_do_not_differ_it_is_near_0() -> None:
    noise = np.random.default_rng(0).normal(1, 0.1, (200, 3))
    found = reliability(noise.tolist())
    assert found is not None
    assert found.of_one < 0.1
    same = reliability([[1.0, 1.0], [1.0, 1.0]])
    assert same is not None
    assert same.of_one == 0


def test_half_of_the_variance_is_a_half() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(0, 1, (2000, 1)) + rng.normal(0, 1, (2000, 3))
    found = reliability(values.tolist())
    assert found is not None
    assert found.of_one == pytest.approx(0.5, abs=0.04)
    assert found.of_mean == pytest.approx(0.75, abs=0.03)
    assert found.low < 0.5 < found.high


@pytest.mark.parametrize("values", [[], [[1.0, 2.0]], [[1.0], [2.0]]])
def test_without_repeats_or_configurations_there_is_none(values: list[list[float]]) -> None:
    assert reliability(values) is None
