"""The surface of a mixture study: what it predicts, and when it is not to be believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from weightsearch.stats import response_surface
from weightsearch.stats.response_surface import Rows, Surface


def rows(
    noise: float, slope: float = 1.0, misfit: float = 0.0, seeds: int = 2, draw: int = 0
) -> Rows:
    """Twelve places on a line, measured with each seed; every other place is off by `misfit`, and
    the second seed is 5 higher everywhere."""
    source = np.random.default_rng(draw)
    places = np.repeat(np.linspace(0, 1.4, 12), seeds)
    own = np.repeat(misfit * (np.arange(12) % 2), seeds)
    seed = np.tile(np.arange(seeds), 12)
    values = slope * (places - 0.5) ** 2 + own + 5 * seed + source.normal(0, noise, 12 * seeds)
    zeros = np.zeros(12 * seeds, dtype=int)
    return Rows(places[:, None], values, zeros, np.repeat(np.arange(12), seeds), seed)


def fitted(given: Rows) -> Surface:
    found = response_surface.fit(given)
    assert found is not None
    return found


def test_a_smooth_response_is_believed_and_predicted() -> None:
    surface = fitted(rows(noise=0.01))
    assert surface.skill > 0.95
    assert surface.lack_of_fit is not None
    assert surface.lack_of_fit.p > 0.05
    assert surface.lack_of_fit.freedom[1] == 11  # twelve differences, less the seeds' own
    assert surface.is_believed()
    mean, deviation = surface.predict(np.array([[0.5], [1.2], [3.0]]), np.zeros(3, dtype=int))
    assert mean[:2] == pytest.approx([0, 0.49], abs=0.03)
    assert deviation[2] > 3 * deviation[0]  # nothing was measured there


def test_noise_is_not_believed() -> None:
    surfaces = [fitted(rows(noise=0.1, slope=0, draw=draw)) for draw in range(20)]
    assert sum(surface.is_believed() for surface in surfaces) <= 2
    assert np.median([surface.skill for surface in surfaces]) < 0.05


def test_what_places_differ_by_without_a_pattern_is_lack_of_fit() -> None:
    surface = fitted(rows(noise=0.005, misfit=0.1))
    assert surface.lack_of_fit is not None
    assert surface.lack_of_fit.p < response_surface.LEVEL
    assert not replace(surface, skill=0.9).is_believed()


def test_without_repeats_there_is_no_test_of_fit() -> None:
    surface = fitted(rows(noise=0.01, seeds=1))
    assert surface.lack_of_fit is None
    assert surface.is_believed()


def test_skill_is_that_of_predictions_without_the_configuration() -> None:
    """As solving without its row would, under the same parameters."""
    given = rows(noise=0.05, seeds=1)
    surface = fitted(given)
    covariance = surface._process.kernel_(given.inputs)
    centred = given.values - given.values.mean()
    errors = []
    for left_out in range(12):
        inside = np.arange(12) != left_out
        weights = np.linalg.solve(covariance[np.ix_(inside, inside)], centred[inside])
        errors.append(centred[left_out] - covariance[left_out, inside] @ weights)
    assert surface.skill == pytest.approx(1 - sum(np.square(errors)) / (centred @ centred))


def test_a_point_that_runs_makes_its_neighbourhood_known() -> None:
    surface = fitted(rows(noise=0.01))
    place, group = np.array([[2.0]]), np.zeros(1, dtype=int)
    before = surface.predict(place, group)
    after = surface.believing(place, group).predict(place, group)
    assert after[0] == pytest.approx(before[0], abs=0.02)
    assert after[1] < before[1] / 2
    assert surface.believing(place[:0], group[:0]) is surface


def test_groups_share_the_shape_and_have_their_own_level() -> None:
    one = rows(noise=0.01, seeds=1)
    other = replace(one, values=one.values + 3, groups=one.groups + 1)
    other = replace(other, configurations=one.configurations + 12)
    both = Rows(
        *(np.concatenate(p) for p in zip(vars(one).values(), vars(other).values(), strict=True))
    )
    low, high, unknown = fitted(both).predict(np.full((3, 1), 0.5), np.array([0, 1, 7]))[0]
    assert high - low == pytest.approx(3, abs=0.01)
    assert low < unknown < high


def test_too_little_is_no_surface() -> None:
    given = rows(noise=0.01, seeds=1)
    assert response_surface.fit(Rows(*(part[:4] for part in vars(given).values()))) is None
    assert response_surface.fit(replace(given, values=np.full(12, 0.1))) is None
