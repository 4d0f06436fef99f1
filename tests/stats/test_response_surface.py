"""The surface of a mixture study: what it predicts, and when it is not to be believed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from weightsearch.stats import response_surface
from weightsearch.stats.response_surface import NO_TAIL, Rows, Surface, Tail


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


def test_a_shortened_tail_leaves_the_best_as_they_are_and_can_be_restored() -> None:
    values = np.array([0.8, 0.84, 0.88, 0.9, 1.3])
    tail = Tail.of(values)
    assert (tail.middle, tail.scale) == pytest.approx((0.88, 0.02))
    shortened = tail.shortened(values)
    assert shortened[:3].tolist() == values[:3].tolist()
    assert shortened[4] == pytest.approx(0.88 + 0.02 * np.log(22))
    assert tail.restored(shortened) == pytest.approx(values)
    steps = (tail.shortened(values + 1e-7) - tail.shortened(values - 1e-7)) / 2e-7
    assert tail.slope(values) == pytest.approx(steps, rel=1e-5)
    for same in (NO_TAIL, Tail.of(np.ones(5))):  # of which more than half are the best
        assert same.shortened(values).tolist() == same.restored(values).tolist() == values.tolist()
        assert same.slope(values).tolist() == [1] * 5


def cliff(draw: int) -> tuple[Rows, np.ndarray]:
    """A lattice of two shares: values that differ by 0.04, but at one end of it by up to 0.4."""
    lattice = np.array([(i, j) for i in range(7) for j in range(7 - i)]) / 6
    truth = 0.04 * ((np.sqrt(lattice) - 0.6) ** 2).sum(axis=1) + 0.4 * (lattice[:, 0] == 0)
    values = truth + np.random.default_rng(draw).normal(0, 0.004, len(truth))
    zeros = np.zeros(len(truth), dtype=int)
    return Rows(np.sqrt(lattice), values, zeros, np.arange(len(truth)), zeros), truth


def test_a_few_that_are_far_worse_do_not_blur_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    errors: dict[str, list[float]] = {"ours": [], "no tail": []}
    for draw in range(3):
        given, truth = cliff(draw)
        good = truth < 0.1
        surface = fitted(given)
        assert surface._tail.scale > 0
        mean, deviation = surface.predict(given.inputs, given.groups)
        assert mean[~good].mean() == pytest.approx(truth[~good].mean(), abs=0.1)  # restored
        assert deviation[~good].min() > 3 * deviation[good].max()
        errors["ours"].append(float(np.std((mean - truth)[good])))
        # However uncertain, what is far behind neither promises nor comes near.
        gains = surface.expected_improvement(given.inputs, given.groups)
        assert gains[~good].max() < 0.1 * gains[good].max()
        assert surface.at_best(given.inputs, given.groups, 2)[~good].min() > mean[good].max()
        with monkeypatch.context() as patched:
            patched.setattr(Tail, "of", lambda values: NO_TAIL)
            without, _ = fitted(given).predict(given.inputs, given.groups)
        errors["no tail"].append(float(np.std((without - truth)[good])))
    assert np.mean(errors["ours"]) < 0.7 * np.mean(errors["no tail"])


def test_no_tail_is_shortened_where_there_is_none() -> None:
    surfaces = [fitted(rows(noise=0.1, slope=slope)) for slope in (0.0, 0.2, 1.0)]
    assert [surface._tail for surface in surfaces] == [NO_TAIL] * 3


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
